package transport

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

const (
	// maxShadows is the most shadow calls at a time.
	maxShadows = 64
	// shadowTime bounds a shadow call whose service has no timeout.
	shadowTime = 10 * time.Second
	// maxShadowBody is the largest body that is sent twice.
	maxShadowBody = 1 << 20
)

// shadows are the shadow calls of a Transport.
type shadows struct {
	gate  *destination.Gate
	life  context.Context // of all calls
	cut   context.CancelFunc
	slots chan struct{} // holds one token for each call that runs
	once  sync.Once     // of close

	sent, skipped atomic.Uint64
}

func newShadows(gate *destination.Gate) *shadows {
	s := &shadows{gate: gate, slots: make(chan struct{}, maxShadows)}
	s.life, s.cut = context.WithCancel(context.Background())
	return s
}

// close ends the calls that run, waits for them, and lets no more begin: it keeps
// all slots. It is called once.
func (s *shadows) close() {
	s.cut()
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
}

// mirrorHeader marks a shadow call for its server.
const mirrorHeader = "Tulle-Mirror"

// send sends a copy of a request to a destination and drops the answer. There is
// none when too many run, when the body cannot be had twice, or when the Transport
// closes. It is not repeated, so that it takes nothing of a retry budget. Host is
// what its server sees as host, "" for that of the service.
func (s *shadows) send(svc *service, req *http.Request, host string) {
	if !s.begin(svc, req, host) {
		s.skipped.Add(1)
	}
}

// begin starts a shadow call, if there can be one.
func (s *shadows) begin(svc *service, req *http.Request, host string) bool {
	if once(req) {
		return false
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return false
	}
	body, ok := bodyOf(req)
	if !ok || !s.gate.Enter() {
		<-s.slots
		return false
	}
	s.sent.Add(1)
	limit := svc.Timeout
	if limit <= 0 {
		limit = shadowTime
	}
	ctx, cancel := context.WithTimeout(telemetry.Link(s.life, req.Context()), limit)
	copied := shadowOf(ctx, req, body)
	go func() {
		defer func() { <-s.slots }()
		defer cancel()
		defer func() { _ = recover() }() // of a Base: it would end the program, not a request
		resp, err := svc.do(copied, &destination.Options{NoRetry: true, Ruled: &destination.Ruled{Host: host}})
		if err != nil {
			return // the statistics of its destination tell
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}()
	return true
}

// bodyOf copies the body of a request, if it has one and it can be had twice. It is
// copied at once, as its memory is the caller's again when the call is over.
func bodyOf(req *http.Request) (body []byte, ok bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, true
	}
	if req.GetBody == nil || req.ContentLength <= 0 || req.ContentLength > maxShadowBody {
		return nil, false
	}
	b, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	body = make([]byte, req.ContentLength)
	_, err = io.ReadFull(b, body)
	_ = b.Close()
	return body, err == nil
}

// shadowOf is a copy of a request that has nothing in common with it. Of the
// values of the caller's context it has the span and the overrides alone: others,
// such as hooks, are not made for use after the call.
func shadowOf(ctx context.Context, req *http.Request, body []byte) *http.Request {
	copied := req.Clone(ctx)
	//lint:ignore SA1019 the copy must not end with the call
	copied.Cancel = nil
	copied.Body, copied.GetBody = nil, nil
	if body != nil {
		copied.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		copied.Body = io.NopCloser(bytes.NewReader(body))
	}
	if copied.Header == nil {
		copied.Header = make(http.Header)
	}
	if o := route.From(req.Context()); o != nil && copied.Header[route.Header] == nil {
		o.Write(copied.Header)
	}
	copied.Header.Set(mirrorHeader, "1")
	return copied
}
