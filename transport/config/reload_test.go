package config_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

// run runs a Loader until the returned func is called.
func run(t *testing.T, l *config.Loader, apply func(transport.Config) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, apply) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: got %v, want that of the context", err)
		}
	}
}

// loadTime is how long the test under load runs: 3 s, or TULLE_SOAK up to 30 s.
func loadTime(t *testing.T) time.Duration {
	if testing.Short() {
		return time.Second
	}
	if d, err := time.ParseDuration(os.Getenv("TULLE_SOAK")); err == nil && d > 0 {
		return min(d, 30*time.Second)
	}
	return 3 * time.Second
}

// A reload every 50 ms under 64 callers, half of them refused: no call fails,
// all that is known of the endpoints stays, and nothing leaks.
func TestReloadUnderLoad(t *testing.T) {
	const reloads, refusals = 10, 3 // at least, however long that takes
	answered := [2]atomic.Uint64{}
	var servers [2]*httptest.Server
	for i := range servers {
		servers[i] = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered[i].Add(1) }))
		defer servers[i].Close()
	}
	dir := t.TempDir()
	text := func(n int) string {
		good := fmt.Sprintf("defaults: {timeout: %ds, attemptTimeout: 10s, balancer: %s}\nservices:\n  users: {target: \"static://%s,%s\", retry: {attempts: %d}}\n",
			20+n%7, []string{"random", "round_robin"}[n/20%2], servers[0].Listener.Addr(), servers[1].Listener.Addr(), 2+n%3)
		if n%4 == 3 {
			return good + "  broken: {target: \n"
		}
		return good
	}
	write(t, dir, "tulle.yaml", text(0))
	tr, l, err := config.Open(filepath.Join(dir, "tulle.yaml"), config.Options{
		Interval: 10 * time.Millisecond, Settle: 10 * time.Millisecond, MaxSettle: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	stop := run(t, l, tr.Update)
	defer stop()
	if err := tr.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	enough := time.Now().Add(loadTime(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var calls, failed atomic.Uint64
	var callers sync.WaitGroup
	client := &http.Client{Transport: tr}
	for range 64 {
		callers.Go(func() {
			for ctx.Err() == nil {
				resp, err := client.Get("http://users/")
				calls.Add(1)
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Errorf("a call failed: %v, %v", resp, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	goroutines := 0
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	writes := 0
	for ; ctx.Err() == nil; writes++ {
		<-tick.C
		replace(t, dir, "tulle.yaml", text(writes+1))
		goroutines = max(goroutines, runtime.NumGoroutine())
		if s := l.Status(); s.Reloads >= reloads && s.Refused >= refusals && time.Now().After(enough) {
			cancel()
		}
	}
	callers.Wait()

	s := l.Status()
	t.Logf("%d calls, %d writes, %d reloads, %d refusals, at most %d goroutines", calls.Load(), writes, s.Reloads, s.Refused, goroutines)
	if s.Reloads < reloads || s.Refused < refusals {
		t.Errorf("got %d reloads and %d refusals of %d writes, want %d and %d", s.Reloads, s.Refused, writes, reloads, refusals)
	}
	for _, svc := range tr.Snapshot().Services {
		for i, ep := range svc.Endpoints {
			if got, want := ep.Attempts, answered[i].Load(); got != want || ep.Waiting != 0 {
				t.Errorf("%s: %d attempts known, %d waiting: the server answered %d", ep.Addr, got, ep.Waiting, want)
			}
		}
	}
	// 64 callers, with 2 goroutines for each connection at both of its ends.
	if goroutines > 64*12 {
		t.Errorf("got %d goroutines, want no more than calls and connections need", goroutines)
	}
}
