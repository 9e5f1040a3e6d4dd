package balancertest

import (
	"fmt"
	"math"
	"slices"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// checkRange: Pick names an endpoint: at rest, under load, and after changes of
// the set. The last of these make it smaller, as an index of the set before is
// then past the end.
func checkRange(p balancer.Policy) error {
	for _, n := range sizes {
		f := newFleet(p, n)
		for round := range 3 {
			if _, err := f.serve(max(4*n, 100), 3); err != nil {
				return err
			}
			if round == 0 {
				f.change(f.shuffled())
			} else {
				f.change(f.endpoints[:(len(f.endpoints)+1)/2])
			}
		}
	}
	return nil
}

// checkAmong: Among is never overruled, whatever Avoid says. It is how a caller
// says what can take a call at all: an endpoint without a connection, or of
// another zone, is not a worse choice but a wrong one.
func checkAmong(p balancer.Policy) error {
	for _, n := range sizes {
		f := newFleet(p, n)
		// Policies that guess until they hit behave unlike at both ends.
		for _, density := range []float64{0, 0.01, 0.5, 0.95, 1} {
			for range 20 {
				among := f.randomSet(density)
				for _, avoid := range []balancer.Set{nil, f.randomSet(0.1), f.randomSet(0.9), among} {
					if err := f.pickAmong(among, avoid); err != nil {
						return err
					}
				}
			}
		}
	}
	return checkSparse(p)
}

// pickAmong is one pick of checkAmong. What is picked stays loaded: sooner or
// later everything outside looks better than what is allowed.
func (f *fleet) pickAmong(among, avoid balancer.Set) error {
	i, err := f.pick(among, avoid)
	switch {
	case err != nil:
		return err
	case among.Len() == 0 && i != -1:
		return fmt.Errorf("%d endpoints, Among empty: got %d, want -1", len(f.endpoints), i)
	case among.Len() > 0 && i == -1:
		return fmt.Errorf("%d endpoints, Among with %d: got -1, want one of them", len(f.endpoints), among.Len())
	case i >= 0 && !among.Has(i):
		return fmt.Errorf("%d endpoints: got %d, which is not in Among", len(f.endpoints), i)
	case i >= 0:
		f.begin(f.picker.Node(i))
	}
	return nil
}

// checkSparse: few of many are found, and all of them used. A policy that draws
// candidates and filters them afterwards fails here, and so does one that takes
// the next allowed endpoint after a random one: 18 follows 17 in this set, so it
// would get next to nothing.
func checkSparse(p balancer.Policy) error {
	const n = 10_000
	f := newFleet(p, n)
	among := setOf(n, 17, 18, n-1)
	used := balancer.NewSet(n)
	for range 300 {
		i, err := f.pick(among, nil)
		if err != nil {
			return err
		}
		if i < 0 || !among.Has(i) {
			return fmt.Errorf("3 of %d allowed: got %d, want one of them", n, i)
		}
		used.Add(i)
		a := f.begin(f.picker.Node(i))
		f.now += latency
		a.end(f.now)
	}
	if used.Len() != 3 {
		return fmt.Errorf("3 of %d allowed: got %d of them used in 300 picks, want all", n, used.Len())
	}
	return nil
}

// checkAvoid: an endpoint to avoid is picked when there is no other, and only
// then, however loaded the others are. Avoid is advice, what was tried or is
// ejected: with nothing else left a bad endpoint is better than no attempt.
func checkAvoid(p balancer.Policy) error {
	for _, n := range sizes {
		f := newFleet(p, n)
		all := f.randomSet(1)
		if i, err := f.pick(nil, all); i < 0 || err != nil {
			return fmt.Errorf("%d endpoints, all in Avoid: got %d, want any", n, i)
		}
		for _, density := range []float64{0.1, 0.5, 0.9} {
			for range 20 {
				avoid := f.randomSet(density)
				i, err := f.pick(nil, avoid)
				if err != nil {
					return err
				}
				if avoid.Has(i) && avoid.Len() < n {
					return fmt.Errorf("%d endpoints: got %d, which is one of %d in Avoid", n, i, avoid.Len())
				}
				f.begin(f.picker.Node(i))
			}
		}
		if err := checkLastResort(p, n); err != nil {
			return err
		}
	}
	return nil
}

// checkLastResort: the only endpoint that is not to be avoided is picked when
// all others are idle and it is not.
func checkLastResort(p balancer.Policy, n int) error {
	f := newFleet(p, n)
	last := n / 2
	avoid := f.randomSet(1)
	avoid.Remove(last)
	for range 50 {
		if i, err := f.pick(nil, avoid); i != last || err != nil {
			return fmt.Errorf("%d endpoints, all but %d in Avoid: got %d", n, last, i)
		}
		f.begin(f.picker.Node(last))
	}
	return nil
}

// checkUse: under even load no endpoint is left out. One that is never used is
// capacity that is paid for, and nobody learns that it works.
func checkUse(p balancer.Policy) error {
	for _, n := range sizes {
		if err := newFleet(p, n).useAll(); err != nil {
			return err
		}
	}
	return nil
}

// useAll makes 25 calls per endpoint, one per endpoint at a time. Random picks
// leave one of 1,000 out once in 10^8 times.
func (f *fleet) useAll() error {
	n := len(f.endpoints)
	counts, err := f.serve(max(25*n, 100), n)
	if err != nil {
		return err
	}
	for i, c := range counts {
		if c == 0 {
			return fmt.Errorf("%d endpoints: endpoint %d got none of %d calls", n, i, max(25*n, 100))
		}
	}
	return nil
}

// checkGivenUp: a pick that nobody begins changes no count. Breakers and gRPC
// give picks up all the time, so a policy that counts in Pick leaks.
func checkGivenUp(p balancer.Policy) error {
	f := newFleet(p, 3)
	before, ok := f.costs()
	if !ok {
		return nil
	}
	for range 100 {
		if _, err := f.pick(nil, nil); err != nil {
			return err
		}
	}
	after, _ := f.costs()
	for addr, cost := range before {
		if !near(cost, after[addr]) {
			return fmt.Errorf("cost of %s: got %v after 100 picks that were given up, want %v as before", addr, after[addr], cost)
		}
	}
	return nil
}

// tolerance is by how much a share of traffic may be off the weight. It covers
// rules like (waiting + 1) ÷ weight, which are even with a queue of some length
// only.
const tolerance = 0.15

// checkWeights: with equal latencies and queues everywhere, traffic is shared by
// weight. An endpoint without a weight counts as 1. The weights are close enough
// together that a rule which compares two random endpoints can follow them: it
// gives none more than 2/n.
func checkWeights(p balancer.Policy) error {
	const n, width, calls = 12, 64 * 12, 60_000
	f := newFleetOf(p, make([]tulle.Endpoint, n))
	endpoints, total := slices.Clone(f.endpoints), 0.0
	for i := range endpoints {
		endpoints[i].Weight = float64(i % 3)
		total += endpoints[i].Share()
	}
	// The endpoints are known already: a weight that changes must be heeded.
	f.change(endpoints)
	// Before the first answers come in, queues are not what they will be.
	if _, err := f.serve(20*width, width); err != nil {
		return err
	}
	counts, err := f.serve(calls, width)
	if err != nil {
		return err
	}
	for i, c := range counts {
		want := calls * endpoints[i].Share() / total
		if math.Abs(float64(c)-want) > tolerance*want {
			return fmt.Errorf("endpoint of weight %v: got %d of %d calls, want %.0f ± %.0f %%",
				endpoints[i].Weight, c, calls, want, 100*tolerance)
		}
	}
	return nil
}
