package transport_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// A trusted peer's time is the request's deadline; a stranger's is not.
func TestInboundDeadline(t *testing.T) {
	for _, test := range []struct {
		name    string
		trusted []netip.Prefix
		value   string
		want    bool
	}{
		{"trusted", loopback, "30S", true},
		{"stranger", nil, "30S", false},
		{"other network", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "30S", false},
		{"nonsense", loopback, "soon", false},
		{"none", loopback, "", false},
	} {
		s := httptest.NewServer(transport.Inbound(transport.InboundConfig{Trusted: test.trusted},
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if d, ok := r.Context().Deadline(); ok && time.Until(d) < time.Minute {
					_, _ = io.WriteString(w, "deadline")
				}
			})))
		req, _ := http.NewRequest(http.MethodGet, s.URL, nil)
		if test.value != "" {
			req.Header.Set("Tulle-Timeout", test.value)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := string(text) == "deadline"; got != test.want {
			t.Errorf("%s: got a deadline: %v, want %v", test.name, got, test.want)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		s.Close()
	}
}

// Work that expired before it ran is not run, and not held against the server.
func TestInboundExpired(t *testing.T) {
	var ran atomic.Int64
	l, err := limit.New(limit.Config{Rate: 1, Burst: 1, MaxWait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	h := transport.Inbound(transport.InboundConfig{Trusted: loopback, Limit: l},
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran.Add(1) }))
	addr := start(t, h.ServeHTTP)
	rt := newTransport(t, service(nil, transport.Policy{}, addr))
	if status, _, err := get(t.Context(), rt, "http://svc/"); err != nil || status != http.StatusOK {
		t.Fatalf("the first: got %d, %v", status, err)
	}
	req, _ := http.NewRequest(http.MethodGet, "http://svc/", nil)
	req.Header.Set("Tulle-Timeout", "0n")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusGatewayTimeout || resp.Header.Get(tulle.ExpiredHeader) == "" {
		t.Errorf("expired: got %d, want a marked 504", resp.StatusCode)
	}
	if got := ran.Load(); got != 1 {
		t.Errorf("got %d runs, want 1", got)
	}
	if e := rt.Snapshot().Services[0].Endpoints[0]; e.Success != 1 {
		t.Errorf("got a success share of %v, want 1", e.Success)
	}
}

// Repeats do not multiply: while a repeat is served, what may have reached
// somebody is not sent again.
func TestInboundAttemptIsHonoured(t *testing.T) {
	var hits atomic.Int64
	busy := func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}
	back := newTransport(t, service(nil, transport.Policy{}, start(t, busy), start(t, busy)))
	front := start(t, transport.Inbound(transport.InboundConfig{Trusted: loopback},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status, _, err := get(r.Context(), back, "http://svc/")
			if err != nil {
				t.Errorf("downstream: %v", err)
			}
			w.WriteHeader(status)
		})).ServeHTTP)
	for _, test := range []struct {
		header, value string
		want          int64
	}{
		{"Tulle-Attempt", "1", 2}, {"Tulle-Attempt", "2", 1}, {"X-Envoy-Attempt-Count", "3", 1},
		{"Grpc-Previous-Rpc-Attempts", "1", 1}, {"Tulle-Attempt", "many", 2}, {"Tulle-Attempt", strings.Repeat("9", 30), 2},
	} {
		hits.Store(0)
		req, _ := http.NewRequest(http.MethodGet, "http://"+front+"/", nil)
		req.Header.Set(test.header, test.value)
		resp, err := back.RoundTrip(req) // an unknown host passes through
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := hits.Load(); (got > 1) != (test.want > 1) {
			t.Errorf("%s: %s: got %d attempts downstream, want %d", test.header, test.value, got, test.want)
		}
	}
}

func FuzzInbound(f *testing.F) {
	f.Add("500m", "2", "3", "127.0.0.1:80")
	f.Add("99999999H", "-1", "", "[::1]:80")
	f.Add("", "18446744073709551616", "x", "nonsense")
	h := transport.Inbound(transport.InboundConfig{Trusted: loopback}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	f.Fuzz(func(_ *testing.T, timeout, attempt, envoy, remote string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = remote
		r.Header["Tulle-Timeout"] = []string{timeout}
		r.Header["Tulle-Attempt"] = []string{attempt}
		r.Header["X-Envoy-Attempt-Count"] = []string{envoy}
		h.ServeHTTP(httptest.NewRecorder(), r)
	})
}
