package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/examples/internal/show"
)

// channel is a func as the connection of a client.
type channel func(ctx context.Context, method string, in *testpb.SimpleRequest) error

// Invoke implements grpc.ClientConnInterface.
func (f channel) Invoke(ctx context.Context, method string, in, _ any, _ ...grpc.CallOption) error {
	return f(ctx, method, in.(*testpb.SimpleRequest))
}

// NewStream implements grpc.ClientConnInterface.
func (channel) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("there are no streams")
}

// TestSend wants a new key on each write, and only there.
func TestSend(t *testing.T) {
	keys := map[string]bool{}
	failed := errors.New("no")
	for i, tt := range []struct {
		write  bool
		method string
		err    error
	}{
		{false, testpb.TestService_CacheableUnaryCall_FullMethodName, nil},
		{true, testpb.TestService_UnaryCall_FullMethodName, nil},
		{true, testpb.TestService_UnaryCall_FullMethodName, failed},
		{false, testpb.TestService_CacheableUnaryCall_FullMethodName, failed},
	} {
		send := sender(channel(func(ctx context.Context, method string, in *testpb.SimpleRequest) error {
			md, _ := metadata.FromOutgoingContext(ctx)
			key := strings.Join(md[keyHeader], ",")
			if method != tt.method || tt.write != (key != "") || keys[key] && tt.write {
				t.Errorf("call %d: got %s with key %q, want %s, with a new key on each write and only there", i, method, key, tt.method)
			}
			if got := string(in.Payload.Body); got != strconv.Itoa(i) {
				t.Errorf("call %d: got number %q", i, got)
			}
			keys[key] = true
			return tt.err
		}))
		if err := send(t.Context(), i, tt.write); !errors.Is(err, tt.err) {
			t.Errorf("call %d: got %v, want %v", i, err, tt.err)
		}
	}
}

// seen is a resolver.ClientConn that keeps the addresses.
type seen struct {
	resolver.ClientConn
	addrs []string
}

// UpdateState implements resolver.ClientConn.
func (s *seen) UpdateState(state resolver.State) error {
	s.addrs = nil
	for _, e := range state.Endpoints {
		s.addrs = append(s.addrs, e.Addresses[0].Addr)
	}
	return nil
}

// TestAddresses wants a connection to learn of servers that join, also while it has
// no resolver.
func TestAddresses(t *testing.T) {
	a := new(addresses)
	a.set([]string{"a:1"})
	for _, last := range []string{"b:2", "c:3"} {
		cc := new(seen)
		r, err := a.Build(resolver.Target{}, cc, resolver.BuildOptions{})
		if err != nil || len(cc.addrs) == 0 {
			t.Fatalf("got %q, %v, want the addresses at once", cc.addrs, err)
		}
		a.set([]string{"a:1", last})
		if want := []string{"a:1", last}; !slices.Equal(cc.addrs, want) {
			t.Errorf("got %q, want %q", cc.addrs, want)
		}
		r.Close()
		a.set([]string{"z:9"})
		if cc.addrs[0] == "z:9" {
			t.Error("got addresses after Close, want none")
		}
	}
}

// numbered is a request as the load makes it.
func numbered(number int) *testpb.SimpleRequest {
	return &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte(strconv.Itoa(number))}}
}

// write has s answer a write and tells how long it took.
func write(ctx context.Context, s *show.Server, number int) (code codes.Code, took time.Duration) {
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(keyHeader, fmt.Sprintf("key-%d", number)))
	begin := time.Now()
	_, err := service{server: s}.UnaryCall(ctx, numbered(number))
	return status.Code(err), time.Since(begin)
}

// TestService wants the modes of a server told in the words of gRPC.
func TestService(t *testing.T) {
	for _, tt := range []struct {
		mode show.Mode
		code codes.Code
	}{
		{show.Healthy, codes.OK},
		{show.Slow, codes.DeadlineExceeded},
		{show.Unavailable, codes.Unavailable},
		{show.Killed, codes.Canceled},
		{show.Silent, codes.DeadlineExceeded},
		{show.Leaving, codes.OK}, // who has not heard it yet is served
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), show.Deadline)
			defer cancel()
			s := show.NewServer("s1", 1, newHost)
			s.Become(tt.mode)
			if code, _ := write(ctx, s, 1); code != tt.code {
				t.Errorf("mode %d: got %v, want %v", tt.mode, code, tt.code)
			}
		})
	}
}

// TestServiceKey wants a write to have a key, by which the answer to a second one is
// stored, so that even a slow server has it at once. A read has none.
func TestServiceKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show.NewServer("s1", 1, newHost)
		if code, took := write(t.Context(), s, 1); code != codes.OK || took == 0 {
			t.Errorf("got %v after %v, want OK after some work", code, took)
		}
		s.Become(show.Slow)
		if code, took := write(t.Context(), s, 1); code != codes.OK || took != 0 {
			t.Errorf("a repeat: got %v after %v, want OK at once", code, took)
		}
		for range 2 {
			begin := time.Now()
			out, err := service{server: s}.CacheableUnaryCall(t.Context(), numbered(1))
			if err != nil || out.Hostname != "s1" || time.Since(begin) == 0 {
				t.Errorf("a read: got %v, %v after %v, want s1 after some work", out, err, time.Since(begin))
			}
		}
		if _, err := (service{server: s}).UnaryCall(t.Context(), numbered(1)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a write without a key: got %v, want InvalidArgument", err)
		}
	})
}

// TestServiceNumber wants the body to name the call: the service time depends on it.
func TestServiceNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show.NewServer("s1", 1, newHost)
		times := map[time.Duration]bool{}
		for i := range 10 {
			_, took := write(t.Context(), s, i)
			times[took] = true
		}
		if len(times) != 10 {
			t.Errorf("got %d service times of 10 calls, want 10", len(times))
		}
	})
}

// dial is a connection to one server.
func dial(t *testing.T, s *show.Server) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// TestHost kills a server of its own: its connections break and its port refuses.
func TestHost(t *testing.T) {
	s := show.NewServer("s1", 1, newHost)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rpc := testpb.NewTestServiceClient(dial(t, s))
	if out, err := rpc.CacheableUnaryCall(t.Context(), numbered(1)); err != nil || out.Hostname != "s1" {
		t.Errorf("got %v, %v, want s1", out, err)
	}
	s.Become(show.Killed)
	if out, err := rpc.CacheableUnaryCall(t.Context(), numbered(1)); status.Code(err) != codes.Unavailable {
		t.Errorf("a killed server: got %v, %v, want Unavailable", out, err)
	}
}

// TestHealth wants servers to say how they are only when they know it.
func TestHealth(t *testing.T) {
	s := show.NewServer("s1", 1, newHost)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check := healthpb.NewHealthClient(dial(t, s))
	for _, tt := range []struct {
		mode show.Mode
		want healthpb.HealthCheckResponse_ServingStatus
	}{
		{show.Healthy, healthpb.HealthCheckResponse_SERVING},
		{show.Slow, healthpb.HealthCheckResponse_SERVING},
		{show.Unavailable, healthpb.HealthCheckResponse_SERVING},
		{show.Silent, healthpb.HealthCheckResponse_SERVING},
		{show.Leaving, healthpb.HealthCheckResponse_NOT_SERVING},
	} {
		s.Become(tt.mode)
		if got, err := check.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || got.Status != tt.want {
			t.Errorf("mode %d: got %v, %v, want %v", tt.mode, got, err, tt.want)
		}
	}
}
