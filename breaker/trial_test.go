package breaker_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

// due makes a Breaker whose time to be open, a second, is over. Trials have 3 s.
func due(t *testing.T) *breaker.Breaker {
	b := opened(t, breaker.Config{OpenFor: time.Second, ProbeTimeout: 3 * time.Second})
	time.Sleep(time.Second)
	return b
}

func TestTrialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		probe := trial(t, b)
		time.Sleep(500 * time.Millisecond)
		probe.Done(bad)
		inState(t, b, breaker.Open)
		if got := refused(t, b).RetryAfter(); got != time.Second {
			t.Errorf("RetryAfter: got %v, want 1s from the failure on", got)
		}
		time.Sleep(time.Second)
		trial(t, b).Done(good)
		inState(t, b, breaker.Closed)
		if s := b.Stats(); s.Opened != 2 || s.Trials != 2 {
			t.Errorf("got opened %d times and %d trials, want 2 and 2", s.Opened, s.Trials)
		}
	})
}

// Refusing is what the next caller meets: also while a trial is under way, which
// State does not tell from one that is due.
func TestRefusing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		if b.Refusing() {
			t.Error("got refusing, want no: the next caller makes the trial")
		}
		probe := trial(t, b)
		if s := b.State(); s != breaker.HalfOpen || !b.Refusing() {
			t.Errorf("got %v, refusing %v, want half-open and refusing: the trial is under way", s, b.Refusing())
		}
		refused(t, b)
		probe.Done(bad)
		if s := b.State(); s != breaker.Open || !b.Refusing() {
			t.Errorf("got %v, refusing %v, want open and refusing", s, b.Refusing())
		}
		time.Sleep(time.Second)
		trial(t, b).Done(good)
		if b.Refusing() {
			t.Error("got refusing, want no: it is closed")
		}
	})
}

// 64 callers that have waited for the end of the open time make one trial, and
// again whenever it comes back without a result.
func TestTrialHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		for round := range 3 {
			var trials, others, refusals atomic.Int32
			var probe *breaker.Ticket
			var herd sync.WaitGroup
			for range 64 {
				herd.Go(func() {
					ticket, err := b.Allow()
					switch {
					case err != nil:
						refusals.Add(1)
					case ticket.Trial():
						trials.Add(1)
						probe = &ticket
					default:
						others.Add(1)
					}
				})
			}
			herd.Wait()
			if trials.Load() != 1 || refusals.Load() != 63 || others.Load() != 0 {
				t.Fatalf("round %d: got %d trials, %d refused, %d others, want 1, 63, 0", round, trials.Load(), refusals.Load(), others.Load())
			}
			probe.Cancel()
		}
	})
}

// A trial that says nothing gives its permit back at once.
func TestTrialGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		for name, end := range map[string]func(*breaker.Ticket){
			"ignored":  func(t *breaker.Ticket) { t.Done(ignored) },
			"canceled": func(t *breaker.Ticket) { t.Cancel() },
			"twice":    func(t *breaker.Ticket) { t.Cancel(); t.Cancel() },
		} {
			probe := trial(t, b)
			time.Sleep(time.Second)
			refused(t, b)
			end(probe)
			if got := b.State(); got != breaker.HalfOpen {
				t.Errorf("%s: got %v, want half_open", name, got)
			}
		}
		trial(t, b).Done(good)
		inState(t, b, breaker.Closed)
		if s := b.Stats(); s.Opened != 1 || s.Trials != 4 || s.Stale != 0 {
			t.Errorf("got opened %d times, %d trials, %d stale, want 1, 4, 0", s.Opened, s.Trials, s.Stale)
		}
	})
}

// A Ticket that was given back is not the one of the next trial.
func TestTrialCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		first := trial(t, b)
		first.Cancel()
		second := trial(t, b)
		first.Done(good)
		first.Answered()
		first.Cancel()
		inState(t, b, breaker.HalfOpen)
		refused(t, b)
		second.Done(bad)
		inState(t, b, breaker.Open)
	})
}

// The lease of a trial whose result never comes ends it as a failure, at that
// time and not when somebody notices.
func TestTrialLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		trial(t, b)
		time.Sleep(3*time.Second - 1)
		refused(t, b)
		inState(t, b, breaker.HalfOpen)
		time.Sleep(time.Nanosecond)
		if got := refused(t, b).RetryAfter(); got != time.Second {
			t.Errorf("RetryAfter: got %v, want 1s from the end of the lease on", got)
		}
		inState(t, b, breaker.Open)
		time.Sleep(time.Second)

		lost := trial(t, b)
		time.Sleep(3*time.Second + 400*time.Millisecond)
		if got := refused(t, b).RetryAfter(); got != 600*time.Millisecond {
			t.Errorf("RetryAfter: got %v, want 600ms, what is left of the second", got)
		}
		lost.Done(good) // too late
		inState(t, b, breaker.Open)
		time.Sleep(600 * time.Millisecond)

		late := trial(t, b)
		time.Sleep(time.Minute)
		// Long past the lease and the time to be open: the next caller tries.
		next := trial(t, b)
		late.Done(bad)
		late.Cancel()
		inState(t, b, breaker.HalfOpen)
		next.Done(good)
		inState(t, b, breaker.Closed)
		if s := b.Stats(); s.Opened != 4 || s.Trials != 4 || s.Stale != 2 {
			t.Errorf("got opened %d times, %d trials, %d stale, want 4, 4, 2", s.Opened, s.Trials, s.Stale)
		}
	})
}

// Without a caller the state is still what the next one will meet.
func TestTrialLostUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		trial(t, b)
		time.Sleep(3500 * time.Millisecond)
		inState(t, b, breaker.Open)
		if got := b.Stats().RetryAfter; got != 500*time.Millisecond {
			t.Errorf("RetryAfter: got %v, want 500ms", got)
		}
		time.Sleep(500 * time.Millisecond)
		inState(t, b, breaker.HalfOpen)
	})
}

// A result that comes at the very end of the lease is too late.
func TestTrialAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		probe := trial(t, b)
		time.Sleep(3 * time.Second)
		probe.Done(good)
		inState(t, b, breaker.Open)
		time.Sleep(time.Second)
		probe = trial(t, b)
		time.Sleep(3*time.Second - 1)
		probe.Done(good)
		inState(t, b, breaker.Closed)
	})
}

// A service that has only long streams can close its Breaker.
func TestTrialStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := due(t)
		probe := trial(t, b)
		probe.Answered()
		inState(t, b, breaker.HalfOpen) // it may still fail
		time.Sleep(3*time.Second - 1)
		refused(t, b)
		time.Sleep(time.Nanosecond)
		tell(t, b, "s")
		inState(t, b, breaker.Closed)
		probe.Done(bad) // of no consequence any more
		if s := b.Stats(); s.Requests != 1 || s.Stale != 1 {
			t.Errorf("got %d requests and %d stale, want 1 and 1", s.Requests, s.Stale)
		}

		b = due(t)
		probe = trial(t, b)
		probe.Answered()
		time.Sleep(time.Second)
		probe.Done(bad)
		inState(t, b, breaker.Open)

		b = due(t)
		probe = trial(t, b)
		time.Sleep(3 * time.Second)
		probe.Answered() // too late
		inState(t, b, breaker.Open)
	})
}
