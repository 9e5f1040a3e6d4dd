package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// loopback is where the peers of the tests come from.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// relay has a server make idempotent calls of its own, over gRPC and over HTTP, with
// the context of each RPC that it serves.
func relay(t *testing.T, front *server, back *transport.Transport) {
	t.Helper()
	users := connect(t, back, "tulle:///users")
	client := &http.Client{Transport: back}
	call := func(ctx context.Context) {
		users.UnaryCall(ctx, &testpb.SimpleRequest{}, tullegrpc.Idempotent())
		stream, err := users.FullDuplexCall(ctx, tullegrpc.Idempotent())
		if err == nil {
			stream.CloseSend()
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("downstream: got %v, want Unavailable", err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
	}
	front.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		call(ctx)
		return front.answer(), nil
	})
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		call(stream.Context())
		return nil
	}
	front.duplex.Store(&duplex)
}

// Repeats do not multiply: while a repeat of a trusted peer is served, what may have
// reached somebody is not sent again, over either protocol.
func TestInboundAttempt(t *testing.T) {
	for _, c := range []struct {
		name    string
		trusted []netip.Prefix
		md      []string
		repeat  bool
	}{
		{"no metadata", loopback, nil, false},
		{"tulle, first", loopback, []string{"tulle-attempt", "1"}, false},
		{"tulle", loopback, []string{"tulle-attempt", "2"}, true},
		{"envoy, first", loopback, []string{"x-envoy-attempt-count", "1"}, false},
		{"envoy", loopback, []string{"x-envoy-attempt-count", "2"}, true},
		{"grpc, first", loopback, []string{"grpc-previous-rpc-attempts", "0"}, false},
		{"grpc", loopback, []string{"grpc-previous-rpc-attempts", "1"}, true},
		{"two say so", loopback, []string{"tulle-attempt", "1", "x-envoy-attempt-count", "7"}, true},
		{"nonsense", loopback, []string{"tulle-attempt", "many"}, false},
		{"negative", loopback, []string{"tulle-attempt", "-2"}, false},
		{"stranger", nil, []string{"tulle-attempt", "2"}, false},
		{"other network", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"tulle-attempt", "2"}, false},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(c.name+map[bool]string{false: "/unary", true: "/stream"}[stream], func(t *testing.T) {
				all := fleet(t, 3)
				for _, s := range all {
					s.fails(codes.Unavailable)
					f := func(testpb.TestService_FullDuplexCallServer) error {
						return status.Error(codes.Unavailable, "on purpose")
					}
					s.duplex.Store(&f)
					s.status.Store(http.StatusBadGateway)
				}
				back := mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{Breaker: &breaker.Config{Off: true}}})
				front := serve(t, tullegrpc.ServerOptions(transport.InboundConfig{Trusted: c.trusted})...)
				relay(t, front, back)
				ctx := metadata.AppendToOutgoingContext(within(t), c.md...)
				client := dial(t, "passthrough:///"+front.addr)
				if stream {
					s, err := client.FullDuplexCall(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := s.Recv(); err != io.EOF {
						t.Fatal(err)
					}
				} else if _, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
					t.Fatal(err)
				}
				var gets int64
				for _, s := range all {
					gets += s.gets.Load()
				}
				want := int64(3)
				if c.repeat {
					want = 1
				}
				if got := hits(all); got != 2*want || gets != want {
					t.Errorf("got %d RPCs of two calls and %d requests of one downstream, want %d attempts of each", got, gets, want)
				}
			})
		}
	}
}

// The client says which attempt it is, from the second on, to its own services only.
func TestAttemptMetadata(t *testing.T) {
	for _, external := range []bool{false, true} {
		all := fleet(t, 3)
		told := make(chan []string, 10)
		for _, s := range all {
			s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				md, _ := metadata.FromIncomingContext(ctx)
				told <- md["tulle-attempt"]
				return nil, status.Error(codes.Unavailable, "on purpose")
			})
		}
		users := connect(t, mesh(t, transport.Service{Resolver: static(all...), External: external}), "tulle:///users")
		users.UnaryCall(within(t), &testpb.SimpleRequest{}, tullegrpc.Idempotent())
		for n := 1; n <= 3; n++ {
			got, want := <-told, []string{strconv.Itoa(n)}
			if n == 1 || external {
				want = nil
			}
			if len(got) != len(want) || len(want) == 1 && got[0] != want[0] {
				t.Errorf("external %v, attempt %d: got %q, want %q", external, n, got, want)
			}
		}
	}
}

// sooner are server options that end each RPC's time after d, as a server may that
// does not believe its callers.
func sooner(d time.Duration) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return handler(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			ctx, cancel := context.WithTimeout(ss.Context(), d)
			defer cancel()
			return handler(srv, &stream{ss, ctx})
		}),
	}
}

// stream is a server's stream with a context of the test's.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stream) Context() context.Context { return s.ctx }

// queue is a limit in which calls wait until their time is up.
func queue(t *testing.T) *limit.Limiter {
	t.Helper()
	return must(limit.New(limit.Config{MaxWait: time.Hour, Source: limit.SourceFunc(func(ctx context.Context, _ string, _ time.Time) (time.Duration, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})}))
}

// Work that expires in the server's queue is not run, and not held against the
// server, over unary RPCs and streams alike. The same status without the mark is.
func TestInboundExpired(t *testing.T) {
	for _, marked := range []bool{true, false} {
		options := sooner(20 * time.Millisecond)
		var expired atomic.Int64
		if marked {
			options = append(options, tullegrpc.ServerOptions(transport.InboundConfig{Limit: queue(t), OnExpired: func(r *http.Request) {
				expired.Add(1)
				if r.URL.Path[:len("/grpc.testing.TestService/")] != "/grpc.testing.TestService/" || r.RemoteAddr[:len("127.0.0.1:")] != "127.0.0.1:" || !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
					t.Errorf("got %v from %s, want the RPC", r.URL, r.RemoteAddr)
				}
			}})...)
		}
		s := serve(t, options...)
		late := func(ctx context.Context) error {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}
		s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return nil, late(ctx)
		})
		duplex := func(stream testpb.TestService_FullDuplexCallServer) error { return late(stream.Context()) }
		s.duplex.Store(&duplex)
		m := mesh(t, transport.Service{Resolver: static(s)})
		resp, err := (&http.Client{Transport: m}).Get("http://users/") // one success in the window
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		users := connect(t, m, "tulle:///users")
		for range 2 {
			var trailer metadata.MD
			_, err = users.UnaryCall(within(t), &testpb.SimpleRequest{}, grpc.Trailer(&trailer))
			if status.Code(err) != codes.DeadlineExceeded || len(trailer["tulle-expired"]) > 0 != marked {
				t.Errorf("marked %v: got %v and %v", marked, err, trailer)
			}
			stream, err := users.FullDuplexCall(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded || len(stream.Trailer()["tulle-expired"]) > 0 != marked {
				t.Errorf("marked %v, stream: got %v and %v", marked, err, stream.Trailer())
			}
		}
		e := m.Snapshot().Services[0].Endpoints[0]
		if marked && (s.calls.Load() != 0 || e.Success != 1 || expired.Load() != 4) {
			t.Errorf("got %d runs, %d told of and a success share of %v, want 0, 4 and 1", s.calls.Load(), expired.Load(), e.Success)
		}
		if !marked && (s.calls.Load() != 4 || e.Success > 0.5) {
			t.Errorf("not marked: got %d runs and a success share of %v, want 4 and 0.2", s.calls.Load(), e.Success)
		}
	}
}

// In the dark what has expired runs all the same, and is told of.
func TestInboundDark(t *testing.T) {
	var expired atomic.Int64
	s := serve(t, append(sooner(10*time.Millisecond), tullegrpc.ServerOptions(transport.InboundConfig{
		Limit: queue(t), Dark: true, OnExpired: func(*http.Request) { expired.Add(1) },
	})...)...)
	client := dial(t, "passthrough:///"+s.addr)
	if _, err := client.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
		t.Errorf("got %v", err)
	}
	stream, err := client.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("got %v, want a good end", err)
	}
	if s.calls.Load() != 2 || expired.Load() != 2 {
		t.Errorf("got %d runs and %d told of, want 2", s.calls.Load(), expired.Load())
	}
}

// What the server's limit refuses has a code and a time, which clients of any kind
// know, and which ours waits for.
func TestInboundLimited(t *testing.T) {
	l := must(limit.New(limit.Config{Rate: 0.01, Burst: 1}))
	s := serve(t, tullegrpc.ServerOptions(transport.InboundConfig{Limit: l})...)
	client := dial(t, "passthrough:///"+s.addr, grpc.WithDisableRetry())
	if _, err := client.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	var trailer metadata.MD
	_, err := client.UnaryCall(within(t), &testpb.SimpleRequest{}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.ResourceExhausted || s.calls.Load() != 1 {
		t.Errorf("got %v after %d runs, want ResourceExhausted after one", err, s.calls.Load())
	}
	if ms, err := strconv.Atoi(append(trailer["grpc-retry-pushback-ms"], "")[0]); err != nil || ms < 80_000 || ms > 100_000 {
		t.Errorf("got %v, want a pushback of about 100 s", trailer)
	}
	stream, err := client.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted || len(stream.Trailer()["grpc-retry-pushback-ms"]) != 1 {
		t.Errorf("stream: got %v and %v", err, stream.Trailer())
	}

	withTime(t, 200*time.Millisecond, func(d time.Duration) bool {
		l := must(limit.New(limit.Config{Rate: 1 / d.Seconds(), Burst: 1}))
		s := serve(t, tullegrpc.ServerOptions(transport.InboundConfig{Limit: l})...)
		m := mesh(t, transport.Service{Resolver: static(s)})
		users := connect(t, m, "tulle:///users")
		for range 2 {
			if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
				t.Errorf("through tulle: got %v", err)
			}
		}
		if e := m.Snapshot().Services[0].Endpoints[0]; e.Success != 1 || s.calls.Load() != 2 {
			t.Errorf("got %d runs, a success share of %v, want 2 and 1", s.calls.Load(), e.Success)
		}
		return l.Stats().Refused > 0 // the second one came before its token
	})
}

// A caller that gives up while it waits in the server's limit did just that.
func TestInboundCanceled(t *testing.T) {
	l := must(limit.New(limit.Config{Rate: 0.001, Burst: 1, MaxWait: time.Hour}))
	if err := l.Acquire(context.Background(), "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	s := serve(t, tullegrpc.ServerOptions(transport.InboundConfig{Limit: l, OnExpired: func(*http.Request) { t.Error("got told of a cancelled RPC as expired") }})...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	client := dial(t, "passthrough:///"+s.addr)
	go func() {
		_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{})
		done <- err
	}()
	eventually(t, "a wait", func() bool { return l.Stats().Waiting == 1 })
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
	eventually(t, "the end of the wait", func() bool { return l.Stats().Waiting == 0 })
	if s.calls.Load() != 0 {
		t.Errorf("got %d runs, want none", s.calls.Load())
	}
}
