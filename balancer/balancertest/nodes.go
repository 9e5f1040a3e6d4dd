package balancertest

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// checkNode: there is a Node for each endpoint, the same each time: the engine
// asks once when it builds its view, and others may ask again.
func checkNode(p balancer.Policy) error {
	for _, n := range append([]int{10_000}, sizes...) {
		f := newFleet(p, n)
		for i := range n {
			node := f.picker.Node(i)
			if node == nil {
				return fmt.Errorf("%d endpoints: Node(%d): got nil", n, i)
			}
			if !same(node, f.picker.Node(i)) {
				return fmt.Errorf("%d endpoints: Node(%d): got another one the second time", n, i)
			}
		}
	}
	return nil
}

// checkCarried: the Node stays with the address when the set changes. Sources
// report in any order and pods come and go every minute; a policy that starts
// anew each time never knows anything.
func checkCarried(p balancer.Policy) error {
	f := newFleet(p, 40)
	for range 20 {
		old := map[string]balancer.Node{}
		for i := range f.endpoints {
			old[f.endpoints[i].Addr] = f.picker.Node(i)
		}
		f.change(f.churned())
		for i := range f.endpoints {
			if n := old[f.endpoints[i].Addr]; n != nil && !same(n, f.picker.Node(i)) {
				return fmt.Errorf("the Node of %s: got another one after a change of the set, want it carried on", f.endpoints[i].Addr)
			}
		}
	}
	return nil
}

// same says that two nodes are one. Types that cannot be compared are not.
func same(a, b balancer.Node) bool {
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// checkRunning: attempts that run while the set changes still count after it,
// and are counted out when they end, on the Node that they began on. What is
// lost here is lost for good: an endpoint with one attempt too many looks busy
// until it is removed.
func checkRunning(p balancer.Policy) error {
	f := newFleet(p, 12)
	var running []attempt
	for i := range f.endpoints {
		for range i % 4 {
			running = append(running, f.begin(f.picker.Node(i)))
		}
	}
	before, ok := f.costs()
	if !ok {
		return nil
	}
	f.change(f.shuffled())
	after, _ := f.costs()
	for addr, cost := range before {
		if !near(cost, after[addr]) {
			return fmt.Errorf("cost of %s with attempts waiting: got %v after a change of the set, want %v as before", addr, after[addr], cost)
		}
	}
	f.change(f.churned())
	for _, a := range running {
		a.drop(f.now)
	}
	return f.idle()
}

// idle says that every endpoint costs what one of a set costs that was never
// used. It holds after attempts that told nothing of latency or success, and
// looks an hour later, so that no guard of the policy is in the way.
func (f *fleet) idle() error {
	f.now += time.Hour
	unused := newFleet(f.policy, len(f.endpoints))
	unused.now = f.now
	want, _ := unused.cost(0)
	for i := range f.endpoints {
		if got, _ := f.cost(i); !near(got, want) {
			return fmt.Errorf("cost of endpoint %d: got %v an hour after its last attempt, want %v as of an unused one: attempts were not counted out", i, got, want)
		}
	}
	return nil
}

// checkStatistics: what is known of an endpoint is found under its new index. The
// endpoints differ in latency only, so a policy that does not look at latency
// has nothing to mix up.
func checkStatistics(p balancer.Policy) error {
	f := newFleet(p, 12)
	for i := range 10 * len(f.endpoints) {
		k := i % len(f.endpoints)
		a := f.begin(f.picker.Node(k))
		f.now += time.Duration(k+1) * latency
		a.end(f.now)
	}
	// Later, as a policy may cache for a moment.
	f.now += time.Second
	for range 5 {
		before, ok := f.stats()
		if !ok {
			return nil
		}
		f.change(f.shuffled())
		after, _ := f.stats()
		for addr, s := range before {
			got := after[addr]
			if !near(got.Cost, s.Cost) || !near(float64(got.Latency), float64(s.Latency)) || !near(got.Success, s.Success) {
				return fmt.Errorf("stat of %s: got %+v after a change of order, want %+v as before", addr, got, s)
			}
		}
	}
	return nil
}

// stats describes all endpoints, by address.
func (f *fleet) stats() (map[string]balancer.Stat, bool) {
	d, ok := f.picker.(balancer.Describer)
	if !ok {
		return nil, false
	}
	stats := map[string]balancer.Stat{}
	for i := range f.endpoints {
		stats[f.endpoints[i].Addr] = d.Describe(i, f.now)
	}
	return stats, true
}

// foreign is a Node of another policy. It fails the check when it is used.
type foreign struct{ used *bool }

// Begin implements balancer.Node.
func (n foreign) Begin(time.Duration) { *n.used = true }

// Answer implements balancer.Node.
func (n foreign) Answer(_, _ time.Duration, _ tulle.Sampling) { *n.used = true }

// Judge implements balancer.Node.
func (n foreign) Judge(time.Duration, balancer.Judgement) { *n.used = true }

// elsewhere is a Picker of another policy.
type elsewhere struct{ balancer.Picker }

// checkForeign: Nodes and Picker of another policy count as none, and the slice
// of nodes is neither kept nor changed. This is what a policy meets when a reload
// puts it in the place of another one.
func checkForeign(p balancer.Policy) error {
	const n = 10
	f := newFleet(p, n)
	used := false
	other := balancer.Node(foreign{&used})
	m := balancer.Members{Endpoints: f.endpoints, Nodes: make([]balancer.Node, n), Now: f.now, Prev: elsewhere{f.picker}}
	for i := range n {
		if i%2 == 0 {
			m.Nodes[i] = other
		}
	}
	f.picker = p.Build(m)
	for i := range n {
		if want := i%2 == 0; (m.Nodes[i] == other) != want {
			return fmt.Errorf("Members.Nodes[%d] was changed by Build", i)
		}
		m.Nodes[i] = other
		if f.picker.Node(i) == nil || same(f.picker.Node(i), other) {
			return fmt.Errorf("Node(%d): got %v, want one of the policy's own", i, f.picker.Node(i))
		}
	}
	// Later, as a policy may keep newcomers waiting.
	f.now += time.Hour
	if err := f.useAll(); err != nil {
		return err
	}
	if used {
		return errors.New("the Node of another policy was used, want it to count as none")
	}
	return nil
}

// checkOddInput: times that run backwards a little, waits of no time and of
// hours, pleas for less, and values that no table knows leave figures that make
// sense, and an hour of quiet later all endpoints are used again.
//
// None of it is far-fetched: goroutines read the clock in one order and arrive in
// another, a laptop sleeps in the middle of a call, and a classifier of a user's
// own may return anything.
func checkOddInput(p balancer.Policy) error {
	for _, n := range []int{1, 3, 40} {
		f := newFleet(p, n)
		for round := range 40 {
			for i := range n {
				f.oddAttempt(i, round*n+i)
				if _, err := f.pick(nil, nil); err != nil {
					return err
				}
			}
		}
		if err := f.sane(); err != nil {
			return err
		}
		f.now += time.Hour
		if err := f.useAll(); err != nil {
			return fmt.Errorf("after odd input and an hour: %w", err)
		}
		if err := f.sane(); err != nil {
			return err
		}
	}
	return nil
}

// oddAttempt makes the k-th odd attempt, at endpoint i. The lists are counted
// through like the digits of a number, so that all of their values meet.
func (f *fleet) oddAttempt(i, k int) {
	waits := []time.Duration{0, 1, -time.Microsecond, time.Millisecond, 3 * time.Hour, time.Minute}
	skews := []time.Duration{0, -time.Millisecond, time.Microsecond}
	hints := []time.Duration{0, -time.Hour, f.now, f.now + 10*time.Minute}
	wait, skew, hint := waits[k%6], skews[k/6%3], hints[k/18%4]
	n := f.picker.Node(i)
	n.Begin(f.now - wait)
	n.Answer(f.now-wait, f.now+skew, tulle.Sampling(k%5))
	n.Judge(f.now-skew, balancer.Judgement{
		Verdict:   tulle.Verdict(k % 7),
		Throttled: k%3 == 0,
		Until:     hint,
	})
	if k%4 == 0 {
		f.now += time.Duration(k) * time.Microsecond
	}
}

// sane checks that a Describer says nothing that no dashboard can show, and
// nothing that a comparison gets stuck at: no cost is below NaN.
func (f *fleet) sane() error {
	stats, _ := f.stats()
	for addr, s := range stats {
		switch {
		case math.IsNaN(s.Cost) || math.IsInf(s.Cost, 0) || s.Cost < 0:
			return fmt.Errorf("cost of %s: got %v, want a number, 0 or more", addr, s.Cost)
		case s.Latency < 0:
			return fmt.Errorf("latency of %s: got %v, want 0 or more", addr, s.Latency)
		case s.Success != -1 && !(s.Success >= 0 && s.Success <= 1):
			return fmt.Errorf("success of %s: got %v, want 0 to 1, or -1", addr, s.Success)
		}
	}
	return nil
}
