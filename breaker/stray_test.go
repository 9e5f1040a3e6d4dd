package breaker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// A goroutine that was admitted while the Breaker was closed may be held up just
// before it tells gobreaker, and go on in any later state. These tests put it
// there by hand; what must not happen is that it counts, or that anything is
// stuck.

func TestStrayWhileTripping(t *testing.T) {
	b := must(t, breaker.Config{Requests: 2})
	tell(t, b, "f")
	b.Hold(func() { tell(t, b, "f") })
	inState(t, b, breaker.Open)
	if s := b.Stats(); s.Opened != 1 || s.Stale != 0 {
		t.Errorf("got %+v, want it opened once", s)
	}
}

// A result that is being told is not one yet.
func TestStrayIsNoResult(t *testing.T) {
	b := must(t, breaker.Config{Requests: 4})
	b.Hold(func() { tell(t, b, "fff") })
	inState(t, b, breaker.Closed)
	tell(t, b, "f")
	inState(t, b, breaker.Open)
}

// It makes gobreaker half-open before there is a trial.
func TestStrayBeforeTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, end := range []struct {
			do   func(*breaker.Ticket)
			want breaker.State
		}{
			{func(t *breaker.Ticket) { t.Done(good) }, breaker.Closed},
			{func(t *breaker.Ticket) { t.Done(bad) }, breaker.Open},
			{func(t *breaker.Ticket) { t.Cancel() }, breaker.HalfOpen},
		} {
			b := due(t)
			b.Hold(func() {})
			if got := b.Inner(); got != gobreaker.StateHalfOpen {
				t.Fatalf("gobreaker: got %v, want half-open, else this test is blind", got)
			}
			inState(t, b, breaker.HalfOpen)
			end.do(trial(t, b))
			inState(t, b, end.want)
		}
	})
}

// It has gobreaker's only slot when the result of the trial comes.
func TestStrayBesideTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		probe := trial(t, b)
		b.Hold(func() { probe.Done(good) })
		inState(t, b, breaker.HalfOpen)
		trial(t, b).Done(good)
		inState(t, b, breaker.Closed)
		if s := b.Stats(); s.Trials != 2 || s.Opened != 1 {
			t.Errorf("got %+v, want two trials and opened once", s)
		}
	})
}

// It goes on when the Breaker is closed again, or still open, or half-open.
func TestStrayCountsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{Requests: 1, OpenFor: time.Second})
		stray, _ := b.Allow()
		tell(t, b, "f")
		dropped := func(when string, want breaker.State) {
			t.Helper()
			if stray.Tell(tulle.Failure) || stray.Tell(tulle.Success) {
				t.Errorf("%s: a stray result counted", when)
			}
			inState(t, b, want)
		}
		dropped("open", breaker.Open)
		time.Sleep(time.Second)
		dropped("before the trial", breaker.HalfOpen)
		probe := trial(t, b)
		dropped("beside the trial", breaker.HalfOpen)
		probe.Done(good)
		dropped("closed again", breaker.Closed)
		window(t, b, "closed again", 0, 0)
	})
}
