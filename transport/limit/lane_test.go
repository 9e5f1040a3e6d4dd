package limit

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// A goroutine that read the clock, and then waited for the lock, brings an old
// time. A rate.Limiter that lets it through takes that as its latest and fills
// in the time between once more; the log says whether that is still so.
func TestOldTimes(t *testing.T) {
	start := time.Now()
	spend := func(allow func(now time.Time) bool) (n int) {
		for range 1000 {
			for _, now := range []time.Time{start.Add(time.Second), start} {
				if allow(now) {
					n++
				}
			}
		}
		return n
	}
	bare := rate.NewLimiter(10, 4)
	bare.AllowN(start, 4)
	t.Logf("rate.Limiter alone: %d tokens", spend(func(now time.Time) bool { return bare.AllowN(now, 1) }))
	ln := lane{tokens: rate.NewLimiter(10, 4)}
	ln.tokens.AllowN(ln.at(start), 4)
	if got := spend(func(now time.Time) bool { return ln.tokens.AllowN(ln.at(now), 1) }); got != 4 {
		t.Errorf("got %d tokens in a second, want 4", got)
	}
}

// waitAt is cut to what a time.Duration holds.
func TestLongestWait(t *testing.T) {
	now := time.Now()
	ln := lane{tokens: rate.NewLimiter(1e-6, 1)}
	for _, c := range []struct {
		place int
		want  time.Duration
	}{
		{0, 0},
		{1, 1e6 * time.Second},
		{100, 1e8 * time.Second},
		{9_000, 9e9 * time.Second},
		{10_000, math.MaxInt64},
	} {
		if got := ln.waitAt(c.place, now); got < c.want-time.Microsecond || got-1 > c.want {
			t.Errorf("place %d: got %v, want %v", c.place, got, c.want)
		}
	}
	if got := new(lane).waitAt(100, now); got != 0 {
		t.Errorf("without tokens: got %v, want 0", got)
	}
}

// Tokens that are booked and given back, over and over, are neither lost nor
// made.
func TestBookings(t *testing.T) {
	now := time.Now()
	ln := lane{tokens: rate.NewLimiter(10, 3)}
	ln.tokens.AllowN(now, 3)
	for i := range 1000 {
		ln.book(&waiter{since: now}, now)
		if want := now.Add(ln.waitAt(0, now)); ln.due.After(want) || want.Sub(ln.due) > time.Microsecond {
			t.Fatalf("booking %d: got due at %v, want %v", i, ln.due.Sub(now), want.Sub(now))
		}
		now = now.Add(time.Duration(i%7) * time.Microsecond)
		ln.unbook(now)
		ln.unbook(now) // nothing is booked any more
	}
	// 1000 × 3 µs on average have brought about 0.03 of a token.
	if got := ln.tokens.TokensAt(now); got < 0.029 || got > 0.031 {
		t.Errorf("got %v tokens, want 0.03", got)
	}
	ln.book(&waiter{since: now}, now)
	ln.unbook(ln.due.Add(time.Second)) // given back late, it counts as of its time
	if got := ln.tokens.TokensAt(ln.due.Add(-time.Second)); got < 0.999 || got > 1.001 {
		t.Errorf("got %v tokens when the booked one is due, want 1", got)
	}
}

// lateQueue is a Limiter without tokens, and waiters that nobody wakes up: as if
// the machine was too busy.
func lateQueue(t *testing.T, perSecond float64, now time.Time, deadlines ...time.Duration) (*Limiter, *lane, []*waiter) {
	t.Helper()
	l, err := New(Config{Rate: perSecond, Burst: 1, MaxWait: time.Hour, MaxWaiters: len(deadlines)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := l.cfg.Load()
	ln := l.lanes.find("", cfg)
	ln.tokens.AllowN(ln.at(now), 1)
	var waiters []*waiter
	for _, d := range deadlines {
		q := query{ctx: t.Context()}
		if d != 0 {
			q.deadline = now.Add(d)
		}
		w, err := l.joinLocked(cfg, ln, &q, now, ln.waitAt(ln.queue.Len(), now))
		if err != nil {
			t.Fatal(err)
		}
		waiters = append(waiters, w)
	}
	l.serveLocked(ln, now)
	return l, ln, waiters
}

// The lateness of a timer costs no tokens, whatever the burst. Of a longer delay
// that much counts, besides the burst, so that not all rush off.
func TestLate(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		late time.Duration
		want int
	}{{-1, 0}, {0, 1}, {ms, 2}, {5 * ms, 6}, {maxLate, 11}, {time.Second, 12}} {
		now := time.Now()
		l, ln, w := lateQueue(t, 1000, now, make([]time.Duration, 200)...)
		l.serveLocked(ln, now.Add(ms+c.late))
		got := 0
		for _, w := range w {
			if w.settled && w.err == nil {
				got++
			}
		}
		if got != c.want {
			t.Errorf("%v late: got %d let through, want %d", c.late, got, c.want)
		}
	}
}

// After an Update none is booked as of an earlier time: what the tokens were then
// is not known any more, and those of the time between would count twice.
func TestLateAfterUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ln, w := lateQueue(t, 100, time.Now(), make([]time.Duration, 5)...)
		time.Sleep(9 * time.Millisecond)
		if err := l.Update(Config{Rate: 1000, Burst: 1, MaxWait: time.Hour}); err != nil {
			t.Fatal(err)
		}
		l.serveLocked(ln, time.Now()) // 0.9 tokens are there
		if w[0].settled {
			t.Error("got a token after 9ms, want it 0.1ms later")
		}
		if got := time.Until(ln.due); got.Round(time.Microsecond) != 100*time.Microsecond {
			t.Errorf("got the token due in %v, want 100µs", got)
		}
		l.serveLocked(ln, time.Now().Add(100*time.Microsecond))
		if !w[0].settled || w[1].settled {
			t.Errorf("got %v, %v, want one token", w[0].settled, w[1].settled)
		}
	})
}

// A token for which the first one woke up too late goes to the next one.
func TestTooLate(t *testing.T) {
	now := time.Now()
	l, ln, w := lateQueue(t, 1, now, 1500*time.Millisecond, 0, 0)
	l.serveLocked(ln, now.Add(1800*time.Millisecond))
	if !w[0].settled || !errors.Is(w[0].err, ErrLimited) {
		t.Errorf("got %v, want %v for the first", w[0].err, ErrLimited)
	}
	if !w[1].settled || w[1].err != nil {
		t.Errorf("got %v, %v, want the token for the second", w[1].settled, w[1].err)
	}
	if w[2].settled || ln.due.Sub(now).Round(time.Microsecond) != 2*time.Second {
		t.Errorf("got %v, due after %v, want the third to wait for 2s: late is not lost", w[2].settled, ln.due.Sub(now))
	}
	if got, want := l.stats, (Stats{Refused: 1, Waited: 1, Waiting: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A call that comes serves those whose tokens are there, though they did not wake
// up yet, and so finds a place.
func TestNewcomerServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, w := lateQueue(t, 1, time.Now(), 0)
		time.Sleep(1500 * time.Millisecond)
		begin := time.Now()
		if err := l.Acquire(t.Context(), "", time.Time{}); err != nil {
			t.Errorf("got %v, want the next token", err)
		}
		if took := time.Since(begin); took != 500*time.Millisecond || !w[0].settled {
			t.Errorf("got a token after %v, the other one settled: %v, want 500ms, true", took, w[0].settled)
		}
	})
}
