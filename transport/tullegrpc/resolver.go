package tullegrpc

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
)

// defaultPort is the port of endpoints that name none, as in gRPC's own resolvers.
const defaultPort = "443"

// resolverBuilder makes the resolvers of one DialOptions.
type resolverBuilder struct{ channel *channel }

// Scheme implements resolver.Builder.
func (b *resolverBuilder) Scheme() string { return Scheme }

// Build implements resolver.Builder.
func (b *resolverBuilder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	name := target.Endpoint()
	if name == "" || target.URL.Host != "" {
		return nil, errors.New("tullegrpc: target " + strconv.Quote(target.String()) + ": want tulle:///service")
	}
	r := &serviceResolver{
		channel: b.channel, name: name, cc: cc,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.unfollow = b.channel.t.Follow(name, r.changed)
	go r.run()
	return r, nil
}

// serviceResolver tells gRPC of the endpoints of a service.
type serviceResolver struct {
	channel  *channel
	name     string
	cc       resolver.ClientConn
	unfollow func()
	wake     chan struct{} // holds a hint that something has changed
	stop     chan struct{} // closed by Close
	done     chan struct{} // closed when run has ended
}

// changed is told of changes by the Transport.
func (r *serviceResolver) changed() {
	select {
	case r.wake <- struct{}{}:
	default: // a hint is waiting already
	}
}

// run tells gRPC of the present state, and of each change.
func (r *serviceResolver) run() {
	defer close(r.done)
	for {
		r.tell()
		select {
		case <-r.wake:
		case <-r.stop:
			return
		}
	}
}

// tell reports the present endpoints. That gRPC's balancer does not like them
// changes nothing: the next change is told all the same.
func (r *serviceResolver) tell() {
	all, err := r.channel.destinations(r.name)
	if err != nil {
		r.cc.ReportError(err)
		return
	}
	state := resolver.State{ServiceConfig: r.cc.ParseServiceConfig(r.channel.serviceConfig)}
	known := &places{channel: r.channel, name: r.name}
	if text := r.channel.retryConfig; text != "" {
		whole := r.cc.ParseServiceConfig(text)
		if known.policies = policiesOf(whole); known.policies == nil {
			state.ServiceConfig = whole // so that gRPC says what is wrong with it
		}
	}
	for _, to := range all {
		p, failed := placeOf(to)
		if p == nil {
			err = cmp.Or(err, failed)
			continue
		}
		known.all = append(known.all, p)
		for _, e := range p.endpoints {
			state.Endpoints = append(state.Endpoints, e)
			state.Addresses = append(state.Addresses, e.Addresses...)
		}
	}
	if len(known.all) == 0 {
		if err != nil {
			r.cc.ReportError(err)
		}
		return
	}
	state.Attributes = attributes.New(placesKey{}, known)
	_ = r.cc.UpdateState(state)
}

// placesKey and endpointKey are the attributes by which the balancer finds the
// engines, and the engine's name of an endpoint.
type (
	placesKey   struct{}
	endpointKey struct{}
)

// places are the destinations of a service that have endpoints, the one for calls
// of which nobody says otherwise first.
type places struct {
	channel  *channel
	name     string
	policies policies // nil if there are none
	all      []*place
}

// of is the place of an engine, or nil.
func (p *places) of(engine *cluster.Cluster) *place {
	for _, p := range p.all {
		if p.to.Engine == engine {
			return p
		}
	}
	return nil
}

// missing is why a destination that has no place will not have one, nil if the
// resolver is about to tell it: then a call waits.
func (p *places) missing(to *destination.Destination) error {
	if err := to.Engine.Err(); err != nil {
		return err
	}
	all, err := p.channel.destinations(p.name)
	for _, d := range all {
		if d.Engine == to.Engine {
			return nil
		}
	}
	return cmp.Or(err, fmt.Errorf("%w: %s has no such destination any more", transport.ErrUnknownService, p.name))
}

// place is a destination and its endpoints as gRPC knows them.
type place struct {
	to        *destination.Destination
	endpoints []resolver.Endpoint
}

// placeOf is nil for a destination without endpoints, with the reason once there is
// one.
func placeOf(to *destination.Destination) (*place, error) {
	view := to.Engine.View()
	if view == nil {
		return nil, to.Engine.Failure()
	}
	members := view.Endpoints()
	if len(members) == 0 {
		return nil, to.Engine.Err()
	}
	p := &place{to: to, endpoints: make([]resolver.Endpoint, len(members))}
	for i := range members {
		p.endpoints[i] = resolver.Endpoint{
			Addresses:  []resolver.Address{address(&members[i], to)},
			Attributes: attributes.New(endpointKey{}, members[i].Addr),
		}
	}
	return p, nil
}

// address is where gRPC connects to for an endpoint.
func address(e *tulle.Endpoint, to *destination.Destination) resolver.Address {
	host, port, err := net.SplitHostPort(e.Addr)
	if err != nil {
		host, port = strings.Trim(e.Addr, "[]"), defaultPort
	}
	if e.GRPCPort != 0 {
		port = strconv.Itoa(int(e.GRPCPort))
	}
	// The name is that of requests, as the call option for it is refused by gRPC
	// if the certificate is for another one.
	a := resolver.Address{Addr: net.JoinHostPort(host, port), ServerName: to.Host}
	if to.TLS != nil || to.TLSServerName != "" || to.Host != "" {
		a.Attributes = attributes.New(tlsKey{}, tlsOf(to))
	}
	return a
}

// ResolveNow implements resolver.Resolver: gRPC lost a connection.
func (r *serviceResolver) ResolveNow(resolver.ResolveNowOptions) {
	for _, to := range r.channel.t.Destinations(r.name) {
		to.Engine.AskAgain()
	}
}

// Close implements resolver.Resolver.
func (r *serviceResolver) Close() {
	r.unfollow()
	close(r.stop)
	<-r.done
}
