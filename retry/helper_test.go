package retry_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tullemesh/tulle/retry"
)

// quick repeats up to three times without a pause to speak of, and from a budget
// that no test exhausts by accident.
func quick(change func(*retry.Config)) retry.Config {
	cfg := retry.Config{MinBackoff: 1, MaxBackoff: 1, Budget: retry.BudgetConfig{PerSecond: 1000}}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// A peer is a real server and an http.Transport to it.
type peer struct {
	*httptest.Server
	base  *http.Transport
	conns atomic.Int64 // connections that were opened
}

// newPeer starts a peer that speaks HTTP/2 or HTTP/1.
func newPeer(t testing.TB, h2 bool, handler http.HandlerFunc) *peer {
	t.Helper()
	p := &peer{Server: httptest.NewUnstartedServer(handler)}
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the connections that tests break
	p.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			p.conns.Add(1)
		}
	}
	if h2 {
		p.EnableHTTP2 = true
		p.StartTLS()
	} else {
		p.Start()
	}
	p.base = p.Client().Transport.(*http.Transport)
	t.Cleanup(p.Close)
	return p
}

// overBoth runs a test over HTTP/1 and HTTP/2.
func overBoth(t *testing.T, test func(t *testing.T, h2 bool)) {
	t.Run("h1", func(t *testing.T) { test(t, false) })
	t.Run("h2", func(t *testing.T) { test(t, true) })
}

// request is a request under the test's context.
func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	return requestIn(t, t.Context(), method, url, body)
}

// requestIn is a request under ctx.
func requestIn(t testing.TB, ctx context.Context, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// bare hides a body's type, so that http.NewRequest makes no GetBody.
type bare struct{ io.Reader }

// text reads a response's body and closes it.
func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the body: got %v, want nil", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Errorf("closing the body: got %v, want nil", err)
	}
	return string(b)
}

// wantText makes a call that must be answered with this status and text.
func wantText(t testing.TB, rt http.RoundTripper, req *http.Request, status int, want string) {
	t.Helper()
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatalf("got %v, want status %d", err, status)
	}
	if resp.Request != req {
		t.Error("got a response to another request, want the caller's")
	}
	if got := text(t, resp); resp.StatusCode != status || got != want {
		t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, status, want)
	}
}

// roundTripper is a func as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// answer is a response of a stub, with headers as pairs of name and value.
func answer(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}
