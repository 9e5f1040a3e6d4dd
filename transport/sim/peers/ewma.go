package peers

import (
	"math"
	"time"

	"github.com/tullemesh/tulle/balancer"
)

const (
	tau = float64(10 * time.Second)

	// finaglePenalty is the load of an endpoint that has no latency yet and an
	// attempt waiting.
	finaglePenalty = math.MaxInt64 >> 16
)

// peak takes in a latency as Finagle does: one above the estimate replaces it,
// another moves it by the time that has passed.
func peak(n *node, sample float64, now time.Duration) {
	passed := float64(max(now-n.stamp, 0))
	n.stamp = max(now, n.stamp)
	if sample > n.latency {
		n.latency = sample
		return
	}
	w := math.Exp(-passed / tau)
	n.latency = n.latency*w + sample*(1-w)
}

// Finagle is the peak EWMA balancer of Finagle
// (github.com/twitter/finagle, loadbalancer/PeakEwma.scala and p2c/P2CPick.scala):
// the lower latency × (waiting + 1) of two, where looking counts as a sample of
// 0. Failures count by their time alone. Failure accrual, a layer of its own
// there, is not part of it.
type Finagle struct {
	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// Build implements balancer.Policy.
func (f Finagle) Build(m balancer.Members) balancer.Picker {
	load := func(n *node, now time.Duration) float64 {
		peak(n, 0, now)
		if n.latency == 0 && n.waiting != 0 {
			return finaglePenalty + float64(n.waiting)
		}
		return n.latency * float64(n.waiting+1)
	}
	return build(&rule{
		random: f.Rand,
		answer: func(n *node, took, now time.Duration) { peak(n, float64(took), now) },
		pick:   func(p *picker, allowed []int, now time.Duration) int { return p.lower(allowed, now, load) },
	}, m)
}

// lower is the one of two random ones that has the lower load.
func (p *picker) lower(allowed []int, now time.Duration, load func(*node, time.Duration) float64) int {
	a, b := p.pair(allowed)
	if load(p.nodes[b], now) < load(p.nodes[a], now) {
		return b
	}
	return a
}

// Linkerd is the balancer of Linkerd 2's proxy (github.com/linkerd/linkerd2-proxy
// with tower's PeakEwma): Finagle's rule, with 30 ms for an endpoint that nothing
// is known of.
type Linkerd struct {
	// Biased adds the proxy's optional bias: nothing is known counts as 1 s,
	// and an error answer as a latency of at least 5 s, or of the time that it
	// named. There, connections that fail are not seen by it; here they count as
	// error answers, which is to its advantage.
	Biased bool

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// The constants of Linkerd.
const (
	linkerdSeed       = float64(30 * time.Millisecond)
	linkerdBiasedSeed = float64(time.Second)
	linkerdPenalty    = 5 * time.Second
)

// Build implements balancer.Policy.
func (l Linkerd) Build(m balancer.Members) balancer.Picker {
	load := func(n *node, now time.Duration) float64 {
		peak(n, 0, now)
		return n.latency * float64(n.waiting+1)
	}
	r := &rule{
		random: l.Rand, seed: linkerdSeed,
		answer: func(n *node, took, now time.Duration) { peak(n, float64(took), now) },
		pick:   func(p *picker, allowed []int, now time.Duration) int { return p.lower(allowed, now, load) },
	}
	if l.Biased {
		r.seed = linkerdBiasedSeed
		r.judge = func(n *node, j balancer.Judgement, now time.Duration) {
			if failed(j) {
				peak(n, float64(max(linkerdPenalty, j.Until-now)), now)
			}
		}
	}
	return build(r, m)
}

// GoZero is the p2c balancer of go-zero (github.com/zeromicro/go-zero,
// zrpc/internal/balancer/p2c): the lower √latency × (waiting + 1) of a pair of
// which both succeed more often than not, for which it draws up to three times.
// If the other one of the pair has not been taken for a second, it is taken.
type GoZero struct {
	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// The constants of GoZero.
const (
	goZeroDraws   = 3
	goZeroHealthy = 0.5
	goZeroForce   = time.Second
)

// Build implements balancer.Policy.
func (g GoZero) Build(m balancer.Members) balancer.Picker {
	var weight float64 // of the latest attempt's past, from answer to judge
	load := func(n *node) float64 { return math.Floor(math.Sqrt(n.latency+1)) * float64(n.waiting+1) }
	return build(&rule{
		random: g.Rand,
		answer: func(n *node, took, now time.Duration) {
			weight = math.Exp(-float64(max(now-n.stamp, 0)) / tau)
			n.stamp = now
			if n.latency == 0 {
				weight = 0
			}
			n.latency = n.latency*weight + float64(took)*(1-weight)
		},
		judge: func(n *node, j balancer.Judgement, _ time.Duration) {
			good := 1.0
			if failed(j) {
				good = 0
			}
			n.success = n.success*weight + good*(1-weight)
		},
		pick: func(p *picker, allowed []int, now time.Duration) int {
			a, b := p.pair(allowed)
			for k := 1; k < goZeroDraws && min(p.nodes[a].success, p.nodes[b].success) <= goZeroHealthy; k++ {
				a, b = p.pair(allowed)
			}
			if load(p.nodes[a]) > load(p.nodes[b]) {
				a, b = b, a
			}
			return p.force(a, b, now, goZeroForce)
		},
	}, m)
}

// force takes the better one of two, or the other if that was not taken for so
// long.
func (p *picker) force(better, other int, now, after time.Duration) int {
	if now-p.nodes[other].picked > after {
		better = other
	}
	p.nodes[better].picked = now
	return better
}

// Kratos is the p2c balancer of kratos (github.com/go-kratos/kratos, selector/p2c
// and selector/node/ewma): the lower √(latency + 5 ms) × (waiting + 1) ÷ success
// of two. Where most waiting attempts are older than the latency, their mean age
// is taken for it. If the other one has not been taken for 3 s, it is taken. What
// it computes is kept for 5 ms there, and not here.
type Kratos struct {
	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// The constants of Kratos.
const (
	kratosTau     = float64(600 * time.Millisecond)
	kratosOffset  = float64(5 * time.Millisecond)
	kratosUnknown = float64(100 * time.Microsecond) // in place of the square root
	kratosForce   = 3 * time.Second
	kratosTracked = 200
)

// Build implements balancer.Policy.
func (k Kratos) Build(m balancer.Members) balancer.Picker {
	var weight float64 // of the latest attempt's past, from answer to judge
	return build(&rule{
		random: k.Rand, track: true,
		answer: func(n *node, took, now time.Duration) {
			weight = math.Exp(-float64(max(now-n.stamp, 0)) / kratosTau)
			n.stamp = now
			if n.latency == 0 {
				weight = 0
			}
			n.latency = n.latency*weight + float64(took)*(1-weight)
		},
		judge: func(n *node, j balancer.Judgement, _ time.Duration) {
			good := 1.0
			if failed(j) {
				good = 0
			}
			n.success = n.success*weight + good*(1-weight)
		},
		pick: func(p *picker, allowed []int, now time.Duration) int {
			a, b := p.pair(allowed)
			if kratosLoad(p.nodes[b], now) < kratosLoad(p.nodes[a], now) {
				a, b = b, a
			}
			return p.force(a, b, now, kratosForce)
		},
	}, m)
}

// kratosLoad is what Kratos compares.
func kratosLoad(n *node, now time.Duration) float64 {
	q := float64(n.waiting + 1)
	if n.latency == 0 {
		return kratosUnknown * q
	}
	latency := max(n.latency, overdue(n, now))
	return math.Sqrt(latency+kratosOffset) * q / max(n.success, 1e-3)
}

// overdue is the mean age of the waiting attempts that are older than the latency,
// if those are the majority.
func overdue(n *node, now time.Duration) float64 {
	sum, count := 0.0, 0
	tracked := n.starts[:min(len(n.starts), kratosTracked)]
	for _, s := range tracked {
		if age := float64(now - s); age > n.latency {
			sum += age
			count++
		}
	}
	if count <= len(tracked)/2 || count == 0 {
		return 0
	}
	return sum / float64(count)
}
