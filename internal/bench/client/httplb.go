package client

import (
	"context"
	"io"
	"net/http"

	"github.com/bufbuild/httplb"
	"github.com/bufbuild/httplb/conn"
	"github.com/bufbuild/httplb/picker"
	"github.com/bufbuild/httplb/resolver"
)

// httplbs are the rows of httplb.
func httplbs() []Contender {
	return []Contender{
		{Name: "httplb, round robin", OnWire: true, OnStub: true, Open: openHTTPLB(picker.NewRoundRobin, true),
			Note: "its default picker, and transports of 256 idle connections for each instance; called as a RoundTripper, without its http.Client; balancing only"},
		{Name: "httplb, power of two", OnWire: true, OnStub: true, Open: openHTTPLB(picker.NewPowerOfTwo, true),
			Note: "the same with the picker that looks at running calls"},
		{Name: "httplb, own transports", OnWire: true, Open: openHTTPLB(picker.NewRoundRobin, false),
			Note: "as it comes: one idle connection for each instance"},
	}
}

type newPicker = func(picker.Picker, conn.Conns) picker.Picker

func openHTTPLB(pick newPicker, roomy bool) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		var base httplb.Transport
		if s.Base != nil || roomy {
			base = leaves{s.Base}
		}
		lb := NewHTTPLB(Fixed(s.Addrs), pick, base)
		return calls(lb.Transport.RoundTrip, named).closing(func() { _ = lb.Close() }), nil // nothing is left to be lost
	}
}

// NewHTTPLB is a client of httplb; base makes its transports, nil for its own.
func NewHTTPLB(from resolver.Resolver, pick newPicker, base httplb.Transport) *httplb.Client {
	options := []httplb.ClientOption{
		httplb.WithResolver(from),
		httplb.WithPicker(pick),
		httplb.WithAllowBackendTarget("http", "svc"),
	}
	if base != nil {
		options = append(options, httplb.WithTransport("http", base))
	}
	return httplb.NewClient(options...)
}

// Leaves makes httplb send over rt; nil: over a transport for each instance.
func Leaves(rt http.RoundTripper) httplb.Transport { return leaves{rt} }

// leaves are the transports of instances: the given one, or one each.
type leaves struct{ base http.RoundTripper }

// NewRoundTripper implements httplb.Transport.
func (l leaves) NewRoundTripper(string, string, httplb.TransportConfig) httplb.RoundTripperResult {
	if l.base != nil {
		return httplb.RoundTripperResult{RoundTripper: l.base}
	}
	t := NewTransport()
	return httplb.RoundTripperResult{RoundTripper: t, Close: t.CloseIdleConnections}
}

// Fixed resolves every name to the addresses.
func Fixed(addrs []string) resolver.Resolver { return fixed(HTTPLBAddrs(addrs)) }

// HTTPLBAddrs are addresses as httplb has them.
func HTTPLBAddrs(addrs []string) []resolver.Address {
	all := make([]resolver.Address, len(addrs))
	for i, addr := range addrs {
		all[i].HostPort = addr
	}
	return all
}

// fixed is a list that never changes.
type fixed []resolver.Address

// New implements resolver.Resolver.
func (f fixed) New(_ context.Context, _, _ string, receiver resolver.Receiver, _ <-chan struct{}) io.Closer {
	receiver.OnResolve(f)
	return nothing{}
}

// nothing is a task that is over.
type nothing struct{}

// Close implements io.Closer.
func (nothing) Close() error { return nil }
