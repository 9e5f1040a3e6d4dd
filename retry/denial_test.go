package retry_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// denied are situations in which nothing is repeated, by the reason for it.
var denied = []struct {
	want   retry.Denial
	cfg    retry.Config
	change func(call *tulle.Call) // of one that would be repeated
	left   time.Duration          // default (0): Unlimited
}{
	{retry.DeniedOutcome, retry.Config{}, func(c *tulle.Call) { c.Last.Class = tulle.Failed }, 0},
	{retry.DeniedOutcome, retry.Config{}, func(c *tulle.Call) { c.Last.Class, c.Spent = tulle.Answered, true }, 0},
	{retry.DeniedOutcome, retry.Config{Condition: func(*tulle.Call) tulle.Repetition { return 200 }}, func(*tulle.Call) {}, 0},
	{retry.DeniedBody, retry.Config{}, func(c *tulle.Call) { c.Spent = true }, 0},
	{retry.DeniedPushback, retry.Config{}, func(c *tulle.Call) { c.Last.Final = true }, 0},
	{retry.DeniedNowhere, retry.Config{}, func(c *tulle.Call) { c.Last.Class = tulle.Insecure }, 0},
	{retry.DeniedNowhere, retry.Config{}, func(c *tulle.Call) { c.Last.Class = tulle.Unsent; c.Bar("a:1") }, 0},
	{retry.DeniedNowhere, retry.Config{}, func(c *tulle.Call) { c.Last.Class = tulle.TimedOut }, 0},
	{retry.DeniedSent, retry.Config{}, func(c *tulle.Call) { c.UnsentOnly = true }, 0},
	{retry.DeniedNoHint, retry.Config{}, func(c *tulle.Call) { c.Last.Class = tulle.Throttled }, 0},
	{retry.DeniedUnsafe, retry.Config{}, func(c *tulle.Call) { c.Safe = false }, 0},
	{retry.DeniedUnhealthy, retry.Config{}, slow(tulle.Unhealthy), 0},
	{retry.DeniedAttempts, retry.Config{Attempts: 1}, func(*tulle.Call) {}, 0},
	{retry.DeniedAttempts, retry.Config{}, unsentAfter(2), 0},
	{retry.DeniedLongHint, retry.Config{MaxRetryAfter: -1}, func(c *tulle.Call) { c.Last.Hinted = true }, 0},
	{retry.DeniedTime, retry.Config{}, func(c *tulle.Call) { c.Pool = &tulle.Pool{Median: time.Second} }, time.Second},
	{retry.DeniedTime, retry.Config{}, unsentAfter(0), -1},
	{retry.DeniedBudget, retry.Config{Budget: tokens(0)}, func(*tulle.Call) {}, 0},
	{retry.DeniedDark, retry.Config{Dark: true}, func(*tulle.Call) {}, 0},
}

// slow makes a call one that timed out, while the other endpoints are so.
func slow(others tulle.Health) func(*tulle.Call) {
	return func(c *tulle.Call) { c.Last.Class, c.Pool = tulle.TimedOut, &tulle.Pool{Untried: 1, Others: others} }
}

// unsentAfter makes a call one that reached nobody, after so many moves.
func unsentAfter(moves int32) func(*tulle.Call) {
	return func(c *tulle.Call) {
		c.Last.Class, c.Moves, c.Pool = tulle.Unsent, moves, &tulle.Pool{Untried: 1}
	}
}

// unavailable is a call that is repeated by default.
func unavailable() *tulle.Call {
	return &tulle.Call{Safe: true, Attempt: 1, Last: tulle.Outcome{Class: tulle.Unavailable}}
}

// Next says why there is no repeat.
func TestDenied(t *testing.T) {
	for i, c := range denied {
		call, left := unavailable(), c.left
		c.change(call)
		if left == 0 {
			left = retry.Unlimited
		}
		if plan, ok := newRetrier(t, c.cfg).Next(call, 0, left); ok || plan.Denied != c.want || plan.Wait != 0 {
			t.Errorf("%d: got %+v, %v, want it denied as %q", i, plan, ok, c.want)
		}
	}
	r := newRetrier(t, retry.Config{})
	for _, want := range []retry.Denial{"", retry.DeniedUnknown} {
		call := unavailable()
		slow(tulle.Unknown)(call)
		if plan, ok := r.Next(call, 0, retry.Unlimited); plan.Denied != want || ok != (want == "") {
			t.Errorf("a blind repeat: got %q, %v, want %q", plan.Denied, ok, want)
		}
	}
}

// Again says why it does not go on.
func TestAgainDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		short, release := context.WithTimeout(t.Context(), time.Millisecond)
		defer release()
		asked := 0
		for _, c := range []struct {
			ctx  context.Context
			open func() bool
			want retry.Denial
		}{
			{t.Context(), nil, ""},
			{t.Context(), func() bool { return false }, retry.DeniedBreaker},
			{t.Context(), func() bool { asked++; return asked == 1 }, retry.DeniedBreaker},
			{ended, nil, retry.DeniedEnded},
			{short, nil, retry.DeniedEnded},
		} {
			r := newRetrier(t, retry.Config{MinBackoff: time.Minute, Rand: func() uint64 { return 1 << 63 }})
			clock := func() time.Duration { return 0 }
			if why, ok := r.Again(c.ctx, unavailable(), clock, time.Time{}, c.open); why != c.want || ok != (why == "") {
				t.Errorf("got %q, %v, want %q", why, ok, c.want)
			}
		}
	})
}

// witness makes attempts that fail, and is told why there is none after them.
type witness struct {
	call *tulle.Call
	shut bool
	told []retry.Denial
}

func (w *witness) Attempt() (*http.Response, error) {
	w.call.Begin()
	w.call.Report(tulle.Outcome{Class: tulle.Unavailable})
	return answer(http.StatusServiceUnavailable, ""), nil
}

func (w *witness) Open() bool              { return !w.shut }
func (w *witness) Denied(why retry.Denial) { w.told = append(w.told, why) }

// A Witness is told once why Continue does not go on, whatever came before.
func TestWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		short, release := context.WithTimeout(t.Context(), time.Millisecond)
		defer release()
		for _, c := range []struct {
			ctx   context.Context
			shut  bool
			after int32
			want  retry.Denial
		}{
			{t.Context(), false, 3, retry.DeniedAttempts},
			{t.Context(), true, 1, retry.DeniedBreaker},
			{ended, false, 1, retry.DeniedEnded},
			{short, false, 1, retry.DeniedEnded},
		} {
			r := newRetrier(t, retry.Config{MinBackoff: time.Minute, Rand: func() uint64 { return 1 << 63 }, Budget: tokens(10)})
			w := &witness{call: unavailable(), shut: c.shut}
			clock := func() time.Duration { return 0 }
			resp, _ := r.Continue(c.ctx, w.call, w, clock, time.Time{}, answer(http.StatusServiceUnavailable, ""), nil)
			if resp != nil {
				_ = resp.Body.Close()
			}
			if len(w.told) != 1 || w.told[0] != c.want || w.call.Attempt != c.after {
				t.Errorf("got %q after %d attempts, want %q after %d", w.told, w.call.Attempt, c.want, c.after)
			}
		}
	})
}
