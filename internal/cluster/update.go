package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
)

const (
	// keepGone is how long the state of an endpoint that left is kept.
	keepGone = 10 * time.Minute
	// minGone is the number of endpoints that left which is kept however
	// small the set is; a larger set keeps as many as it has members.
	minGone = 1000
	// drainAfter is how long the set outlives a source that says that there is
	// none. A source says so when it is sure; the set may be the better one
	// all the same.
	drainAfter = 10 * time.Minute
)

// A View is one set of endpoints. Its membership never changes.
type View struct {
	cluster *Cluster
	members []tulle.Endpoint
	states  []*state
	picker  balancer.Picker

	// out is which endpoints are left out of picks, nil if none is; due is
	// when the first of them may be tried, 0 if none is. Shadow takes the place
	// of out in the dark mode of ejection: picks do not look at it.
	out    atomic.Pointer[outSet]
	shadow atomic.Pointer[outSet]
	due    atomic.Int64

	// layout is how the endpoints fall into groups, nil if they are one; plan is
	// how the calls are shared out among those. Retune is when zones are
	// compared again.
	layout *layout
	plan   atomic.Pointer[plan]
	retune atomic.Int64
}

// Endpoints are the members, in the order of discovery. They must not be changed.
func (v *View) Endpoints() []tulle.Endpoint { return v.members }

// A Resource is what an adapter keeps for an endpoint, such as its connections.
type Resource interface {
	// Retire is called when the endpoint has left the set. Attempts may still
	// be running.
	Retire()
}

// held is a Resource in a state. The pointer makes it comparable.
type held struct{ Resource }

// state is what the engine knows of one endpoint, whatever its place in the
// set.
type state struct {
	name  string
	node  balancer.Node // guarded by Cluster.mu: that of the latest Picker
	index atomic.Int32  // place in the latest View

	begun    atomic.Uint64 // attempts begun, answered and ended since the start
	answered atomic.Uint64
	ended    atomic.Uint64
	window   window
	outlier  breaker.Outlier
	turned   atomic.Int64               // when it last died, was ejected or came back
	load     atomic.Pointer[tulle.Load] // the latest that it reported, or nil

	out         bool // guarded by Cluster.mu: it is in View.out or View.shadow
	countedDead bool // guarded by Cluster.mu: as dead

	resource atomic.Pointer[held]
	left     atomic.Int64 // when it left the set, 0 while in it
}

// Update replaces the set. It returns an error that names every endpoint that
// cannot be used; then the last good set stays in force. The slice is kept.
func (c *Cluster) Update(members []tulle.Endpoint) error {
	if err := validate(members); err != nil {
		c.Fail(err)
		return err
	}
	var retired []Resource
	c.mu.Lock()
	now := c.Now()
	c.failing = 0
	if len(members) > 0 {
		c.empty = false
		retired = c.replaceLocked(members, now)
	} else {
		if !c.empty {
			c.empty, c.emptied = true, now
		}
		retired = c.drainLocked(now)
	}
	c.mu.Unlock()

	c.failure.Store(nil)
	c.readyOnce.Do(func() { close(c.ready) })
	for _, r := range retired {
		r.Retire()
	}
	c.tell()
	return nil
}

// tell says that the set was replaced, or that discovery has reported.
func (c *Cluster) tell() {
	if changed := c.cfg.Load().Changed; changed != nil {
		changed()
	}
}

// Drain empties the set if its source has said for long enough that there is
// none. It returns how long it should be before it is asked again, 0 if nothing
// is to be drained.
func (c *Cluster) Drain() time.Duration {
	c.mu.Lock()
	before := c.view.Load()
	retired := c.drainLocked(c.Now())
	wait := time.Duration(0)
	after := c.view.Load()
	if c.empty && after != nil && len(after.members) > 0 {
		wait = max(1, c.emptied+drainAfter-c.Now())
	}
	c.mu.Unlock()
	for _, r := range retired {
		r.Retire()
	}
	if after != before {
		c.tell()
	}
	return wait
}

// drainLocked is Drain under mu. An empty first report is believed at once, as
// there is nothing to lose.
func (c *Cluster) drainLocked(now time.Duration) []Resource {
	v := c.view.Load()
	if v == nil || c.empty && now-c.emptied >= drainAfter && len(v.members) > 0 {
		return c.replaceLocked(nil, now)
	}
	return nil
}

// validate refuses a set with a bad or a repeated endpoint.
func validate(members []tulle.Endpoint) error {
	var errs []error
	seen := make(map[string]struct{}, len(members))
	for i := range members {
		if err := members[i].Validate(); err != nil {
			errs = append(errs, err)
		} else if _, twice := seen[members[i].Addr]; twice {
			errs = append(errs, fmt.Errorf("tulle: endpoint addr %q: stands in the set twice", members[i].Addr))
		}
		seen[members[i].Addr] = struct{}{}
	}
	return errors.Join(errs...)
}

// replaceLocked builds and publishes the View of members, and returns what
// belonged to endpoints that are no longer in it.
func (c *Cluster) replaceLocked(members []tulle.Endpoint, now time.Duration) []Resource {
	prev := c.view.Load()
	v := &View{cluster: c, members: members, states: make([]*state, len(members))}
	cfg := c.cfg.Load()
	if v.layout = newLayout(members, cfg.Zone, cfg.Locality); v.layout == nil || v.layout.compared < 0 {
		v.retune.Store(math.MaxInt64)
	} else {
		v.retune.Store(int64(c.zones.stepped + compareEvery))
	}
	nodes := make([]balancer.Node, len(members))
	var retired []Resource

	slab := make([]state, c.countNew(members))
	for i := range members {
		s := c.known[members[i].Addr]
		if s == nil || s.name != members[i].Name {
			retired = s.release(retired)
			if s != nil && s.left.Load() != 0 {
				c.gone--
			}
			s, slab = &slab[0], slab[1:]
			s.name = members[i].Name
			c.known[members[i].Addr] = s
		} else if s.left.Swap(0) != 0 {
			c.gone--
		}
		s.index.Store(int32(i))
		v.states[i], nodes[i] = s, s.node
	}
	if len(members) > 0 {
		m := balancer.Members{Endpoints: members, Nodes: nodes, Now: now}
		if prev != nil {
			m.Prev = prev.picker
		}
		v.picker = cfg.Policy.Build(m)
		for i, s := range v.states {
			s.node = v.picker.Node(i)
			if state, _ := s.outlier.State(); state != breaker.OutlierHealthy {
				c.markLocked(v, i)
			} else {
				s.out = false // it may have come back while it was not in the set
			}
		}
	}
	c.missLocked(v, nil)
	c.planLocked(v)
	c.view.Store(v)
	if prev != nil {
		retired = c.leaveLocked(prev, v, now, retired)
	}
	return retired
}

// countNew counts the members that have no state yet.
func (c *Cluster) countNew(members []tulle.Endpoint) int {
	n := 0
	for i := range members {
		if s := c.known[members[i].Addr]; s == nil || s.name != members[i].Name {
			n++
		}
	}
	return n
}

// leaveLocked marks the endpoints of prev that are not in v, and forgets those
// that left too long ago or are too many.
func (c *Cluster) leaveLocked(prev, v *View, now time.Duration, retired []Resource) []Resource {
	for i, s := range prev.states {
		if k := int(s.index.Load()); k < len(v.states) && v.states[k] == s {
			continue
		}
		retired = s.release(retired)
		if c.known[prev.members[i].Addr] == s {
			s.left.Store(max(1, int64(now)))
			c.gone++
		}
	}
	if c.gone > 0 {
		c.forgetLocked(now, max(minGone, len(v.members)))
	}
	return retired
}

// forgetLocked drops the state of endpoints that left keepGone ago, and of the
// earliest of the others while they are more than most.
func (c *Cluster) forgetLocked(now time.Duration, most int) {
	type leaver struct {
		addr string
		at   int64
	}
	var stay []leaver
	for addr, s := range c.known {
		at := s.left.Load()
		switch {
		case at == 0:
		case now-time.Duration(at) >= keepGone:
			delete(c.known, addr)
			c.gone--
		default:
			stay = append(stay, leaver{addr, at})
		}
	}
	if len(stay) <= most {
		return
	}
	slices.SortFunc(stay, func(a, b leaver) int { return cmp.Compare(a.at, b.at) })
	for _, l := range stay[:len(stay)-most] {
		delete(c.known, l.addr)
		c.gone--
	}
}

// release takes the endpoint's resource, if there is one, to be retired.
func (s *state) release(retired []Resource) []Resource {
	if s == nil {
		return retired
	}
	if h := s.resource.Swap(nil); h != nil {
		retired = append(retired, h.Resource)
	}
	return retired
}
