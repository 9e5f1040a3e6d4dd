package admin_test

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

var update = flag.Bool("update", false, "rewrite golden files and static/schema.json")

func TestMain(m *testing.M) { leak.Main(m) }

// fake is a source whose state tests set.
type fake struct {
	mu      sync.Mutex
	snap    transport.Snapshot
	records []*telemetry.Record
	looks   int
	filter  telemetry.Filter // the latest that was asked for
}

// Snapshot implements admin.Source. What it returns may be kept and changed.
func (f *fake) Snapshot() transport.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	s := f.snap
	s.Services = append([]transport.ServiceSnapshot(nil), s.Services...)
	for i := range s.Services {
		s.Services[i].Endpoints = append([]transport.EndpointSnapshot(nil), s.Services[i].Endpoints...)
	}
	return s
}

// Records implements admin.Source.
func (f *fake) Records(filter telemetry.Filter) []*telemetry.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filter = filter
	if filter.Limit > 0 && len(f.records) > filter.Limit {
		return f.records[:filter.Limit]
	}
	return f.records
}

// change changes the state.
func (f *fake) change(with func(*transport.Snapshot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	with(&f.snap)
}

// endpoint is one in a state, with attempts so far.
func endpoint(addr, state string, attempts uint64) transport.EndpointSnapshot {
	return transport.EndpointSnapshot{
		Endpoint: tulle.Endpoint{Addr: addr}, State: state, Attempts: attempts, Success: 1, Cost: 0.01, Chance: 1,
		Latency: 5 * time.Millisecond, Expected: 6 * time.Millisecond,
	}
}

// service is one with endpoints, in good state.
func service(name string, endpoints ...transport.EndpointSnapshot) transport.ServiceSnapshot {
	return transport.ServiceSnapshot{
		Name: name, Endpoints: endpoints, Breaker: "closed", RetryBudget: 10, Successes: 99, Failures: 1,
		Mean: 6 * time.Millisecond, Median: 5 * time.Millisecond,
		Spread: transport.SpreadSnapshot{
			Min: time.Millisecond, P25: 3 * time.Millisecond, P75: 8 * time.Millisecond, P90: 12 * time.Millisecond,
			P95: 15 * time.Millisecond, P99: 40 * time.Millisecond, P995: 50 * time.Millisecond, Max: 90 * time.Millisecond,
		},
	}
}

// newFake is a source with two services, one of which has an endpoint that is left
// out.
func newFake() *fake {
	out := endpoint("10.0.0.2:80", "ejected", 10)
	out.Until = 4 * time.Second
	return &fake{snap: transport.Snapshot{Services: []transport.ServiceSnapshot{
		service("orders", endpoint("10.0.1.1:80", "healthy", 5)),
		service("users", endpoint("10.0.0.1:80", "healthy", 100), out),
	}}}
}

// newHandler is a Handler that the test closes.
func newHandler(t testing.TB, s admin.Source, cfg admin.Config) *admin.Handler {
	t.Helper()
	h, err := admin.NewFrom(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// get makes a GET with headers in pairs.
func get(h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	return ask(context.Background(), h, http.MethodGet, path, headers...)
}

// ask is get with a context and any method.
func ask(ctx context.Context, h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// getJSON makes a GET and decodes the answer into v.
func getJSON(t *testing.T, h http.Handler, path string, v any) {
	t.Helper()
	w := get(h, path)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: got %d %s %s", path, w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// golden compares with a file in testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s: got something else (-update rewrites it):\n%s", path, got)
	}
}
