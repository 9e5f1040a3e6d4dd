package balancer

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
)

// LeastRequest draws some endpoints at random and takes the one with the fewest
// waiting attempts for its weight:
//
//	(waiting + 1) ÷ weight
//
// It needs no time to learn and forgets nothing, and looks neither at latency
// nor at failures: an endpoint that fails at once never has a queue, so it
// draws traffic. Use it where all endpoints are alike and this client sends
// most of their load, with ejection on.
//
// Weights hold while there is a queue. When most endpoints are idle the
// heavier of the drawn always wins, and with two choices no endpoint gets more
// than 2/n of the traffic.
//
// The candidates are distinct, unlike those of gRPC's least_request; of equal
// ones the first drawn wins. The zero value is ready to use.
type LeastRequest struct {
	// Choices is the number of endpoints to compare. Default (0): 2. Range: 2
	// to 32; smaller and larger values count as the nearest of these. From
	// two on the gain is small, and with many clients that look at the same
	// counts it turns into a loss.
	Choices int

	// Rand returns uniform random bits. Default (nil): math/rand/v2. It must
	// be safe for concurrent use.
	Rand func() uint64
}

// Build implements Policy.
func (l LeastRequest) Build(m Members) Picker {
	p := &leastPicker{
		members: make([]leastMember, len(m.Endpoints)),
		choices: min(max(l.Choices, 2), maxSampled),
		rand:    l.Rand,
	}
	if p.rand == nil {
		p.rand = rand.Uint64
	}
	nodes, _ := carry[leastNode](m, nil)
	for i, n := range nodes {
		p.members[i] = leastMember{node: n, share: m.Endpoints[i].Share()}
	}
	return p
}

// leastPicker is the Picker of one set.
type leastPicker struct {
	members []leastMember
	choices int
	rand    func() uint64
}

// leastMember is an endpoint in one set: what lives on, and its weight here.
type leastMember struct {
	node  *leastNode
	share float64
}

// cost is what picks compare.
func (m *leastMember) cost() float64 {
	return float64(m.node.waiting.Load()+1) / m.share
}

// Pick implements Picker.
func (p *leastPicker) Pick(q Query) int {
	if p.choices == 2 {
		a, b := drawPair(&q, len(p.members), p.rand())
		if b >= 0 && p.members[b].cost() < p.members[a].cost() {
			return b
		}
		return a
	}
	c := newCandidates(q, len(p.members), p.choices, p.rand())
	best := c.next()
	if best < 0 {
		return -1
	}
	cost := p.members[best].cost()
	for i := c.next(); i >= 0; i = c.next() {
		if other := p.members[i].cost(); other < cost {
			best, cost = i, other
		}
	}
	return best
}

// Node implements Picker.
func (p *leastPicker) Node(i int) Node { return p.members[i].node }

// Describe implements Describer. The cost is in attempts.
func (p *leastPicker) Describe(i int, _ time.Duration) Stat {
	return Stat{Cost: p.members[i].cost(), Success: -1}
}

// leastNode counts the attempts that wait for an endpoint. It fills a cache
// line, so that cores which count at different endpoints do not disturb each
// other.
type leastNode struct {
	waiting atomic.Int64
	_       [56]byte
}

// Begin implements Node.
func (n *leastNode) Begin(time.Duration) { n.waiting.Add(1) }

// Answer implements Node.
func (n *leastNode) Answer(_, _ time.Duration, _ tulle.Sampling) { n.waiting.Add(-1) }

// Judge implements Node. Verdicts mean nothing here.
func (n *leastNode) Judge(time.Duration, Judgement) {}
