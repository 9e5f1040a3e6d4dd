package deadline_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

// told counts what a Bound tells its owner.
type told struct{ expired atomic.Int32 }

func (o *told) Expired() { o.expired.Add(1) }

// at is a time that many seconds from now; 0 is none.
func at(now time.Time, seconds int) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// TestBound runs an exchange for each combination of deadlines: whose comes
// first decides, the attempt's only until headers.
func TestBound(t *testing.T) {
	for _, c := range []struct {
		parent, call, attempt int // seconds; 0: none
		headers               int // when they come; 0: never
		disarm                bool
		want                  error // what fires
		ends                  int   // when; 0: not within the hour
	}{
		{},
		{headers: 1},
		{call: 5, want: deadline.ErrCall, ends: 5},
		{call: 5, headers: 1, want: deadline.ErrCall, ends: 5},
		{call: 5, headers: 1, disarm: true},
		{attempt: 3, want: deadline.ErrAttempt, ends: 3},
		{attempt: 3, headers: 1},
		{call: 5, attempt: 3, want: deadline.ErrAttempt, ends: 3},
		{call: 5, attempt: 3, headers: 1, want: deadline.ErrCall, ends: 5},
		{call: 5, attempt: 3, headers: 1, disarm: true},
		{call: 3, attempt: 5, want: deadline.ErrCall, ends: 3},
		{call: 3, attempt: 5, headers: 1, want: deadline.ErrCall, ends: 3},
		{call: 3, attempt: 3, want: deadline.ErrCall, ends: 3},
		{call: 3, attempt: 3, headers: 1, want: deadline.ErrCall, ends: 3},

		// The parent's is no business of the Bound's.
		{parent: 2, ends: 2},
		{parent: 2, call: 5, ends: 2},
		{parent: 2, attempt: 5, ends: 2},
		{parent: 2, call: 5, attempt: 5, headers: 1, ends: 2},
		{parent: 3, call: 3, attempt: 3, ends: 3},
		{parent: 5, call: 3, want: deadline.ErrCall, ends: 3},
		{parent: 5, call: 9, attempt: 3, want: deadline.ErrAttempt, ends: 3},
		{parent: 5, call: 9, attempt: 3, headers: 1, ends: 5},
		{parent: 5, call: 4, attempt: 3, headers: 1, want: deadline.ErrCall, ends: 4},
		{parent: 5, call: 4, attempt: 3, headers: 1, disarm: true, ends: 5},
		{call: -1, want: deadline.ErrCall, ends: -1},
		{attempt: -1, want: deadline.ErrAttempt, ends: -1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now, parent, cancel := time.Now(), t.Context(), func() {}
				if c.parent != 0 {
					parent, cancel = context.WithDeadline(parent, at(now, c.parent))
				}
				defer cancel()
				var b deadline.Bound
				var owner told
				b.Start(parent, &owner, now, at(now, c.call), at(now, c.attempt))
				wantDeadline(t, "before headers", &b, earliest(now, c.parent, c.call, c.attempt))
				if c.headers != 0 {
					time.Sleep(time.Duration(c.headers) * time.Second)
					for range 2 {
						if !b.Answered() {
							t.Fatal("got too late, want the headers to be in time")
						}
					}
					wantDeadline(t, "after headers", &b, earliest(now, c.parent, c.call))
				}
				if c.disarm {
					b.Disarm()
					wantDeadline(t, "disarmed", &b, earliest(now, c.parent))
				}
				wantEnd(t, &b, &owner, now, c.ends, c.want)
				b.Stop()
				b.Stop()
			})
		})
	}
}

// earliest is the first of some seconds; 0 is none.
func earliest(now time.Time, seconds ...int) (first time.Time) {
	for _, s := range seconds {
		if d := at(now, s); s != 0 && (first.IsZero() || d.Before(first)) {
			first = d
		}
	}
	return first
}

// wantDeadline looks at the deadline that a Bound shows.
func wantDeadline(t *testing.T, when string, b *deadline.Bound, want time.Time) {
	t.Helper()
	for _, c := range []interface{ Deadline() (time.Time, bool) }{b, &deadline.Context{Context: b.Context(), Bound: b}} {
		if got, ok := c.Deadline(); !got.Equal(want) || ok == want.IsZero() {
			t.Errorf("%s: %T: got a deadline of %v, %v, want %v", when, c, got, ok, want)
		}
	}
}

// wantEnd waits for the end of an exchange, and looks at what it shows then.
func wantEnd(t *testing.T, b *deadline.Bound, owner *told, start time.Time, seconds int, fired error) {
	t.Helper()
	if seconds == 0 {
		time.Sleep(time.Hour)
		if b.Err() != nil || b.Fired() != nil || owner.expired.Load() != 0 {
			t.Errorf("an hour later: got %v, %v, want it to go on", b.Err(), b.Fired())
		}
		return
	}
	<-b.Context().Done()
	synctest.Wait() // for the call of Expired
	if got, want := time.Since(start), max(0, time.Duration(seconds)*time.Second); got != want {
		t.Errorf("got the end after %v, want %v", got, want)
	}
	if got := b.Fired(); got != fired {
		t.Errorf("got fired %v, want %v", got, fired)
	}
	c := &deadline.Context{Context: b.Context(), Bound: b}
	for _, err := range []error{b.Err(), c.Err()} {
		// Not what fired: contexts have the two errors of their own and no other.
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, deadline.ErrCall) || errors.Is(err, deadline.ErrAttempt) {
			t.Errorf("got Err %v, want %v, whoever's deadline it was", err, context.DeadlineExceeded)
		}
	}
	if want := int32(map[bool]int{true: 1}[fired != nil]); owner.expired.Load() != want {
		t.Errorf("the owner was told %d times, want %d", owner.expired.Load(), want)
	}
	if fired != nil && !errors.Is(context.Cause(c), fired) {
		t.Errorf("got a cause of %v, want %v", context.Cause(c), fired)
	}
}

// Where neither limit is tighter than the context's, there is no context and no
// timer.
func TestBoundMakesNothing(t *testing.T) {
	now := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), now.Add(time.Hour))
	defer cancel()
	var none time.Time
	for _, c := range []struct {
		parent        context.Context
		call, attempt time.Time
	}{
		{context.Background(), none, none},
		{ctx, none, none},
		{ctx, now.Add(time.Hour), now.Add(2 * time.Hour)},
	} {
		bounds := make([]deadline.Bound, 102)
		allocs := testing.AllocsPerRun(100, func() {
			b := &bounds[0]
			bounds = bounds[1:]
			b.Start(c.parent, nil, now, c.call, c.attempt)
			if b.Context() != c.parent {
				t.Errorf("got a context of its own, want the parent")
			}
			if !b.Answered() || b.Err() != nil || b.Fired() != nil {
				t.Errorf("got %v, %v, want it to go on", b.Err(), b.Fired())
			}
			b.Disarm()
			b.Stop()
		})
		if allocs != 0 {
			t.Errorf("got %v allocations, want 0", allocs)
		}
		if c.parent.Err() != nil {
			t.Error("got the parent ended by Stop, want it untouched")
		}
	}
}

// Children of the exchange's context hang on it without a goroutine.
func TestBoundChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		now := time.Now()
		var b deadline.Bound
		b.Start(parent, nil, now, now.Add(time.Hour), now.Add(time.Minute))
		ctx := &deadline.Context{Context: b.Context(), Bound: &b}
		before := runtime.NumGoroutine()
		var children []context.Context
		for range 50 {
			child, end := context.WithCancel(ctx)
			defer end()
			children = append(children, child)
		}
		if got := runtime.NumGoroutine(); got != before {
			t.Errorf("got %d goroutines more, want none", got-before)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, child := range children {
			if child.Err() == nil || !errors.Is(context.Cause(child), deadline.ErrAttempt) {
				t.Fatalf("a child: got %v, cause %v, want it ended by %v", child.Err(), context.Cause(child), deadline.ErrAttempt)
			}
		}
		b.Stop()
	})
}

// Headers race with the timer. Whoever wins, the exchange is either over or it
// goes on: it does not report success and end a moment later.
func TestBoundRace(t *testing.T) {
	for _, early := range []time.Duration{1, 0, -1} {
		for range 100 {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				var b deadline.Bound
				var owner told
				b.Start(t.Context(), &owner, now, now.Add(time.Hour), now.Add(time.Second))
				time.Sleep(time.Second - early)
				answered := b.Answered()
				if early > 0 && !answered || early < 0 && answered {
					t.Errorf("%v before the end: got answered %v", early, answered)
				}
				if fired := b.Fired(); answered != (fired == nil) {
					t.Errorf("answered %v: got fired %v", answered, fired)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if answered {
					if b.Err() != nil || owner.expired.Load() != 0 {
						t.Errorf("answered: got %v a minute later, want it to go on", b.Err())
					}
				} else if !errors.Is(b.Fired(), deadline.ErrAttempt) || b.Err() == nil || owner.expired.Load() != 1 {
					t.Errorf("not answered: got %v, %v, told %d times, want %v", b.Err(), b.Fired(), owner.expired.Load(), deadline.ErrAttempt)
				}
				b.Stop()
			})
		}
	}
}

// Regression: a timer that ran when the caller had cancelled already turned the
// cancellation into an expired deadline, and an endpoint was blamed for it.
func TestBoundCancelledFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("the user has left")
		parent, cancel := context.WithCancelCause(t.Context())
		now := time.Now()
		var b deadline.Bound
		var owner told
		b.Start(parent, &owner, now, now.Add(time.Minute), now.Add(time.Second))
		cancel(why)
		time.Sleep(time.Hour)
		synctest.Wait()
		if !errors.Is(b.Err(), context.Canceled) || b.Fired() != nil || owner.expired.Load() != 0 || !errors.Is(context.Cause(b.Context()), why) {
			t.Errorf("got %v, fired %v, told %d times, cause %v, want it cancelled", b.Err(), b.Fired(), owner.expired.Load(), context.Cause(b.Context()))
		}
		b.Stop()
	})
}

// Nothing fires after Stop or Disarm, whatever the timer was about to do.
func TestBoundStopped(t *testing.T) {
	for name, end := range map[string]func(*deadline.Bound){"Stop": (*deadline.Bound).Stop, "Disarm": (*deadline.Bound).Disarm} {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			var b deadline.Bound
			var owner told
			b.Start(t.Context(), &owner, now, now.Add(time.Second), time.Time{})
			end(&b)
			time.Sleep(time.Hour)
			synctest.Wait()
			if b.Fired() != nil || owner.expired.Load() != 0 || !b.Answered() {
				t.Errorf("%s: got fired %v, told %d times, want nothing", name, b.Fired(), owner.expired.Load())
			}
			if got := b.Err(); (name == "Stop") != errors.Is(got, context.Canceled) {
				t.Errorf("%s: got %v, want only Stop to end the context", name, got)
			}
			b.Stop()
		})
	}
}

// All methods but Start may be called by any goroutine at any time; the race
// detector is the other half of this test.
func TestBoundConcurrent(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			now := time.Now()
			var b deadline.Bound
			b.Start(t.Context(), new(told), now, now.Add(2*time.Millisecond), now.Add(time.Millisecond))
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * 200 * time.Microsecond)
					_, _ = b.Deadline()
					_ = b.Err()
					_ = b.Fired()
					switch i {
					case 4:
						b.Answered()
					case 12:
						b.Disarm()
					case 14:
						b.Stop()
					}
				})
			}
			all.Wait()
		})
	}
}

func TestErrors(t *testing.T) {
	for _, err := range []error{deadline.ErrCall, deadline.ErrAttempt, fmt.Errorf("wrapped: %w", deadline.ErrCall)} {
		var timeout net.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v: got no expired deadline or no timeout, want both", err)
		}
		if errors.Is(err, context.Canceled) {
			t.Errorf("%v: got cancelled, want not", err)
		}
	}
	if errors.Is(deadline.ErrCall, deadline.ErrAttempt) || errors.Is(deadline.ErrAttempt, deadline.ErrCall) {
		t.Error("got two errors that are the same, want them told apart")
	}
}
