package breaker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// tell makes a call for each letter of the script: s a success, f a failure, and n
// one that is neither. It fails if a call is refused.
func tell(t testing.TB, b *breaker.Breaker, script string) {
	t.Helper()
	for i, letter := range script {
		ticket, err := b.Allow()
		if err != nil {
			t.Fatalf("call %d of %s: got %v, want a Ticket", i+1, script, err)
		}
		ticket.Done(map[rune]tulle.Outcome{'s': good, 'f': bad, 'n': ignored}[letter])
	}
}

// refused checks that the next caller is, and returns the error.
func refused(t testing.TB, b *breaker.Breaker) *breaker.Error {
	t.Helper()
	_, err := b.Allow()
	var e *breaker.Error
	if !errors.Is(err, breaker.ErrOpen) || !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error that wraps ErrOpen", err)
	}
	return e
}

// trial checks that the next caller gets the trial.
func trial(t testing.TB, b *breaker.Breaker) *breaker.Ticket {
	t.Helper()
	ticket, err := b.Allow()
	if err != nil || !ticket.Trial() {
		t.Fatalf("got error %v and trial %v, want the trial", err, ticket.Trial())
	}
	return &ticket
}

// inState checks the state.
func inState(t testing.TB, b *breaker.Breaker, want breaker.State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Errorf("got state %v, want %v", got, want)
	}
}

// Each row tells a new Breaker of 4 requests some results; the last one decides.
func TestOpens(t *testing.T) {
	tests := []struct {
		script string
		share  float64
		want   breaker.State
	}{
		{"fff", 0, breaker.Closed},
		{"ffff", 0, breaker.Open},
		{"ssff", 0, breaker.Open},
		{"sssf", 0, breaker.Closed},
		{"sssff", 0, breaker.Closed},
		{"sssfff", 0, breaker.Open},
		{"fffs", 0, breaker.Closed}, // looked at when there is a failure
		{"fffsf", 0, breaker.Open},
		{"fffnnnnnnnn", 0, breaker.Closed},
		{"nnnnfff", 0, breaker.Closed},
		{"nnnnffff", 0, breaker.Open},
		{"sssf", 0.25, breaker.Open},
		{"ffff", 1, breaker.Open},
		{"sfffffff", 1, breaker.Closed},
		{strings.Repeat("s", 93) + "ffffff", 0.07, breaker.Closed},
		{strings.Repeat("s", 93) + "fffffff", 0.07, breaker.Open}, // 0.07 × 100 is not 7
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.script, tt.share), func(t *testing.T) {
			b := must(t, breaker.Config{Requests: 4, FailureShare: tt.share})
			tell(t, b, tt.script)
			inState(t, b, tt.want)
		})
	}
}

func TestDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{})
		tell(t, b, strings.Repeat("s", 9)+strings.Repeat("f", 10))
		inState(t, b, breaker.Closed)
		time.Sleep(8999 * time.Millisecond) // the window still has them
		tell(t, b, "s")
		inState(t, b, breaker.Closed)
		tell(t, b, "f")
		inState(t, b, breaker.Open)
		if got, want := refused(t, b).RetryAfter(), 5*time.Second; got != want {
			t.Errorf("RetryAfter: got %v, want %v", got, want)
		}
		time.Sleep(5 * time.Second)
		trial(t, b)
		if got, want := refused(t, b).RetryAfter(), 10*time.Second; got != want {
			t.Errorf("RetryAfter beside a trial: got %v, want %v", got, want)
		}
	})
}

// Every class counts as the outcome table says, closed and as a trial.
func TestClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for c := tulle.Class(0); c <= tulle.Ignored; c++ {
			failures, requests, after := 0, 0, breaker.HalfOpen
			switch c.Service() {
			case tulle.Success:
				requests, after = 1, breaker.Closed
			case tulle.Failure:
				requests, failures, after = 1, 1, breaker.Open
			}
			b := must(t, breaker.Config{Requests: 100})
			ticket, _ := b.Allow()
			ticket.Done(tulle.Outcome{Class: c})
			if s := b.Stats(); s.Requests != requests || s.Failures != failures {
				t.Errorf("%v: got %d requests and %d failures, want %d and %d", c, s.Requests, s.Failures, requests, failures)
			}
			b = opened(t, breaker.Config{OpenFor: time.Second})
			time.Sleep(time.Second)
			trial(t, b).Done(tulle.Outcome{Class: c})
			if got := b.State(); got != after {
				t.Errorf("%v as a trial: got %v, want %v", c, got, after)
			}
		}
	})
}

func TestWindowRolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{Requests: 100, Window: time.Second})
		window := func(requests, failures int) {
			t.Helper()
			if s := b.Stats(); s.Requests != requests || s.Failures != failures {
				t.Errorf("got %d requests and %d failures, want %d and %d", s.Requests, s.Failures, requests, failures)
			}
		}
		tell(t, b, "sff") // in the first tenth
		time.Sleep(500 * time.Millisecond)
		tell(t, b, "sf") // in the sixth
		window(5, 3)
		time.Sleep(500*time.Millisecond - 1)
		window(5, 3)
		time.Sleep(time.Nanosecond)
		window(2, 1) // nobody called, and it rolls for the reader
		time.Sleep(500 * time.Millisecond)
		window(0, 0)
		tell(t, b, "f")
		time.Sleep(time.Hour)
		window(0, 0)
	})
}

// A Window that ten does not divide is rounded up, by less than 10 ns.
func TestOddWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{Window: 10*time.Millisecond + 1})
		tell(t, b, "f")
		time.Sleep(10*time.Millisecond + 1)
		if got := b.Stats().Requests; got != 1 {
			t.Errorf("after Window: got %d requests, want 1", got)
		}
		time.Sleep(9 * time.Nanosecond)
		if got := b.Stats().Requests; got != 0 {
			t.Errorf("10 ns later: got %d requests, want 0", got)
		}
	})
}

func TestOpenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, breaker.Config{OpenFor: time.Second})
		inState(t, b, breaker.Open)
		time.Sleep(time.Second - 1)
		inState(t, b, breaker.Open)
		if got := refused(t, b).RetryAfter(); got != 1 {
			t.Errorf("RetryAfter: got %v, want 1ns", got)
		}
		if got := b.Stats().RetryAfter; got != 1 {
			t.Errorf("Stats().RetryAfter: got %v, want 1ns", got)
		}
		time.Sleep(time.Nanosecond)
		inState(t, b, breaker.HalfOpen)
		trial(t, b).Done(good)
		inState(t, b, breaker.Closed)
		if got := b.Stats(); got.Requests != 0 || got.RetryAfter != 0 || got.Opened != 1 || got.Trials != 1 || got.Rejected != 1 {
			t.Errorf("got %+v, want a clean window, opened once, one trial, one rejected", got)
		}
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{Requests: 2})
		late, _ := b.Allow()
		later, _ := b.Allow()
		nothing, _ := b.Allow()
		tell(t, b, "ff")
		late.Done(good)
		later.Done(bad)
		nothing.Cancel() // no result, so none was lost
		refused(t, b)
		refused(t, b)
		want := breaker.Stats{State: breaker.Open, RetryAfter: 5 * time.Second, Opened: 1, Rejected: 2, Stale: 2}
		if got := b.Stats(); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// A result that comes in a later closed state must not count in that.
func TestStaleGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{Requests: 1, OpenFor: time.Second})
		late, _ := b.Allow()
		tell(t, b, "f")
		time.Sleep(time.Second)
		trial(t, b).Done(good)
		inState(t, b, breaker.Closed)
		late.Done(bad)
		inState(t, b, breaker.Closed)
		if s := b.Stats(); s.Stale != 1 || s.Requests != 0 {
			t.Errorf("got %d stale and %d requests, want 1 and 0", s.Stale, s.Requests)
		}
	})
}

// A Ticket counts once, by the first word on it.
func TestTicketOnce(t *testing.T) {
	b := must(t, breaker.Config{})
	check := func(name string, requests, failures int, use func(*breaker.Ticket)) {
		t.Helper()
		before := b.Stats()
		ticket, _ := b.Allow()
		use(&ticket)
		after := b.Stats()
		if got, gotF := after.Requests-before.Requests, after.Failures-before.Failures; got != requests || gotF != failures {
			t.Errorf("%s: got %d requests and %d failures, want %d and %d", name, got, gotF, requests, failures)
		}
	}
	check("twice", 1, 0, func(t *breaker.Ticket) { t.Done(good); t.Done(bad) })
	check("done and cancel", 1, 1, func(t *breaker.Ticket) { t.Done(bad); t.Cancel() })
	check("cancel and done", 0, 0, func(t *breaker.Ticket) { t.Cancel(); t.Done(bad) })
	check("neither and done", 0, 0, func(t *breaker.Ticket) { t.Done(ignored); t.Done(bad) })
	check("answered", 0, 0, func(t *breaker.Ticket) { t.Answered() })
	check("answered and done", 1, 0, func(t *breaker.Ticket) { t.Answered(); t.Done(good) })
}

func TestZeroTicket(t *testing.T) {
	var ticket breaker.Ticket
	ticket.Answered()
	ticket.Done(bad)
	ticket.Cancel()
	if ticket.Trial() {
		t.Error("the zero Ticket: got a trial, want none")
	}
}

func TestOff(t *testing.T) {
	b := must(t, breaker.Config{Requests: 1, Off: true})
	tell(t, b, "ffffff")
	if got, want := b.Stats(), (breaker.Stats{}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []breaker.State
		b := must(t, breaker.Config{
			Requests: 2, OpenFor: time.Second, Dark: true,
			OnChange: func(c breaker.Change) { seen = append(seen, c.To) },
		})
		tell(t, b, "ff")
		inState(t, b, breaker.Open)
		tell(t, b, "fsfsf") // all are let in, and none counts
		time.Sleep(time.Second)
		decides := trial(t, b)
		tell(t, b, "ff") // beside the trial
		inState(t, b, breaker.HalfOpen)
		decides.Done(good)
		want := breaker.Stats{Opened: 1, DarkRejected: 7, Trials: 1}
		if got := b.Stats(); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if got, want := fmt.Sprint(seen), "[open half_open closed]"; got != want {
			t.Errorf("changes: got %v, want %v", got, want)
		}
	})
}

func TestGoodLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, asked := true, 0
		b := must(t, breaker.Config{
			Requests: 4, OpenFor: time.Second,
			GoodLeft: func() bool { asked++; return left },
		})
		tell(t, b, "fffsss")
		if asked != 0 {
			t.Errorf("got %d questions below the threshold, want 0", asked)
		}
		tell(t, b, "fff")
		inState(t, b, breaker.Closed)
		if s := b.Stats(); s.Held != 3 || asked != 3 || s.Opened != 0 {
			t.Errorf("got held %d times of %d questions and opened %d, want 3 of 3 and 0", s.Held, asked, s.Opened)
		}
		left = false
		tell(t, b, "f")
		inState(t, b, breaker.Open)
		left = true // it is not asked about what is open already
		inState(t, b, breaker.Open)
		time.Sleep(time.Second)
		trial(t, b).Done(bad)
		inState(t, b, breaker.Open)
		if asked != 4 {
			t.Errorf("got %d questions, want 4", asked)
		}
	})
}

func TestErrorText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(1500 * time.Millisecond)
		tests := []struct {
			err  *breaker.Error
			want string
		}{
			{&breaker.Error{Until: at}, "breaker: open, next trial in 1.5s"},
			{&breaker.Error{Key: "users", Until: at}, `breaker: open for "users", next trial in 1.5s`},
			{&breaker.Error{Until: at.Add(-time.Hour)}, "breaker: open, next trial in 0s"},
		}
		for _, tt := range tests {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		}
	})
}

func TestStateText(t *testing.T) {
	for s, want := range map[breaker.State]string{
		breaker.Closed: "closed", breaker.Open: "open", breaker.HalfOpen: "half_open", 9: "State(9)",
	} {
		if got := s.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
