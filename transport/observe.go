package transport

import (
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// label is the name of a destination in telemetry.
func (s *service) label() string {
	if s.Environment == "" {
		return s.Name
	}
	return s.Name + "@" + s.Environment
}

// observe implements telemetry.Source.
func (t *Transport) observe(yield func(*telemetry.State) bool) {
	var state telemetry.State
	for _, s := range t.all() {
		s.observe(&state)
		if !yield(&state) {
			return
		}
	}
}

// observe writes the present state of one destination.
func (s *service) observe(to *telemetry.State) {
	snap := s.snapshot()
	endpoints := to.Endpoints[:0]
	for i := range snap.Endpoints {
		e := &snap.Endpoints[i]
		endpoints = append(endpoints, telemetry.EndpointState{
			Addr: e.Addr, State: e.State, Waiting: e.Waiting, Streaming: e.Streaming, Attempts: e.Attempts,
		})
	}
	*to = telemetry.State{
		Service:   s.label(),
		Endpoints: endpoints,
		Breaker:   snap.Breaker, Rejected: snap.BreakerRejected,
		Budget:   snap.RetryBudget,
		Repeated: snap.Retry.Repeats, Moved: snap.Retry.Moves, Denied: snap.Retry.Denied, Transparent: snap.TransparentRetries,
		Admitted: snap.Limit.Admitted, Waited: snap.Limit.Waited, Refused: snap.Limit.Refused, Abandoned: snap.Limit.Abandoned,
		Unlimited: snap.Limit.Failed, Waiting: snap.Limit.Waiting,
		Late:         snap.Deadline.Refused,
		DiscoveryAge: snap.DiscoveryAge,
		Avoided: append(to.Avoided[:0],
			telemetry.Count{Name: "out", N: snap.Avoided.Out},
			telemetry.Count{Name: "tried", N: snap.Avoided.Tried},
			telemetry.Count{Name: "returning", N: snap.Avoided.Returning}),
		Dark: append(to.Dark[:0],
			telemetry.Count{Name: "ejection", N: s.darkEjections(&snap)},
			telemetry.Count{Name: "breaker", N: s.breaker.Stats().DarkRejected},
			telemetry.Count{Name: "retry", N: snap.Retry.Dark},
			telemetry.Count{Name: "deadline", N: snap.Deadline.Dark},
			telemetry.Count{Name: "limit", N: snap.Limit.DarkWaited + snap.Limit.DarkRefused}),
	}
}

// darkEjections are the ejections that were not carried out.
func (s *service) darkEjections(snap *ServiceSnapshot) uint64 {
	if s.from.Policy.Ejection.Dark {
		return snap.Ejections
	}
	return 0
}

// healthChanged tells of an endpoint that is left out from now on, or used again.
func (s *service) healthChanged(e *tulle.Endpoint, state breaker.OutlierState, rest time.Duration) {
	event := telemetry.Event{Kind: telemetry.EndpointOut, Service: s.label(), Endpoint: e.Addr, State: state.String(), For: max(0, rest)}
	switch state {
	case breaker.OutlierHealthy:
		event.Kind, event.State, event.For = telemetry.EndpointBack, "returning", 0
	case breaker.OutlierEjected, breaker.OutlierDead:
	default:
		return // a probe is on its way
	}
	if s.from.Policy.Ejection.Dark {
		event.Reason = "dark"
	}
	s.Telemetry.Event(s.t.watching, event)
}

// breakerChanged tells of a step of the service breaker.
func (s *service) breakerChanged(c *breaker.Change) {
	s.Telemetry.Event(s.t.watching, telemetry.Event{
		Kind: telemetry.BreakerChanged, Service: s.label(), State: c.To.String(), N: c.Requests,
	})
}

// discovered tells of a report of the source.
func (s *service) discovered(u *discovery.Update) {
	event := telemetry.Event{Kind: telemetry.DiscoveryUpdated, Service: s.label(), N: len(u.Endpoints), Err: u.Err}
	switch {
	case u.Err != nil:
		event.Kind = telemetry.DiscoveryFailed
	case s.Engine.Failure() != nil:
		event.Kind = telemetry.DiscoveryRecovered
	}
	s.Telemetry.Event(s.t.watching, event)
}
