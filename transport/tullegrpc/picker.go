package tullegrpc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

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
	to       *destination.Destination
	state    connectivity.State

	mu      sync.Mutex // held to make ready
	mapping atomic.Pointer[mapping]
}

// A mapping is the connected endpoints in the order of one View of the engine.
// It is never changed.
type mapping struct {
	among  cluster.Reachable
	ready  []balancer.Picker // by the place in the View, nil where not connected
	some   bool              // at least one is
	reason error             // why none is, or nil
}

// Pick implements balancer.Picker.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	c := callOf(&info, p.to)
	m := p.mapped()
	if !m.some {
		return p.none(c, m)
	}
	a, err := c.begin(m.among)
	if err != nil {
		return balancer.PickResult{}, p.refusal(c, err)
	}
	result, err := m.ready[a.lease.Place()].Pick(info)
	if err != nil {
		a.undo() // the connection has just gone; gRPC picks again with the next picker
		return balancer.PickResult{}, err
	}
	a.done = result.Done
	result.Done = a.finish
	return result, nil
}

// callOf is the call that a pick is for. What comes without one, past the
// interceptors, gets one for itself.
func callOf(info *balancer.PickInfo, to *destination.Destination) *call {
	if c, ok := info.Ctx.Value(callKey{}).(*call); ok {
		return c
	}
	c := &call{Context: info.Ctx, to: to, method: info.FullMethodName}
	c.bound.ctx = info.Ctx
	return c
}

// none is the answer while nothing is connected.
func (p *picker) none(c *call, m *mapping) (balancer.PickResult, error) {
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
func (p *picker) refusal(c *call, err error) error {
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
func (p *picker) mapped() *mapping {
	view := p.to.Engine.View()
	if m := p.mapping.Load(); m != nil && m.among.View == view {
		return m
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.mapping.Load(); m != nil && m.among.View == view {
		return m
	}
	m := p.balancer.mapTo(view)
	p.mapping.Store(m)
	return m
}

// mapTo finds the connections of the endpoints of view.
func (b *engineBalancer) mapTo(view *cluster.View) *mapping {
	m := &mapping{among: cluster.Reachable{View: view}}
	if view == nil {
		return m
	}
	members := view.Endpoints()
	m.ready = make([]balancer.Picker, len(members))
	m.among.Set = tullebalancer.NewSet(len(members))
	b.mu.Lock()
	defer b.mu.Unlock()
	m.reason = b.lastErr
	for i := range members {
		c := b.children[members[i].Addr]
		if c == nil {
			continue
		}
		switch c.state {
		case connectivity.Ready:
			m.ready[i], m.some = c.picker, true
			m.among.Set.Add(i)
		case connectivity.TransientFailure:
			if _, err := c.picker.Pick(balancer.PickInfo{}); err != nil {
				m.reason = err
			}
		}
	}
	return m
}
