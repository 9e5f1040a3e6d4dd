package tullegrpc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	tullebalancer "github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
)

// A picker picks for one state of the connections.
type picker struct {
	balancer *engineBalancer
	groups   map[*cluster.Cluster]*groupPicker
	home     *groupPicker // of the service's own destination
	policies policies     // of the service config; nil without any
}

// Pick implements balancer.Picker.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	c, _ := info.Ctx.Value(callKey{}).(*call)
	if c == nil {
		// What comes past the interceptors gets a call for itself.
		if p.home == nil {
			return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
		}
		c = &call{Context: info.Ctx, to: p.home.to, method: info.FullMethodName}
		c.bound.ctx = info.Ctx
	}
	if p.policies != nil {
		c.follows(p.policies)
	}
	g := p.home // where most calls go, found without a look into groups
	if g == nil || g.to.Engine != c.to.Engine {
		g = p.groups[c.to.Engine]
	}
	if g != nil {
		return g.pick(c, info)
	}
	if err := p.balancer.want(c.to); err != nil {
		c.refuse(err)
		return balancer.PickResult{}, plain{err}
	}
	return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
}

// errPicker has no endpoint for anybody, and says why.
type errPicker struct{ err error }

// Pick implements balancer.Picker.
func (p errPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	if c, ok := info.Ctx.Value(callKey{}).(*call); ok {
		c.refuse(p.err)
	}
	return balancer.PickResult{}, plain(p)
}

// A groupPicker picks among the connections of one destination.
type groupPicker struct {
	group *group
	to    *destination.Destination
	state connectivity.State

	mu      sync.Mutex // held to make mapping
	mapping atomic.Pointer[mapping]
}

// A mapping is the connected endpoints in the order of one View of the engine.
// It is never changed.
type mapping struct {
	among  cluster.Reachable
	ready  []balancer.Picker // by the place in the View, nil where not connected
	some   bool              // at least one is
	soon   bool              // at least one may be soon
	reason error             // why none is, or nil
}

// settling is how long a group that is new waits for connections to endpoints that
// are not left out: the first one that is there need not be one of them.
const settling = time.Second

// pick has the engine pick.
func (p *groupPicker) pick(c *call, info balancer.PickInfo) (balancer.PickResult, error) {
	m := p.mapped()
	if !m.some {
		return p.none(c, m)
	}
	if m.soon && !m.among.Usable() && time.Since(p.group.since) < settling {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	a, err := c.begin(m.among)
	if err != nil {
		return balancer.PickResult{}, refusal(err)
	}
	result, err := m.ready[a.lease.Place()].Pick(info)
	if err != nil {
		a.undo() // the connection has just gone; gRPC picks again with the next picker
		c.told.tell()
		return balancer.PickResult{}, err
	}
	a.tellPick()
	a.done = result.Done
	result.Done = func(info balancer.DoneInfo) { a.finish(&info) }
	result.Metadata = a.announce(result.Metadata)
	return result, nil
}

// none is the answer while nothing is connected.
func (p *groupPicker) none(c *call, m *mapping) (balancer.PickResult, error) {
	if p.state != connectivity.TransientFailure {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	err := transport.ErrAllDown
	if m.reason != nil {
		err = fmt.Errorf("%w: %w", err, m.reason)
	}
	c.refuse(err)
	return balancer.PickResult{}, plain{err}
}

// refusal is what gRPC gets for a call that the engine has refused. A status ends
// it; anything else has one wait that wants to.
func refusal(err error) error {
	if errors.Is(err, breaker.ErrOpen) {
		return status.Error(codes.Unavailable, err.Error())
	}
	return plain{err}
}

// plain is an error that does not show gRPC a status within: such an error would
// end calls that wait.
type plain struct{ err error }

// Error implements error.
func (e plain) Error() string { return e.err.Error() }

// mapped is the mapping for the engine's present View.
func (p *groupPicker) mapped() *mapping {
	view := p.to.Engine.View()
	if m := p.mapping.Load(); m != nil && m.among.View == view {
		return m
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.mapping.Load(); m != nil && m.among.View == view {
		return m
	}
	m := p.group.mapTo(view)
	p.mapping.Store(m)
	return m
}

// mapTo finds the connections of the endpoints of view.
func (g *group) mapTo(view *cluster.View) *mapping {
	m := &mapping{among: cluster.Reachable{View: view}}
	if view == nil {
		return m
	}
	members := view.Endpoints()
	connected := 0
	m.ready = make([]balancer.Picker, len(members))
	m.among.Set = tullebalancer.NewSet(len(members))
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range members {
		c := g.children[members[i].Addr]
		if c == nil {
			continue
		}
		switch c.state {
		case connectivity.Ready:
			m.ready[i], m.some = c.picker, true
			m.among.Set.Add(i)
			connected++
		case connectivity.Connecting, connectivity.Idle:
			m.soon = true
		case connectivity.TransientFailure:
			if _, err := c.picker.Pick(balancer.PickInfo{}); err != nil {
				m.reason = err
			}
		}
	}
	m.among.Full = connected == len(members)
	return m
}
