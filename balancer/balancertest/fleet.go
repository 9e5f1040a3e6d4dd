package balancertest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// latency is what an attempt takes where the check does not say otherwise. Equal
// latencies make the right answer known: everybody gets the same.
const latency = 10 * time.Millisecond

// fleet plays the engine for one destination: it keeps the set, the Picker, the
// nodes by address, and the time.
type fleet struct {
	policy    balancer.Policy
	endpoints []tulle.Endpoint
	picker    balancer.Picker
	nodes     map[string]balancer.Node
	now       time.Duration
	rng       *rand.Rand
	names     int // endpoints made so far
}

// newFleet builds a first set of n endpoints.
func newFleet(p balancer.Policy, n int) *fleet { return newFleetOf(p, make([]tulle.Endpoint, n)) }

// newFleetOf builds a first set of these endpoints, and names them. The seed is
// fixed: what a check does depends on the policy alone.
func newFleetOf(p balancer.Policy, endpoints []tulle.Endpoint) *fleet {
	f := &fleet{
		policy: p,
		nodes:  map[string]balancer.Node{},
		now:    time.Hour,
		rng:    rand.New(rand.NewPCG(uint64(len(endpoints)), 1)),
	}
	f.name(endpoints)
	f.change(endpoints)
	return f
}

// name gives endpoints addresses that no other has.
func (f *fleet) name(endpoints []tulle.Endpoint) {
	for i := range endpoints {
		f.names++
		endpoints[i].Addr = fmt.Sprintf("host-%d:80", f.names)
	}
}

// change replaces the set, the way the engine does: the nodes of endpoints that
// are gone are kept, in case they come back.
func (f *fleet) change(endpoints []tulle.Endpoint) {
	m := balancer.Members{
		Endpoints: endpoints,
		Nodes:     make([]balancer.Node, len(endpoints)),
		Prev:      f.picker,
		Now:       f.now,
	}
	for i := range endpoints {
		m.Nodes[i] = f.nodes[endpoints[i].Addr]
	}
	f.endpoints = endpoints
	f.picker = f.policy.Build(m)
	for i := range endpoints {
		f.nodes[endpoints[i].Addr] = f.picker.Node(i)
	}
	// Nobody promised that this slice lives on.
	clear(m.Nodes)
}

// shuffled is the set in another order.
func (f *fleet) shuffled() []tulle.Endpoint {
	endpoints := make([]tulle.Endpoint, len(f.endpoints))
	for i, j := range f.rng.Perm(len(endpoints)) {
		endpoints[i] = f.endpoints[j]
	}
	return endpoints
}

// churned is the set in another order, a quarter of it replaced.
func (f *fleet) churned() []tulle.Endpoint {
	endpoints := f.shuffled()
	quarter := endpoints[:(len(endpoints)+3)/4]
	clear(quarter)
	f.name(quarter)
	f.rng.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	return endpoints
}

// pick picks, and checks the index.
func (f *fleet) pick(among, avoid balancer.Set) (int, error) {
	i := f.picker.Pick(balancer.Query{Now: f.now, Among: among, Avoid: avoid})
	if i < -1 || i >= len(f.endpoints) || i == -1 && among == nil {
		return i, fmt.Errorf("%d endpoints: got index %d, want 0 to %d", len(f.endpoints), i, len(f.endpoints)-1)
	}
	return i, nil
}

// attempt is an attempt that runs.
type attempt struct {
	node  balancer.Node
	start time.Duration
}

// begin starts an attempt at node n.
func (f *fleet) begin(n balancer.Node) attempt {
	n.Begin(f.now)
	return attempt{n, f.now}
}

// end ends it well, now.
func (a attempt) end(now time.Duration) {
	a.node.Answer(a.start, now, tulle.FullSample)
	a.node.Judge(now, balancer.Judgement{Verdict: tulle.Success})
}

// drop ends it without telling anything of the endpoint, like a call that its
// caller cancelled.
func (a attempt) drop(now time.Duration) {
	a.node.Answer(a.start, now, tulle.NoSample)
	a.node.Judge(now, balancer.Judgement{})
}

// serve makes calls that all succeed and take the same time, as many at once as
// width says, and counts how many went to each endpoint. It ends with none
// running. The load is closed, as a new call starts when one ends: an open one
// would need a service time that depends on the queue to mean anything.
func (f *fleet) serve(calls, width int) ([]int, error) {
	counts := make([]int, len(f.endpoints))
	running := make([]attempt, 0, width)
	for k := range calls {
		f.now += latency / time.Duration(width)
		if len(running) == width {
			running[k%width].end(f.now)
		}
		i, err := f.pick(nil, nil)
		if err != nil {
			return nil, err
		}
		counts[i]++
		a := f.begin(f.picker.Node(i))
		if len(running) < width {
			running = append(running, a)
		} else {
			running[k%width] = a
		}
	}
	f.now += latency
	for _, a := range running {
		a.end(f.now)
	}
	return counts, nil
}

// randomSet draws a set of n indices, each in it with probability p.
func (f *fleet) randomSet(p float64) balancer.Set {
	s := balancer.NewSet(len(f.endpoints))
	for i := range f.endpoints {
		if f.rng.Float64() < p {
			s.Add(i)
		}
	}
	return s
}

// cost is what the Picker says an endpoint costs; ok is false when it is no
// Describer. Then the checks that compare costs have nothing to say.
func (f *fleet) cost(i int) (cost float64, ok bool) {
	d, ok := f.picker.(balancer.Describer)
	if !ok {
		return 0, false
	}
	return d.Describe(i, f.now).Cost, true
}

// costs are the costs by address.
func (f *fleet) costs() (costs map[string]float64, ok bool) {
	costs = map[string]float64{}
	for i := range f.endpoints {
		if costs[f.endpoints[i].Addr], ok = f.cost(i); !ok {
			return nil, false
		}
	}
	return costs, true
}

// near says that two figures are the same to 1 %: policies may pack them into
// few bits and cache them. One attempt too many is more than that.
func near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 0.01*max(math.Abs(a), math.Abs(b))
}

// setOf makes a set with room for n.
func setOf(n int, members ...int) balancer.Set {
	s := balancer.NewSet(n)
	for _, i := range members {
		s.Add(i)
	}
	return s
}
