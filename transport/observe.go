package transport

import (
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/transport/telemetry"
)

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
		Service:   s.Label(),
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
			telemetry.Count{Name: "ejection", N: snap.DarkEjections},
			telemetry.Count{Name: "breaker", N: snap.BreakerDarkRejected},
			telemetry.Count{Name: "retry", N: snap.Retry.Dark},
			telemetry.Count{Name: "deadline", N: snap.Deadline.Dark},
			telemetry.Count{Name: "limit", N: snap.Limit.DarkWaited + snap.Limit.DarkRefused}),
	}
}

// healthChanged tells of an endpoint that is left out from now on, or used again.
func (s *service) healthChanged(c *cluster.HealthChange) {
	event := telemetry.Event{
		Kind: telemetry.EndpointOut, Service: s.Label(), Endpoint: c.Endpoint.Addr,
		State: c.State.String(), Reason: c.Reason, For: c.Rest,
	}
	if c.State == breaker.OutlierHealthy {
		event.Kind = telemetry.EndpointBack
		if !c.Dark && s.from.Policy.Ejection.Ramp >= 0 {
			event.State = "returning"
		}
	}
	if c.Dark {
		event.Reason = dark
	}
	s.Telemetry.Event(s.t.watching, event)
}

// dark is the reason of events that say what a policy would have done.
const dark = "dark"

// breakerChanged tells of a step of the service breaker.
func (s *service) breakerChanged(c *breaker.Change) {
	event := telemetry.Event{Kind: telemetry.BreakerChanged, Service: s.Label(), State: c.To.String(), N: c.Requests}
	if s.from.Policy.Breaker.Dark {
		event.Reason = dark
	}
	s.Telemetry.Event(s.t.watching, event)
}

// discovered tells of a report of the source.
func (s *service) discovered(u *discovery.Update) {
	event := telemetry.Event{Kind: telemetry.DiscoveryUpdated, Service: s.Label(), N: len(u.Endpoints), Err: u.Err}
	switch {
	case u.Err != nil:
		event.Kind = telemetry.DiscoveryFailed
	case s.Engine.Failure() != nil:
		event.Kind = telemetry.DiscoveryRecovered
	}
	s.Telemetry.Event(s.t.watching, event)
}
