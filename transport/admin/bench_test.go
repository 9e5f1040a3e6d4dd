package admin_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
)

// big is a Transport with so many services of so many endpoints.
func big(tb testing.TB, services, endpoints int) *transport.Transport {
	cfg := transport.Config{Services: map[string]transport.Service{}}
	for s := range services {
		var list discovery.Static
		for e := range endpoints {
			list = append(list, tulle.Endpoint{Addr: fmt.Sprintf("10.%d.%d.%d:80", s/250, s%250, e+1)})
		}
		cfg.Services[fmt.Sprintf("service-%04d", s)] = transport.Service{Resolver: list}
	}
	rt, err := transport.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { rt.Close() })
	if err := rt.Ready(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return rt
}

// Pages of a large Transport stay small: they show a part, and say how much there
// is.
func TestBig(t *testing.T) {
	h, err := admin.New(big(t, 300, 50), admin.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for path, most := range map[string]int{
		"/": 200 << 10, "/service?name=service-0007": 200 << 10, "/records": 20 << 10,
		"/snapshot.json?endpoints=0": 200 << 10, "/snapshot.json": 6 << 20,
	} {
		if w := get(h, path); w.Code != 200 || w.Body.Len() > most {
			t.Errorf("%s: got %d with %d bytes, want %d at the most", path, w.Code, w.Body.Len(), most)
		}
	}
}

// Benchmark measures each answer for 1,000 services of 100 endpoints, a fresh
// Snapshot included.
func Benchmark(b *testing.B) {
	rt := big(b, 1000, 100)
	for _, path := range []string{"/", "/service?name=service-0500", "/snapshot.json", "/snapshot.json?endpoints=0&limit=1000", "/records", "/history.json"} {
		b.Run(path, func(b *testing.B) {
			h, err := admin.New(rt, admin.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer h.Close()
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				b.StopTimer()
				wait := time.NewTimer(110 * time.Millisecond) // so that no reading is shared
				<-wait.C
				b.StartTimer()
				w := get(h, path)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "B/answer")
		})
	}
	b.Run("Snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rt.Snapshot()
		}
	})
}
