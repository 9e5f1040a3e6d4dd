package tullegrpc

import (
	"errors"
	"sync"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"

	// Servers are asked for their health where HealthCheck says so.
	_ "google.golang.org/grpc/health"

	"github.com/tullemesh/tulle/internal/cluster"
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
	return &engineBalancer{cc: cc, opts: opts, groups: make(map[*cluster.Cluster]*group)}
}

// engineBalancer lets the engines of a service's destinations pick among the
// endpoints that gRPC has connections to. The connections of a destination are
// made when it is the service's own, or a call first goes there.
type engineBalancer struct {
	cc   balancer.ClientConn
	opts balancer.BuildOptions

	mu     sync.Mutex
	groups map[*cluster.Cluster]*group // guarded by mu
	known  *places                     // guarded by mu: of the latest state, nil before
	closed bool                        // guarded by mu

	running sync.WaitGroup // of the goroutines of want and of groups; none begins after closed

	// publishing is held while gRPC gets a picker, so that the last one that
	// it gets is the latest.
	publishing sync.Mutex
}

// UpdateClientConnState implements balancer.Balancer.
func (b *engineBalancer) UpdateClientConnState(s balancer.ClientConnState) error {
	known, ok := s.ResolverState.Attributes.Value(placesKey{}).(*places)
	if !ok {
		return errors.New("tullegrpc: the balancer works with targets of the scheme " + Scheme + " only")
	}
	b.mu.Lock()
	b.known = known
	gone := make(map[*cluster.Cluster]*group)
	for engine, g := range b.groups {
		gone[engine] = g
	}
	var current []*group
	for i, p := range known.all {
		g := b.groups[p.to.Engine]
		if g == nil && i == 0 {
			g = b.addLocked(p)
		}
		if g != nil {
			delete(gone, p.to.Engine)
			current = append(current, g)
		}
	}
	for engine := range gone {
		delete(b.groups, engine)
	}
	b.mu.Unlock()

	for _, g := range gone {
		g.close()
	}
	var errs []error
	for _, g := range current {
		errs = append(errs, g.update())
	}
	b.publish()
	return errors.Join(errs...)
}

// addLocked makes the group of a destination.
func (b *engineBalancer) addLocked(p *place) *group {
	g := newGroup(b, p.to)
	b.groups[p.to.Engine] = g
	return g
}

// want makes the connections of a destination that a call goes to, on a goroutine,
// as a pick must not wait. It returns an error if there are none to wait for.
func (b *engineBalancer) want(to *destination.Destination) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.groups[to.Engine] != nil || b.known == nil || b.closed {
		return nil
	}
	p := b.known.of(to.Engine)
	if p == nil {
		return b.known.missing(to)
	}
	g := b.addLocked(p)
	b.running.Go(func() {
		_ = g.update() // what is wrong with an endpoint, its state tells
		b.publish()
	})
	return nil
}

// place is what the resolver told last of a destination, nil if it told nothing.
func (b *engineBalancer) place(engine *cluster.Cluster) *place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known.of(engine)
}

// ResolverError implements balancer.Balancer. The last good set stays.
func (b *engineBalancer) ResolverError(err error) {
	b.mu.Lock()
	none := b.known == nil
	b.mu.Unlock()
	if none {
		b.cc.UpdateState(balancer.State{
			ConnectivityState: connectivity.TransientFailure,
			Picker:            errPicker{err},
		})
	}
}

// UpdateSubConnState implements balancer.Balancer; gRPC does not call it.
func (b *engineBalancer) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle implements balancer.Balancer.
func (b *engineBalancer) ExitIdle() {
	for _, g := range b.all() {
		g.shards.ExitIdle()
	}
}

// Close implements balancer.Balancer. What the engines know stays.
func (b *engineBalancer) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	for _, g := range b.all() {
		g.close()
	}
	b.running.Wait()
}

// all are the groups.
func (b *engineBalancer) all() []*group {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*group, 0, len(b.groups))
	for _, g := range b.groups {
		all = append(all, g)
	}
	return all
}

// publish gives gRPC a picker for the present state; it is then asked again for
// the calls that wait.
func (b *engineBalancer) publish() {
	b.publishing.Lock()
	defer b.publishing.Unlock()
	b.mu.Lock()
	p := &picker{balancer: b, groups: make(map[*cluster.Cluster]*groupPicker, len(b.groups))}
	best := connectivity.TransientFailure
	closed := b.closed
	for engine, g := range b.groups {
		gp := g.picker.Load()
		p.groups[engine] = gp
		best = better(best, gp.state)
	}
	if b.known != nil {
		p.policies = b.known.policies
		if len(b.known.all) > 0 {
			p.home = p.groups[b.known.all[0].to.Engine]
		}
	}
	b.mu.Unlock()
	if !closed {
		b.cc.UpdateState(balancer.State{ConnectivityState: best, Picker: p})
	}
}

// better is the state of two groups together.
func better(a, b connectivity.State) connectivity.State {
	for _, s := range []connectivity.State{connectivity.Ready, connectivity.Connecting, connectivity.Idle} {
		if a == s || b == s {
			return s
		}
	}
	return connectivity.TransientFailure
}
