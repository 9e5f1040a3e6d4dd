package admin

import (
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// A State is what snapshot.json holds.
type State struct {
	// At is when the state was read, up to 100 ms ago. Window is how far back
	// the earlier reading lies that rates and shares are compared with, in
	// nanoseconds; 0 at first, when they are not known.
	At     time.Time     `json:"at"`
	Window time.Duration `json:"window_ns"`

	// Config is the state of the configuration, where the program tells.
	Config *ConfigStatus `json:"config,omitempty"`

	// Totals are over all services, whichever were asked for.
	Totals Totals `json:"totals"`

	// Matching is how many services were asked for. Services are as many of
	// them as fit into one answer, in the order of Transport.Snapshot, and Next
	// is the offset of the rest, 0 if there is none.
	Matching int       `json:"matching"`
	Next     int       `json:"next,omitempty"`
	Services []Service `json:"services"`

	// Mirrored and MirrorSkipped are those of transport.Snapshot.
	Mirrored      uint64 `json:"mirrored"`
	MirrorSkipped uint64 `json:"mirror_skipped"`

	// Changes are the latest that were seen, the earliest first. What came and
	// went between two looks is not among them.
	Changes []Change `json:"changes"`
}

// A Service is a destination with what follows from its state.
type Service struct {
	transport.ServiceSnapshot
	Summary

	// Endpoints are in the order of discovery; none if they were not asked for.
	Endpoints []Endpoint `json:"endpoints"`
}

// An Endpoint is an endpoint with its part of the traffic.
type Endpoint struct {
	transport.EndpointSnapshot

	// Rate is the number of attempts in a second, Share the part of those of the
	// service, 0 to 1; -1 while not known.
	Rate  float64 `json:"rate"`
	Share float64 `json:"share"`
}

// A Summary is what follows from the state of a destination.
type Summary struct {
	// Rate is the number of attempts in a second, over the window of the State;
	// -1 while not known. Success is the part that succeeded, 0 to 1, over the
	// last 10 s; -1 without an outcome.
	Rate    float64 `json:"rate"`
	Success float64 `json:"success"`

	// Waiting and Streaming are the attempts at all endpoints, States their
	// number by state.
	Waiting   int    `json:"waiting"`
	Streaming int    `json:"streaming"`
	States    States `json:"states"`

	// Problems are what is wrong, the worst first.
	Problems []Problem `json:"problems"`
}

// States are numbers of endpoints by state.
type States struct {
	// The states are those of transport.EndpointSnapshot.
	Healthy   int `json:"healthy"`
	Returning int `json:"returning"`
	Probing   int `json:"probing"`
	Ejected   int `json:"ejected"`
	Dead      int `json:"dead"`
}

// A Problem is something that is wrong with a destination.
type Problem string

// The problems.
const (
	BreakerNotClosed Problem = "breaker"   // the service breaker is open or half open
	NoEndpoints      Problem = "endpoints" // there is no endpoint
	DiscoveryFails   Problem = "discovery" // the set may be out of date
	EndpointsOut     Problem = "out"       // calls are kept off some endpoints
	NoRetryBudget    Problem = "budget"    // no repeat is left, and some were denied
)

// Totals are sums over all services.
type Totals struct {
	// Services is their number, Troubled that of those with a Problem, Breakers
	// that of those whose breaker is not closed.
	Services int `json:"services"`
	Troubled int `json:"troubled"`
	Breakers int `json:"breakers"`

	// States, Rate, Success, Waiting and Streaming are as in a Summary.
	States    States  `json:"states"`
	Rate      float64 `json:"rate"`
	Success   float64 `json:"success"`
	Waiting   int     `json:"waiting"`
	Streaming int     `json:"streaming"`

	// Ejections is how often an endpoint was left out since the start.
	Ejections uint64 `json:"ejections"`

	attempts uint64 // since the last mark
}

// A Change is something that is other than at the look before.
type Change struct {
	// Seq numbers the changes, from 1. At is when it was seen.
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`

	// Kind says what changed. Service, Environment and Endpoint say where, as
	// far as that applies.
	Kind        ChangeKind `json:"kind"`
	Service     string     `json:"service,omitempty"`
	Environment string     `json:"environment,omitempty"`
	Endpoint    string     `json:"endpoint,omitempty"`

	// From and To are the states before and after: those of endpoints or
	// breakers; working or failing for discovery; versions, or refused, for the
	// configuration.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
}

// A ChangeKind says what changed.
type ChangeKind string

// The kinds of changes.
const (
	EndpointChange  ChangeKind = "endpoint"
	BreakerChange   ChangeKind = "breaker"
	DiscoveryChange ChangeKind = "discovery"
	ConfigChange    ChangeKind = "config"
)

// Records are what records.json holds, the latest first.
type Records struct {
	// Records are those that fit the filter.
	Records []*telemetry.Record `json:"records"`
}

// A Pulse is what events tells in each interval. Its size is bounded.
type Pulse struct {
	// At, Config and Totals are those of a State.
	At     time.Time     `json:"at"`
	Config *ConfigStatus `json:"config,omitempty"`
	Totals Totals        `json:"totals"`

	// Changes are those since the pulse before, the latest 20 at the most.
	Changes []Change `json:"changes"`
}

// History is what history.json holds: what the charts show of one destination, or
// of all together.
type History struct {
	// Service and Environment name the destination, empty for all together.
	Service     string `json:"service,omitempty"`
	Environment string `json:"environment,omitempty"`

	// Interval is the time between two points, in nanoseconds, while somebody
	// looks. Points are the earliest first.
	Interval time.Duration  `json:"interval_ns"`
	Points   []HistoryPoint `json:"points"`
}

// A HistoryPoint is what charts show of one interval. What is not known is
// missing.
type HistoryPoint struct {
	// At is when it was looked at.
	At time.Time `json:"at"`

	// Rate is the number of attempts in a second, Success the part that
	// succeeded, 0 to 1.
	Rate    *float64 `json:"rate,omitempty"`
	Success *float64 `json:"success,omitempty"`

	// Median and P99 are of the time to headers, in nanoseconds. All services
	// together have none.
	Median *float64 `json:"median_ns,omitempty"`
	P99    *float64 `json:"p99_ns,omitempty"`

	// Out is how many endpoints calls are kept off, InFlight how many attempts
	// are waiting or streaming, Ejections how often an endpoint was left out in
	// the interval.
	Out       *float64 `json:"out,omitempty"`
	InFlight  *float64 `json:"in_flight,omitempty"`
	Ejections *float64 `json:"ejections,omitempty"`
}

// service is the i-th destination of a reading.
func (r *reading) service(i int, endpoints bool) Service {
	s := Service{ServiceSnapshot: r.snap.Services[i], Summary: r.services[i], Endpoints: []Endpoint{}}
	if !endpoints {
		return s
	}
	svc := &r.snap.Services[i]
	s.Endpoints = make([]Endpoint, len(svc.Endpoints))
	was := r.base.service(keyOf(svc))
	var sum uint64
	if was != nil {
		sum = was.sum(svc)
	}
	for k := range svc.Endpoints {
		e := Endpoint{EndpointSnapshot: svc.Endpoints[k], Rate: -1, Share: -1}
		if was != nil && r.base.since(r.at) > 0 {
			n := float64(was.attempts(k, &svc.Endpoints[k]))
			e.Rate = n / r.base.since(r.at)
			if sum > 0 {
				e.Share = n / float64(sum)
			}
		}
		s.Endpoints[k] = e
	}
	return s
}

// window is the time since the base.
func (r *reading) window() time.Duration {
	if r.base == nil {
		return 0
	}
	return r.at.Sub(r.base.at)
}
