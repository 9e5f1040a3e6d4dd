package tullegrpc

import (
	"errors"
	"sync"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	// Servers are asked for their health where HealthCheck says so.
	_ "google.golang.org/grpc/health"

	"github.com/tullemesh/tulle/internal/destination"
)

// balancerName is the name under which gRPC knows the balancer.
const balancerName = "tulle_engine"

// gRPC finds balancers in a registry of its own only, which can be written to
// during initialization only. All that the builder needs comes with the state of
// the resolver.
func init() { balancer.Register(balancerBuilder{}) }

// balancerBuilder makes balancers.
type balancerBuilder struct{}

// Name implements balancer.Builder.
func (balancerBuilder) Name() string { return balancerName }

// Build implements balancer.Builder.
func (balancerBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	b := &engineBalancer{ClientConn: cc, children: make(map[string]*child)}
	b.shards = endpointsharding.NewBalancer(b, opts, b.child, endpointsharding.Options{})
	return b
}

// engineBalancer lets the engine of a destination pick among the endpoints that
// gRPC has a connection to. Each endpoint is a pick_first of its own. It is the
// ClientConn of the shards.
type engineBalancer struct {
	balancer.ClientConn
	shards balancer.Balancer

	mu       sync.Mutex
	to       *destination.Destination // guarded by mu: nil before the first state
	children map[string]*child        // guarded by mu: by the engine's address
	changes  uint64                   // guarded by mu: of children
	lastErr  error                    // guarded by mu: of the resolver
}

// UpdateClientConnState implements balancer.Balancer.
func (b *engineBalancer) UpdateClientConnState(s balancer.ClientConnState) error {
	to, ok := s.ResolverState.Attributes.Value(destinationKey{}).(*destination.Destination)
	if !ok {
		return errors.New("tullegrpc: the balancer works with targets of the scheme " + Scheme + " only")
	}
	b.mu.Lock()
	b.to, b.lastErr = to, nil
	b.mu.Unlock()
	return b.shards.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: pickfirst.EnableHealthListener(resolver.State{Endpoints: s.ResolverState.Endpoints}),
	})
}

// ResolverError implements balancer.Balancer. The last good set stays.
func (b *engineBalancer) ResolverError(err error) {
	b.mu.Lock()
	b.lastErr = err
	none := b.to == nil
	b.mu.Unlock()
	if none {
		b.ClientConn.UpdateState(balancer.State{
			ConnectivityState: connectivity.TransientFailure,
			Picker:            base.NewErrPicker(err),
		})
	}
}

// UpdateSubConnState implements balancer.Balancer; gRPC does not call it.
func (b *engineBalancer) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle implements balancer.Balancer.
func (b *engineBalancer) ExitIdle() { b.shards.ExitIdle() }

// Close implements balancer.Balancer. What the engine knows stays.
func (b *engineBalancer) Close() { b.shards.Close() }

// UpdateState implements balancer.ClientConn for the shards: their picker gives
// way to ours, which gRPC then uses for the picks that wait.
func (b *engineBalancer) UpdateState(s balancer.State) {
	b.mu.Lock()
	to := b.to
	b.mu.Unlock()
	if to == nil {
		b.ClientConn.UpdateState(s)
		return
	}
	s.Picker = &picker{balancer: b, to: to, state: s.ConnectivityState}
	b.ClientConn.UpdateState(s)
}

// child makes the pick_first of an endpoint.
func (b *engineBalancer) child(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	c := &child{ClientConn: cc, owner: b}
	c.Balancer = balancer.Get(pickfirst.Name).Build(c, opts)
	return c
}

// A child is the pick_first of one endpoint, and the ClientConn that it sees.
type child struct {
	balancer.Balancer
	balancer.ClientConn
	owner *engineBalancer

	addr   string             // guarded by owner.mu: the engine's name of it
	state  connectivity.State // guarded by owner.mu
	picker balancer.Picker    // guarded by owner.mu
}

// UpdateClientConnState implements balancer.Balancer.
func (c *child) UpdateClientConnState(s balancer.ClientConnState) error {
	if endpoints := s.ResolverState.Endpoints; len(endpoints) == 1 {
		if addr, ok := endpoints[0].Attributes.Value(endpointKey{}).(string); ok {
			c.owner.name(c, addr)
		}
	}
	return c.Balancer.UpdateClientConnState(s)
}

// name takes note of which endpoint a child is.
func (b *engineBalancer) name(c *child, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.addr != addr {
		if b.children[c.addr] == c {
			delete(b.children, c.addr)
		}
		c.addr = addr
		b.changes++
	}
	b.children[addr] = c
}

// Close implements balancer.Balancer.
func (c *child) Close() {
	b := c.owner
	b.mu.Lock()
	if b.children[c.addr] == c {
		delete(b.children, c.addr)
		b.changes++
	}
	b.mu.Unlock()
	c.Balancer.Close()
}

// UpdateState implements balancer.ClientConn for the pick_first.
func (c *child) UpdateState(s balancer.State) {
	b := c.owner
	b.mu.Lock()
	failed := s.ConnectivityState == connectivity.TransientFailure && c.state != s.ConnectivityState
	c.state, c.picker = s.ConnectivityState, s.Picker
	b.changes++
	to, addr := b.to, c.addr
	b.mu.Unlock()
	if failed && to != nil {
		_, err := s.Picker.Pick(balancer.PickInfo{})
		to.Engine.Unreachable(addr, err)
	}
	c.ClientConn.UpdateState(s)
}
