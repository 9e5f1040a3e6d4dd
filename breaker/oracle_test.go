package breaker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// oracleConfig is small, so that random scripts meet every edge.
var oracleConfig = breaker.Config{
	Requests: 4, FailureShare: 0.5, Window: time.Second,
	OpenFor: 300 * time.Millisecond, ProbeTimeout: 500 * time.Millisecond,
}

// oracle is the Breaker as its documentation has it, without regard to speed: it
// remembers all results and looks at all of them each time.
type oracle struct {
	closed  bool
	began   time.Time // closed: since when
	results []result  // closed: all
	since   time.Time // not closed: start of the time to be open
	trial   *permit   // not closed: the one under way

	opened, trials, rejected, stale uint64
}

type result struct {
	at time.Time
	ok bool
}

// permit is the oracle's Ticket.
type permit struct {
	trial    bool
	began    time.Time // the closed state it belongs to
	ends     time.Time // of a trial
	answered bool
	spent    bool
}

// window counts the results that are in the present tenth of the window or in one
// of the nine before.
func (o *oracle) window(now time.Time) (requests, failures int) {
	const tenth = 100 * time.Millisecond
	for _, r := range o.results {
		if now.Sub(o.began)/tenth-r.at.Sub(o.began)/tenth < 10 {
			requests++
			if !r.ok {
				failures++
			}
		}
	}
	return requests, failures
}

func (o *oracle) open(at time.Time) {
	o.closed, o.since, o.trial = false, at, nil
	o.opened++
}

func (o *oracle) close(at time.Time) { o.closed, o.began, o.results, o.trial = true, at, nil, nil }

// pass is what time alone brings about.
func (o *oracle) pass(now time.Time) {
	if o.closed || o.trial == nil || now.Before(o.trial.ends) {
		return
	}
	if o.trial.answered {
		o.close(now)
	} else {
		o.open(o.trial.ends)
	}
}

// state is the state and how long callers are refused.
func (o *oracle) state(now time.Time) (breaker.State, time.Duration) {
	o.pass(now)
	left := o.since.Add(oracleConfig.OpenFor).Sub(now)
	switch {
	case o.closed:
		return breaker.Closed, 0
	case o.trial != nil:
		return breaker.HalfOpen, o.trial.ends.Sub(now)
	case left > 0:
		return breaker.Open, left
	}
	return breaker.HalfOpen, 0
}

func (o *oracle) allow(now time.Time) *permit {
	state, left := o.state(now)
	switch {
	case state == breaker.Closed:
		return &permit{began: o.began}
	case left > 0:
		o.rejected++
		return nil
	}
	o.trials++
	o.trial = &permit{trial: true, ends: now.Add(oracleConfig.ProbeTimeout)}
	return o.trial
}

func (o *oracle) done(p *permit, v tulle.Verdict, now time.Time) {
	if p.spent {
		return
	}
	p.spent = true
	if p.trial {
		o.pass(now)
	}
	switch {
	case p.trial && o.trial == p && v == tulle.Success:
		o.close(now)
	case p.trial && o.trial == p && v == tulle.Failure:
		o.open(now)
	case p.trial && o.trial == p:
		o.trial = nil
	case v == tulle.Neither:
	case p.trial || !o.closed || !p.began.Equal(o.began):
		o.stale++
	default:
		o.results = append(o.results, result{now, v == tulle.Success})
		n, f := o.window(now)
		if v == tulle.Failure && n >= oracleConfig.Requests && 2*f >= n {
			o.open(now)
		}
	}
}

// steps are the pauses of scripts: those where something happens, one off them,
// and some that lead to odd times.
var steps = []time.Duration{
	1, time.Millisecond, 33 * time.Millisecond, 99999999, 100 * time.Millisecond, 100000001,
	299999999, 300 * time.Millisecond, 300000001, 499999999, 500 * time.Millisecond, 500000001,
	900 * time.Millisecond, time.Second, 3 * time.Second,
}

// pair is a call as both see it.
type pair struct {
	ticket *breaker.Ticket
	permit *permit
}

// play runs a script, a step for each two bytes, on a Breaker and on the oracle,
// and compares all that can be seen after each.
func play(t *testing.T, script []byte) breaker.Stats {
	b := must(t, oracleConfig)
	o := &oracle{closed: true, began: time.Now()}
	var calls []pair
	log := ""
	for i := 0; i+1 < len(script); i += 2 {
		op, arg := script[i]%16, int(script[i+1])
		now := time.Now()
		switch {
		case op < 3:
			d := steps[arg%len(steps)]
			log += fmt.Sprint(" wait ", d)
			time.Sleep(d)
			now = time.Now()
		case op < 9 || len(calls) == 0:
			log += " call"
			calls = append(calls, allowBoth(t, b, o, now))
			if calls[len(calls)-1].permit == nil {
				calls = calls[:len(calls)-1]
			}
		default:
			// Mostly the latest calls, at times one that was ended before.
			n := max(0, len(calls)-1-arg/8%5)
			log += fmt.Sprintf(" end %d by %d", n, op)
			endBoth(calls[n], o, op, now)
		}
		compare(t, b, o, now)
		if t.Failed() {
			t.Fatalf("script %v:%s", script[:i+2], log)
		}
	}
	return b.Stats()
}

func allowBoth(t *testing.T, b *breaker.Breaker, o *oracle, now time.Time) pair {
	p := o.allow(now)
	ticket, err := b.Allow()
	switch {
	case p == nil && !errors.Is(err, breaker.ErrOpen):
		t.Errorf("Allow: got %v, want ErrOpen", err)
	case p != nil && (err != nil || ticket.Trial() != p.trial):
		t.Errorf("Allow: got %v and trial %v, want no error and trial %v", err, ticket.Trial(), p.trial)
	}
	var e *breaker.Error
	if errors.As(err, &e) {
		if _, left := o.state(now); e.RetryAfter() != left {
			t.Errorf("RetryAfter: got %v, want %v", e.RetryAfter(), left)
		}
	}
	return pair{&ticket, p}
}

func endBoth(c pair, o *oracle, op byte, now time.Time) {
	switch op {
	case 9, 10:
		o.done(c.permit, tulle.Success, now)
		c.ticket.Done(good)
	case 11, 12, 13:
		o.done(c.permit, tulle.Failure, now)
		c.ticket.Done(bad)
	case 14:
		o.done(c.permit, tulle.Neither, now)
		c.ticket.Cancel()
	default:
		if o.pass(now); o.trial == c.permit && !c.permit.spent {
			c.permit.answered = true
		}
		c.ticket.Answered()
	}
}

func compare(t *testing.T, b *breaker.Breaker, o *oracle, now time.Time) {
	state, left := o.state(now)
	want := breaker.Stats{
		State: state, RetryAfter: left,
		Opened: o.opened, Rejected: o.rejected, Trials: o.trials, Stale: o.stale,
	}
	if o.closed {
		want.Requests, want.Failures = o.window(now)
	}
	if got := b.Stats(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOracle(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	var total breaker.Stats
	synctest.Test(t, func(t *testing.T) {
		for seed := range rounds {
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			script := make([]byte, 300)
			for i := range script {
				script[i] = byte(rng.Uint32())
			}
			s := play(t, script)
			total.Opened += s.Opened
			total.Trials += s.Trials
			total.Rejected += s.Rejected
			total.Stale += s.Stale
		}
	})
	n := uint64(rounds)
	if total.Opened < n || total.Trials < n || total.Rejected < n || total.Stale < n {
		t.Errorf("in %d scripts: got %+v, want more of each, else this test is blind", n, total)
	}
}

func FuzzBreaker(f *testing.F) {
	f.Add([]byte{8, 0, 12, 0, 8, 0, 12, 0, 8, 0, 12, 0, 8, 0, 12, 0, 0, 7, 8, 0, 9, 0}) // opens, and closes by a trial
	f.Add([]byte{8, 0, 12, 0, 8, 0, 12, 0, 8, 0, 12, 0, 8, 0, 12, 0, 0, 7, 8, 0, 0, 14, 8, 0, 11, 0})
	f.Add([]byte{8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 12, 0, 12, 8, 12, 16, 12, 24, 9, 32})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2000 {
			t.Skip("long scripts find nothing that short ones do not")
		}
		synctest.Test(t, func(t *testing.T) { play(t, script) })
	})
}
