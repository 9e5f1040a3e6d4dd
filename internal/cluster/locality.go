package cluster

import (
	"math"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// Locality says how calls are shared out among priorities and zones.
// transport.Locality tells what each field means; zero fields are the defaults.
type Locality struct {
	Off           bool    // zones do not matter
	Overprovision float64 // 0: 1.4
	Explore       float64 // 0: 0.01, negative: none
	Least         int     // 0: 2
	Tolerance     float64 // 0: 1.5, negative: any
}

const (
	overprovision = 1.4  // Envoy's factor
	explore       = 0.01 // of the calls, to other zones
	leastNear     = 2    // endpoints in the caller's zone, so that there is a choice
	tolerance     = 1.5  // how much dearer the caller's zone may be
)

// withDefaults fills in what is not set.
func (l Locality) withDefaults() Locality {
	if l.Overprovision == 0 {
		l.Overprovision = overprovision
	}
	switch {
	case l.Explore == 0:
		l.Explore = explore
	case l.Explore < 0:
		l.Explore = 0
	}
	if l.Least == 0 {
		l.Least = leastNear
	}
	if l.Tolerance == 0 {
		l.Tolerance = tolerance
	}
	return l
}

// A plan is the share of the calls that each group of a layout gets. It is never
// changed; a new one takes its place when the health of endpoints changes.
type plan struct {
	shares []float64 // of the groups; all 0 where nobody is usable
	usable []int     // endpoints of the groups
	draws  []draw    // groups with a share
}

// draw is a group that gets the random numbers below upTo which are not below
// those of the draws before it.
type draw struct {
	upTo float64
	set  balancer.Set
}

// newPlan shares the calls out. Out are the endpoints that are left out. Lean is
// how much of what it could serve the caller's zone gets, where it is compared
// with the others.
func newPlan(l *layout, members []tulle.Endpoint, out balancer.Set, cfg Locality, lean float64) *plan {
	p := &plan{shares: make([]float64, len(l.groups)), usable: make([]int, len(l.groups))}
	weights := make([]float64, len(l.groups))
	for i := range members {
		if !out.Has(i) {
			p.usable[l.home[i]]++
			weights[l.home[i]] += members[i].Share()
		}
	}
	health := make([]float64, len(l.levels))
	for k := range l.levels {
		near, far := l.levels[k].near, l.levels[k].far
		has, all := weights[near], l.groups[near].weight
		if near != far {
			has, all = has+weights[far], all+l.groups[far].weight
		}
		health[k] = min(1, cfg.Overprovision*has/all)
	}
	spread(health)
	for k, share := range health {
		lv := &l.levels[k]
		at := 1.0
		if lv.near != lv.far {
			at = lv.stay(weights[lv.near], weights[lv.far], l.groups[lv.far].weight, cfg.Overprovision)
			if p.usable[lv.far] > 0 {
				if k == l.compared {
					at *= lean
				}
				at = min(at, 1-cfg.Explore)
			}
		}
		p.shares[lv.near] += share * at
		if lv.near != lv.far {
			p.shares[lv.far] = share * (1 - at)
		}
	}
	p.prepare(l)
	return p
}

// spread turns the health of levels into their shares, by Envoy's rule for
// priority levels (envoyproxy.io/docs: Load Balancing, Priority levels): each
// gets as much as its health until all is given out; if all together have less
// than 1, what they have is scaled up. Where none has any, all stay 0.
func spread(health []float64) {
	total := 0.0
	for _, h := range health {
		total += h
	}
	if total = min(total, 1); total == 0 {
		return
	}
	left := 1.0
	for k, h := range health {
		health[k] = min(left, h/total)
		left -= health[k]
	}
}

// stay is the share of a level's calls that stays in the caller's zone, whose
// usable endpoints have the weight near. The other zones' have far, of all in
// them. A zone counts as a level does, its health measured at what its callers
// need.
func (lv *level) stay(near, far, all, overprovision float64) float64 {
	both := [2]float64{min(1, overprovision*near/lv.need), min(1, overprovision*far/all)}
	spread(both[:])
	return both[0]
}

// prepare fills in the draws. The last one takes what rounding leaves.
func (p *plan) prepare(l *layout) {
	sum := 0.0
	for g, share := range p.shares {
		if share > 0 {
			sum += share
			p.draws = append(p.draws, draw{sum, l.groups[g].set})
		}
	}
	if n := len(p.draws); n > 0 {
		p.draws[n-1].upTo = math.Inf(1)
	}
}

// draw draws a group by its share. It is nil where nobody is usable.
func (p *plan) draw(random func() uint64) balancer.Set {
	switch len(p.draws) {
	case 0:
		return nil
	case 1:
		return p.draws[0].set
	}
	u := float64(random()>>11) / (1 << 53)
	for i := range p.draws {
		if u < p.draws[i].upTo {
			return p.draws[i].set
		}
	}
	return nil
}

// planLocked brings the plan of v up to date with the endpoints that are left
// out.
func (c *Cluster) planLocked(v *View) {
	if v.layout == nil {
		return
	}
	var out balancer.Set
	if o := v.out.Load(); o != nil {
		out = o.set
	}
	v.plan.Store(newPlan(v.layout, v.members, out, c.cfg.Load().Locality, c.zones.lean))
}

// share limits the pick of a first attempt to a group, as the plan says.
func (c *Cluster) share(v *View, q *balancer.Query, now time.Duration) {
	if int64(now) >= v.retune.Load() {
		c.compare(v, now)
	}
	if set := v.plan.Load().draw(c.random); set != nil {
		if q.Among == nil {
			q.Among = set
			return
		}
		if set = both(set, q.Among); !covers(q.Avoid, set) {
			q.Among = set
			return
		}
	}
	// Nobody there, or not in reach: zones do not matter then.
	v.walk(q, 0, false, false)
}

// walk limits the pick to the first level with endpoints that are not to be
// avoided: the level first, then all in the order of preference. Where zones
// matter, it goes through those of a level, the caller's first or last. It
// returns false if there are no such endpoints.
func (v *View) walk(q *balancer.Query, first int, zones, away bool) bool {
	limited := q.Among
	try := func(set balancer.Set) bool {
		if limited != nil {
			set = both(set, limited)
		}
		if covers(q.Avoid, set) {
			return false
		}
		q.Among = set
		return true
	}
	l := v.layout
	for n := -1; n < len(l.levels); n++ {
		lv := &l.levels[first]
		if n >= 0 {
			lv = &l.levels[n]
		}
		if !zones || lv.near == lv.far {
			if try(lv.set) {
				return true
			}
			continue
		}
		order := [2]int{lv.near, lv.far}
		if away {
			order = [2]int{lv.far, lv.near}
		}
		if try(l.groups[order[0]].set) || try(l.groups[order[1]].set) {
			return true
		}
	}
	return false
}

// elsewhere limits the pick of a repeat: it stays in the level of the endpoint
// that was tried last while that has others, but leaves its zone first, as what
// ails one endpoint may ail its zone.
func (c *Cluster) elsewhere(v *View, q *balancer.Query, call *tulle.Call) bool {
	for k := len(call.Tried) - 1; k >= 0; k-- {
		if i := c.indexOf(v, call.Tried[k]); i >= 0 {
			first, near := v.layout.levelOf(i)
			return v.walk(q, first, true, near)
		}
	}
	return v.walk(q, 0, true, false)
}

// A GroupStatus is the share of the calls that the endpoints of a priority get,
// those in the caller's zone and those in others.
type GroupStatus struct {
	Priority  int     // of the endpoints
	Zone      string  // the caller's, or empty for the others, or for all if zones do not matter
	Endpoints int     // how many there are
	Usable    int     // of them, not left out
	Share     float64 // of first attempts, 0 to 1
}

// groups tells the shares in force, nil where all endpoints are one group.
func (v *View) groups() []GroupStatus {
	l := v.layout
	if l == nil {
		return nil
	}
	p, list := v.plan.Load(), make([]GroupStatus, 0, len(l.groups))
	for k := range l.levels {
		// The groups stand in this order in the layout.
		for g := l.levels[k].near; g <= l.levels[k].far; g++ {
			s := GroupStatus{l.levels[k].priority, "", l.groups[g].count, p.usable[g], p.shares[g]}
			if g < l.levels[k].far {
				s.Zone = l.zone
			}
			list = append(list, s)
		}
	}
	return list
}
