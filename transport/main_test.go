package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fleet is a Base that plays the endpoints, without sockets, so that a test can
// run in virtual time. It is an EndpointRoundTripper.
type fleet func(req *http.Request, addr string) (*http.Response, error)

func (f fleet) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("fleet: no endpoint was given")
}

func (f fleet) RoundTripEndpoint(req *http.Request, ep tulle.Endpoint) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	return f(req, ep.Addr)
}

// answer is a response of a status and a text.
func answer(req *http.Request, status int, text string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: req,
	}
}

// sleep waits for d, or until the request is cancelled.
func sleep(req *http.Request, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-req.Context().Done():
		return req.Context().Err()
	}
}

// endpoints are a static set.
func endpoints(addrs ...string) discovery.Static {
	s := make(discovery.Static, len(addrs))
	for i, a := range addrs {
		s[i].Addr = a
	}
	return s
}

// newTransport makes a Transport that is closed with the test, and waits until
// it is ready.
func newTransport(tb testing.TB, cfg transport.Config) *transport.Transport {
	tb.Helper()
	t, err := transport.New(cfg)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	tb.Cleanup(func() {
		if err := t.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	if err := t.Ready(context.Background()); err != nil {
		tb.Fatalf("Ready: %v", err)
	}
	return t
}

// service is a Config with one service, svc.
func service(base http.RoundTripper, p transport.Policy, addrs ...string) transport.Config {
	return transport.Config{
		Base:     base,
		Services: map[string]transport.Service{"svc": {Resolver: endpoints(addrs...), Policy: p}},
	}
}

// get makes a GET through rt and returns status, body and error.
func get(ctx context.Context, rt http.RoundTripper, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return resp.StatusCode, string(text), err
}

// inFlight sums the attempts of svc that have not ended.
func inFlight(t *transport.Transport) (waiting, streaming int) {
	for _, s := range t.Snapshot().Services {
		for _, e := range s.Endpoints {
			waiting += e.Waiting
			streaming += e.Streaming
		}
	}
	return waiting, streaming
}

// attempts counts the attempts at each endpoint of svc.
func attempts(t *transport.Transport) map[string]uint64 {
	n := map[string]uint64{}
	for _, s := range t.Snapshot().Services {
		for _, e := range s.Endpoints {
			n[e.Addr] += e.Attempts
		}
	}
	return n
}

// tunedWith is an http.Transport with a dialer.
func tunedWith(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{DialContext: dial}
}
