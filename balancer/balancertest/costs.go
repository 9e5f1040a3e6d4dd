package balancertest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// checkAllocations: what happens on the path of a call allocates nothing, at any
// size and for any query. A whole call of the library allocates once; a policy
// that adds one doubles that, for every user.
func checkAllocations(p balancer.Policy) error {
	for _, n := range []int{10, 1000, 10_000} {
		f := newFleet(p, n)
		// Not what a policy sets up at first use.
		if _, err := f.serve(200, 3); err != nil {
			return err
		}
		dense, sparse := f.randomSet(0.9), setOf(n, 1, n/2, n-1)
		queries := []struct {
			name string
			q    balancer.Query
		}{
			{"Pick", balancer.Query{}},
			{"Pick, most of Among", balancer.Query{Among: dense}},
			{"Pick, 3 of Among", balancer.Query{Among: sparse}},
			{"Pick, 3 of Avoid", balancer.Query{Avoid: sparse}},
			{"Pick, both", balancer.Query{Among: dense, Avoid: sparse}},
			{"Pick, all avoided", balancer.Query{Among: sparse, Avoid: sparse}},
		}
		for _, k := range queries {
			got := testing.AllocsPerRun(200, func() {
				f.now += time.Microsecond
				k.q.Now = f.now
				f.picker.Pick(k.q)
			})
			if got != 0 {
				return fmt.Errorf("%d endpoints: %s: got %v allocations, want 0", n, k.name, got)
			}
		}
		if got := testing.AllocsPerRun(200, f.oneCall); got != 0 {
			return fmt.Errorf("%d endpoints: Pick, Node, Begin, Answer, Judge: got %v allocations, want 0", n, got)
		}
	}
	return nil
}

// oneCall makes one call, start to end.
func (f *fleet) oneCall() {
	i := f.picker.Pick(balancer.Query{Now: f.now})
	n := f.picker.Node(i)
	n.Begin(f.now)
	start := f.now
	f.now += latency
	n.Answer(start, f.now, tulle.FullSample)
	n.Judge(f.now, balancer.Judgement{Verdict: tulle.Success})
}

// checkConcurrency: calls on several goroutines while the set changes. First
// with all kinds of outcomes, for the race detector and for figures that make
// sense; then with outcomes that say nothing, after which nothing must be left:
// a count that is not atomic, or that a change of the set copies while it moves,
// is off by some then.
func checkConcurrency(p balancer.Policy) error {
	f := newFleet(p, 20)
	if err := storm(f, func(k int) tulle.Sampling { return tulle.Sampling(k % 3) }); err != nil {
		return err
	}
	if err := f.sane(); err != nil {
		return err
	}
	f = newFleet(p, 20)
	if err := storm(f, func(int) tulle.Sampling { return tulle.NoSample }); err != nil {
		return err
	}
	if _, ok := f.costs(); !ok {
		return nil
	}
	return f.idle()
}

// generation is what one caller sees of the destination at a time: a Picker and
// its size belong together, so they are published as one.
type generation struct {
	picker balancer.Picker
	n      int
}

// storm makes calls on four goroutines. The caller's own changes the set
// meanwhile, once for every 200 calls, and alone touches the fleet. The changes
// are tied to the calls, as on a busy machine all of one could otherwise happen
// before the first of the other.
func storm(f *fleet, sampling func(k int) tulle.Sampling) error {
	const callers, calls, pause = 4, 3000, 200
	var (
		wg    sync.WaitGroup
		now   atomic.Int64
		view  atomic.Pointer[generation]
		ticks = make(chan struct{})       // closed when all callers are done
		wrong = make(chan error, callers) // never closed
	)
	now.Store(int64(f.now))
	view.Store(&generation{f.picker, len(f.endpoints)})
	for c := range callers {
		wg.Go(func() {
			s := caller{rng: rand.New(rand.NewPCG(uint64(c), 2)), now: &now, view: &view, sampling: sampling}
			defer s.finish()
			for k := range calls {
				if err := s.call(k); err != nil {
					wrong <- err
					return
				}
				if k%pause == 0 {
					ticks <- struct{}{}
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(ticks)
	}()
	for range ticks {
		f.now = time.Duration(now.Load())
		f.change(f.churned())
		view.Store(&generation{f.picker, len(f.endpoints)})
	}
	f.now = time.Duration(now.Load())
	select {
	case err := <-wrong:
		return err
	default:
		return nil
	}
}

// caller is one goroutine of a storm.
type caller struct {
	rng      *rand.Rand
	now      *atomic.Int64
	view     *atomic.Pointer[generation]
	sampling func(k int) tulle.Sampling
	running  []attempt
}

// call starts its k-th call and ends one of those that run, which may be of an
// earlier generation, at an endpoint that is no longer there.
func (c *caller) call(k int) error {
	g := c.view.Load()
	now := time.Duration(c.now.Add(int64(time.Microsecond)))
	i := g.picker.Pick(balancer.Query{Now: now})
	if i < 0 || i >= g.n {
		return fmt.Errorf("%d endpoints, concurrent picks: got index %d", g.n, i)
	}
	n := g.picker.Node(i)
	n.Begin(now)
	c.running = append(c.running, attempt{n, now})
	if len(c.running) < 8 {
		return nil
	}
	j := c.rng.IntN(len(c.running))
	c.end(j, k)
	c.running[j] = c.running[len(c.running)-1]
	c.running = c.running[:len(c.running)-1]
	return nil
}

// end ends running attempt j with the k-th kind of outcome.
func (c *caller) end(j, k int) {
	a, now := c.running[j], time.Duration(c.now.Load())
	s := c.sampling(k)
	a.node.Answer(a.start, now, s)
	v := balancer.Judgement{}
	if s != tulle.NoSample {
		v = balancer.Judgement{Verdict: tulle.Verdict(k % 2), Throttled: k%50 == 0, Until: now + time.Second}
	}
	a.node.Judge(now, v)
}

// finish ends what runs.
func (c *caller) finish() {
	for j := range c.running {
		c.end(j, j)
	}
}
