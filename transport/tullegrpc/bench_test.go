package tullegrpc_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// echo starts a plain gRPC server, without the HTTP server around it.
func echo(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{grpc: grpc.NewServer(), addr: l.Addr().String()}
	testpb.RegisterTestServiceServer(s.grpc, s)
	go s.grpc.Serve(l)
	tb.Cleanup(s.grpc.Stop)
	return s.addr
}

// plain is a connection of gRPC's own to addrs.
func plain(tb testing.TB, policy string, addrs []string) testpb.TestServiceClient {
	r := manual.NewBuilderWithScheme("bench")
	var state resolver.State
	for _, a := range addrs {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	r.InitialState(state)
	return dial(tb, "bench:///x", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+policy+`":{}}]}`))
}

// clients are the ways to call the same servers.
func clients(tb testing.TB, n int) map[string]testpb.TestServiceClient {
	var addrs []string
	var set discovery.Static
	for range n {
		a := echo(tb)
		addrs = append(addrs, a)
		set = append(set, tulle.Endpoint{Addr: a})
	}
	return map[string]testpb.TestServiceClient{
		"pick_first":  plain(tb, "pick_first", addrs),
		"round_robin": plain(tb, "round_robin", addrs),
		"tulle":       connect(tb, mesh(tb, transport.Service{Resolver: set}), "tulle:///users"),
	}
}

// What tulle adds to a unary call over loopback, client and server in one process.
func BenchmarkUnary(b *testing.B) {
	for name, c := range clients(b, 4) {
		for _, parallel := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", name, parallel), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(parallel)
				ctx := context.Background()
				if parallel == 1 {
					for b.Loop() {
						if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// A unary call allocates at most eight times more than through round_robin.
func TestAllocations(t *testing.T) {
	if testing.Short() {
		t.Skip("allocations are those of a plain build")
	}
	got := make(map[string]float64)
	for name, c := range clients(t, 4) {
		ctx := context.Background()
		for range 200 {
			if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		got[name] = testing.AllocsPerRun(2000, func() { c.UnaryCall(ctx, &testpb.SimpleRequest{}) })
	}
	t.Logf("allocations of a call, client and server: %v", got)
	if more := got["tulle"] - got["round_robin"]; more > 8 {
		t.Errorf("got %v allocations more than round_robin, want at most 8", more)
	}
}
