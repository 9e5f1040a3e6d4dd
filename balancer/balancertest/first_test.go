package balancertest_test

import (
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// first is a small sound policy: the least waiting of the first 16 or more from a
// moving start on, and no weights. Its faults are switched on one by one.
type first struct {
	nodes []*counter
	start *atomic.Uint64
}

// counter is its Node.
type counter struct {
	waiting atomic.Int64
	waited  atomic.Int64 // time of all samples
}

func newFirst(m balancer.Members) balancer.Picker { return buildFirst(m) }

func buildFirst(m balancer.Members) *first {
	f := &first{nodes: make([]*counter, len(m.Endpoints)), start: new(atomic.Uint64)}
	for i := range f.nodes {
		if n, ok := m.Nodes[i].(*counter); ok {
			f.nodes[i] = n
		} else {
			f.nodes[i] = new(counter)
		}
	}
	return f
}

func (f *first) Pick(q balancer.Query) int {
	n := len(f.nodes)
	start := int(f.start.Add(1) % uint64(n))
	for _, allowed := range []func(int) bool{
		q.Allows,
		func(i int) bool { return q.Among == nil || q.Among.Has(i) },
	} {
		best := -1
		for k := range n {
			if best >= 0 && k >= 16 {
				break
			}
			i := (start + k) % n
			if allowed(i) && (best < 0 || f.nodes[i].waiting.Load() < f.nodes[best].waiting.Load()) {
				best = i
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

func (f *first) Node(i int) balancer.Node { return f.nodes[i] }

func (f *first) Describe(i int, _ time.Duration) balancer.Stat {
	n := f.nodes[i]
	return balancer.Stat{Cost: float64(n.waiting.Load()), Latency: time.Duration(n.waited.Load()), Success: -1}
}

func (c *counter) Begin(time.Duration) { c.waiting.Add(1) }

func (c *counter) Answer(start, now time.Duration, s tulle.Sampling) {
	c.waiting.Add(-1)
	if s == tulle.FullSample {
		c.waited.Add(int64(max(now-start, 0)))
	}
}

func (c *counter) Judge(time.Duration, balancer.Judgement) {}
