package balancer

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
)

const (
	peakTau    = 10 * time.Second
	peakMinTau = time.Millisecond

	// peakPenalty is the load of an endpoint that has an attempt waiting and
	// nothing to judge it by: 39 hours in nanoseconds.
	peakPenalty = math.MaxInt64 >> 16
)

// PeakEWMA is the rule of Finagle's peak EWMA balancer, for comparison and for
// those who know it: of two distinct random endpoints it takes the one with the
// lower load (the first, if equal), where
//
//	load = cost × (waiting + 1) ÷ weight
//
// The cost is a moving mean of latencies that is quick to believe bad news: a
// sample above it, as it was when somebody last looked, replaces it; another
// moves it by 1 - exp(-Δ/Tau), Δ being the time since that look. Looking counts
// as a sample of 0: an endpoint that is not used loses its cost and is tried
// again in the end. One that has no cost yet and an attempt waiting has a load
// of 39 hours, so a new endpoint gets one attempt and then waits for its answer.
// As two are compared, no endpoint gets more than 2/n of the traffic.
//
// It differs from Finagle in what a sample is:
//
//   - The time ends at the headers or the first message. In Finagle it ends when
//     the response has been read, so a long stream there looks like a slow
//     endpoint.
//   - Failures that say nothing of latency ([tulle.NoSample]) are no sample. In
//     Finagle the time of every attempt is one, so an endpoint that refuses
//     connections looks excellent.
//   - Where only a lower bound is known ([tulle.CensoredSample]) it counts when
//     it is above the cost. In Finagle any other would lower the cost.
//
// Like there, failures do not count against an endpoint either: one whose
// attempts all fail at once loses its cost within some Tau and draws traffic.
// Have ejection on, or use [ShortestExpectedDelay].
//
// The zero value is ready to use.
type PeakEWMA struct {
	// Tau is how long a sample is remembered: after it 1/e is left. Default (0
	// or less): 10 s. Values below 1 ms count as 1 ms. When it changes under a
	// running destination the costs are kept, and attempts that are waiting at
	// that moment are not counted in the loads.
	Tau time.Duration

	// Rand returns uniform random bits. Default (nil): math/rand/v2. It must
	// be safe for concurrent use.
	Rand func() uint64
}

// Build implements Policy.
func (e PeakEWMA) Build(m Members) Picker {
	tau := e.Tau
	if tau <= 0 {
		tau = peakTau
	}
	rate := 1 / float64(max(tau, peakMinTau))
	p := &peakPicker{members: make([]peakMember, len(m.Endpoints)), rand: e.Rand}
	if p.rand == nil {
		p.rand = rand.Uint64
	}
	nodes, slab := carry(m, func(n *peakNode) bool { return n.rate == rate })
	for i := range slab {
		slab[i].rate = rate
		slab[i].set(0, m.Now)
	}
	for i, n := range nodes {
		if old, ok := known(m, i).(*peakNode); ok && old != nil && old != n {
			n.set(old.cost(m.Now), m.Now)
		}
		p.members[i] = peakMember{node: n, share: m.Endpoints[i].Share()}
	}
	return p
}

// peakPicker is the Picker of one set.
type peakPicker struct {
	members []peakMember
	rand    func() uint64
}

// peakMember is an endpoint in one set: what lives on, and its weight here.
type peakMember struct {
	node  *peakNode
	share float64
}

// load is what picks compare, given the node's cost.
func (m *peakMember) load(cost float64) float64 {
	waiting := m.node.waiting.Load()
	if cost == 0 && waiting != 0 {
		return (peakPenalty + float64(waiting)) / m.share
	}
	return cost * float64(waiting+1) / m.share
}

// Pick implements Picker.
func (p *peakPicker) Pick(q Query) int {
	i, j := drawPair(&q, len(p.members), p.rand())
	if j < 0 {
		return i
	}
	a, b := &p.members[i], &p.members[j]
	first, second := a.load(a.node.cost(q.Now)), b.load(b.node.cost(q.Now))
	a.node.see(int64(q.Now))
	b.node.see(int64(q.Now))
	if second < first {
		return j
	}
	return i
}

// Node implements Picker.
func (p *peakPicker) Node(i int) Node { return p.members[i].node }

// Describe implements Describer. The cost is the load in nanoseconds. Other than
// a pick it is no look: watching a client must not change what it does.
func (p *peakPicker) Describe(i int, now time.Duration) Stat {
	m := &p.members[i]
	cost := m.node.cost(now)
	return Stat{Cost: m.load(cost), Latency: time.Duration(cost), Success: -1}
}

// peakNode holds the cost of one endpoint without a lock.
//
// A cost that decays from c at time s is c·exp(-(t-s)/tau) = exp(level - t/tau)
// with level = ln c + s/tau. So one word holds value and time stamp together: a
// read is a function of it and a sample one compare-and-swap, and no interleaving
// pairs the value of one sample with the time of another.
//
// The level does not say when it was last looked at, and the weight of the next
// sample depends on that, so it is a word of its own. Leaving it out would make
// every look happen at the last instant before a sample: the cost would be the
// highest of the decayed samples, a rule near to Finagle's for busy endpoints and
// far from it for others. The two words are not read as one. A look between
// gives a sample the weight of a moment before or after, which either order of
// the two would have given as well.
//
// It fills a cache line, so that cores which are busy with different endpoints
// do not disturb each other.
type peakNode struct {
	level   atomic.Uint64 // float64; -Inf while there is no cost
	seen    atomic.Int64  // time of the last look or sample
	waiting atomic.Int64
	rate    float64 // 1 / tau, in 1/ns; never changes
	_       [32]byte
}

// set makes c the cost at t. It is for nodes that nobody else has yet.
func (n *peakNode) set(c float64, t time.Duration) {
	n.level.Store(math.Float64bits(math.Log(c) + float64(t)*n.rate))
	n.seen.Store(int64(t))
}

// at is the cost that a level means at t.
func (n *peakNode) at(level float64, t int64) float64 {
	return math.Exp(level - float64(t)*n.rate)
}

// cost is the cost at now. Time does not run back: for a caller whose now is a
// little old, the cost is that of the last look.
func (n *peakNode) cost(now time.Duration) float64 {
	level := math.Float64frombits(n.level.Load())
	return n.at(level, max(int64(now), n.seen.Load()))
}

// see moves the time of the last look on. When two do it at once the earlier
// one may win, by the nanoseconds between them.
func (n *peakNode) see(t int64) {
	if t > n.seen.Load() {
		n.seen.Store(t)
	}
}

// Begin implements Node.
func (n *peakNode) Begin(time.Duration) { n.waiting.Add(1) }

// Answer implements Node. The sample comes first, as an endpoint with neither
// cost nor waiting attempts would have load 0 for a moment.
func (n *peakNode) Answer(start, now time.Duration, sampling tulle.Sampling) {
	if sampling != tulle.NoSample {
		n.sample(float64(max(now-start, 0)), now, sampling)
	}
	n.waiting.Add(-1)
}

// Judge implements Node. Verdicts mean nothing here.
func (n *peakNode) Judge(time.Duration, Judgement) {}

// sample takes in a latency in nanoseconds.
func (n *peakNode) sample(latency float64, now time.Duration, sampling tulle.Sampling) {
	for {
		seen := n.seen.Load()
		t := max(int64(now), seen)
		old := n.level.Load()
		level := math.Float64frombits(old)
		cost := latency
		if before := n.at(level, seen); latency <= before {
			if sampling == tulle.CensoredSample {
				return
			}
			passed := float64(t-seen) * n.rate
			cost = n.at(level, t) - latency*math.Expm1(-passed)
		}
		level = math.Log(cost) + float64(t)*n.rate
		if n.level.CompareAndSwap(old, math.Float64bits(level)) {
			n.see(t)
			return
		}
	}
}
