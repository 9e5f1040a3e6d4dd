package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
)

// start starts a real server and returns its address.
func start(tb testing.TB, h http.HandlerFunc) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// refusing is an address where nobody listens, nor comes to: its port is in use
// until the test ends, as the near end of a connection.
func refusing(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// The logical name is what the server and the caller see; the endpoint is where
// the bytes go.
func TestLogicalNames(t *testing.T) {
	var host atomic.Value
	addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		host.Store(r.Host)
		ok(w, r)
	})
	rt := newTransport(t, transport.Config{Services: map[string]transport.Service{
		"Users.":     {Resolver: endpoints(addr)},
		"users:8080": {Resolver: endpoints(addr), Host: "other.example"},
	}})
	for _, test := range []struct{ url, host, want string }{
		{"http://users/x", "", "users"},
		{"http://USERS/x", "", "USERS"},
		{"http://users./x", "", "users."},
		{"http://users:81/x", "", "users:81"},
		{"http://users:8080/x", "", "other.example"},
		{"http://users:8080/x", "mine", "mine"},
	} {
		req, _ := http.NewRequest(http.MethodGet, test.url, nil)
		if test.host != "" {
			req.Host = test.host
		}
		if test.host == "" {
			req.Host = "" // as a caller that builds the request by hand
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		_ = resp.Body.Close()
		if got := host.Load(); got != test.want {
			t.Errorf("%s: server saw host %v, want %s", test.url, got, test.want)
		}
		if resp.Request != req || req.URL.Host == addr {
			t.Errorf("%s: resp.Request is not the caller's own, unchanged", test.url)
		}
	}
}

// A dead instance costs no call, not even one that must not be repeated.
func TestDeadEndpointCostsNoCall(t *testing.T) {
	var posts atomic.Int64
	addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "payload" {
			t.Errorf("server got %q, %v", body, err)
		}
		posts.Add(1)
		ok(w, r)
	})
	rt := newTransport(t, service(nil, transport.Policy{}, refusing(t), refusing(t), addr))
	client := &http.Client{Transport: rt}
	for i := range 50 {
		body := io.Reader(strings.NewReader("payload"))
		if i%2 == 0 {
			body = io.MultiReader(body) // without GetBody
		}
		var info transport.Info
		ctx := transport.WithCall(t.Context(), transport.AttemptInfo(&info))
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://svc/", body)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("call %d: %v (%+v)", i, err, info)
		}
		_ = resp.Body.Close()
		if info.Endpoint.Addr != addr {
			t.Errorf("call %d: answered by %q, want %q", i, info.Endpoint.Addr, addr)
		}
	}
	if got := posts.Load(); got != 50 {
		t.Errorf("got %d POSTs executed, want 50", got)
	}
}

// When all is dead the error says what, where and why, for errors.Is too.
func TestErrorNamesServiceAndEndpoint(t *testing.T) {
	addr := refusing(t)
	rt := newTransport(t, service(nil, transport.Policy{Retry: &retry.Config{Attempts: 1}}, addr))
	_, _, err := get(t.Context(), rt, "http://svc/")
	var e *transport.Error
	if !errors.As(err, &e) || e.Service != "svc" || e.Endpoint != addr || e.Attempts != 1 {
		t.Fatalf("got %#v, want an Error of svc at %s", err, addr)
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("errors.As did not find the dial in %v", err)
	}
	if want := "transport: service svc at " + addr + ": "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want it to begin with %q", err, want)
	}
}

// Retries go elsewhere, and the caller gets the last response when all fail.
func TestRetriesSpread(t *testing.T) {
	var seen sync.Map
	busy := func(w http.ResponseWriter, r *http.Request) {
		n, _ := seen.LoadOrStore(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, "attempt %s", r.Header.Get("Tulle-Attempt"))
	}
	rt := newTransport(t, service(nil, transport.Policy{}, start(t, busy), start(t, busy), start(t, busy)))
	status, text, err := get(t.Context(), rt, "http://svc/")
	if err != nil || status != http.StatusServiceUnavailable || text != "attempt 3" {
		t.Errorf("got %d %q, %v; want the last 503, of attempt 3", status, text, err)
	}
	n := 0
	seen.Range(func(addr, hits any) bool {
		n++
		if got := hits.(*atomic.Int64).Load(); got != 1 {
			t.Errorf("%v: got %d attempts, want 1", addr, got)
		}
		return true
	})
	if n != 3 {
		t.Errorf("got %d endpoints tried, want 3", n)
	}
}

// A POST that was sent is not sent again unless the caller vouches for it.
func TestUnsafeCallsAreNotRepeated(t *testing.T) {
	var hits atomic.Int64
	busy := func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}
	rt := newTransport(t, service(nil, transport.Policy{}, start(t, busy), start(t, busy)))
	for _, test := range []struct {
		name   string
		header string
		option transport.CallOption
		want   int64
	}{
		{name: "plain", want: 1},
		{name: "keyed", header: "Idempotency-Key", want: 3},
		{name: "vouched", option: transport.Idempotent(), want: 3},
		{name: "keyed, no retry", header: "Idempotency-Key", option: transport.NoRetry(), want: 1},
		{name: "upgrade", header: "Upgrade", option: transport.Idempotent(), want: 1},
	} {
		hits.Store(0)
		ctx := t.Context()
		if test.option != nil {
			ctx = transport.WithCall(ctx, test.option)
		}
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://svc/", strings.NewReader("x"))
		if test.header != "" {
			req.Header.Set(test.header, "k")
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		_ = resp.Body.Close()
		if got := hits.Load(); got != test.want {
			t.Errorf("%s: got %d attempts, want %d", test.name, got, test.want)
		}
	}
}

// A call without time left fails at once and reaches nobody.
func TestPastDeadlineSendsNothing(t *testing.T) {
	var hits atomic.Int64
	addr := start(t, func(w http.ResponseWriter, r *http.Request) { hits.Add(1); ok(w, r) })
	rt := newTransport(t, service(nil, transport.Policy{}, addr))
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, url := range []string{"http://svc/", "http://" + addr + "/"} {
		body := &closeWatch{Reader: strings.NewReader("x")}
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
		_, err := rt.RoundTrip(req)
		if !errors.Is(err, context.DeadlineExceeded) || url == "http://svc/" && !errors.Is(err, deadline.ErrCall) {
			t.Errorf("%s: got %v, want an expired deadline", url, err)
		}
		if !body.closed.Load() {
			t.Errorf("%s: the request's body was not closed", url)
		}
	}
	if got := hits.Load(); got != 0 {
		t.Errorf("got %d requests sent, want none", got)
	}
}

// closeWatch is a body that remembers that it was closed.
type closeWatch struct {
	io.Reader
	closed atomic.Bool
}

func (c *closeWatch) Close() error {
	c.closed.Store(true)
	return nil
}

// The server learns how long is left; unknown hosts and external services learn
// nothing.
func TestDeadlineTravels(t *testing.T) {
	var header atomic.Value
	addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		header.Store(r.Header.Clone())
		ok(w, r)
	})
	rt := newTransport(t, transport.Config{
		Defaults: transport.Policy{Timeout: time.Minute, AttemptTimeout: 20 * time.Second},
		Services: map[string]transport.Service{
			"ours":   {Resolver: endpoints(addr)},
			"theirs": {Resolver: endpoints(addr), External: true},
		},
	})
	for _, test := range []struct {
		url  string
		want bool
	}{{"http://ours/", true}, {"http://theirs/", false}, {"http://" + addr + "/", false}} {
		if _, _, err := get(t.Context(), rt, test.url); err != nil {
			t.Fatal(err)
		}
		h := header.Load().(http.Header)
		value := h.Get(deadline.Header)
		if (value != "") != test.want {
			t.Errorf("%s: got %s %q, want it: %v", test.url, deadline.Header, value, test.want)
		}
		if test.want {
			if d, err := deadline.Parse(value); err != nil || d > 20*time.Second || d < 10*time.Second {
				t.Errorf("%s: got %v, %v; want the attempt timeout, nearly 20 s", test.url, d, err)
			}
		}
		for name := range h {
			if strings.HasPrefix(name, "Tulle-") && !test.want {
				t.Errorf("%s: header %s was sent", test.url, name)
			}
		}
	}
}

// An attempt that hangs is given up, and a safe call goes elsewhere.
func TestAttemptTimeoutMovesOn(t *testing.T) {
	hang := make(chan struct{})
	slow := start(t, func(http.ResponseWriter, *http.Request) { <-hang })
	fast := start(t, ok)
	t.Cleanup(func() { close(hang) })
	rt := newTransport(t, service(nil, transport.Policy{AttemptTimeout: 50 * time.Millisecond}, slow, fast))
	moved := 0
	for range 40 {
		var info transport.Info
		ctx := transport.WithCall(t.Context(), transport.AttemptInfo(&info))
		_, _, err := get(ctx, rt, "http://svc/")
		switch {
		case err == nil && info.Attempts > 1:
			moved++
		case err != nil && !errors.Is(err, deadline.ErrAttempt):
			t.Fatalf("got %v, want success or the attempt timeout", err)
		}
	}
	if moved == 0 {
		t.Error("no call moved on from the endpoint that hangs")
	}
}

// The hooks of the caller's client trace fire for each attempt.
func TestClientTraceFiresPerAttempt(t *testing.T) {
	rt := newTransport(t, service(nil, transport.Policy{}, refusing(t), start(t, ok)))
	var starts, conns atomic.Int64
	for range 20 {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			ConnectStart: func(string, string) { starts.Add(1) },
			GotConn:      func(httptrace.GotConnInfo) { conns.Add(1) },
		})
		if _, _, err := get(ctx, rt, "http://svc/"); err != nil {
			t.Fatal(err)
		}
	}
	if starts.Load() < 2 || conns.Load() != 20 {
		t.Errorf("got %d connects and %d connections, want at least 2 and 20", starts.Load(), conns.Load())
	}
}

// An endpoint that leaves has its idle connections closed, while its calls
// finish.
func TestRemovalClosesConnections(t *testing.T) {
	release := make(chan struct{})
	var states sync.Map // net.Conn -> http.ConnState
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "+half")
	}))
	closed := make(chan struct{}, 10)
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		states.Store(c, state)
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	s.Start()
	t.Cleanup(s.Close)

	sets := make(chan []tulle.Endpoint, 1)
	sets <- []tulle.Endpoint{{Addr: s.Listener.Addr().String()}}
	stay := start(t, ok)
	rt := newTransport(t, transport.Config{Services: map[string]transport.Service{"svc": {
		Resolver: discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
			for {
				select {
				case eps := <-sets:
					report(discovery.Update{Endpoints: eps})
				case <-ctx.Done():
					return nil
				}
			}
		}),
	}}})
	req, _ := http.NewRequest(http.MethodGet, "http://svc/slow", nil)
	slow, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
		t.Fatal(err)
	}
	sets <- []tulle.Endpoint{{Addr: stay}}

	waitFor(t, closed, "the idle connection to close")
	close(release)
	if text, err := io.ReadAll(slow.Body); err != nil || string(text) != "half+half" {
		t.Errorf("the running call got %q, %v", text, err)
	}
	_ = slow.Body.Close()
	waitFor(t, closed, "the connection of the running call to close")
}

// waitFor waits a bounded time for something that happens elsewhere.
func waitFor(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		t.Fatalf("waited in vain for %s", what)
	}
}

// TLS is checked for the logical name, over HTTP/1 and HTTP/2.
func TestTLS(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto+" "+r.TLS.ServerName+" "+r.Host)
		}))
		s.EnableHTTP2 = h2
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the certificate that we refuse
		var conns atomic.Int64
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		addr := s.Listener.Addr().String()
		tc := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		rt := newTransport(t, transport.Config{Services: map[string]transport.Service{
			"example.com": {Resolver: endpoints(addr), TLS: tc},
			"renamed":     {Resolver: endpoints(addr), TLS: tc, TLSServerName: "example.com"},
			"hosted":      {Resolver: endpoints(addr), TLS: tc, Host: "example.com"},
			"stranger":    {Resolver: endpoints(addr, refusing(t)), TLS: tc},
		}})
		proto := "HTTP/1.1"
		if h2 {
			proto = "HTTP/2.0"
		}
		for name, host := range map[string]string{"example.com": "example.com", "renamed": "renamed", "hosted": "example.com"} {
			_, text, err := get(t.Context(), rt, "https://"+name+"/")
			if want := proto + " example.com " + host; err != nil || text != want {
				t.Errorf("%s: got %q, %v; want %q", name, text, err, want)
			}
		}
		before := conns.Load()
		if _, _, err := get(t.Context(), rt, "https://stranger/"); err == nil {
			t.Error("a certificate for another name was accepted")
		}
		if got := conns.Load() - before; got > 1 {
			t.Errorf("the endpoint with the wrong certificate was tried %d times, want once at most", got)
		}
	}
}

// H2C is spoken where it is configured.
func TestH2C(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.Protocols.SetHTTP1(true)
	s.Start()
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	rt := newTransport(t, transport.Config{Services: map[string]transport.Service{
		"one": {Resolver: endpoints(addr)},
		"two": {Resolver: endpoints(addr), Protocol: transport.H2C},
	}})
	for name, want := range map[string]string{"one": "HTTP/1.1", "two": "HTTP/2.0"} {
		if _, got, err := get(t.Context(), rt, "http://"+name+"/"); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
}
