package limit_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// The zero Config sets no limit and counts nothing, not even calls that are over.
func TestZeroIsOff(t *testing.T) {
	l := newLimiter(t, limit.Config{})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 1000 {
		if err := l.Acquire(over, "k", time.Now()); err != nil {
			t.Fatalf("got %v, want a token", err)
		}
	}
	wantStats(t, l, limit.Stats{})
}

// Without MaxWait what is over the limit is refused at once, and told when to
// come back.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 2, Burst: 3})
		time.Sleep(100 * time.Millisecond)
		err := l.Acquire(t.Context(), "", time.Time{})
		var e *limit.Error
		if !errors.Is(err, limit.ErrLimited) || !errors.As(err, &e) {
			t.Fatalf("got %v, want an *Error that is ErrLimited", err)
		}
		if want := (limit.Error{RetryAfter: 400 * time.Millisecond}); *e != want {
			t.Errorf("got %+v, want %+v", *e, want)
		}
		time.Sleep(e.RetryAfter - time.Microsecond)
		start(t, l, "", 0).want(0, limit.ErrLimited)
		time.Sleep(time.Microsecond)
		start(t, l, "", 0).want(0, nil)
		start(t, l, "", 0).want(0, limit.ErrLimited)
		wantStats(t, l, limit.Stats{Admitted: 4, Refused: 3})
	})
}

// A RetryAfter is true: who comes back then gets a token, at any rate.
func TestRetryAfterIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{1e-6, 0.0007, 1.0 / 3, 1, 7, 999.9, 1e5, 1e6} {
			l := ready(t, limit.Config{Rate: rate, Burst: 1})
			for range 100 {
				var e *limit.Error
				if err := l.Acquire(t.Context(), "", time.Time{}); !errors.As(err, &e) {
					t.Fatalf("rate %v: got %v, want an *Error", rate, err)
				}
				time.Sleep(e.RetryAfter)
				start(t, l, "", 0).want(0, nil)
			}
		}
	})
}

// Calls that wait get their tokens one by one, in the order in which they came.
func TestWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 10, Burst: 2, MaxWait: 3 * time.Second})
		var waiting []*call
		for range 30 {
			waiting = append(waiting, start(t, l, "", 0))
		}
		start(t, l, "", 0).want(0, limit.ErrLimited) // it would wait for 3.1 s
		wantStats(t, l, limit.Stats{Admitted: 2, Refused: 1, Waiting: 30})
		for i, c := range waiting {
			c.want(time.Duration(i+1)*100*time.Millisecond, nil)
		}
		wantStats(t, l, limit.Stats{Admitted: 2, Refused: 1, Waited: 30})
	})
}

// A call that comes while others wait does not overtake them, though a token is
// just there.
func TestNobodyOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 1, MaxWait: time.Minute})
		first := start(t, l, "", 0)
		second := start(t, l, "", 0)
		time.Sleep(time.Second)
		third := start(t, l, "", 0)
		first.want(time.Second, nil)
		second.want(2*time.Second, nil)
		third.want(2*time.Second, nil)
	})
}

// A call that would get its token at its deadline or later is refused at once,
// whichever of the two deadlines it is.
func TestDeadline(t *testing.T) {
	for _, c := range []struct {
		within time.Duration
		want   error
	}{
		{time.Millisecond, limit.ErrLimited},
		{time.Second, limit.ErrLimited},
		{time.Second + time.Millisecond, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := ready(t, limit.Config{Rate: 1, MaxWait: time.Hour})
			after := time.Second
			if c.want != nil {
				after = 0
			}
			start(t, l, "", c.within).want(after, c.want)
		})
		synctest.Test(t, func(t *testing.T) {
			l := ready(t, limit.Config{Rate: 1, MaxWait: time.Hour})
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			err := l.Acquire(ctx, "", begin.Add(time.Hour))
			if !errors.Is(err, c.want) {
				t.Errorf("within %v: got %v, want %v", c.within, err, c.want)
			}
			if took := time.Since(begin); c.want != nil && took != 0 {
				t.Errorf("within %v: got the error after %v, want at once", c.within, took)
			}
		})
	}
}

// A call that is over takes no token.
func TestOverBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, limit.Config{Rate: 1})
		canceled, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		cancel(cause)
		if err := l.Acquire(canceled, "", time.Time{}); !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
		if err := l.Acquire(t.Context(), "", time.Now()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		if err := l.Acquire(t.Context(), "", time.Now().Add(1)); err != nil {
			t.Errorf("got %v, want the token", err)
		}
		wantStats(t, l, limit.Stats{Admitted: 1, Abandoned: 2})
	})
}

// In the dark it is let through as if there were no Limiter.
func TestDarkLetsAllThrough(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 2, Dark: true})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		if err := l.Acquire(over, "", time.Now()); err != nil {
			t.Errorf("got %v, want a token", err)
		}
	}
	wantStats(t, l, limit.Stats{Admitted: 2, DarkRefused: 3})
}

// MaxWait is a bound that can be met exactly, and one that can be very large.
func TestMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 1, MaxWait: 2 * time.Second})
		one, two := start(t, l, "", 0), start(t, l, "", 0)
		start(t, l, "", 0).want(0, limit.ErrLimited)
		one.want(time.Second, nil)
		two.want(2*time.Second, nil)

		l = ready(t, limit.Config{Rate: 1e-6, MaxWait: math.MaxInt64})
		one, two = start(t, l, "", 0), start(t, l, "", 0)
		one.want(1e6*time.Second, nil)
		two.want(2e6*time.Second, nil)
	})
}

// No more calls wait than may.
func TestMaxWaiters(t *testing.T) {
	for _, most := range []int{0, 1, 5} {
		synctest.Test(t, func(t *testing.T) {
			l := ready(t, limit.Config{Rate: 1, MaxWait: time.Hour, MaxWaiters: most})
			want := most
			if most == 0 {
				want = 100
			}
			var waiting []*call
			for range want {
				waiting = append(waiting, start(t, l, "", 0))
			}
			err := l.Acquire(t.Context(), "", time.Time{})
			var e *limit.Error
			if !errors.As(err, &e) || e.Waiting != want || e.RetryAfter != time.Duration(want+1)*time.Second {
				t.Errorf("got %v, want a refusal after %d others", err, want)
			}
			waiting[0].want(time.Second, nil)
			if c := start(t, l, "", 0); !c.waits() {
				t.Errorf("got %v with a place free, want a wait", c.err)
			}
			start(t, l, "", 0).want(0, limit.ErrLimited)
		})
	}
}

// Regression against rate.Limiter.Wait: of ten that wait nine are cancelled, the
// first ones, and the tenth gets the next token. There it waits for ten seconds.
func TestCancelledCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 1, MaxWait: time.Minute})
		var waiting []*call
		for range 10 {
			waiting = append(waiting, start(t, l, "", 0))
		}
		time.Sleep(500 * time.Millisecond)
		for _, c := range waiting[:9] {
			c.cancel()
			c.want(500*time.Millisecond, context.Canceled)
		}
		waiting[9].want(time.Second, nil)
		wantStats(t, l, limit.Stats{Admitted: 1, Waited: 1, Abandoned: 9})
	})
}

// The token that was booked for the last one in the queue is there again when it
// leaves, whenever that is.
func TestLastOneGivesBack(t *testing.T) {
	for _, leaves := range []time.Duration{0, 300 * time.Millisecond, 999 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			l := ready(t, limit.Config{Rate: 1, MaxWait: time.Minute})
			c := start(t, l, "", 0)
			time.Sleep(leaves)
			c.cancel()
			c.want(leaves, context.Canceled)
			time.Sleep(time.Second - leaves - time.Microsecond)
			start(t, l, "", time.Nanosecond).want(0, limit.ErrLimited)
			time.Sleep(time.Microsecond)
			start(t, l, "", time.Nanosecond).want(0, nil)
		})
	}
}

// However many give up, those who stay get all the tokens.
func TestMassCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, seconds = 20, 30
		l := ready(t, limit.Config{Rate: rate, Burst: 1, MaxWait: time.Hour, MaxWaiters: 10_000})
		var patient, hasty []*call
		for range rate * seconds {
			for range 4 {
				hasty = append(hasty, start(t, l, "", 0))
			}
			patient = append(patient, start(t, l, "", 0))
		}
		// A hundred leave every 5 ms, from the front, so that the first in the
		// queue is another one each time.
		for i, c := range hasty {
			if i%100 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
			c.cancel()
			synctest.Wait()
		}
		var last time.Duration
		for _, c := range patient {
			<-c.done
			if c.err != nil {
				t.Fatalf("got %v, want a token", c.err)
			}
			last = c.after
		}
		s := l.Stats()
		if want := time.Duration(s.Waited) * time.Second / rate; last < want-time.Millisecond || last > want+time.Millisecond {
			t.Errorf("got %d tokens in %v, want them in %v", s.Waited, last, want)
		}
		if got, want := s.Waited+s.Abandoned, uint64(len(patient)+len(hasty)); got != want || s.Waiting != 0 {
			t.Errorf("got %+v, want %d calls that waited", s, want)
		}
	})
}
