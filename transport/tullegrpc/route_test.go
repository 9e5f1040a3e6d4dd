package tullegrpc_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// One connection reaches the destinations of all environments, by overrides and by
// rules; those that no call goes to are not connected to.
func TestEnvironments(t *testing.T) {
	all := fleet(t, 3)
	m, err := transport.New(transport.Config{
		Services: map[string]transport.Service{"users": {
			Environments: map[string]transport.Destination{
				"prod": {Resolver: static(all[0])}, "staging": {Resolver: static(all[1])}, "test": {Resolver: static(all[2])},
			},
			Rules: []route.Rule{{
				Match:          []route.Match{{GRPC: &route.GRPCMatch{Service: "grpc.testing.TestService", Method: "UnaryCall"}, Headers: []route.ValueMatch{{Name: "x-test", Exact: "1"}}}},
				Backends:       []route.Backend{{Environment: "test"}},
				RequestHeaders: route.Headers{Set: map[string]string{"x-ruled": "yes"}},
			}},
		}},
		Override: route.OverridePolicy{Services: []string{"users"}, Environments: []string{"staging"}, Protected: true, CodeProtected: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users := connect(t, m, "tulle:///users")
	ctx := within(t)
	for _, c := range []struct {
		name string
		ctx  context.Context
		want *server
	}{
		{"home", ctx, all[0]},
		{"override by code", route.With(ctx, route.Override{Service: "users", Environment: "staging"}), all[1]},
		{"override by header", metadata.AppendToOutgoingContext(ctx, "tulle-route", "users=staging"), all[1]},
		{"override that is not allowed", metadata.AppendToOutgoingContext(ctx, "tulle-route", "users=test"), all[0]},
		{"rule", metadata.AppendToOutgoingContext(ctx, "x-test", "1"), all[2]},
	} {
		if c.name == "rule" && all[2].http != nil && all[2].calls.Load() != 0 {
			t.Error("a destination was called too early")
		}
		reply, err := users.UnaryCall(c.ctx, &testpb.SimpleRequest{})
		if err != nil || reply.Hostname != c.want.addr {
			t.Errorf("%s: got %v, %v, want %s", c.name, reply, err, c.want.addr)
		}
	}
}

// An RPC that reaches nobody at home goes on to where it may fall back. A lone
// endpoint, which is never left out of picks, is no exception.
func TestFailover(t *testing.T) {
	for name, call := range map[string]func(context.Context, testpb.TestServiceClient) (string, error){
		"unary": func(ctx context.Context, users testpb.TestServiceClient) (string, error) {
			reply, err := users.UnaryCall(ctx, &testpb.SimpleRequest{})
			return reply.GetHostname(), err
		},
		"stream": func(ctx context.Context, users testpb.TestServiceClient) (string, error) {
			s, err := users.FullDuplexCall(ctx)
			if err != nil {
				return "", err
			}
			md, err := s.Header()
			return strings.Join(md.Get("addr"), ""), err
		},
	} {
		gone, back := serve(t), serve(t)
		gone.stop()
		answer := func(stream testpb.TestService_FullDuplexCallServer) error {
			return stream.SendHeader(metadata.Pairs("addr", back.addr))
		}
		back.duplex.Store(&answer)
		m, err := transport.New(transport.Config{
			Environment:  "local",
			Environments: map[string]route.Environment{"local": {Fallback: []string{"staging"}, Failover: true}},
			Services: map[string]transport.Service{"users": {Environments: map[string]transport.Destination{
				"local": {Resolver: static(gone)}, "staging": {Resolver: static(back)},
			}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		users := connect(t, m, "tulle:///users")
		for i := range 3 {
			if got, err := call(within(t), users); err != nil || got != back.addr {
				t.Errorf("%s %d: got %q, %v, want %s, which stands in", name, i, got, err, back.addr)
			}
		}
	}
}

// An RPC that reached somebody at home does not go on, whatever came of it.
func TestFailoverOfWhatWasSent(t *testing.T) {
	home, back := serve(t), serve(t)
	busy := func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return nil, status.Error(codes.Unavailable, "busy")
	}
	home.unary.Store(&busy)
	m, err := transport.New(transport.Config{
		Environment:  "local",
		Environments: map[string]route.Environment{"local": {Fallback: []string{"staging"}, Failover: true}},
		Services: map[string]transport.Service{"users": {Environments: map[string]transport.Destination{
			"local": {Resolver: static(home)}, "staging": {Resolver: static(back)},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users := connect(t, m, "tulle:///users")
	if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); status.Code(err) != codes.Unavailable || home.calls.Load() == 0 || back.calls.Load() != 0 {
		t.Errorf("got %v after %d calls at home and %d elsewhere, want the error of home", err, home.calls.Load(), back.calls.Load())
	}
}

// Rules hold up, end and repeat RPCs.
func TestRules(t *testing.T) {
	s := serve(t)
	percent := 100.0
	m, err := transport.New(transport.Config{
		Services: map[string]transport.Service{"users": {Resolver: static(s), Rules: []route.Rule{
			{Name: "abort", Match: byHeader("abort"), Fault: &route.Fault{AbortCode: "FAILED_PRECONDITION", AbortPercent: &percent}},
			{Name: "slow", Match: byHeader("slow"), Timeout: 30 * time.Millisecond, Fault: &route.Fault{Delay: time.Minute}},
			{Name: "retry", Match: byHeader("retry"), Retry: &route.Retry{Attempts: 3, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond, Codes: []string{"ABORTED"}}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users := connect(t, m, "tulle:///users")
	call := func(kind string, opts ...grpc.CallOption) error {
		_, err := users.UnaryCall(metadata.AppendToOutgoingContext(within(t), "kind", kind), &testpb.SimpleRequest{}, opts...)
		return err
	}
	if err := call("abort"); status.Code(err) != codes.FailedPrecondition || s.calls.Load() != 0 {
		t.Errorf("abort: got %v, %d calls", err, s.calls.Load())
	}
	if err := call("slow"); !errors.Is(err, context.DeadlineExceeded) || s.calls.Load() != 0 {
		t.Errorf("slow: got %v, %d calls", err, s.calls.Load())
	}
	s.fails(codes.Aborted)
	if err := call("retry", tullegrpc.Idempotent()); status.Code(err) != codes.Aborted || s.calls.Load() != 3 {
		t.Errorf("retry: got %v, %d calls, want 3", err, s.calls.Load())
	}
}

// byHeader matches the RPCs of a kind.
func byHeader(kind string) []route.Match {
	return []route.Match{{Headers: []route.ValueMatch{{Name: "kind", Exact: kind}}}}
}

// An override goes from a request over the wire to the calls that its handler makes.
func TestOverrideTravels(t *testing.T) {
	users, staging := serve(t), serve(t)
	front := serve(t, tullegrpc.ServerOptions(transport.InboundConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})...)
	m, err := transport.New(transport.Config{
		Services: map[string]transport.Service{
			"front":  {Resolver: static(front)},
			"orders": {Environments: map[string]transport.Destination{"prod": {Resolver: static(users)}, "staging": {Resolver: static(staging)}}},
		},
		Override: route.OverridePolicy{Services: []string{"orders"}, Environments: []string{"staging"}, Protected: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	orders := connect(t, m, "tulle:///orders")
	front.onUnary(func(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return orders.UnaryCall(ctx, in)
	})
	ctx := metadata.AppendToOutgoingContext(within(t), "tulle-route", "orders=staging")
	reply, err := connect(t, m, "tulle:///front").UnaryCall(ctx, &testpb.SimpleRequest{})
	if err != nil || reply.Hostname != staging.addr {
		t.Errorf("got %v, %v, want %s", reply, err, staging.addr)
	}
}
