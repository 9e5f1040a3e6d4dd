package peers

import (
	"time"

	"github.com/tullemesh/tulle/balancer"
)

// C3 is the ranking of C3 (Suresh et al., C3: Cutting Tail Latency in Cloud Data
// Stores via Adaptive Replica Selection, NSDI 2015): the lowest R − 1/μ + q³/μ, where
// R is the response time, 1/μ the service time, and q one more than the requests at
// the server by its latest answers, plus its own ones that wait, each as many as there
// are clients. The means are exponential, with a weight of 0.9 for what is new; who is
// not known has the score 0.
//
// Its other half, rates of sending that each client adapts, is not part of it. They
// keep all clients from sending all calls to one that has not answered yet; here who is
// not known is the last choice while an attempt waits. Nor are groups of replicas: it
// ranks all endpoints. A request counts at its server also while it is worked on.
type C3 struct {
	// Clients is how many there are. Default (0): 1; in a simulation the number of
	// its clients.
	Clients int

	// Probing ranks the answers in Prequal's pool, each with the number of requests
	// that it tells, in place of all endpoints with those of their latest answers.
	// So we read the comparison in Prequal's paper.
	Probing bool

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// c3New is the weight of a new value.
const c3New = 0.9

// c3Mean takes in a value.
func c3Mean(mean, value float64) float64 { return c3New*value + (1-c3New)*mean }

// Build implements balancer.Policy.
func (c C3) Build(m balancer.Members) balancer.Picker {
	clients := float64(max(c.Clients, 1))
	score := func(n *node, queue float64) float64 {
		if n.service == 0 && n.waiting > 0 {
			return finaglePenalty * float64(n.waiting)
		}
		q := 1 + clients*float64(n.waiting) + queue
		return n.latency + q*q*q*n.service
	}
	all := listening{build(&rule{
		random: c.Rand,
		answer: func(n *node, took, _ time.Duration) {
			// The latency of this rule is R − 1/μ. Without an answer nobody knows
			// of any service.
			n.latency = c3Mean(n.latency, float64(took-n.served))
			n.served = 0
		},
		pick: func(p *picker, allowed []int, _ time.Duration) int {
			start := p.below(len(allowed)) // so that chance decides among equals
			best := allowed[start]
			for k := range allowed {
				i := allowed[(start+k)%len(allowed)]
				if score(p.nodes[i], p.nodes[i].queue) < score(p.nodes[best], p.nodes[best].queue) {
					best = i
				}
			}
			return best
		},
	}, m)}
	if !c.Probing {
		return all
	}
	p := newPool(m, 0, c.Rand)
	p.order = func() func(a, b *probe) float64 {
		return func(a, b *probe) float64 {
			return score(all.nodes[a.i], float64(a.inFlight)) - score(all.nodes[b.i], float64(b.inFlight))
		}
	}
	return probing{all, p}
}

// probing is the Picker of a policy that picks from a pool by what it knows of endpoints
// from their answers.
type probing struct {
	listening
	pool *pool
}

// Pick implements balancer.Picker.
func (p probing) Pick(q balancer.Query) int { return p.pool.Pick(q) }

// Probe implements Prober.
func (p probing) Probe(now time.Duration) []int { return p.pool.Probe(now) }

// Probed implements Prober.
func (p probing) Probed(i, inFlight int, latency, now time.Duration) {
	p.pool.Probed(i, inFlight, latency, now)
}

// listening is the Picker of a policy whose servers report with their answers.
type listening struct{ *picker }

// Answered implements Listener.
func (p listening) Answered(i, inFlight int, service, _ time.Duration) {
	n := p.nodes[i]
	n.queue = c3Mean(n.queue, float64(inFlight))
	n.service = c3Mean(n.service, float64(service))
	n.served = service
}
