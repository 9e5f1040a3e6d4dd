package admin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// A real Transport with a server that fails: what the page says is what happened.
func TestLive(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	var list discovery.Static
	for i := range 3 {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if i == 0 && failing.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		defer srv.Close()
		list = append(list, tulle.Endpoint{Addr: srv.Listener.Addr().String()})
	}
	rt, err := transport.New(transport.Config{
		Services:  map[string]transport.Service{"users": {Resolver: list}},
		Telemetry: telemetry.Config{Sample: 100_000, Keep: 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	h, err := admin.New(rt, admin.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for range 60 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://users/v1/me?token=s3cret", nil)
		req.Header.Set("Authorization", "s3cret")
		req.SetBasicAuth("me", "s3cret")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	var s admin.State
	getJSON(t, h, "/snapshot.json", &s)
	u := s.Services[0]
	attempts := uint64(0)
	for _, e := range u.Endpoints {
		attempts += e.Attempts
	}
	if u.Name != "users" || attempts < 60 || u.Failures < 1 || u.Successes < 30 {
		t.Errorf("got %d attempts, %v failures, %v successes", attempts, u.Failures, u.Successes)
	}
	if u.Spread.Min <= 0 || u.Spread.P99 < u.Median || u.Spread.Max < u.Spread.P995 || u.Median < u.Spread.P25 {
		t.Errorf("got median %v and spread %+v", u.Median, u.Spread)
	}
	var recs admin.Records
	getJSON(t, h, "/records.json?service=users&path=/v1", &recs)
	tries := 0
	for _, r := range recs.Records {
		tries = max(tries, len(r.Tries))
	}
	if len(recs.Records) == 0 || tries != 2 {
		t.Errorf("got %d records with up to %d tries, want one that was repeated", len(recs.Records), tries)
	}
	for _, path := range []string{"/", "/service?name=users", "/records", "/snapshot.json", "/records.json"} {
		if body := get(h, path).Body.String(); strings.Contains(body, "s3cret") {
			t.Errorf("%s: got a secret in\n%s", path, body)
		}
	}
}
