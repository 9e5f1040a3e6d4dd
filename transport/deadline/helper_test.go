package deadline_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

// newLimiter is a Limiter that the test knows to be valid.
func newLimiter(t testing.TB, cfg deadline.Config) *deadline.Limiter {
	t.Helper()
	l, err := deadline.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// roundTripper is a func as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// get is a GET request under ctx.
func get(t testing.TB, ctx context.Context) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// flag is a body that has no end until it is closed, and that notes its closes.
type flag struct {
	mu     sync.Mutex
	closes int // guarded by mu
	done   chan struct{}
}

func newFlag() *flag { return &flag{done: make(chan struct{})} }

func (f *flag) Read([]byte) (int, error) {
	<-f.done
	return 0, net.ErrClosed
}

func (f *flag) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closes++; f.closes == 1 {
		close(f.done)
	}
	return nil
}

// closed is how often it was closed.
func (f *flag) closed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closes
}

// pipes is a net.Listener whose connections are pipes, for servers in bubbles.
type pipes struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// serve starts a real server in a bubble and returns a real http.Transport to
// it, over HTTP/1 or HTTP/2. The test must call stop before it ends.
func serve(h2 bool, handler http.HandlerFunc) (base *http.Transport, stop func()) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: handler, Protocols: protocols}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) }) // it ends with Close
	base = &http.Transport{DialContext: l.dial, Protocols: protocols}
	return base, func() {
		base.CloseIdleConnections()
		_ = s.Close()
		serving.Wait()
	}
}

// trickle writes a byte a second for as long as the client is there.
func trickle(w http.ResponseWriter, r *http.Request) {
	for {
		if _, err := io.WriteString(w, "x"); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return
		}
	}
}
