package peers

import (
	"math/rand/v2"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// A node is what a policy of this package knows of one endpoint.
type node struct {
	waiting int
	latency float64 // ns; 0: none yet
	stamp   time.Duration
	success float64
	picked  time.Duration // when it was last taken
	starts  []time.Duration

	// What the server said of itself: in its latest answer to a poll,
	inFlight int
	load     tulle.Load
	heard    time.Duration
	known    bool

	// and with its answers to attempts, the last of them still to be counted.
	queue, service float64
	served         time.Duration

	weight, credit float64 // of a turn

	rule *rule
}

// rule is what tells one policy from another.
type rule struct {
	random func() uint64
	seed   float64 // latency of a node that nothing is known of
	track  bool    // keep the start of each attempt

	// answer takes in how long an attempt waited, judge what it came to.
	answer func(n *node, took, now time.Duration)
	judge  func(n *node, j balancer.Judgement, now time.Duration)

	// pick chooses among what is allowed, which is not empty.
	pick func(p *picker, allowed []int, now time.Duration) int
}

// Begin implements balancer.Node.
func (n *node) Begin(now time.Duration) {
	n.waiting++
	if n.rule.track {
		n.starts = append(n.starts, now)
	}
}

// Answer implements balancer.Node.
func (n *node) Answer(start, now time.Duration, _ tulle.Sampling) {
	n.waiting--
	for i, s := range n.starts {
		if s == start {
			n.starts = append(n.starts[:i], n.starts[i+1:]...)
			break
		}
	}
	if n.rule.answer != nil {
		n.rule.answer(n, max(now-start, 0), now)
	}
}

// Judge implements balancer.Node.
func (n *node) Judge(now time.Duration, j balancer.Judgement) {
	if n.rule.judge != nil && (j.Verdict != tulle.Neither || j.Throttled) {
		n.rule.judge(n, j, now)
	}
}

// failed says that an attempt counts against its endpoint.
func failed(j balancer.Judgement) bool { return j.Verdict == tulle.Failure || j.Throttled }

// picker is the Picker of one set.
type picker struct {
	rule     *rule
	nodes    []*node
	everyone []int
	some     []int
}

// build makes the Picker of a set; nodes that are known stay.
func build(r *rule, m balancer.Members) *picker {
	if r.random == nil {
		r.random = rand.Uint64
	}
	p := &picker{rule: r, nodes: make([]*node, len(m.Endpoints))}
	for i := range p.nodes {
		p.everyone = append(p.everyone, i)
		if i < len(m.Nodes) {
			if n, ok := m.Nodes[i].(*node); ok {
				n.rule = r
				p.nodes[i] = n
				continue
			}
		}
		p.nodes[i] = &node{latency: r.seed, stamp: m.Now, success: 1, rule: r}
	}
	return p
}

// Node implements balancer.Picker.
func (p *picker) Node(i int) balancer.Node { return p.nodes[i] }

// Pick implements balancer.Picker.
func (p *picker) Pick(q balancer.Query) int {
	allowed := p.allowed(&q)
	switch len(allowed) {
	case 0:
		return -1
	case 1:
		p.nodes[allowed[0]].picked = q.Now
		return allowed[0]
	}
	return p.rule.pick(p, allowed, q.Now)
}

// allowed lists what a query leaves to choose from.
func (p *picker) allowed(q *balancer.Query) []int {
	if q.Among == nil && q.Avoid == nil {
		return p.everyone
	}
	p.some = p.some[:0]
	for i := range p.nodes {
		if q.Allows(i) {
			p.some = append(p.some, i)
		}
	}
	if len(p.some) > 0 {
		return p.some
	}
	for i := range p.nodes {
		if q.Among == nil || q.Among.Has(i) {
			p.some = append(p.some, i)
		}
	}
	return p.some
}

// below is a uniform number from 0 to n-1.
func (p *picker) below(n int) int { return int(p.rule.random() % uint64(n)) }

// pair draws two different ones.
func (p *picker) pair(allowed []int) (a, b int) {
	i, k := p.below(len(allowed)), p.below(len(allowed)-1)
	if k >= i {
		k++
	}
	return allowed[i], allowed[k]
}
