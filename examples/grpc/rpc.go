package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/examples/internal/show"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// keyHeader is the metadata of a write with its idempotency key.
const keyHeader = "idempotency-key"

// A host serves a server's calls over gRPC.
type host struct{ grpc *grpc.Server }

// newHost registers the service and a health service. A server that is leaving says
// so there, and the others do not: what is wrong with them they do not know.
func newHost(s *show.Server) show.Host {
	h, checks := host{grpc.NewServer(grpc.WaitForHandlers(true))}, health.NewServer()
	s.Changed = func(m show.Mode) {
		if m == show.Leaving {
			checks.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		}
	}
	healthpb.RegisterHealthServer(h.grpc, checks)
	testpb.RegisterTestServiceServer(h.grpc, service{server: s})
	return h
}

// Serve implements show.Host.
func (h host) Serve(l net.Listener) error { return h.grpc.Serve(l) }

// Close implements show.Host. It waits for the calls at work, whose contexts end
// with that.
func (h host) Close() error {
	h.grpc.Stop()
	return nil
}

// A service answers for a server. It is one of gRPC's own, so that the example needs
// no generated code.
type service struct {
	testpb.UnimplementedTestServiceServer
	server *show.Server
}

// CacheableUnaryCall is the method that reads.
func (s service) CacheableUnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return s.answer(ctx, in, "")
}

// UnaryCall is the method that writes. Its caller gives each write a key.
func (s service) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	keys := metadata.ValueFromIncomingContext(ctx, keyHeader)
	if len(keys) != 1 || keys[0] == "" {
		return nil, status.Errorf(codes.InvalidArgument, "%s %q: want one", keyHeader, keys)
	}
	return s.answer(ctx, in, keys[0])
}

// answer has the server work and tells what came of it.
func (s service) answer(ctx context.Context, in *testpb.SimpleRequest, key string) (*testpb.SimpleResponse, error) {
	err := s.server.Work(ctx, string(in.GetPayload().GetBody()), key)
	if errors.Is(err, show.ErrUnavailable) {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return &testpb.SimpleResponse{Hostname: s.server.Name()}, nil
}

// sender makes calls over a connection, as any program would. A write has a key of
// its own, which says that it may be sent twice: the servers understand it, and the
// option tells tulle. Without that tulle would repeat a write only if it provably
// reached no server. A client without tulle ignores the option.
func sender(cc grpc.ClientConnInterface) show.Send {
	rpc := testpb.NewTestServiceClient(cc)
	return func(ctx context.Context, i int, write bool) error {
		in := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: strconv.AppendInt(nil, int64(i), 10)}}
		if !write {
			_, err := rpc.CacheableUnaryCall(ctx, in)
			return err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, keyHeader, "key-"+strconv.Itoa(i))
		_, err := rpc.UnaryCall(ctx, in, tullegrpc.Idempotent())
		return err
	}
}

// addresses are where the plain client finds its servers. It learns of new ones as
// tulle does.
type addresses struct {
	mu    sync.Mutex
	cc    resolver.ClientConn // guarded by mu: nil before Build
	state resolver.State      // guarded by mu
}

// Scheme implements resolver.Builder.
func (a *addresses) Scheme() string { return "plain" }

// Build implements resolver.Builder.
func (a *addresses) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cc = cc
	return a, cc.UpdateState(a.state)
}

// set replaces the addresses.
func (a *addresses) set(addrs []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = resolver.State{}
	for _, addr := range addrs {
		a.state.Endpoints = append(a.state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	if a.cc != nil {
		_ = a.cc.UpdateState(a.state) // what the balancer does not like, the calls show
	}
}

// ResolveNow implements resolver.Resolver: gRPC knows all there is.
func (a *addresses) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (a *addresses) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cc = nil
}
