package transport_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// routedKinds are the ways in which a call can be routed, and how many allocations
// each may add to a call to a plain service.
func routedKinds() []struct {
	name string
	path string
	more float64
	ctx  context.Context
	cfg  func(*transport.Service, *transport.Config)
} {
	rules := []route.Rule{
		{Match: under("/a")}, {Match: under("/b")}, {Match: []route.Match{{Headers: []route.ValueMatch{{Name: "X", Exact: "1"}}}}},
		{Match: under("/edit"), RequestHeaders: route.Headers{Set: map[string]string{"X-Set": "1"}}},
		{Match: under("/time"), Timeout: 1 << 40},
	}
	environments := map[string]transport.Destination{"prod": {Resolver: manyEndpoints(10)}, "staging": {Resolver: manyEndpoints(10)}}
	inPlaces := func(s *transport.Service, _ *transport.Config) { s.Resolver, s.Environments = nil, environments }
	withRules := func(s *transport.Service, c *transport.Config) {
		inPlaces(s, c)
		s.Rules = rules
	}
	staging := route.With(context.Background(), route.Override{Service: "svc", Environment: "staging"})
	return []struct {
		name string
		path string
		more float64
		ctx  context.Context
		cfg  func(*transport.Service, *transport.Config)
	}{
		{"plain", "/", 0, context.Background(), func(*transport.Service, *transport.Config) {}},
		{"environments", "/", 0, context.Background(), inPlaces},
		{"failover", "/", 0, context.Background(), func(s *transport.Service, c *transport.Config) {
			inPlaces(s, c)
			c.Environments = map[string]route.Environment{"prod": {Fallback: []string{"staging"}, Failover: true}}
		}},
		{"rules", "/a", 0, context.Background(), withRules},
		{"global rules", "/a", 0, context.Background(), func(_ *transport.Service, c *transport.Config) { c.Rules = rules }},
		{"override", "/", 8, staging, func(s *transport.Service, c *transport.Config) {
			inPlaces(s, c)
			c.Override.CodeProtected = true
		}},
		{"timeout", "/time", 9, context.Background(), withRules},
		{"edit", "/edit", 4, context.Background(), withRules},
	}
}

// routedOver is a Transport over a stub for one of them, and a request.
func routedOver(tb testing.TB, path string, ctx context.Context, change func(*transport.Service, *transport.Config)) (*transport.Transport, *http.Request) {
	tb.Helper()
	svc, cfg := transport.Service{Resolver: manyEndpoints(10)}, transport.Config{Base: stub{body: []byte("hello")}}
	change(&svc, &cfg)
	cfg.Services = map[string]transport.Service{"svc": svc}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://svc"+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return newTransport(tb, cfg), req
}

// Routing by environments and rules that edit nothing costs no allocation; what
// is edited costs what is copied.
func TestRoutedAllocations(t *testing.T) {
	buf := make([]byte, 64)
	var plain float64
	for _, kind := range routedKinds() {
		rt, req := routedOver(t, kind.path, kind.ctx, kind.cfg)
		got := testing.AllocsPerRun(200, func() { call(t, rt, req, buf) })
		if kind.name == "plain" {
			plain = got
		}
		if got > plain+kind.more {
			t.Errorf("%s: got %v allocations more than a plain service, want at most %v", kind.name, got-plain, kind.more)
		}
		t.Logf("%s: %v more", kind.name, got-plain)
	}
}

func BenchmarkRouted(b *testing.B) {
	buf := make([]byte, 64)
	for _, kind := range routedKinds() {
		b.Run(kind.name, func(b *testing.B) {
			rt, req := routedOver(b, kind.path, kind.ctx, kind.cfg)
			b.ReportAllocs()
			for b.Loop() {
				call(b, rt, req, buf)
			}
		})
	}
}
