package tullegrpc

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
)

// A group is the connections of one destination: a pick_first for each endpoint.
// It is the ClientConn of the shards.
type group struct {
	balancer.ClientConn
	owner  *engineBalancer
	engine *cluster.Cluster
	shards balancer.Balancer
	picker atomic.Pointer[groupPicker] // for the latest state

	since   time.Time
	settled *time.Timer // has gRPC ask again the calls that wait for settling

	// updating is held while shards are updated or closed, so that the last
	// update that they get is the latest. It is taken before all others.
	updating sync.Mutex
	closed   bool // guarded by updating

	mu       sync.Mutex
	to       *destination.Destination // guarded by mu: its settings may change, its engine does not
	children map[string]*child        // guarded by mu: by the engine's address
}

// newGroup makes a group without connections.
func newGroup(b *engineBalancer, to *destination.Destination) *group {
	g := &group{
		ClientConn: b.cc, owner: b, engine: to.Engine, to: to, children: make(map[string]*child), since: time.Now(),
	}
	g.picker.Store(&groupPicker{group: g, to: to, state: connectivity.Connecting})
	g.shards = endpointsharding.NewBalancer(g, b.opts, g.child, endpointsharding.Options{})
	b.running.Add(1)
	g.settled = time.AfterFunc(settling, func() {
		defer b.running.Done()
		b.publish()
	})
	return g
}

// update sets the endpoints to those that the resolver told last.
func (g *group) update() error {
	g.updating.Lock()
	defer g.updating.Unlock()
	p := g.owner.place(g.engine)
	if p == nil || g.closed {
		return nil
	}
	g.mu.Lock()
	g.to = p.to
	g.mu.Unlock()
	return g.shards.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: pickfirst.EnableHealthListener(resolver.State{Endpoints: p.endpoints}),
	})
}

// close closes the connections. It is called once.
func (g *group) close() {
	if g.settled.Stop() {
		g.owner.running.Done()
	}
	g.updating.Lock()
	defer g.updating.Unlock()
	g.closed = true
	g.shards.Close()
}

// UpdateState implements balancer.ClientConn for the shards, whose picker gives way
// to ours.
func (g *group) UpdateState(s balancer.State) {
	g.mu.Lock()
	to := g.to
	g.mu.Unlock()
	g.picker.Store(&groupPicker{group: g, to: to, state: s.ConnectivityState})
	g.owner.publish()
}

// child makes the pick_first of an endpoint.
func (g *group) child(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	c := &child{ClientConn: cc, group: g}
	c.Balancer = balancer.Get(pickfirst.Name).Build(c, opts)
	return c
}

// A child is the pick_first of one endpoint, and the ClientConn that it sees.
type child struct {
	balancer.Balancer
	balancer.ClientConn
	group *group

	addr   string             // guarded by group.mu: the engine's name of it
	state  connectivity.State // guarded by group.mu
	picker balancer.Picker    // guarded by group.mu
}

// UpdateClientConnState implements balancer.Balancer.
func (c *child) UpdateClientConnState(s balancer.ClientConnState) error {
	if endpoints := s.ResolverState.Endpoints; len(endpoints) == 1 {
		if addr, ok := endpoints[0].Attributes.Value(endpointKey{}).(string); ok {
			c.name(addr)
		}
	}
	return c.Balancer.UpdateClientConnState(s)
}

// name takes note of which endpoint it is.
func (c *child) name(addr string) {
	g := c.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.addr != addr && g.children[c.addr] == c {
		delete(g.children, c.addr)
	}
	c.addr = addr
	g.children[addr] = c
}

// Close implements balancer.Balancer.
func (c *child) Close() {
	g := c.group
	g.mu.Lock()
	if g.children[c.addr] == c {
		delete(g.children, c.addr)
	}
	g.mu.Unlock()
	c.Balancer.Close()
}

// UpdateState implements balancer.ClientConn for the pick_first.
func (c *child) UpdateState(s balancer.State) {
	g := c.group
	g.mu.Lock()
	failed := s.ConnectivityState == connectivity.TransientFailure && c.state != s.ConnectivityState
	c.state, c.picker = s.ConnectivityState, s.Picker
	to, addr := g.to, c.addr
	g.mu.Unlock()
	if failed {
		_, err := s.Picker.Pick(balancer.PickInfo{})
		to.Engine.Unreachable(addr, err)
	}
	c.ClientConn.UpdateState(s)
}
