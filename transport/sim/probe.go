package sim

import (
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

// probing is the balancer of a client, and what it knows of Pickers that probe.
type probing struct {
	balancer.Policy
	prober peers.Prober // the present Picker, nil if it does not probe
	set    []*server
	byAddr map[string]*server
}

// Build implements balancer.Policy.
func (p *probing) Build(m balancer.Members) balancer.Picker {
	picker := p.Policy.Build(m)
	p.prober, _ = picker.(peers.Prober)
	if p.prober != nil {
		p.set = p.set[:0]
		for i := range m.Endpoints {
			p.set = append(p.set, p.byAddr[m.Endpoints[i].Addr])
		}
	}
	return picker
}

// probe is a question to a server on its way, and then its answer.
type probe struct {
	prober   peers.Prober
	server   *server
	index    int
	inFlight int
	latency  time.Duration
}

// sendProbes sends those that the client's balancer wants after an attempt.
func (r *run) sendProbes(c *client) {
	p := c.probing
	if p.prober == nil {
		return
	}
	for _, i := range p.prober.Probe(time.Duration(r.clock.at)) {
		q, id := r.probes.get()
		*q = probe{prober: p.prober, server: p.set[i], index: i}
		r.agenda.plan(r.clock.at+r.delay(), probeEvent, id, 0)
	}
}

// probed is the arrival of a probe at its server. A server that does not answer
// calls does not answer probes.
func (r *run) probed(id int32) {
	q, now := r.probes.at(id), r.clock.at
	s := q.server
	if s.gone || s.fault(now, "refusing", "blackhole", "stuck") != nil {
		r.probes.put(id)
		return
	}
	q.inFlight, q.latency = s.backlog, s.latencyAt(s.backlog)
	at := now
	for _, e := range s.faults {
		if e.Kind == "pausing" {
			at = max(at, e.still(now))
		}
	}
	r.agenda.plan(at+r.delay(), probedEvent, id, 0)
}

// tellProbe gives an answer to who asked.
func (r *run) tellProbe(id int32) {
	q := r.probes.at(id)
	q.prober.Probed(q.index, q.inFlight, q.latency, time.Duration(r.clock.at))
	r.probes.put(id)
}
