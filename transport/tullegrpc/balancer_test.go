package tullegrpc_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// A channel that is new takes an endpoint that is left out, when there is none that is
// not within a second: one that says nothing is connecting for long.
func TestSettling(t *testing.T) {
	bad, good := serve(t), serve(t)
	src := newSource()
	src.set(discovery.Update{Endpoints: static(bad, good)})
	m := mesh(t, transport.Service{Resolver: src})
	bad.fails(codes.Internal)
	users := connect(t, m, "tulle:///users")
	until(t, m, bad.addr, "ejected", func() { users.UnaryCall(within(t), &testpb.SimpleRequest{}) })
	src.set(discovery.Update{Endpoints: discovery.Static{{Addr: bad.addr}, {Addr: mute(t)}}})
	for end := time.Now().Add(patience); m.Snapshot().Services[0].Endpoints[1].Addr == good.addr; {
		if time.Now().After(end) {
			t.Fatal("the endpoints did not change")
		}
	}
	ctx, cancel := context.WithTimeout(within(t), patience/2)
	defer cancel()
	_, err := connect(t, m, "tulle:///users").UnaryCall(ctx, &testpb.SimpleRequest{})
	if status.Code(err) != codes.Internal {
		t.Errorf("got %v, want the answer of the endpoint that is left out", err)
	}
}

// mute is the address of a server that accepts connections and says nothing.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts for it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// A call whose destination goes away before it is repeated ends, also if it has no
// deadline: there is nothing to wait for.
func TestDestinationGone(t *testing.T) {
	home, staging := serve(t), serve(t)
	config := func(environments map[string]transport.Destination) transport.Config {
		return transport.Config{
			Services: map[string]transport.Service{"users": {Environments: environments}},
			Override: route.OverridePolicy{Services: []string{"users"}, Environments: []string{"*"}, Protected: true, CodeProtected: true},
		}
	}
	prod := transport.Destination{Resolver: discovery.Static{tulle.Endpoint{Addr: home.addr}}}
	m, err := transport.New(config(map[string]transport.Destination{"prod": prod, "staging": {Resolver: static(staging)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users := connect(t, m, "tulle:///users")
	ctx, cancel := context.WithCancel(route.With(context.Background(), route.Override{Service: "users", Environment: "staging"}))
	defer cancel()
	staging.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		if err := m.Update(config(map[string]transport.Destination{"prod": prod})); err != nil {
			t.Error(err)
		}
		grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "200"))
		return nil, status.Error(codes.Unavailable, "on purpose")
	})
	done := make(chan error, 1)
	go func() {
		_, err := users.UnaryCall(ctx, &testpb.SimpleRequest{})
		done <- err
	}()
	select {
	case err := <-done:
		if status.Code(err) != codes.Unavailable || !errors.Is(err, transport.ErrUnknownService) {
			t.Errorf("got %v, want ErrUnknownService", err)
		}
	case <-within(t).Done():
		t.Error("the call waits for a destination that is gone")
	}
}
