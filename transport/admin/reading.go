package admin

import (
	"math"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
)

// fresh is how old a reading may be for who asks: many that look at once share
// one.
const fresh = 100 * time.Millisecond

// A reading is what was seen of the source at a moment. It is never changed.
type reading struct {
	at       time.Time
	snap     transport.Snapshot
	services []Summary // one for each of snap.Services
	totals   Totals
	base     *mark // an earlier moment to compare with, or nil
	changes  []Change
	seq      uint64 // number of the latest change
}

// look reads the source, or returns what was read a moment ago.
func (h *Handler) look() *reading {
	config := h.configStatus()
	h.looking.Lock()
	defer h.looking.Unlock()
	now := time.Now()
	if h.latest != nil && now.Sub(h.latest.at) < fresh {
		return h.latest
	}
	r := &reading{at: now, snap: h.source.Snapshot(), base: h.past.base(now)}
	for i := range r.snap.Services {
		sanitize(&r.snap.Services[i])
	}
	r.summarize(h.past.last)
	if h.past.due(now, h.cfg.Interval) {
		h.past.record(r, config)
	}
	r.changes, r.seq = h.past.changes.latest(), h.past.changes.seq
	h.latest = r
	return r
}

// configStatus asks for the state of the configuration, nil where there is none.
func (h *Handler) configStatus() *ConfigStatus {
	if h.cfg.ConfigStatus == nil {
		return nil
	}
	s := h.cfg.ConfigStatus()
	s.Error = clean(s.Error)
	return &s
}

// sanitize makes a snapshot fit for JSON, which has no infinities, and for eyes
// that are not to see what is in URLs.
func sanitize(s *transport.ServiceSnapshot) {
	s.DiscoveryError = clean(s.DiscoveryError)
	s.RetryBudget = finite(s.RetryBudget)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		e.Cost, e.Chance = finite(e.Cost), finite(e.Chance)
		if e.Load != nil {
			e.Load = finiteLoad(e.Load)
		}
	}
}

// finite is x, or -1 where x is no number or no end of them.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return -1
	}
	return x
}

// finiteLoad is a report without the figures that are no numbers. The report is
// shared with the transport, so it is copied.
func finiteLoad(l *tulle.Load) *tulle.Load {
	c := *l
	for _, f := range []*float64{&c.CPU, &c.Memory, &c.Application, &c.QPS, &c.EPS} {
		*f = finite(*f)
	}
	c.Utilization, c.Named = finiteMap(l.Utilization), finiteMap(l.Named)
	return &c
}

// finiteMap is finiteLoad for figures with names.
func finiteMap(m map[string]float64) map[string]float64 {
	if m == nil {
		return nil
	}
	c := make(map[string]float64, len(m))
	for k, v := range m {
		c[k] = finite(v)
	}
	return c
}

// summarize adds up endpoints and services.
func (r *reading) summarize(last *mark) {
	r.services = make([]Summary, len(r.snap.Services))
	r.totals.Success, r.totals.Rate = -1, -1
	if r.base != nil {
		r.totals.Rate = 0
	}
	var successes, outcomes float64
	for i := range r.snap.Services {
		svc, sum := &r.snap.Services[i], &r.services[i]
		sum.fill(svc)
		sum.Rate = r.base.rate(svc, r.at)
		r.totals.add(svc, sum)
		if was := last.service(keyOf(svc)); was != nil {
			r.totals.attempts += was.sum(svc)
		}
		successes += svc.Successes
		outcomes += svc.Successes + svc.Failures
	}
	if outcomes > 0 {
		r.totals.Success = successes / outcomes
	}
}

// fill adds up the endpoints of a service.
func (sum *Summary) fill(svc *transport.ServiceSnapshot) {
	for i := range svc.Endpoints {
		e := &svc.Endpoints[i]
		sum.States.add(e.State)
		sum.Waiting += e.Waiting
		sum.Streaming += e.Streaming
	}
	sum.Success = -1
	if n := svc.Successes + svc.Failures; n > 0 {
		sum.Success = svc.Successes / n
	}
	sum.Problems = problems(svc, &sum.States)
}

// add counts an endpoint.
func (s *States) add(state string) {
	switch state {
	case "healthy":
		s.Healthy++
	case "returning":
		s.Returning++
	case "probing":
		s.Probing++
	case "ejected":
		s.Ejected++
	case "dead":
		s.Dead++
	}
}

// Out is the number of endpoints that calls are kept off.
func (s *States) Out() int { return s.Ejected + s.Dead + s.Probing }

// Total is the number of endpoints.
func (s *States) Total() int { return s.Healthy + s.Returning + s.Out() }

// refusing says that the service breaker is open or half open, and in earnest.
func refusing(svc *transport.ServiceSnapshot) bool {
	return svc.Breaker != "closed" && svc.Breaker != "" && !svc.BreakerDark
}

// problems says what is wrong with a service, the worst first.
func problems(svc *transport.ServiceSnapshot, states *States) []Problem {
	list := []Problem{}
	if refusing(svc) {
		list = append(list, BreakerNotClosed)
	}
	if states.Total() == 0 {
		list = append(list, NoEndpoints)
	}
	if svc.DiscoveryError != "" {
		list = append(list, DiscoveryFails)
	}
	if states.Out() > 0 {
		list = append(list, EndpointsOut)
	}
	if svc.RetryBudget >= 0 && svc.RetryBudget < 1 && svc.Retry.Denied > 0 {
		list = append(list, NoRetryBudget)
	}
	return list
}

// add counts a service.
func (t *Totals) add(svc *transport.ServiceSnapshot, sum *Summary) {
	t.Services++
	if len(sum.Problems) > 0 {
		t.Troubled++
	}
	if refusing(svc) {
		t.Breakers++
	}
	s := &sum.States
	t.States.Healthy += s.Healthy
	t.States.Returning += s.Returning
	t.States.Probing += s.Probing
	t.States.Ejected += s.Ejected
	t.States.Dead += s.Dead
	t.Rate += max(0, sum.Rate)
	t.Waiting += sum.Waiting
	t.Streaming += sum.Streaming
	t.Ejections += svc.Ejections
}
