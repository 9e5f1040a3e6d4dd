package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// update is Update with a Config that must be good.
func update(t *testing.T, l *limit.Limiter, cfg limit.Config) {
	t.Helper()
	if err := l.Update(cfg); err != nil {
		t.Fatal(err)
	}
}

// Regression against rate.Limiter.SetLimit: who waits is let through at the new
// rate. There it sleeps for the 100 s that it was told.
func TestNewRateWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 0.01, Burst: 1, MaxWait: time.Hour})
		one, two := start(t, l, "", 0), start(t, l, "", 0)
		keyed := start(t, l, "k", 0)
		keyed.want(0, nil)
		keyed = start(t, l, "k", 0)
		time.Sleep(time.Second)
		update(t, l, limit.Config{Rate: 1000, Burst: 1, MaxWait: time.Hour})
		// They had 0.01 of a token already, and lack 0.99 and 1.99.
		one.want(time.Second+990*time.Microsecond, nil)
		keyed.want(time.Second+990*time.Microsecond, nil)
		two.want(time.Second+1990*time.Microsecond, nil)
	})
}

// A lower rate holds for those who wait, too, and refuses at once those who would
// have to wait too long.
func TestLowerRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 10, Burst: 1, MaxWait: 2 * time.Second})
		one, two, three := start(t, l, "", 0), start(t, l, "", 0), start(t, l, "", 0)
		hasty := start(t, l, "", time.Second)
		update(t, l, limit.Config{Rate: 1, Burst: 1, MaxWait: 2 * time.Second})
		three.want(0, limit.ErrLimited)
		hasty.want(0, limit.ErrLimited)
		one.want(time.Second, nil)
		two.want(2*time.Second, nil)
		var e *limit.Error
		if !errors.As(three.err, &e) || e.RetryAfter != 3*time.Second || e.Waiting != 3 {
			t.Errorf("got %+v, want 3s and 3 others", e)
		}
	})
}

// The bounds of waiting can change while calls wait.
func TestNewBounds(t *testing.T) {
	cfg := limit.Config{Rate: 1, MaxWait: time.Hour, MaxWaiters: 10}
	for _, c := range []struct {
		name   string
		change func(*limit.Config)
		stay   int
	}{
		{"fewer waiters", func(c *limit.Config) { c.MaxWaiters = 3 }, 3},
		{"shorter wait", func(c *limit.Config) { c.MaxWait = 4 * time.Second }, 4},
		{"no wait", func(c *limit.Config) { c.MaxWait = 0 }, 0},
		{"nothing new", func(*limit.Config) {}, 6},
		{"longer wait", func(c *limit.Config) { c.MaxWait *= 2 }, 6},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := ready(t, cfg)
			var waiting []*call
			for range 6 {
				waiting = append(waiting, start(t, l, "", 0))
			}
			next := cfg
			c.change(&next)
			update(t, l, next)
			for i, w := range waiting {
				if i < c.stay {
					w.want(time.Duration(i+1)*time.Second, nil)
				} else {
					w.want(0, limit.ErrLimited)
				}
			}
			if s := l.Stats(); s.Waited != uint64(c.stay) || s.Waiting != 0 {
				t.Errorf("%s: got %+v, want %d that waited", c.name, s, c.stay)
			}
		})
	}
}

// Time that was waited counts for the new MaxWait.
func TestNewMaxWaitCountsFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 0.1, Burst: 1, MaxWait: time.Hour})
		c := start(t, l, "", 0)
		time.Sleep(6 * time.Second)
		update(t, l, limit.Config{Rate: 0.1, Burst: 1, MaxWait: 9 * time.Second})
		c.want(6*time.Second, limit.ErrLimited)
	})
}

// Without a limit, and with Dark, nobody is left waiting.
func TestSwitchOff(t *testing.T) {
	for _, cfg := range []limit.Config{{}, {Rate: 0.001, Dark: true}} {
		synctest.Test(t, func(t *testing.T) {
			l := ready(t, limit.Config{Rate: 0.001, MaxWait: time.Hour})
			one, two := start(t, l, "", 0), start(t, l, "", 0)
			time.Sleep(time.Second)
			update(t, l, cfg)
			one.want(time.Second, nil)
			two.want(time.Second, nil)
			start(t, l, "", 0).want(0, nil)
			if s := l.Stats(); s.Waited != 2 || s.Waiting != 0 {
				t.Errorf("got %+v, want 2 that waited", s)
			}
		})
	}
}

// Update keeps the tokens: it is no way to a new burst.
func TestUpdateKeepsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 10, Burst: 5})
		start(t, l, "k", 0).want(0, nil)
		for range 10 {
			update(t, l, limit.Config{Rate: 10, Burst: 6})
			start(t, l, "", 0).want(0, limit.ErrLimited)
		}
		time.Sleep(time.Second)
		update(t, l, limit.Config{Rate: 0.001, Burst: 3})
		for _, key := range []string{"", "k"} {
			for range 3 {
				start(t, l, key, 0).want(0, nil)
			}
			start(t, l, key, 0).want(0, limit.ErrLimited)
		}
	})
}

// Switched on after it was off, a Limiter begins with a full burst.
func TestSwitchOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 0.001, Burst: 2})
		update(t, l, limit.Config{})
		update(t, l, limit.Config{Rate: 0.001, Burst: 2})
		for range 2 {
			start(t, l, "", 0).want(0, nil)
		}
		start(t, l, "", 0).want(0, limit.ErrLimited)
	})
}

// A queue can pass from the tokens to a Source, to another one, and back.
func TestUpdateToSourceAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 0.005, MaxWait: time.Hour})
		var waiting []*call
		for range 5 {
			waiting = append(waiting, start(t, l, "", 0))
		}
		never := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) { return time.Minute, nil })
		update(t, l, limit.Config{Source: never, MaxWait: time.Hour})
		time.Sleep(90 * time.Second)
		tokens := 2
		some := limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) {
			if tokens == 0 {
				return time.Minute, nil
			}
			tokens--
			return 0, nil
		})
		update(t, l, limit.Config{Source: some, MaxWait: time.Hour})
		waiting[0].want(90*time.Second, nil)
		waiting[1].want(90*time.Second, nil)
		if !waiting[2].waits() {
			t.Fatalf("got %v, want a wait", waiting[2].err)
		}
		time.Sleep(time.Second)
		update(t, l, limit.Config{Rate: 1, Burst: 2, MaxWait: time.Hour})
		waiting[2].want(91*time.Second, nil)
		waiting[3].want(91*time.Second, nil)
		waiting[4].want(92*time.Second, nil)
	})
}
