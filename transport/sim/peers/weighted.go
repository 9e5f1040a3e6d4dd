package peers

import (
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// polling is the Picker of a policy that polls.
type polling struct {
	*picker
	period time.Duration
}

// Period implements Poller.
func (p polling) Period() time.Duration { return p.period }

// Polled implements Poller.
func (p polling) Polled(i, inFlight int, load tulle.Load, now time.Duration) {
	n := p.nodes[i]
	n.inFlight, n.load, n.heard, n.known = inFlight, load, now, true
}

// WeightedRoundRobin is what Prequal is compared with (Wydrowski et al., Load is not
// what you should balance, NSDI 2024, arXiv 2312.10172): endpoints in turn, each by
// its requests over its utilization and its share of errors, which servers report.
// The formula, the second between two calculations, the ten between two reports and
// the three minutes for which one holds are those of weighted_round_robin of gRPC
// (gRFC A58), as the paper gives none.
//
// It departs from gRFC A58 in that nobody waits for 10 s before a weight counts (all
// begin at once here), and in that turns are found by credits instead of strides,
// which gives the same shares. Utilization is the share of workers that are busy: a
// server that others slow down looks fuller. Where only its own use of a processor
// counts it does not, and alike servers then have equal weights.
type WeightedRoundRobin struct {
	// Period is the time between two polls. Default (0): 10 s.
	Period time.Duration

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// The constants of WeightedRoundRobin.
const (
	weightedPeriod = time.Second
	weightedPolls  = 10 * time.Second
	weightedHolds  = 3 * time.Minute
	weightedErrors = 1.0 // how much an error counts
)

// Build implements balancer.Policy.
func (w WeightedRoundRobin) Build(m balancer.Members) balancer.Picker {
	weighed := m.Now - weightedPeriod
	p := build(&rule{
		random: w.Rand,
		pick: func(p *picker, allowed []int, now time.Duration) int {
			if now-weighed >= weightedPeriod {
				p.weigh(now)
				weighed = now
			}
			return p.turn(allowed)
		},
	}, m)
	for _, n := range p.nodes {
		if n.weight == 0 {
			// Not all clients begin with the same endpoint.
			n.weight, n.credit = 1, float64(p.rule.random()>>11)/(1<<53)
		}
	}
	if w.Period <= 0 {
		w.Period = weightedPolls
	}
	return polling{picker: p, period: w.Period}
}

// turn is whose turn it is: each gets its weight as credit, and who has the most
// pays for all.
func (p *picker) turn(allowed []int) int {
	best, sum := allowed[0], 0.0
	for _, i := range allowed {
		n := p.nodes[i]
		n.credit += n.weight
		sum += n.weight
		if n.credit > p.nodes[best].credit {
			best = i
		}
	}
	p.nodes[best].credit -= sum
	return best
}

// weigh sets the weights. Who has none gets the mean; with less than two that have
// one all are equal.
func (p *picker) weigh(now time.Duration) {
	sum, count := 0.0, 0
	for _, n := range p.nodes {
		n.weight = n.capacity(now)
		if n.weight > 0 {
			sum += n.weight
			count++
		}
	}
	for _, n := range p.nodes {
		if count < 2 || n.weight == 0 {
			n.weight = 1
		} else {
			n.weight *= float64(count) / sum
		}
	}
}

// capacity is how many requests a second a server could do by its report, fewer if it
// has errors; 0: nobody knows.
func (n *node) capacity(now time.Duration) float64 {
	if !n.known || now-n.heard > weightedHolds || n.load.QPS <= 0 || n.load.Application <= 0 {
		return 0
	}
	return n.load.QPS / (n.load.Application + weightedErrors*n.load.EPS/n.load.QPS)
}

// YARP is Prequal's YARP-Po2C (the same paper; the rule is PowerOfTwoChoices of
// Microsoft's YARP): the one of two random endpoints that has the fewer requests,
// those of all clients, by its latest answer to a poll. How often it polls is not
// told; the period here is a guess. Attempts of its own since then do not count.
type YARP struct {
	// Period is the time between two polls. Default (0): 500 ms.
	Period time.Duration

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// yarpPeriod is YARP's period.
const yarpPeriod = 500 * time.Millisecond

// Build implements balancer.Policy.
func (y YARP) Build(m balancer.Members) balancer.Picker {
	load := func(n *node, _ time.Duration) float64 { return float64(n.inFlight) }
	if y.Period <= 0 {
		y.Period = yarpPeriod
	}
	return polling{period: y.Period, picker: build(&rule{
		random: y.Rand,
		pick:   func(p *picker, allowed []int, now time.Duration) int { return p.lower(allowed, now, load) },
	}, m)}
}
