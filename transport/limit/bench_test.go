package limit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/tullemesh/tulle/transport/limit"
)

// plenty is a Config under which no call waits.
var plenty = limit.Config{Rate: 1e6, Burst: 1_000_000}

// benchKeys are more than a lane, and all are remembered.
func benchKeys() []string {
	keys := make([]string, 512)
	for i := range keys {
		keys[i] = fmt.Sprint("tenant-", i)
	}
	return keys
}

// A call that is let through at once leaves nothing on the heap.
func TestAllocations(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	dark := plenty
	dark.Dark = true
	keys, deadline := benchKeys(), time.Now().Add(time.Hour)
	for _, c := range []struct {
		name string
		cfg  limit.Config
		keys []string
	}{
		{"off", limit.Config{}, []string{""}},
		{"one", plenty, []string{""}},
		{"keyed", plenty, keys},
		{"dark", dark, []string{""}},
		{"refused in the dark", limit.Config{Rate: 1e-6, Dark: true}, []string{""}},
		{"source", limit.Config{Source: endless}, keys},
	} {
		l := newLimiter(t, c.cfg)
		for _, key := range c.keys {
			_ = l.Acquire(ctx, key, deadline)
		}
		n := 0
		got := testing.AllocsPerRun(1000, func() {
			if err := l.Acquire(ctx, c.keys[n%len(c.keys)], deadline); err != nil {
				t.Fatal(err)
			}
			n++
		})
		if got != 0 {
			t.Errorf("%s: got %v allocations, want 0", c.name, got)
		}
	}
	// The error and its RetryAfter are one object.
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 1})
	if got := testing.AllocsPerRun(1000, func() { _ = l.Acquire(ctx, "", deadline) }); got > 1 {
		t.Errorf("refused: got %v allocations, want 1", got)
	}
}

// The layer adds nothing to the heap of a request either.
func TestWrapAllocations(t *testing.T) {
	rt := newLimiter(t, plenty).Wrap(stub{resp: new(http.Response)})
	req := newRequest(t, t.Context(), "http://users/", nil)
	got := testing.AllocsPerRun(1000, func() { _, _ = rt.RoundTrip(req) })
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

// stub answers with the same response always.
type stub struct{ resp *http.Response }

func (s stub) RoundTrip(*http.Request) (*http.Response, error) { return s.resp, nil }

// refill makes the tokens of plenty anew: a benchmark spends more than a million a
// second.
func refill(l *limit.Limiter) { _, _ = l.Update(limit.Config{}), l.Update(plenty) }

func BenchmarkAcquire(b *testing.B) {
	keys := benchKeys()
	for _, c := range []struct {
		name string
		cfg  limit.Config
		keys []string
	}{
		{"off", limit.Config{}, []string{""}},
		{"one", plenty, []string{""}},
		{"keyed", plenty, keys},
		{"evicting", limit.Config{Rate: 1e6, Keys: 256}, keys},
		{"refused", limit.Config{Rate: 1e-6}, []string{""}},
		{"source", limit.Config{Source: endless}, []string{""}},
	} {
		acquire := func(l *limit.Limiter, i int) {
			if i%100_000 == 99_999 && c.cfg.Burst == plenty.Burst {
				refill(l)
			}
			if err := l.Acquire(b.Context(), c.keys[i%len(c.keys)], time.Time{}); err != nil && !errors.Is(err, limit.ErrLimited) {
				b.Error(err)
			}
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			l := newLimiter(b, c.cfg)
			for i := 0; b.Loop(); i++ {
				acquire(l, i)
			}
		})
		b.Run(c.name+"/contended", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			l := newLimiter(b, c.cfg)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					acquire(l, i)
				}
			})
		})
	}
}

// What the tokens alone cost.
func BenchmarkRateLimiter(b *testing.B) {
	b.ReportAllocs()
	l := rate.NewLimiter(1e6, 1_000_000)
	for b.Loop() {
		l.AllowN(time.Now(), 1)
	}
}

// What a call costs that waits, with a queue in front of it that is given up.
func BenchmarkWait(b *testing.B) {
	b.ReportAllocs()
	l := newLimiter(b, limit.Config{Rate: 1e6, Burst: 1, MaxWait: time.Second})
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Acquire(b.Context(), "", time.Time{}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkWrap(b *testing.B) {
	b.ReportAllocs()
	l := newLimiter(b, plenty)
	rt := l.Wrap(stub{resp: new(http.Response)})
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://users/", nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if i%100_000 == 99_999 {
			refill(l)
		}
		_, _ = rt.RoundTrip(req)
	}
}
