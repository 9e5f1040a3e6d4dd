package scale

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/bufbuild/httplb/picker"
	"github.com/bufbuild/httplb/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/server"
	"github.com/tullemesh/tulle/transport"
)

func libraries() []library {
	return []library{
		{name: "tulle", open: openTulle},
		{name: "httplb", open: openHTTPLB},
		{name: "grpc round_robin", rpc: true, open: openGRPC},
		{name: "tulle, gRPC", rpc: true, open: openTulleGRPC},
	}
}

func openTulle(addrs []string, stub bool) (running, error) {
	t, update, err := newTulle(addrs, stub)
	if err != nil {
		return running{}, err
	}
	return running{
		caller: client.Named(t.RoundTrip).Caller,
		update: update,
		close:  func() { _ = t.Close() }, // returns nil
	}, nil
}

func openTulleGRPC(addrs []string, _ bool) (running, error) {
	t, update, err := newTulle(addrs, false)
	if err != nil {
		return running{}, err
	}
	conn, err := client.DialTulle(t)
	if err != nil {
		return running{}, errors.Join(err, t.Close())
	}
	conn.Connect()
	return running{
		caller: echoes(conn),
		update: update,
		close:  func() { _, _ = conn.Close(), t.Close() }, // nothing is left to be lost
	}, nil
}

// newTulle is a Transport with one service, and what replaces its endpoints.
func newTulle(addrs []string, stub bool) (*transport.Transport, func([]string), error) {
	updates := make(chan []string, 1)
	cfg := transport.Config{Services: map[string]transport.Service{"svc": {
		Resolver: discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
			report(discovery.Update{Endpoints: client.Endpoints(addrs)})
			for {
				select {
				case next := <-updates:
					report(discovery.Update{Endpoints: client.Endpoints(next)})
				case <-ctx.Done():
					return nil
				}
			}
		}),
	}}}
	if stub {
		cfg.Base = client.Stub{}
	}
	t, err := transport.New(cfg)
	return t, func(addrs []string) { updates <- addrs }, err
}

func openHTTPLB(addrs []string, stub bool) (running, error) {
	source := &source{first: client.HTTPLBAddrs(addrs)}
	base := client.Leaves(nil)
	if stub {
		base = client.Leaves(client.Stub{})
	}
	lb := client.NewHTTPLB(source, picker.NewRoundRobin, base)
	r := running{
		caller: client.Named(lb.Transport.RoundTrip).Caller,
		update: func(addrs []string) { source.update(client.HTTPLBAddrs(addrs)) },
		close:  func() { _ = lb.Close() }, // nothing is left to be lost
	}
	if err := r.caller()(); err != nil { // it asks its resolver at the first call
		r.close()
		return running{}, err
	}
	return r, nil
}

// source is a resolver whose list can be replaced.
type source struct {
	first []resolver.Address

	mu       sync.Mutex // guards receiver
	receiver resolver.Receiver
}

// New implements resolver.Resolver. There is one name only.
func (s *source) New(_ context.Context, _, _ string, receiver resolver.Receiver, _ <-chan struct{}) io.Closer {
	s.mu.Lock()
	s.receiver = receiver
	s.mu.Unlock()
	receiver.OnResolve(s.first)
	return s
}

// update tells the receiver of another list.
func (s *source) update(addrs []resolver.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiver.OnResolve(addrs)
}

// Close implements io.Closer.
func (s *source) Close() error { return nil }

func openGRPC(addrs []string, _ bool) (running, error) {
	r := manual.NewBuilderWithScheme("bench")
	r.InitialState(client.GRPCState(addrs))
	conn, err := client.DialGRPC(r, `{"round_robin":{}}`)
	if err != nil {
		return running{}, err
	}
	conn.Connect()
	return running{
		caller: echoes(conn),
		update: func(addrs []string) { r.UpdateState(client.GRPCState(addrs)) },
		close:  func() { _ = conn.Close() }, // nothing is left to be lost
	}, nil
}

// echoes makes callers of a channel.
func echoes(conn *grpc.ClientConn) func() func() error {
	return func() func() error {
		in := wrapperspb.Bytes(server.Body)
		return func() error { return client.Echo(conn, in, grpc.WaitForReady(true)) }
	}
}
