package limit_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// fate is what became of a call, and when, in seconds since the start.
type fate struct {
	what string
	at   float64
}

// The fates of calls. The counters have others for Dark.
const (
	admitted  = "admitted"
	waited    = "waited"
	refused   = "refused"
	abandoned = "abandoned"
)

// plan is one call of a scenario. All times are since the start.
type plan struct {
	arrives  time.Duration
	cancels  time.Duration // 0: never
	deadline time.Duration // 0: none
}

// change is an Update of a scenario.
type change struct {
	at  time.Duration
	cfg limit.Config
}

// scenario is what the Limiter and the oracle are shown. No two things happen at
// the same time.
type scenario struct {
	cfg     limit.Config // all fields set
	calls   []plan
	changes []change
}

// near is how far in seconds two computations of a time may differ; decisions on
// times that are as near as that are not compared.
const near = 2e-6

// oracle is a token bucket with a queue, in the plainest way: no bookings, and
// time goes from event to event.
type oracle struct {
	cfg    limit.Config
	plans  []plan
	tokens float64
	now    float64
	queue  []int
	fates  []fate
	close  bool // some decision was too close to compare
}

// advance goes on to a time, and hands out tokens at the times when there are any.
func (o *oracle) advance(to float64) {
	for len(o.queue) > 0 {
		at := o.now + max(0, 1-o.tokens)/o.cfg.Rate
		o.close = o.close || math.Abs(at-to) < near
		if at > to {
			break
		}
		o.tokens, o.now = 0, at
		o.fates[o.queue[0]] = fate{waited, at}
		o.queue = o.queue[1:]
	}
	o.tokens = min(float64(o.cfg.Burst), o.tokens+(to-o.now)*o.cfg.Rate)
	o.now = to
}

// mayWait says whether call i may wait for place n of the queue.
func (o *oracle) mayWait(i, n int) bool {
	gets := o.now + (float64(n+1)-o.tokens)/o.cfg.Rate
	p := o.plans[i]
	limit, deadline := (p.arrives + o.cfg.MaxWait).Seconds(), p.deadline.Seconds()
	o.close = o.close || math.Abs(gets-limit) < near || math.Abs(gets-deadline) < near
	return n < o.cfg.MaxWaiters && gets <= limit && (deadline == 0 || gets < deadline)
}

func (o *oracle) arrive(i int) {
	o.advance(o.plans[i].arrives.Seconds())
	o.close = o.close || math.Abs(o.tokens-1)/o.cfg.Rate < near
	switch {
	case len(o.queue) == 0 && o.tokens >= 1:
		o.tokens--
		o.fates[i] = fate{admitted, o.now}
	case o.mayWait(i, len(o.queue)):
		o.queue = append(o.queue, i)
	default:
		o.fates[i] = fate{refused, o.now}
	}
}

func (o *oracle) cancel(i int) {
	o.advance(o.plans[i].cancels.Seconds())
	if n := slices.Index(o.queue, i); n >= 0 {
		o.queue = slices.Delete(o.queue, n, n+1)
		o.fates[i] = fate{abandoned, o.now}
	}
}

func (o *oracle) update(c change) {
	o.advance(c.at.Seconds())
	o.cfg = c.cfg
	o.tokens = min(o.tokens, float64(c.cfg.Burst))
	var stay []int
	for _, i := range o.queue {
		if o.mayWait(i, len(stay)) {
			stay = append(stay, i)
		} else {
			o.fates[i] = fate{refused, o.now}
		}
	}
	o.queue = stay
}

// foretell runs the scenario. It reports false where it is too close to compare.
func foretell(s *scenario) ([]fate, bool) {
	o := &oracle{cfg: s.cfg, plans: s.calls, tokens: float64(s.cfg.Burst), fates: make([]fate, len(s.calls))}
	type event struct {
		at time.Duration
		do func()
	}
	var events []event
	for i, p := range s.calls {
		events = append(events, event{p.arrives, func() { o.arrive(i) }})
		if p.cancels != 0 {
			events = append(events, event{p.cancels, func() { o.cancel(i) }})
		}
	}
	for _, c := range s.changes {
		events = append(events, event{c.at, func() { o.update(c) }})
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.at - b.at) })
	for _, e := range events {
		e.do()
	}
	o.advance(math.MaxInt32)
	return o.fates, !o.close
}

// play runs the scenario on a Limiter.
func play(t *testing.T, s *scenario) (fates []fate, stats limit.Stats) {
	fates = make([]fate, len(s.calls))
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, s.cfg)
		begin := time.Now()
		var all sync.WaitGroup
		for i, p := range s.calls {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var deadline time.Time
				if p.deadline != 0 {
					deadline = begin.Add(p.deadline)
				}
				time.Sleep(p.arrives)
				if p.cancels != 0 {
					defer time.AfterFunc(p.cancels-p.arrives, cancel).Stop()
				}
				err := l.Acquire(ctx, "", deadline)
				fates[i] = fate{describe(err, time.Since(begin) > p.arrives), time.Since(begin).Seconds()}
			})
		}
		for _, c := range s.changes {
			all.Go(func() {
				time.Sleep(c.at)
				if err := l.Update(c.cfg); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		stats = l.Stats()
	})
	return fates, stats
}

// describe makes a fate of an error.
func describe(err error, late bool) string {
	switch {
	case errors.Is(err, limit.ErrLimited):
		return refused
	case errors.Is(err, context.Canceled):
		return abandoned
	case err != nil:
		return err.Error()
	case late:
		return waited
	}
	return admitted
}

// randomConfig is one whose limits matter for calls that come at some 100 a
// second.
func randomConfig(rnd *rand.Rand) limit.Config {
	return limit.Config{
		Rate:       math.Exp(rnd.Float64()*6) * 0.5, // to 200
		Burst:      1 + rnd.IntN(10),
		MaxWait:    time.Duration(rnd.Int64N(int64(4*time.Second))) / time.Duration(1+rnd.IntN(20)),
		MaxWaiters: 1 + rnd.IntN(40),
		Keys:       1,
	}
}

// randomScenario has calls for some seconds.
func randomScenario(rnd *rand.Rand, changes int) *scenario {
	s := &scenario{cfg: randomConfig(rnd)}
	span := int64(4 * time.Second)
	for range 300 {
		p := plan{arrives: time.Duration(1 + rnd.Int64N(span))}
		if rnd.IntN(3) == 0 {
			p.cancels = p.arrives + time.Duration(1+rnd.Int64N(int64(time.Second)))
		}
		if rnd.IntN(3) == 0 {
			p.deadline = p.arrives + time.Duration(1+rnd.Int64N(int64(time.Second)))
		}
		s.calls = append(s.calls, p)
	}
	for range changes {
		s.changes = append(s.changes, change{time.Duration(1 + rnd.Int64N(span)), randomConfig(rnd)})
	}
	return s
}

// Each call meets the fate that the oracle foretells, and when it does: whatever
// is cancelled and whatever changes.
func TestOracle(t *testing.T) {
	compared, seen := 0, map[string]int{}
	for seed := range uint64(300) {
		s := randomScenario(rand.New(rand.NewPCG(seed, 1)), int(seed%4))
		want, ok := foretell(s)
		if !ok {
			continue
		}
		compared++
		got, stats := play(t, s)
		count := map[string]int{}
		for i := range got {
			if got[i].what != want[i].what || math.Abs(got[i].at-want[i].at) > near {
				t.Fatalf("seed %d: call %d %+v: got %+v, want %+v", seed, i, s.calls[i], got[i], want[i])
			}
			count[got[i].what]++
			seen[got[i].what]++
		}
		wantCounts := fmt.Sprint(count[admitted], count[waited], count[refused], count[abandoned])
		if got := fmt.Sprint(stats.Admitted, stats.Waited, stats.Refused, stats.Abandoned); got != wantCounts || stats.Waiting != 0 {
			t.Errorf("seed %d: got counters %s (%+v), want %s and none waiting", seed, got, stats, wantCounts)
		}
	}
	if compared < 200 {
		t.Errorf("got %d scenarios that could be compared, want 200", compared)
	}
	for _, what := range []string{admitted, waited, refused, abandoned} {
		if seen[what] < 500 {
			t.Errorf("got %d calls that were %s, want 500 for the test to mean something", seen[what], what)
		}
	}
}

// In no stretch of time are more calls let through than Rate × time + Burst.
func TestNeverMoreThanTheRate(t *testing.T) {
	for seed := range uint64(30) {
		s := randomScenario(rand.New(rand.NewPCG(seed, 2)), 0)
		fates, _ := play(t, s)
		var times []float64
		for _, f := range fates {
			if f.what == admitted || f.what == waited {
				times = append(times, f.at)
			}
		}
		slices.Sort(times)
		for i := range times {
			for j := i; j < len(times); j++ {
				n, most := float64(j-i+1), s.cfg.Rate*(times[j]-times[i])+float64(s.cfg.Burst)
				if n > most+near*s.cfg.Rate {
					t.Fatalf("seed %d: %+v: got %v calls in %v s, want at most %v", seed, s.cfg, n, times[j]-times[i], most)
				}
			}
		}
	}
}

// Dark counts what would happen: the same as without it, if nobody gives up.
func TestDarkForetells(t *testing.T) {
	for seed := range uint64(100) {
		s := randomScenario(rand.New(rand.NewPCG(seed, 3)), 0)
		for i := range s.calls {
			s.calls[i].cancels = 0
		}
		if seed%2 == 1 { // let the number of waiters be what decides
			s.cfg.MaxWait, s.cfg.MaxWaiters = time.Minute, 1+int(seed%5)
		}
		if _, ok := foretell(s); !ok {
			continue
		}
		_, real := play(t, s)
		s.cfg.Dark = true
		fates, dark := play(t, s)
		want := limit.Stats{Admitted: real.Admitted, DarkWaited: real.Waited, DarkRefused: real.Refused}
		if dark != want {
			t.Errorf("seed %d: got %+v, want %+v", seed, dark, want)
		}
		for i, f := range fates {
			if f.what != admitted {
				t.Errorf("seed %d: call %d: got %+v, want it let through at once", seed, i, f)
			}
		}
	}
}
