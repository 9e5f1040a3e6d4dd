package limit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/tullemesh/tulle/transport/limit"
)

// shared is a Source in the manner of a remote one: a bucket behind a lock, that
// takes some time to answer.
type shared struct {
	mu     sync.Mutex
	bucket *rate.Limiter // guarded by mu
	asked  int           // guarded by mu
	delay  time.Duration // guarded by mu
}

func newShared(perSecond float64, delay time.Duration) *shared {
	return &shared{bucket: rate.NewLimiter(rate.Limit(perSecond), 1), delay: delay}
}

func (s *shared) Take(ctx context.Context, _ string, now time.Time) (time.Duration, error) {
	s.mu.Lock()
	s.asked++
	delay := s.delay
	s.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.bucket.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait, nil
}

// times is how often the Source was asked.
func (s *shared) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// slow sets how long it takes to answer.
func (s *shared) slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// Under a Source calls wait in order, too, and only the first of them asks.
func TestSourceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(1, 0)
		l := newLimiter(t, limit.Config{Source: s, MaxWait: 5 * time.Second, MaxWaiters: 3})
		start(t, l, "", 0).want(0, nil)
		one, two, three := start(t, l, "", 0), start(t, l, "", 0), start(t, l, "", 0)
		start(t, l, "", 0).want(0, limit.ErrLimited) // too many
		if got := s.times(); got != 2 {
			t.Errorf("got %d questions, want 2: the others wait behind the first", got)
		}
		one.want(time.Second, nil)
		two.want(2*time.Second, nil)
		three.want(3*time.Second, nil)
		wantStats(t, l, limit.Stats{Admitted: 1, Waited: 3, Refused: 1})
	})
}

// What a Source says does not fit MaxWait or the deadline is refused at once.
func TestSourceRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ maxWait, within time.Duration }{
			{0, 0}, {5 * time.Second, 0}, {time.Hour, 5 * time.Second},
		} {
			l := newLimiter(t, limit.Config{Source: newShared(0.1, 0), MaxWait: c.maxWait})
			start(t, l, "k", 0).want(0, nil)
			refused := start(t, l, "k", c.within)
			refused.want(0, limit.ErrLimited)
			var e *limit.Error
			if !errors.As(refused.err, &e) || *e != (limit.Error{Key: "k", RetryAfter: 10 * time.Second}) {
				t.Errorf("%+v: got %+v, want the wait that the Source said", c, e)
			}
		}
	})
}

// A Source can change its mind. The bounds still hold.
func TestSourceNeverKeepsItsWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			asked++
			return 100 * time.Millisecond, nil
		})
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Second})
		first, second := start(t, l, "", 0), start(t, l, "", 550*time.Millisecond)
		// The wait that it says at 0.5 s does not fit, and the last one is at
		// 0.9 s.
		second.want(550*time.Millisecond, limit.ErrLimited)
		first.want(time.Second, limit.ErrLimited)
		if asked < 10 || asked > 12 {
			t.Errorf("got %d questions, want one every 100ms", asked)
		}
	})
}

// What it says to a call that waits is checked, too.
func TestSourceChangesItsMind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := 100 * time.Millisecond
		s := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			defer func() { said = 10 * time.Second }()
			return said, nil
		})
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Second})
		c := start(t, l, "", 0)
		c.want(100*time.Millisecond, limit.ErrLimited)
		var e *limit.Error
		if !errors.As(c.err, &e) || e.RetryAfter != 10*time.Second {
			t.Errorf("got %v, want the wait that the Source said last", c.err)
		}
	})
}

// Who comes while others wait cannot get a token before the Source is asked again.
func TestSourceBehindOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, limit.Config{Source: newShared(0.1, 0), MaxWait: time.Minute})
		start(t, l, "", 0).want(0, nil)
		first := start(t, l, "", 0)
		time.Sleep(time.Second)
		hasty := start(t, l, "", 5*time.Second)
		hasty.want(0, limit.ErrLimited)
		var e *limit.Error
		if !errors.As(hasty.err, &e) || *e != (limit.Error{RetryAfter: 9 * time.Second, Waiting: 1}) {
			t.Errorf("got %v, want 9s and one that waits", hasty.err)
		}
		first.want(10*time.Second, nil)
	})
}

// A Source that says "almost" is not asked in a busy loop.
func TestSourceAlmost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			asked++
			return time.Nanosecond, nil
		})
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Second})
		start(t, l, "", 0).want(time.Second, limit.ErrLimited)
		update(t, l, limit.Config{Source: s, MaxWait: 1500 * time.Microsecond})
		start(t, l, "", 0).want(1500*time.Microsecond, limit.ErrLimited)
		if asked < 500 || asked > 1010 {
			t.Errorf("got %d questions in a second, want about 1000", asked)
		}
	})
}

// A Source that fails lets calls through, those that wait included.
func TestSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		s := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			if down.Load() {
				return time.Hour, errors.New("no connection")
			}
			return time.Second, nil
		})
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Minute})
		one, two := start(t, l, "", 0), start(t, l, "", 0)
		down.Store(true)
		one.want(time.Second, nil)
		two.want(time.Second, nil)
		start(t, l, "", 0).want(0, nil)
		wantStats(t, l, limit.Stats{Failed: 3})
	})
}

// While it is asked a Source sees the context of the call, with its deadline; a
// call that ends then is not let through.
func TestSourceIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, limit.Config{Source: newShared(1000, time.Minute), MaxWait: time.Hour})
		start(t, l, "", time.Second).want(time.Second, context.DeadlineExceeded)
		c := start(t, l, "", 0)
		time.Sleep(2 * time.Second)
		c.cancel()
		c.want(2*time.Second, context.Canceled)
		wantStats(t, l, limit.Stats{Abandoned: 2})

		// The same for one that waits.
		s := newShared(1, 0)
		l = newLimiter(t, limit.Config{Source: s, MaxWait: time.Hour})
		start(t, l, "", 0).want(0, nil)
		one, two, three := start(t, l, "", 0), start(t, l, "", 0), start(t, l, "", 3*time.Second)
		s.slow(10 * time.Second) // it is asked at 1 s
		time.Sleep(2 * time.Second)
		one.cancel() // so that the second one asks
		one.want(2*time.Second, context.Canceled)
		three.want(3*time.Second, limit.ErrLimited)
		two.want(12*time.Second, nil)
	})
}

// The answer to a question that an Update has overtaken does not count.
func TestSourceOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := limit.SourceFunc(func(ctx context.Context, _ string, _ time.Time) (time.Duration, error) {
			timer := time.NewTimer(time.Second)
			defer timer.Stop()
			<-timer.C
			return time.Hour, nil
		})
		cfg := limit.Config{Source: old, MaxWait: 24 * time.Hour}
		l := newLimiter(t, cfg)
		asking := start(t, l, "", 0)
		update(t, l, limit.Config{Source: endless, MaxWait: time.Hour})
		asking.want(time.Second, nil)

		update(t, l, cfg)
		waiting := start(t, l, "", 0)
		time.Sleep(time.Hour + 1500*time.Millisecond) // it asks for the second time
		update(t, l, limit.Config{Source: endless, MaxWait: 24 * time.Hour})
		waiting.want(time.Hour+2*time.Second, nil)

		update(t, l, cfg)
		asking = start(t, l, "", 0)
		update(t, l, limit.Config{})
		asking.want(time.Second, nil)
	})
}

// A call that is let through by an Update while its question is out stays so.
func TestSourceSettledMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0.1, 0)
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Hour})
		start(t, l, "", 0).want(0, nil)
		waiting := start(t, l, "", 0)
		s.slow(time.Second)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		update(t, l, limit.Config{})
		waiting.want(11*time.Second, nil)
		wantStats(t, l, limit.Stats{Admitted: 1, Waited: 1})
	})
}

// A Source that panics, panics in the goroutine of the call, and those behind it
// go on.
func TestSourcePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			switch asked++; asked {
			case 1:
				return time.Second, nil
			case 2:
				panic("oh")
			}
			return 0, nil
		})
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Minute})
		caught := make(chan any, 1)
		go func() {
			defer func() { caught <- recover() }()
			_ = l.Acquire(t.Context(), "", time.Time{})
		}()
		synctest.Wait()
		behind := start(t, l, "", 0)
		if got := <-caught; got != "oh" {
			t.Errorf("got %v, want the panic", got)
		}
		behind.want(time.Second, nil)
		wantStats(t, l, limit.Stats{Abandoned: 1, Waited: 1})
	})
}

// Dark asks the Source and lets all through, whatever it says.
func TestSourceDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		answers := []struct {
			wait time.Duration
			err  error
		}{{0, nil}, {time.Second, nil}, {time.Hour, nil}, {0, down}}
		asked := 0
		s := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			a := answers[asked%len(answers)]
			asked++
			return a.wait, a.err
		})
		l := newLimiter(t, limit.Config{Source: s, MaxWait: time.Minute, Dark: true})
		for range 4 {
			start(t, l, "", 0).want(0, nil)
		}
		wantStats(t, l, limit.Stats{Admitted: 1, DarkWaited: 1, DarkRefused: 1, Failed: 1})
		update(t, l, limit.Config{Source: s, Dark: true}) // no MaxWait
		for range 4 {
			start(t, l, "", 0).want(0, nil)
		}
		wantStats(t, l, limit.Stats{Admitted: 2, DarkWaited: 1, DarkRefused: 3, Failed: 2})
	})
}
