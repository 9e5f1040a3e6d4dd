package telemetry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A Source hands the present state of each service to yield, until that returns
// false. The State and its slices belong to the Source again when yield has
// returned. It is called whenever metrics are collected, must not block, and may
// be called by several readers at once.
type Source func(yield func(*State) bool)

// State is what metrics are made of that are not counted call by call. Counts
// only grow.
type State struct {
	// Service is the name.
	Service string

	// Endpoints are those of the service.
	Endpoints []EndpointState

	// Breaker is closed, open or half_open, or empty without a breaker.
	// Rejected is how many attempts it refused.
	Breaker  string
	Rejected uint64

	// Budget is how many repeats could be made now.
	Budget float64

	// Repeated, Moved and Denied count decisions on repeats, Transparent what
	// the sender repeated by itself.
	Repeated, Moved, Denied, Transparent uint64

	// Admitted, Waited, Refused, Abandoned and Unlimited count what became of
	// calls at the limits. Waiting is how many wait now.
	Admitted, Waited, Refused, Abandoned, Unlimited uint64
	Waiting                                         int

	// Late is how many calls were refused as their time was up.
	Late uint64

	// DiscoveryAge is for how long discovery has been failing.
	DiscoveryAge time.Duration

	// Avoided counts, by reason, endpoints that picks kept off. Dark counts, by
	// policy, what those in dark mode would have done.
	Avoided, Dark []Count
}

// A Count is how often something happened.
type Count struct {
	// Name says what. Names are few: of a service, the first 32 are shown.
	Name string

	// N is how often.
	N uint64
}

// EndpointState is what metrics say of an endpoint.
type EndpointState struct {
	// Addr is the endpoint's. It may stay empty without PerEndpoint.
	Addr string

	// State is healthy, ejected, dead, probing or returning.
	State string

	// Waiting is how many attempts have no headers yet, Streaming how many
	// have, and a body that has not ended. Attempts is how many began.
	Waiting, Streaming int
	Attempts           uint64
}

// states are the states of an endpoint. One that was seen is shown with 0 later,
// so that a graph falls to 0 when nothing is in it any more.
var states = [...]string{"healthy", "ejected", "dead", "probing", "returning"}

// breakerStates are the states of a service breaker.
var breakerStates = [...]string{"closed", "half_open", "open"}

// stateSeries are the series of a service's State. They are made once.
type stateSeries struct {
	plain                                           *series
	states                                          [len(states)]*series
	seen                                            [len(states)]atomic.Bool
	breaker                                         [len(breakerStates)]*series
	waiting, streaming                              *series
	repeated, moved, denied                         *series
	won, lost                                       *series
	admitted, waited, refused, abandoned, unlimited *series
	named                                           [2]cache[string, *series] // avoided, dark
}

// newStateSeries makes the series of the service that tag names.
func newStateSeries(tag attribute.KeyValue) *stateSeries {
	state := func(s string) *series { return newSeries(tag, stateKey.String(s)) }
	result := func(s string) *series { return newSeries(tag, resultKey.String(s)) }
	s := &stateSeries{
		plain:    newSeries(tag),
		waiting:  state("waiting"),
		repeated: result("repeated"), moved: result("moved"), denied: result("denied"),
		admitted: result("admitted"), waited: result("waited"), refused: result("refused"),
		abandoned: result("abandoned"), unlimited: result("unlimited"),
		streaming: state("streaming"),
		won:       result("won"), lost: result("lost"),
	}
	for i, name := range states {
		s.states[i] = state(name)
	}
	for i, name := range breakerStates {
		s.breaker[i] = state(name)
	}
	return s
}

// errObserved is what a second Observe returns.
var errObserved = errors.New("telemetry: observed already")

// Observe has the metrics that describe a state read from src whenever they are
// collected, until Close. It may be called once.
func (t *Telemetry) Observe(src Source) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return ErrClosed
	case t.observed != nil:
		return errObserved
	}
	r, err := t.in.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		src(func(s *State) bool {
			t.observe(o, s)
			return true
		})
		return nil
	}, t.in.observed.all...)
	if err != nil {
		return fmt.Errorf("telemetry: observe: %w", err)
	}
	t.observed = r
	return nil
}

// observe writes one service.
func (t *Telemetry) observe(o metric.Observer, s *State) {
	svc, in := t.Service(s.Service), &t.in.observed
	at := svc.state()
	o.ObserveFloat64(in.budget, s.Budget, at.plain.observe...)
	o.ObserveFloat64(in.age, s.DiscoveryAge.Seconds(), at.plain.observe...)
	o.ObserveInt64(in.limitWaiting, int64(s.Waiting), at.plain.observe...)
	total(o, in.breakerReject, s.Rejected, at.plain)
	total(o, in.transparent, s.Transparent, at.plain)
	total(o, in.late, s.Late, at.plain)

	total(o, in.decisions, s.Repeated, at.repeated)
	total(o, in.decisions, s.Moved, at.moved)
	total(o, in.decisions, s.Denied, at.denied)

	total(o, in.limited, s.Admitted, at.admitted)
	total(o, in.limited, s.Waited, at.waited)
	total(o, in.limited, s.Refused, at.refused)
	total(o, in.limited, s.Abandoned, at.abandoned)
	total(o, in.limited, s.Unlimited, at.unlimited)

	if s.Breaker != "" {
		for i, name := range breakerStates {
			o.ObserveInt64(in.breakerState, one(name == s.Breaker), at.breaker[i].observe...)
		}
	}
	svc.observeCounts(o, in.avoided, 0, reasonKey, s.Avoided)
	svc.observeCounts(o, in.dark, 1, policyKey, s.Dark)
	svc.observeEndpoints(o, s)
}

// total writes a count. One that never moved has no series: an SDK takes 2,000 of
// an instrument, and most services have no limit or breaker that ever acted.
func total(o metric.Observer, in metric.Int64Observable, n uint64, at *series) {
	if n > 0 {
		o.ObserveInt64(in, int64(n), at.observe...)
	}
}

// one is 1 if it is so.
func one(so bool) int64 {
	if so {
		return 1
	}
	return 0
}

// maxCounts bounds the names of a kind of counts.
const maxCounts = 32

// observeCounts writes counts by name.
func (s *Service) observeCounts(
	o metric.Observer, in metric.Int64Observable, kind int, key attribute.Key, counts []Count,
) {
	for _, c := range counts {
		named := &s.state().named[kind]
		at, ok := named.get(c.Name)
		if !ok {
			if at, ok = named.add(c.Name, newSeries(serviceKey.String(s.name), key.String(c.Name)), maxCounts); !ok {
				continue
			}
		}
		total(o, in, c.N, at)
	}
}

// observeEndpoints writes the endpoints: how many are in which state, and what
// they do, together or each.
func (s *Service) observeEndpoints(o metric.Observer, st *State) {
	in, at := &s.t.in.observed, s.state()
	var count [len(states)]int64
	var waiting, streaming int64
	for i := range st.Endpoints {
		e := &st.Endpoints[i]
		waiting += int64(e.Waiting)
		streaming += int64(e.Streaming)
		if k := slices.Index(states[:], e.State); k >= 0 {
			count[k]++
		}
	}
	for k := range states {
		if count[k] > 0 {
			at.seen[k].Store(true)
		}
		if at.seen[k].Load() {
			o.ObserveInt64(in.endpoints, count[k], at.states[k].observe...)
		}
	}
	o.ObserveInt64(in.inFlight, waiting, at.waiting.observe...)
	o.ObserveInt64(in.inFlight, streaming, at.streaming.observe...)
	if s.t.cfg.PerEndpoint {
		s.observeEach(o, st.Endpoints)
	}
}

// endpointSeries are the series of one endpoint.
type endpointSeries struct {
	plain  *series
	states [len(states)]*series // nil until the endpoint was in it
	round  uint64               // when it was last there
}

// each are the series of the endpoints of a service.
type each struct {
	mu     sync.Mutex
	byAddr map[string]*endpointSeries // guarded by mu
	round  uint64                     // guarded by mu
}

// observeEach writes each endpoint, up to the bound, and forgets the series of
// those that are gone.
func (s *Service) observeEach(o metric.Observer, endpoints []EndpointState) {
	in, tag := &s.t.in.observed, serviceKey.String(s.name)
	s.each.mu.Lock()
	defer s.each.mu.Unlock()
	if s.each.byAddr == nil {
		s.each.byAddr = make(map[string]*endpointSeries, min(len(endpoints), maxPeers))
	}
	s.each.round++
	for i := range min(len(endpoints), maxPeers) {
		e := &endpoints[i]
		at := s.each.byAddr[e.Addr]
		if at == nil {
			at = &endpointSeries{plain: newSeries(tag, endpointKey.String(e.Addr))}
			s.each.byAddr[e.Addr] = at
		}
		at.round = s.each.round
		o.ObserveInt64(in.endpointInFlight, int64(e.Waiting+e.Streaming), at.plain.observe...)
		o.ObserveInt64(in.endpointAttempts, int64(e.Attempts), at.plain.observe...)
		if k := slices.Index(states[:], e.State); k >= 0 {
			if at.states[k] == nil {
				at.states[k] = newSeries(tag, endpointKey.String(e.Addr), stateKey.String(e.State))
			}
			o.ObserveInt64(in.endpointState, 1, at.states[k].observe...)
		}
	}
	maps.DeleteFunc(s.each.byAddr, func(_ string, at *endpointSeries) bool { return at.round != s.each.round })
	s.peers.keep(func(addr string) bool { return s.each.byAddr[addr] != nil })
}
