package retry_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// newRetrier is a Retrier that the test knows to be valid.
func newRetrier(t testing.TB, cfg retry.Config) *retry.Retrier {
	t.Helper()
	r, err := retry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tokens is a budget of so many repeats in ten seconds.
func tokens(n int) retry.BudgetConfig {
	if n == 0 {
		return retry.BudgetConfig{Ratio: -1, PerSecond: -1}
	}
	return retry.BudgetConfig{Ratio: -1, PerSecond: float64(n) / 10}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  retry.Config
		want string // part of the error, "" for none
	}{
		{retry.Config{}, ""},
		{retry.Config{Attempts: 1}, ""},
		{retry.Config{Attempts: 10, Replay: 65536, MaxRetryAfter: -1}, ""},
		{retry.Config{MinBackoff: time.Second}, ""}, // the default maximum gives way
		{retry.Config{MinBackoff: 1, MaxBackoff: 1}, ""},
		{retry.Config{MaxBackoff: math.MaxInt64}, ""},
		{retry.Config{Idempotent: []string{"PUT", "M-SEARCH", "x!"}}, ""},
		{retry.Config{Attempts: -1}, "retry: Attempts -1: want 1 to 10"},
		{retry.Config{Attempts: 11}, "retry: Attempts 11: want 1 to 10"},
		{retry.Config{MinBackoff: -1}, "retry: MinBackoff -1ns: want 0 or more"},
		{retry.Config{MaxBackoff: -time.Second}, "retry: MaxBackoff -1s: want 0 or more"},
		{retry.Config{MinBackoff: 2, MaxBackoff: 1}, "retry: MinBackoff 2ns: want at most MaxBackoff, 1ns"},
		{retry.Config{Replay: -1}, "retry: Replay -1: want 0 to 65536"},
		{retry.Config{Replay: 65537}, "retry: Replay 65537: want 0 to 65536"},
		{retry.Config{Idempotent: []string{"PUT", ""}}, `retry: Idempotent "": want an HTTP method`},
		{retry.Config{Idempotent: []string{"P T"}}, `Idempotent "P T"`},
		{retry.Config{Idempotent: []string{"P(T"}}, `Idempotent "P(T"`},
		{retry.Config{Idempotent: []string{"PÜT"}}, `Idempotent "PÜT"`},
		{retry.Config{Budget: retry.BudgetConfig{Ratio: 2}}, "Budget.Ratio 2"},
	} {
		err := c.cfg.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.cfg, err, c.want)
		}
		if r, newErr := retry.New(c.cfg); (newErr == nil) != (err == nil) || (r == nil) != (err != nil) {
			t.Errorf("%+v: New got %v, %v, Validate %v, want them to agree", c.cfg, r, newErr, err)
		}
	}
}

// Every field that is wrong is named, not only the first.
func TestConfigValidateNamesAll(t *testing.T) {
	err := retry.Config{
		Attempts: 11, MinBackoff: -1, MaxBackoff: -1, Replay: -1, Idempotent: []string{""},
		Budget: retry.BudgetConfig{Ratio: 2, PerSecond: 2000},
	}.Validate()
	if err == nil {
		t.Fatal("got nil, want an error")
	}
	for _, field := range []string{"Attempts", "MinBackoff", "MaxBackoff", "Replay", "Idempotent", "Budget.Ratio", "Budget.PerSecond"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want %s in it", err, field)
		}
	}
}

// The Retrier has a copy of what it was given.
func TestNewCopiesConfig(t *testing.T) {
	methods := []string{"PUT"}
	r := newRetrier(t, retry.Config{Idempotent: methods})
	methods[0] = "POST"
	if r.Safe(&http.Request{Method: "POST"}) || !r.Safe(&http.Request{Method: "PUT"}) {
		t.Error("got the changed list, want the one that New was given")
	}
}

func TestSafe(t *testing.T) {
	r := newRetrier(t, retry.Config{Idempotent: []string{"PUT", "QUERY"}})
	for _, c := range []struct {
		method string
		header http.Header
		want   bool
	}{
		{"", nil, true}, {"GET", nil, true}, {"HEAD", nil, true}, {"OPTIONS", nil, true}, {"TRACE", nil, true},
		{"PUT", nil, true}, {"QUERY", nil, true},
		{"DELETE", nil, false}, {"POST", nil, false}, {"PATCH", nil, false}, {"CONNECT", nil, false}, {"get", nil, false},
		{"POST", http.Header{"Idempotency-Key": {"k"}}, true},
		{"POST", http.Header{"X-Idempotency-Key": {"k"}}, true},
		// As in net/http: an empty list of values says so too, and sends none.
		{"POST", http.Header{"X-Idempotency-Key": {}}, true},
		{"POST", http.Header{"X-Idempotency-Key": nil}, false},
	} {
		if got := r.Safe(&http.Request{Method: c.method, Header: c.header}); got != c.want {
			t.Errorf("%s %v: got %v, want %v", c.method, c.header, got, c.want)
		}
	}
}

// situation is what Next is asked about.
type situation struct {
	class                   tulle.Class
	safe, unsentOnly, spent bool
	hinted                  bool
	retryAfter              time.Duration
	pool                    *tulle.Pool
	attempt, moves          int32
	left                    time.Duration
	tokens                  int
}

// decision is what Next should answer.
type decision struct {
	repeat, charged bool
	exact           bool // the pause is known
	wait            time.Duration
}

// naive decides by the words of the design, with the default Config.
func (s *situation) naive() decision {
	var pool tulle.Pool
	if s.pool != nil {
		pool = *s.pool
	}
	no := decision{}
	if s.spent {
		return no
	}
	maySendTwice := s.safe && !s.unsentOnly
	var d decision
	switch s.class {
	case tulle.Unsent:
		if pool.Untried > 0 { // at once elsewhere, uncharged, at most three picks
			return decision{repeat: s.moves < 2 && s.left > 0, exact: true}
		}
		d = decision{repeat: true, charged: true}
	case tulle.Insecure: // never at that endpoint
		return decision{repeat: pool.Untried > 0 && s.moves < 2 && s.left > 0, exact: true}
	case tulle.Throttled: // only with a hint that fits
		fits := s.hinted && s.retryAfter <= 5*time.Minute
		d = decision{repeat: fits && !s.unsentOnly, charged: true, exact: true, wait: s.retryAfter}
	case tulle.Unavailable, tulle.Lost:
		d = decision{repeat: maySendTwice, charged: true}
	case tulle.TimedOut: // only while the rest of the pool is healthy, n = 1: never
		d = decision{repeat: maySendTwice && (pool.Others == tulle.Healthy || pool.Others == tulle.Unknown), charged: true}
	}
	if s.hinted && d.charged { // the server's word counts whatever the class
		d.exact, d.wait = true, s.retryAfter
		d.repeat = d.repeat && s.retryAfter <= 5*time.Minute
	}
	pause := d.wait
	if !d.exact {
		pause = 250 * time.Millisecond // the longest; the matrix has nothing near it
	}
	if !d.repeat || s.attempt-s.moves >= 3 || s.left != retry.Unlimited && s.left-pause <= pool.Median || s.tokens == 0 {
		return no
	}
	return d
}

// everySituation calls visit with each combination of what matters.
func everySituation(visit func(situation)) {
	pools := []*tulle.Pool{nil, {}, {Untried: 1, Usable: 1, Others: tulle.Alone}}
	for _, others := range []tulle.Health{tulle.Unknown, tulle.Healthy, tulle.Unhealthy} {
		pools = append(pools,
			&tulle.Pool{Untried: 2, Usable: 3, Others: others, Median: 2 * time.Second},
			&tulle.Pool{Untried: 0, Usable: 2, Others: others})
	}
	hints := []situation{{}, {hinted: true}, {hinted: true, retryAfter: 500 * time.Millisecond}, {hinted: true, retryAfter: 301 * time.Second}}
	attempts := []situation{{attempt: 1}, {attempt: 2}, {attempt: 3}, {attempt: 2, moves: 1}, {attempt: 3, moves: 2}, {attempt: 5, moves: 2}}
	for class := range tulle.Ignored + 2 {
		for flags := range 8 {
			for _, hint := range hints {
				for _, pool := range pools {
					for _, number := range attempts {
						for _, left := range []time.Duration{retry.Unlimited, -time.Second, 0, time.Second, time.Hour} {
							for _, n := range []int{0, 1} {
								visit(situation{
									class: class, safe: flags&1 != 0, unsentOnly: flags&2 != 0, spent: flags&4 != 0,
									hinted: hint.hinted, retryAfter: hint.retryAfter, pool: pool,
									attempt: number.attempt, moves: number.moves, left: left, tokens: n,
								})
							}
						}
					}
				}
			}
		}
	}
}

// TestNextAgainstOracle asks about every combination of class, call, pool, time
// and budget.
func TestNextAgainstOracle(t *testing.T) {
	seen, failures := map[decision]int{}, 0
	everySituation(func(s situation) {
		if failures > 20 {
			return
		}
		r := newRetrier(t, retry.Config{Budget: tokens(s.tokens)})
		call := &tulle.Call{
			Safe: s.safe, UnsentOnly: s.unsentOnly, Spent: s.spent, Attempt: s.attempt, Moves: s.moves, Pool: s.pool,
			Last: tulle.Outcome{Class: s.class, Hinted: s.hinted, RetryAfter: s.retryAfter},
		}
		plan, got := r.Next(call, 0, s.left)
		want := s.naive()
		seen[want]++
		left := float64(s.tokens)
		if got && want.charged {
			left--
		}
		switch {
		case got != (plan.Denied == ""):
			t.Errorf("%+v: got %v and the denial %q", s, got, plan.Denied)
			failures++
		case got != want.repeat:
			t.Errorf("%+v, pool %+v: got %v, want %v", s, s.pool, got, want.repeat)
			failures++
		case r.Budget().Balance(0) != left:
			t.Errorf("%+v: got a balance of %v, want %v", s, r.Budget().Balance(0), left)
			failures++
		case got && want.exact && plan.Wait != want.wait:
			t.Errorf("%+v: got a pause of %v, want %v", s, plan.Wait, want.wait)
			failures++
		case got && (plan.Wait < 0 || !want.exact && plan.Wait > 250*time.Millisecond):
			t.Errorf("%+v: got a pause of %v, want at most 250ms", s, plan.Wait)
			failures++
		}
		if r.Abandon(plan); got && r.Budget().Balance(0) != float64(s.tokens) {
			t.Errorf("%+v: got a balance of %v after Abandon, want %d", s, r.Budget().Balance(0), s.tokens)
			failures++
		}
		if got && !r.Wants(call) {
			t.Errorf("%+v: got a repeat that Wants had ruled out", s)
			failures++
		}
	})
	// The matrix is of use only while it has both answers, and each kind of yes.
	if len(seen) < 5 {
		t.Errorf("got decisions %v, want all kinds", seen)
	}
}

func TestWants(t *testing.T) {
	plain := newRetrier(t, retry.Config{})
	hooked := newRetrier(t, retry.Config{Condition: func(*tulle.Call) tulle.Repetition { return tulle.NoRepeat }})
	for class := range tulle.Ignored + 2 {
		call := &tulle.Call{Last: tulle.Outcome{Class: class}}
		if got, want := plain.Wants(call), class.Repetition() != tulle.NoRepeat; got != want {
			t.Errorf("%v: got %v, want %v", class, got, want)
		}
		if !hooked.Wants(call) {
			t.Errorf("%v: got false, want the Condition to be asked", class)
		}
	}
}

// The pause before the nth repeat is up to MinBackoff × (2^n − 1), at most
// MaxBackoff, and any time below that is as likely as any other.
func TestBackoff(t *testing.T) {
	const samples = 4000
	r := newRetrier(t, retry.Config{Attempts: 10, Budget: retry.BudgetConfig{PerSecond: 1000}})
	for n := int32(1); n < 10; n++ {
		most := min(25*time.Millisecond*(1<<n-1), 250*time.Millisecond)
		var deciles [10]int
		for range samples {
			// Moves are no repeats, so they do not lengthen the pause.
			call := &tulle.Call{Safe: true, Attempt: n + 2, Moves: 2, Last: tulle.Outcome{Class: tulle.Unavailable}}
			plan, ok := r.Next(call, 0, retry.Unlimited)
			if !ok {
				t.Fatalf("repeat %d: got none, want one", n)
			}
			r.Abandon(plan)
			if plan.Wait < 0 || plan.Wait > most {
				t.Fatalf("repeat %d: got a pause of %v, want 0 to %v", n, plan.Wait, most)
			}
			deciles[min(9, plan.Wait*10/most)]++
		}
		for i, got := range deciles {
			// Seven standard deviations: chance fails this once in 10^11.
			if want := samples / 10; got < want-133 || got > want+133 {
				t.Errorf("repeat %d: got %d of %d pauses in tenth %d of %v, want about %d", n, got, samples, i, most, want)
			}
		}
	}
}

// Regression: bounds near the end of time.Duration overflowed, and drawing a
// pause panicked.
func TestBackoffExtremes(t *testing.T) {
	for _, cfg := range []retry.Config{
		{MaxBackoff: math.MaxInt64},
		{MinBackoff: math.MaxInt64},
		{MinBackoff: math.MaxInt64, MaxBackoff: math.MaxInt64},
		{MinBackoff: math.MaxInt64 / 2, MaxBackoff: math.MaxInt64 - 1},
		{MinBackoff: 1, MaxBackoff: 1},
	} {
		cfg.Attempts, cfg.Budget = 10, retry.BudgetConfig{PerSecond: 1000}
		r := newRetrier(t, cfg)
		for n := int32(-1); n < 10; n++ {
			call := &tulle.Call{Safe: true, Attempt: n, Last: tulle.Outcome{Class: tulle.Lost}}
			plan, ok := r.Next(call, 0, retry.Unlimited)
			if !ok || plan.Wait < 0 || cfg.MaxBackoff > 0 && plan.Wait > cfg.MaxBackoff {
				t.Errorf("%+v, attempt %d: got %v, %v, want a pause within the bounds", cfg, n, plan.Wait, ok)
			}
		}
	}
}

func TestMaxRetryAfter(t *testing.T) {
	for _, c := range []struct {
		max, hint, left time.Duration
		want            bool
	}{
		{0, 0, retry.Unlimited, true},
		{0, 300 * time.Second, retry.Unlimited, true},
		{0, 300*time.Second + 1, retry.Unlimited, false},
		{time.Second, time.Second, retry.Unlimited, true},
		{time.Second, time.Second + 1, retry.Unlimited, false},
		{-1, 0, retry.Unlimited, false},
		{-1, time.Second, retry.Unlimited, false},
		{0, time.Second, time.Second, false}, // no time left to answer in
		{0, time.Second, time.Second + 1, true},
		{0, math.MaxInt64, retry.Unlimited, false},
		{math.MaxInt64, math.MaxInt64, retry.Unlimited, true},
		{math.MaxInt64, math.MaxInt64, time.Hour, false},
		{0, -time.Hour, 1, true}, // a user's classifier may say anything
	} {
		r := newRetrier(t, retry.Config{MaxRetryAfter: c.max})
		call := &tulle.Call{Attempt: 1, Last: tulle.Outcome{Class: tulle.Throttled, Hinted: true, RetryAfter: c.hint}}
		plan, got := r.Next(call, 0, c.left)
		if got != c.want || got && plan.Wait != max(c.hint, 0) {
			t.Errorf("%+v: got %v, %v, want %v", c, plan.Wait, got, c.want)
		}
	}
}

// A repeat that the pool's usual latency leaves no time for is not sent.
func TestMedian(t *testing.T) {
	r := newRetrier(t, retry.Config{})
	for _, c := range []struct {
		left, median time.Duration
		want         bool
	}{
		{retry.Unlimited, time.Hour, true},
		{time.Second, 100 * time.Millisecond, true},
		{300 * time.Millisecond, 300 * time.Millisecond, false},
		{0, 0, false},
	} {
		call := &tulle.Call{
			Safe: true, Attempt: 1, Last: tulle.Outcome{Class: tulle.Lost}, Pool: &tulle.Pool{Median: c.median},
		}
		if _, got := r.Next(call, 0, c.left); got != c.want {
			t.Errorf("%+v: got %v, want %v", c, got, c.want)
		}
	}
}

// An endpoint whose certificate is bad is not asked again, not even where there
// is no other.
func TestBarred(t *testing.T) {
	r := newRetrier(t, retry.Config{})
	for _, c := range []struct {
		pool tulle.Pool
		want bool
	}{
		{tulle.Pool{Usable: 0}, false},
		{tulle.Pool{Usable: 1}, true},
		{tulle.Pool{Untried: 1, Usable: 1}, true},
	} {
		call := &tulle.Call{Attempt: 2, Moves: 1, Last: tulle.Outcome{Class: tulle.Unsent}, Pool: &c.pool}
		call.Bar("10.0.0.1:443")
		if _, got := r.Next(call, 0, retry.Unlimited); got != c.want {
			t.Errorf("%+v: got %v, want %v", c.pool, got, c.want)
		}
	}
}

// timedOut is a safe call after a timeout, with others that are not known well.
func timedOut() *tulle.Call {
	return &tulle.Call{
		Safe: true, Attempt: 1, Last: tulle.Outcome{Class: tulle.TimedOut},
		Pool: &tulle.Pool{Untried: 1, Usable: 2, Others: tulle.Unknown},
	}
}

// While little is known of the other endpoints, one timeout a second is
// repeated; while they are healthy, any.
func TestBlindRepeats(t *testing.T) {
	r := newRetrier(t, retry.Config{})
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {0, false}, {999 * time.Millisecond, false}, {time.Second, true}, {time.Second + 1, false},
		{time.Minute, true}, {time.Minute, false},
	} {
		if _, got := r.Next(timedOut(), c.at, retry.Unlimited); got != c.want {
			t.Errorf("at %v: got %v, want %v", c.at, got, c.want)
		}
		healthy := timedOut()
		healthy.Pool.Others = tulle.Healthy
		if plan, got := r.Next(healthy, c.at, retry.Unlimited); !got {
			t.Errorf("healthy, at %v: got no repeat, want one", c.at)
		} else {
			r.Abandon(plan)
		}
	}
}

// Regression: a repeat that was refused for another reason used up the only
// blind one of its second.
func TestBlindRepeatsCountOnlyWhatIsSent(t *testing.T) {
	for name, refused := range map[string]func(r *retry.Retrier, now time.Duration) bool{
		"no time": func(r *retry.Retrier, now time.Duration) bool {
			_, ok := r.Next(timedOut(), now, 0)
			return ok
		},
		"no attempts": func(r *retry.Retrier, now time.Duration) bool {
			call := timedOut()
			call.Attempt = 3
			_, ok := r.Next(call, now, retry.Unlimited)
			return ok
		},
		"no budget": func(r *retry.Retrier, now time.Duration) bool {
			token, _ := r.Budget().Withdraw(now)
			_, ok := r.Next(timedOut(), now, retry.Unlimited)
			r.Budget().Refund(token)
			return ok
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRetrier(t, retry.Config{Budget: tokens(1)})
			if refused(r, time.Minute) {
				t.Fatal("got a repeat, want none")
			}
			plan, ok := r.Next(timedOut(), time.Minute, retry.Unlimited)
			if !ok {
				t.Fatal("got no repeat after one that was not sent, want one")
			}
			r.Abandon(plan)
			if _, ok := r.Next(timedOut(), time.Minute, retry.Unlimited); ok || r.Budget().Balance(time.Minute) != 1 {
				t.Errorf("the second of its second: got %v, balance %v, want none, and its token back", ok, r.Budget().Balance(time.Minute))
			}
		})
	}
}

// The Condition decides in the table's place; number, time and budget do not ask
// it.
func TestCondition(t *testing.T) {
	say := func(answer tulle.Repetition) *retry.Retrier {
		return newRetrier(t, retry.Config{
			Condition: func(call *tulle.Call) tulle.Repetition {
				if call.Last.Status != 204 {
					t.Errorf("got %+v, want the last outcome", call.Last)
				}
				return answer
			},
			Budget: tokens(1),
		})
	}
	last := tulle.Outcome{Class: tulle.Answered, Status: 204}
	for _, c := range []struct {
		answer tulle.Repetition
		call   tulle.Call
		want   bool
	}{
		{tulle.NoRepeat, tulle.Call{Safe: true}, false},
		{tulle.RepeatSafe, tulle.Call{Safe: true}, true},
		{tulle.RepeatSafe, tulle.Call{}, false},
		{tulle.RepeatHinted, tulle.Call{Safe: true}, false}, // there was no hint
		{tulle.RepeatHealthy, tulle.Call{Safe: true, Pool: &tulle.Pool{Others: tulle.Healthy}}, true},
		{tulle.RepeatHealthy, tulle.Call{Safe: true, Pool: &tulle.Pool{Others: tulle.Unhealthy}}, false},
		{tulle.RepeatMoved, tulle.Call{}, true},
		{tulle.RepeatElsewhere, tulle.Call{}, false},
		{tulle.RepeatElsewhere, tulle.Call{Pool: &tulle.Pool{Untried: 1}}, true},
		{tulle.RepeatElsewhere + 1, tulle.Call{Safe: true}, false},
	} {
		c.call.Attempt, c.call.Last = 1, last
		if _, got := say(c.answer).Next(&c.call, 0, retry.Unlimited); got != c.want {
			t.Errorf("%d, %+v: got %v, want %v", c.answer, c.call, got, c.want)
		}
	}
	r := say(tulle.RepeatSafe)
	for _, c := range []struct {
		name    string
		attempt int32
		left    time.Duration
		spent   bool
		want    bool
	}{
		{"body spent", 1, retry.Unlimited, true, false}, {"attempts", 3, retry.Unlimited, false, false}, {"time", 1, 0, false, false},
		{"all right", 1, retry.Unlimited, false, true}, {"budget", 1, retry.Unlimited, false, false},
	} {
		call := &tulle.Call{Safe: true, Attempt: c.attempt, Spent: c.spent, Last: last}
		if _, got := r.Next(call, 0, c.left); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// Regression: when a Condition, or a user's classifier, had a hinted outcome
// repeated as safe, there was no pause at all.
func TestHintCountsForEveryReason(t *testing.T) {
	r := newRetrier(t, retry.Config{Condition: func(*tulle.Call) tulle.Repetition { return tulle.RepeatSafe }})
	for _, c := range []struct {
		hint time.Duration
		want bool
	}{{2 * time.Second, true}, {time.Hour, false}} {
		call := &tulle.Call{Safe: true, Attempt: 1, Last: tulle.Outcome{Class: tulle.Throttled, Hinted: true, RetryAfter: c.hint}}
		if plan, got := r.Next(call, 0, retry.Unlimited); got != c.want || got && plan.Wait != c.hint {
			t.Errorf("hint %v: got %v, %v, want %v", c.hint, plan.Wait, got, c.want)
		}
	}
}

// Deciding about a call that has failed costs nothing that would hurt when many
// fail.
func TestNextAllocates(t *testing.T) {
	r := newRetrier(t, retry.Config{Budget: retry.BudgetConfig{PerSecond: 1000}})
	call := &tulle.Call{Safe: true, Attempt: 1, Last: tulle.Outcome{Class: tulle.Unavailable}}
	got := testing.AllocsPerRun(100, func() {
		plan, _ := r.Next(call, 0, retry.Unlimited)
		r.Abandon(plan)
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, class := range []tulle.Class{tulle.Unavailable, tulle.Failed} {
		b.Run(fmt.Sprint(class), func(b *testing.B) {
			b.ReportAllocs()
			r := newRetrier(b, retry.Config{Budget: retry.BudgetConfig{PerSecond: 1000}})
			call := &tulle.Call{Safe: true, Attempt: 1, Last: tulle.Outcome{Class: class}}
			for b.Loop() {
				plan, _ := r.Next(call, 0, retry.Unlimited)
				r.Abandon(plan)
			}
		})
	}
}

// A Retrier with new settings goes on from where the old one was: what was spent
// is spent, by the same clock, and the one blind repeat of this second too.
func TestAdopt(t *testing.T) {
	old := newRetrier(t, retry.Config{Budget: tokens(3)})
	old.Budget().Withdraw(0)
	if _, ok := old.Next(timedOut(), 0, retry.Unlimited); !ok {
		t.Fatal("got no blind repeat, want one")
	}
	next := newRetrier(t, retry.Config{Attempts: 2, Budget: tokens(4)})
	next.Adopt(old)
	if next.Budget() != old.Budget() || next.Budget().Balance(0) != 2 {
		t.Errorf("got a balance of %v, want 4 less the 2 that were spent", next.Budget().Balance(0))
	}
	if _, ok := next.Next(timedOut(), 0, retry.Unlimited); ok {
		t.Error("got a second blind repeat in a second, want none")
	}
	call := &tulle.Call{Safe: true, Attempt: 2, Last: tulle.Outcome{Class: tulle.Lost}}
	if _, ok := next.Next(call, 0, retry.Unlimited); ok {
		t.Error("got a third attempt, want the new limit of 2")
	}
}
