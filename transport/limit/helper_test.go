package limit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// newLimiter is New for a Config that must be good.
func newLimiter(tb testing.TB, cfg limit.Config) *limit.Limiter {
	tb.Helper()
	l, err := limit.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// A call is one Acquire in a goroutine of its own, in a bubble.
type call struct {
	t       *testing.T
	started time.Time
	cancel  context.CancelFunc
	done    chan struct{} // closed when Acquire has returned

	err   error         // of Acquire
	after time.Duration // how long it took
}

// start begins a call and returns when it waits or is over. Within 0 is no
// deadline.
func start(t *testing.T, l *limit.Limiter, key string, within time.Duration) *call {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &call{t: t, started: time.Now(), cancel: cancel, done: make(chan struct{})}
	var deadline time.Time
	if within != 0 {
		deadline = c.started.Add(within)
	}
	go func() {
		defer close(c.done)
		c.err = l.Acquire(ctx, key, deadline)
		c.after = time.Since(c.started)
	}()
	synctest.Wait()
	t.Cleanup(cancel)
	return c
}

// waits says whether the call is not over.
func (c *call) waits() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// want waits for the end of the call and checks it. A nil err is a token.
func (c *call) want(after time.Duration, err error) {
	c.t.Helper()
	<-c.done
	if !errors.Is(c.err, err) {
		c.t.Errorf("got %v, want %v", c.err, err)
	}
	if d := c.after - after; d < -time.Microsecond || d > time.Microsecond {
		c.t.Errorf("got the end after %v, want after %v", c.after, after)
	}
}

// wantStats compares the counters.
func wantStats(t *testing.T, l *limit.Limiter, want limit.Stats) {
	t.Helper()
	if got := l.Stats(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// calls is how many calls the counters know, those that wait excepted.
func calls(s limit.Stats) uint64 {
	return s.Admitted + s.Waited + s.Refused + s.Abandoned + s.DarkWaited + s.DarkRefused + s.Failed
}

// ready has spent its burst: the next call of the key "" finds no token.
func ready(t *testing.T, cfg limit.Config) *limit.Limiter {
	t.Helper()
	l := newLimiter(t, cfg)
	for range max(cfg.Burst, 1) {
		if err := l.Acquire(t.Context(), "", time.Time{}); err != nil {
			t.Fatalf("a call of the burst: got %v, want a token", err)
		}
	}
	return l
}

// together runs f n times at once and waits for all.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
