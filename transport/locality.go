package transport

import (
	"errors"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/setting"
)

// Locality says how the calls of a service are shared out among the priorities
// and zones of its endpoints. It decides where a call goes first; the balancer
// chooses among the endpoints there.
//
// Priorities: the endpoints of the lowest number get all calls while enough of
// them are usable, which means not left out. By Envoy's rule for priority levels,
// a level gets 1.4 times the usable share of its weight, at most all, and the next
// one what is left: with half of the first gone, it gets 70 %. If all levels
// together cannot take all, each gets its part. Where nobody is usable the
// endpoints that answer badly are used, those of the first level before others.
//
// Zones: where Config.Zone is set, and a level has at least Least endpoints in
// that zone and some in others, calls stay in the zone as far as it can serve
// them, and go to all others for the rest. What it can serve is 1.4 times the
// usable part of what its callers need: the mean weight of a zone, or all that it
// has if that is more, as the callers may be spread like the zones or like the
// endpoints; no client can know. So a zone with one endpoint where ten would be
// fair is not overrun, and one that loses endpoints keeps all calls while 72 % are
// left. A share of Explore goes to other zones at any time, so that it is known
// how they are. Each second the costs of both are compared: the mean time to
// headers divided by the third power of the share of successes. While the zone is
// more than Tolerance times as dear, it loses up to half of its share a second,
// down to a twentieth; when it is no longer, it gets up to a twentieth a second
// back.
//
// A repeat of a call stays in the priority of the attempt before it while that has
// others, but leaves the zone: what ails an endpoint may ail its neighbours.
//
// The zero Locality is ready to use. docs/adr/0014-locality.md has the reasons.
type Locality struct {
	// Off ignores zones. Priorities stay in force.
	Off bool

	// Overprovision is how much more than its part an endpoint is taken to be
	// able to serve. Default (0): 1.4. Range: 1 to 1000; at 1000 a level or a
	// zone keeps all calls as good as to its last endpoint. That is the default
	// too where the endpoints come from a target or a resolver of type
	// discovery.DNS or discovery.SRV, or a discovery.Subset of it, as priorities
	// of DNS stand for what is used only when the ones before cannot be reached
	// (RFC 2782, and the other address family).
	Overprovision float64

	// Explore is the share of calls that go to other zones while the caller's
	// could serve them. Default (0): 0.01. Negative: none. Range: up to 0.5.
	Explore float64

	// Least is the number of endpoints that the caller's zone must have to be
	// preferred, usable or not. Default (0): 2, as with one the balancer has no
	// choice. Range: 1 to 10000.
	Least int

	// Tolerance is how many times as dear as the other zones the caller's may be
	// before it loses calls. Default (0): 1.5. Negative: any. Range: 1.1 to 100.
	Tolerance float64
}

const maxOverprovision = 1000

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (l *Locality) Validate() error {
	var errs []error
	check := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, &setting.Error{Package: "transport", Field: field, Value: value, Want: want})
		}
	}
	check(l.Overprovision == 0 || l.Overprovision >= 1 && l.Overprovision <= maxOverprovision,
		"Overprovision", l.Overprovision, "1 to 1000, or 0 for the default")
	check(l.Explore <= 0.5, "Explore", l.Explore, "up to 0.5, 0 for the default, or less for none")
	check(l.Least >= 0 && l.Least <= 10000, "Least", l.Least, "1 to 10000, or 0 for the default")
	check(l.Tolerance <= 0 || l.Tolerance >= 1.1 && l.Tolerance <= 100,
		"Tolerance", l.Tolerance, "1.1 to 100, 0 for the default, or less for any")
	return errors.Join(errs...)
}

// locality is what the engine of the service is told.
func (s *service) locality() cluster.Locality {
	l := cluster.Locality(*s.from.Policy.Locality)
	if l.Overprovision == 0 && strict(s.resolver) {
		l.Overprovision = maxOverprovision
	}
	return l
}

// strict says that the priorities of r are those of DNS.
func strict(r discovery.Resolver) bool {
	switch r := r.(type) {
	case discovery.DNS, discovery.SRV:
		return true
	case discovery.Subset:
		return strict(r.Resolver)
	}
	return false
}

// ShareSnapshot is the share of calls that the endpoints of a priority get: those
// in the caller's zone, or all others.
type ShareSnapshot struct {
	// Priority is that of the endpoints.
	Priority int `json:"priority"`

	// Zone is the caller's zone, or empty for the others, and for all endpoints
	// of a priority in which zones do not matter.
	Zone string `json:"zone,omitempty"`

	// Endpoints is the number of endpoints, Usable that of those that are not
	// left out.
	Endpoints int `json:"endpoints"`
	Usable    int `json:"usable"`

	// Share is the part of first attempts that is to go there, 0 to 1. It is 0
	// for all when nobody is usable.
	Share float64 `json:"share"`
}

// shares are the shares in force.
func shares(groups []cluster.GroupStatus) []ShareSnapshot {
	var list []ShareSnapshot
	for _, g := range groups {
		list = append(list, ShareSnapshot(g))
	}
	return list
}
