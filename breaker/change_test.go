package breaker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []string
		b := must(t, breaker.Config{
			Requests: 3, OpenFor: time.Second, ProbeTimeout: 3 * time.Second,
			OnChange: func(c breaker.Change) {
				got = append(got, fmt.Sprintf("%v %q %v-%v %d/%d", c.At.Sub(start), c.Key, c.From, c.To, c.Failures, c.Requests))
			},
		})
		tell(t, b, "sff")
		time.Sleep(time.Second)
		trial(t, b).Done(bad)
		time.Sleep(time.Second)
		trial(t, b)                 // lost at 5s
		time.Sleep(time.Minute)     // noticed by
		trial(t, b).Cancel()        // says nothing, so
		trial(t, b).Done(good)      // does not begin anew
		tell(t, b, "fff")           // and it opens again
		time.Sleep(time.Hour)       // which time alone
		_, _ = b.State(), b.Stats() // does not change
		want := []string{
			`0s "" closed-open 2/3`,
			`1s "" open-half_open 0/0`,
			`1s "" half_open-open 0/0`,
			`2s "" open-half_open 0/0`,
			`5s "" half_open-open 0/0`,
			`1m2s "" open-half_open 0/0`,
			`1m2s "" half_open-closed 0/0`,
			`1m2s "" closed-open 3/3`,
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// Whichever method notices that a trial is lost, tells.
func TestChangeNoticed(t *testing.T) {
	for name, notice := range map[string]func(*breaker.Breaker, *breaker.Ticket){
		"Allow":    func(b *breaker.Breaker, _ *breaker.Ticket) { _, _ = b.Allow() },
		"State":    func(b *breaker.Breaker, _ *breaker.Ticket) { b.State() },
		"Stats":    func(b *breaker.Breaker, _ *breaker.Ticket) { b.Stats() },
		"Done":     func(_ *breaker.Breaker, t *breaker.Ticket) { t.Done(good) },
		"Cancel":   func(_ *breaker.Breaker, t *breaker.Ticket) { t.Cancel() },
		"Answered": func(_ *breaker.Breaker, t *breaker.Ticket) { t.Answered() },
	} {
		synctest.Test(t, func(t *testing.T) {
			var last breaker.Change
			b := opened(t, breaker.Config{OnChange: func(c breaker.Change) { last = c }})
			time.Sleep(5 * time.Second)
			lost := trial(t, b)
			end := time.Now().Add(10 * time.Second)
			time.Sleep(11 * time.Second)
			if last.To != breaker.HalfOpen {
				t.Fatalf("before: got a change to %v, want half_open", last.To)
			}
			notice(b, lost)
			if last.To != breaker.Open || !last.At.Equal(end) {
				t.Errorf("%s: got a change to %v at %v, want open at %v", name, last.To, last.At, end)
			}
		})
	}
}

// OnChange is called without locks, so it may use the Breaker; and what it brings
// about is told after it has returned.
func TestChangeMayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *breaker.Breaker
		var got []string
		b = must(t, breaker.Config{
			Requests: 1, OpenFor: time.Second,
			OnChange: func(c breaker.Change) {
				got = append(got, fmt.Sprintf("[%v: %v %v", c.To, b.State(), b.Stats().State))
				if c.To == breaker.Closed {
					tell(t, b, "f") // opens it
				}
				if _, err := b.Allow(); (err == nil) != (b.State() == breaker.Closed) {
					t.Errorf("Allow in %v: got %v", b.State(), err)
				}
				got = append(got, "]")
			},
		})
		tell(t, b, "f")
		time.Sleep(time.Second)
		trial(t, b).Done(good)
		want := "[[open: open open ] [half_open: half_open half_open ] [closed: closed closed ] [open: open open ]]"
		if fmt.Sprint(got) != want {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// A panic of OnChange reaches the caller, and neither the Breaker nor the Changes
// that follow suffer from it.
func TestChangePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []breaker.State
		b := must(t, breaker.Config{
			Requests: 1, OpenFor: time.Second,
			OnChange: func(c breaker.Change) {
				got = append(got, c.To)
				if c.To != breaker.Closed {
					panic(c.To)
				}
			},
		})
		panics := func(want any, call func()) {
			t.Helper()
			defer func() {
				t.Helper()
				if got := recover(); got != want {
					t.Errorf("recovered %v, want %v", got, want)
				}
			}()
			call()
		}
		panics(breaker.Open, func() { tell(t, b, "f") })
		inState(t, b, breaker.Open)
		refused(t, b)
		time.Sleep(time.Second)
		panics(breaker.HalfOpen, func() { _, _ = b.Allow() }) // the trial is lost
		inState(t, b, breaker.HalfOpen)
		time.Sleep(10 * time.Second)
		panics(breaker.Open, func() { b.State() })
		time.Sleep(time.Second)
		panics(breaker.HalfOpen, func() { _, _ = b.Allow() })
		inState(t, b, breaker.HalfOpen)
		if want := "[open half_open open half_open]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// Many goroutines that change the state at once: each Change follows from the one
// before, and no two are told at the same time.
func TestChangesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy, told atomic.Int32
		last := breaker.Closed
		b := must(t, breaker.Config{
			Requests: 1, OpenFor: time.Millisecond,
			OnChange: func(c breaker.Change) {
				if busy.Add(1) != 1 {
					t.Error("OnChange: called while it runs")
				}
				if c.From != last {
					t.Errorf("got a change from %v after one to %v", c.From, last)
				}
				last = c.To
				told.Add(1)
				time.Sleep(time.Microsecond) // others go on meanwhile
				busy.Add(-1)
			},
		})
		var callers sync.WaitGroup
		for i := range 16 {
			callers.Go(func() {
				for n := range 200 {
					ticket, err := b.Allow()
					if err == nil && (i+n)%3 == 0 {
						ticket.Done(bad)
					} else if err == nil {
						ticket.Done(good)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		callers.Wait()
		if last != b.State() && (last != breaker.Open || b.State() != breaker.HalfOpen) {
			t.Errorf("the last change was to %v, and the state is %v", last, b.State())
		}
		if n := uint64(told.Load()); n < 2*b.Stats().Trials {
			t.Errorf("got %d changes, want at least two for each of %d trials", n, b.Stats().Trials)
		}
	})
}
