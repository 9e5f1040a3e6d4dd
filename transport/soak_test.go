package transport_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
)

// soakTime is how long the soak tests run: TULLE_SOAK, such as 10m. They are
// skipped without it; "make soak" sets it.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("TULLE_SOAK"))
	if err != nil || d <= 0 {
		t.Skip("SKIPPED: soak tests run for the time in TULLE_SOAK, such as 10m, which is not set")
	}
	return d
}

// trouble answers mostly well, sometimes badly, late, or not at all.
func trouble(w http.ResponseWriter, r *http.Request) {
	switch n := rand.IntN(1000); {
	case n < 10:
		w.WriteHeader(http.StatusServiceUnavailable)
	case n < 15:
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
	case n < 25:
		t := time.NewTimer(50 * time.Millisecond)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
		}
	}
}

// loopback127 is endpoint i of a server that listens on all of 127.0.0.0/8.
func loopback127(i int, port string) tulle.Endpoint {
	return tulle.Endpoint{Addr: net.JoinHostPort(fmt.Sprintf("127.%d.%d.%d", 1+i/62500, i/250%250, 1+i%250), port)}
}

// A thousand endpoints, a tenth of them replaced each second, random faults:
// memory and goroutines stay flat, and every lease ends.
func TestSoak(t *testing.T) {
	d := soakTime(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(trouble))
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())

	const n = 1000
	set := make([]tulle.Endpoint, n)
	for i := range set {
		set[i] = loopback127(i, port)
	}
	feed := make(chan []tulle.Endpoint, 1)
	feed <- append([]tulle.Endpoint(nil), set...)
	rt := newTransport(t, transport.Config{Services: map[string]transport.Service{"svc": {
		Resolver: fed(feed), Policy: transport.Policy{Timeout: time.Second, AttemptTimeout: 200 * time.Millisecond},
	}}})

	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var calls, failed atomic.Uint64
	var others sync.WaitGroup
	for range 8 {
		others.Go(func() {
			for ctx.Err() == nil {
				calls.Add(1)
				if _, _, err := get(context.WithoutCancel(ctx), rt, "http://svc/"); err != nil {
					failed.Add(1)
				}
				soakPause(ctx, 10*time.Millisecond)
			}
		})
	}
	next := n
	for round := 0; ctx.Err() == nil; round++ {
		for range n / 10 {
			set[rand.IntN(n)] = loopback127(next%120000, port)
			next++
		}
		select {
		case feed <- unique(set):
		default:
		}
		if round%10 == 5 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			t.Logf("%4d s: heap %5.1f MB, %4d goroutines, %d calls, %d failed", round, float64(m.HeapAlloc)/1e6, runtime.NumGoroutine(), calls.Load(), failed.Load())
		}
		soakPause(ctx, time.Second)
	}
	others.Wait()
	if share := float64(failed.Load()) / float64(calls.Load()); share > 0.01 {
		t.Errorf("%.2f %% of %d calls failed, want at most 1 %%", 100*share, calls.Load())
	}
	if w, s := inFlight(rt); w != 0 || s != 0 {
		t.Errorf("got %d waiting and %d streaming at the end", w, s)
	}
}

// soakPause waits for d or the end of ctx.
func soakPause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// unique is a copy of a set with each Addr once.
func unique(set []tulle.Endpoint) []tulle.Endpoint {
	seen := make(map[string]bool, len(set))
	var u []tulle.Endpoint
	for _, e := range set {
		if !seen[e.Addr] {
			seen[e.Addr] = true
			u = append(u, e)
		}
	}
	return u
}

// An update every 50 ms under 64 callers: no call fails.
func TestSoakUpdates(t *testing.T) {
	d := min(soakTime(t), 30*time.Second)
	var servers []string
	for range 3 {
		servers = append(servers, start(t, ok))
	}
	config := func(i int) transport.Config {
		return service(nil, transport.Policy{Timeout: time.Duration(5+i%3) * time.Second}, servers[:2+i%2]...)
	}
	rt := newTransport(t, config(0))
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var calls atomic.Uint64
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for ctx.Err() == nil {
				calls.Add(1)
				if _, _, err := get(context.WithoutCancel(ctx), rt, "http://svc/"); err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
			}
		})
	}
	updates := 0
	for ; ctx.Err() == nil; updates++ {
		if err := rt.Update(config(updates)); err != nil {
			t.Errorf("update: %v", err)
		}
		soakPause(ctx, 50*time.Millisecond)
	}
	callers.Wait()
	total := uint64(0)
	for _, n := range attempts(rt) {
		total += n
	}
	t.Logf("%d calls, %d updates, %d attempts remembered at the endpoints of the last set", calls.Load(), updates, total)
}
