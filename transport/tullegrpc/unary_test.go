package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// Calls reach all endpoints of a service, and none that has gone.
func TestBalance(t *testing.T) {
	all := fleet(t, 3)
	users := connect(t, mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{Balancer: balancer.RoundRobin{}}}), "tulle:///users")
	for range 300 {
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range all {
		if n := s.calls.Load(); n < 50 {
			t.Errorf("server %d: got %d of 300 calls, want about 100", i, n)
		}
	}
	all[1].stop()
	for range 300 {
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, tullegrpc.Idempotent()); err != nil {
			t.Fatalf("with a server gone: %v", err)
		}
	}
}

// A call that may be repeated goes to another endpoint, one that may not does not.
func TestRetry(t *testing.T) {
	for _, c := range []struct {
		name string
		code codes.Code
		opts []grpc.CallOption
		want codes.Code
		hits int64
	}{
		{"unavailable, idempotent", codes.Unavailable, []grpc.CallOption{tullegrpc.Idempotent()}, codes.Unavailable, 3},
		{"unavailable", codes.Unavailable, nil, codes.Unavailable, 1},
		{"unavailable, idempotent, no retry", codes.Unavailable, []grpc.CallOption{tullegrpc.Idempotent(), tullegrpc.NoRetry()}, codes.Unavailable, 1},
		{"internal, idempotent", codes.Internal, []grpc.CallOption{tullegrpc.Idempotent()}, codes.Internal, 1},
		{"invalid", codes.InvalidArgument, []grpc.CallOption{tullegrpc.Idempotent()}, codes.InvalidArgument, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := fleet(t, 3)
			for _, s := range all {
				s.fails(c.code)
			}
			users := connect(t, mesh(t, transport.Service{Resolver: static(all...)}), "tulle:///users")
			var info transport.Info
			_, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, append(c.opts, tullegrpc.AttemptInfo(&info))...)
			if got := status.Code(err); got != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if got := status.Convert(err).Message(); got != "on purpose" {
				t.Errorf("got %q, want the server's words", got)
			}
			most, sum := int64(0), int64(0)
			for _, s := range all {
				most, sum = max(most, s.calls.Load()), sum+s.calls.Load()
			}
			if sum != c.hits || most > 1 {
				t.Errorf("got %d attempts, %d at one server, want %d at different ones", sum, most, c.hits)
			}
			if int64(info.Attempts) != c.hits || info.Service != "users" || info.Endpoint.Addr == "" {
				t.Errorf("got %+v, want %d attempts", info, c.hits)
			}
		})
	}
}

// A server that names a time is asked again after it, and not before; one that
// says no is not asked again.
func TestPushback(t *testing.T) {
	for _, c := range []struct {
		value string
		hits  int64
	}{{"20", 2}, {"-1", 1}, {"soon", 1}} {
		t.Run(c.value, func(t *testing.T) {
			s := serve(t)
			var times []time.Time
			s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				times = append(times, time.Now())
				if len(times) > 1 {
					return s.answer(), nil
				}
				grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", c.value))
				return nil, status.Error(codes.Unavailable, "later")
			})
			users := connect(t, mesh(t, transport.Service{Resolver: static(s)}), "tulle:///users")
			_, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, tullegrpc.Idempotent())
			if got := s.calls.Load(); got != c.hits || (err == nil) != (c.hits == 2) {
				t.Fatalf("got %d attempts and %v, want %d", got, err, c.hits)
			}
			if c.hits == 2 && times[1].Sub(times[0]) < 20*time.Millisecond {
				t.Errorf("got a pause of %v, want at least 20 ms", times[1].Sub(times[0]))
			}
		})
	}
}

// What the service config of a user asks for is done, by our retry or by gRPC's with
// other targets: codes, number and methods that are not idempotent otherwise.
func TestServiceConfig(t *testing.T) {
	const config = `{"methodConfig":[{"name":[{"service":"grpc.testing.TestService","method":"UnaryCall"}],
		"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.001s","maxBackoff":"0.002s","backoffMultiplier":2,
		"retryableStatusCodes":["INTERNAL"]}}]}`
	all := fleet(t, 5)
	for _, s := range all {
		s.fails(codes.Internal)
	}
	m := mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{Breaker: &breaker.Config{Off: true}}})
	other := native(t)
	other.fails(codes.Internal)
	all = append(all, other)
	for _, c := range []struct {
		target  string
		options []grpc.DialOption
	}{
		{"tulle:///users", tullegrpc.DialOptions(m, tullegrpc.ServiceConfig(config))},
		{"passthrough:///" + other.addr, append(tullegrpc.DialOptions(m), grpc.WithDefaultServiceConfig(config))},
	} {
		before := hits(all)
		users := dial(t, c.target, c.options...)
		_, err := users.UnaryCall(within(t), &testpb.SimpleRequest{})
		if got := hits(all) - before; got != 4 || status.Code(err) != codes.Internal {
			t.Errorf("%s: got %d attempts and %v, want 4 and Internal", c.target, got, err)
		}
	}
}

// hits are the calls that servers had.
func hits(all []*server) (n int64) {
	for _, s := range all {
		n += s.calls.Load()
	}
	return n
}

// Errors of our own are codes to gRPC and sentinels to errors.Is.
func TestErrors(t *testing.T) {
	s := serve(t)
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	closed := mesh(t, transport.Service{Resolver: static(s)})
	closed.Close()
	past, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for _, c := range []struct {
		name   string
		mesh   *transport.Transport
		target string
		ctx    context.Context
		code   codes.Code
		is     []error
	}{
		{"unknown service", mesh(t, transport.Service{Resolver: static(s)}), "tulle:///nobody", nil, codes.Unavailable, []error{transport.ErrUnknownService}},
		{"closed", closed, "tulle:///users", nil, codes.Unavailable, []error{transport.ErrClosed}},
		{"deadline gone", mesh(t, transport.Service{Resolver: static(s)}), "tulle:///users", past, codes.DeadlineExceeded,
			[]error{context.DeadlineExceeded, deadline.ErrCall}},
		{"timeout", mesh(t, transport.Service{Resolver: static(s), Policy: transport.Policy{Timeout: 50 * time.Millisecond}}), "tulle:///users", nil,
			codes.DeadlineExceeded, []error{context.DeadlineExceeded, deadline.ErrCall}},
		{"attempt timeout", mesh(t, transport.Service{Resolver: static(s), Policy: transport.Policy{AttemptTimeout: 50 * time.Millisecond}}), "tulle:///users", nil,
			codes.DeadlineExceeded, []error{context.DeadlineExceeded, deadline.ErrAttempt}},
		{"limited", mesh(t, transport.Service{Resolver: static(s), Policy: transport.Policy{Limit: &limit.Config{Rate: 0.001, Burst: 1}}}), "tulle:///users", nil,
			codes.ResourceExhausted, []error{limit.ErrLimited}},
		{"nobody there", mesh(t, transport.Service{Target: "static://127.0.0.1:1"}), "tulle:///users", nil, codes.Unavailable, []error{transport.ErrAllDown}},
	} {
		t.Run(c.name, func(t *testing.T) {
			users := connect(t, c.mesh, c.target)
			ctx := c.ctx
			if ctx == nil {
				ctx = within(t)
			}
			if c.name == "limited" {
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				users.UnaryCall(short, &testpb.SimpleRequest{})
				cancel()
			}
			_, err := users.UnaryCall(ctx, &testpb.SimpleRequest{})
			if status.Code(err) != c.code {
				t.Errorf("got %v (%v), want %v", status.Code(err), err, c.code)
			}
			for _, is := range c.is {
				if !errors.Is(err, is) {
					t.Errorf("got %v, want it to be %v", err, is)
				}
			}
			if strings.Contains(err.Error(), "rpc error: code") {
				t.Errorf("got %q, want a text of our own", err)
			}
		})
	}
}

// What ends with the caller's context is that to errors.Is, and its cause, and gRPC's
// status as it is without tulle.
func TestErrorsOfContext(t *testing.T) {
	s := serve(t)
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	s.duplex.Store(&duplex)
	users := connect(t, mesh(t, transport.Service{Resolver: static(s)}), "tulle:///users")
	reason := errors.New("the reason")
	const wait = 50 * time.Millisecond
	for _, end := range []struct {
		context func() (context.Context, func())
		want    error
		code    codes.Code
		text    string
	}{
		{func() (context.Context, func()) {
			ctx, cancel := context.WithTimeoutCause(within(t), wait, reason)
			return ctx, cancel
		}, context.DeadlineExceeded, codes.DeadlineExceeded, "context deadline exceeded"},
		{func() (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(within(t))
			timer := time.AfterFunc(wait, func() { cancel(reason) })
			return ctx, func() { timer.Stop() }
		}, context.Canceled, codes.Canceled, "context canceled"},
	} {
		check := func(err error) {
			t.Helper()
			if !errors.Is(err, end.want) || status.Code(err) != end.code || status.Convert(err).Message() != end.text {
				t.Errorf("got %v, want %v with code %v and %q", err, end.want, end.code, end.text)
			}
			if end.code == codes.Canceled && !errors.Is(err, reason) {
				t.Errorf("got %v, want it to be %v too", err, reason)
			}
		}
		ctx, release := end.context()
		_, err := users.UnaryCall(ctx, &testpb.SimpleRequest{})
		check(err)
		release()
		ctx, release = end.context()
		stream, err := users.FullDuplexCall(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		check(err)
		release()
	}
}

// An endpoint that HTTP calls found to be down gets no RPCs, and the reverse.
func TestSharedEjection(t *testing.T) {
	for _, by := range []string{"HTTP", "gRPC"} {
		all := fleet(t, 3)
		m := mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{
			Retry: &retry.Config{Attempts: 1}, Balancer: balancer.RoundRobin{},
			Ejection: &breaker.OutlierConfig{Base: time.Hour, Max: time.Hour}, // no probe comes while the test runs
		}})
		client := &http.Client{Transport: m}
		users := connect(t, m, "tulle:///users")
		get := func() {
			resp, err := client.Get("http://users/")
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		rpc := func() { users.UnaryCall(within(t), &testpb.SimpleRequest{}) }
		all[0].status.Store(http.StatusInternalServerError)
		all[0].fails(codes.Internal)
		finds, asks, asked := get, rpc, &all[0].calls
		if by == "gRPC" {
			finds, asks, asked = rpc, get, &all[0].gets
		}
		until(t, m, all[0].addr, "ejected", finds)
		for range 200 {
			asks()
		}
		if got := asked.Load(); got > 0 {
			t.Errorf("ejected by %s: got %d of 200 calls of the other kind, want none", by, got)
		}
	}
}

// until makes calls until an endpoint has a state.
func until(t *testing.T, m *transport.Transport, addr, state string, call func()) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		call()
		for _, e := range m.Snapshot().Services[0].Endpoints {
			if e.Addr == addr && e.State == state {
				return
			}
		}
	}
	t.Fatalf("%s did not become %s: %+v", addr, state, m.Snapshot())
}
