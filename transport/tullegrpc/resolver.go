package tullegrpc

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/destination"
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
	to, err := r.channel.destination(r.name)
	if err != nil {
		r.cc.ReportError(err)
		return
	}
	view := to.Engine.View()
	if view == nil {
		if err := to.Engine.Failure(); err != nil {
			r.cc.ReportError(err)
		}
		return
	}
	members := view.Endpoints()
	if len(members) == 0 {
		r.cc.ReportError(to.Engine.Err())
		return
	}
	state := resolver.State{
		Endpoints:     make([]resolver.Endpoint, len(members)),
		Addresses:     make([]resolver.Address, len(members)),
		ServiceConfig: r.cc.ParseServiceConfig(r.channel.serviceConfig),
		Attributes:    attributes.New(destinationKey{}, to),
	}
	for i := range members {
		a := address(&members[i], to)
		state.Addresses[i] = a
		state.Endpoints[i] = resolver.Endpoint{
			Addresses:  []resolver.Address{a},
			Attributes: attributes.New(endpointKey{}, members[i].Addr),
		}
	}
	_ = r.cc.UpdateState(state)
}

// destinationKey and endpointKey are the attributes by which the balancer finds
// the engine, and the engine's name of an endpoint.
type (
	destinationKey struct{}
	endpointKey    struct{}
)

// address is where gRPC connects to for an endpoint.
func address(e *tulle.Endpoint, to *destination.Destination) resolver.Address {
	host, port, err := net.SplitHostPort(e.Addr)
	if err != nil {
		host, port = strings.Trim(e.Addr, "[]"), defaultPort
	}
	if e.GRPCPort != 0 {
		port = strconv.Itoa(int(e.GRPCPort))
	}
	a := resolver.Address{Addr: net.JoinHostPort(host, port)}
	if to.TLS != nil || to.TLSServerName != "" || to.Host != "" {
		a.Attributes = attributes.New(tlsKey{}, tlsOf(to))
	}
	return a
}

// ResolveNow implements resolver.Resolver: gRPC lost a connection.
func (r *serviceResolver) ResolveNow(resolver.ResolveNowOptions) {
	if to, err := r.channel.destination(r.name); err == nil {
		to.Engine.AskAgain()
	}
}

// Close implements resolver.Resolver.
func (r *serviceResolver) Close() {
	r.unfollow()
	close(r.stop)
	<-r.done
}
