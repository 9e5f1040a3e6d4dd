package sim

import (
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

// probing is the balancer of a client, and what it knows of Pickers whose servers
// help them.
type probing struct {
	balancer.Policy
	prober   peers.Prober // the present Picker, nil if it does not probe
	poller   peers.Poller // the same if it polls
	listener peers.Listener
	set      []*server
	index    map[*server]int // in the set
	byAddr   map[string]*server
}

// Build implements balancer.Policy.
func (p *probing) Build(m balancer.Members) balancer.Picker {
	picker := p.Policy.Build(m)
	p.prober, _ = picker.(peers.Prober)
	p.poller, _ = picker.(peers.Poller)
	p.listener, _ = picker.(peers.Listener)
	p.set, p.index = p.set[:0], nil
	if p.prober == nil && p.poller == nil && p.listener == nil {
		return picker
	}
	p.index = make(map[*server]int, len(m.Endpoints))
	for i := range m.Endpoints {
		s := p.byAddr[m.Endpoints[i].Addr]
		p.set = append(p.set, s)
		p.index[s] = i
	}
	return picker
}

// probe is a question to a server on its way, and then its answer.
type probe struct {
	prober   peers.Prober
	poller   peers.Poller // who asks, if it is a poll
	server   *server
	index    int
	inFlight int
	latency  time.Duration
	load     tulle.Load
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
	q.inFlight = s.backlog
	if q.poller != nil {
		q.load = s.load(now)
	} else {
		q.latency = s.latencyAt(s.backlog)
	}
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
	q, now := r.probes.at(id), time.Duration(r.clock.at)
	if q.poller != nil {
		q.poller.Polled(q.index, q.inFlight, q.load, now)
	} else {
		q.prober.Probed(q.index, q.inFlight, q.latency, now)
	}
	r.probes.put(id)
}
