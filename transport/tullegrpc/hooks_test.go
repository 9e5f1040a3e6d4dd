package tullegrpc_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// twice has the service config repeat what is unavailable, once.
const twice = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":2,"initialBackoff":"0.001s","maxBackoff":"0.001s",
	"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

// overTargets runs a test for a target of tulle's and for another one.
func overTargets(t *testing.T, s *server, test func(t *testing.T, users testpb.TestServiceClient)) {
	m := mesh(t, transport.Service{Resolver: static(s)})
	for target, options := range map[string][]grpc.DialOption{
		"tulle:///users":           tullegrpc.DialOptions(m, tullegrpc.ServiceConfig(twice)),
		"passthrough:///" + s.addr: append(tullegrpc.DialOptions(m), grpc.WithDefaultServiceConfig(twice)),
	} {
		name, _, _ := strings.Cut(target, ":")
		t.Run(name, func(t *testing.T) { test(t, dial(t, target, options...)) })
	}
}

// unavailable has streams and unary calls end with UNAVAILABLE, the first calls of them
// only.
func (s *server) unavailable(calls int64) {
	began := s.calls.Load()
	fails := func() error {
		if s.calls.Load()-began <= calls {
			return status.Error(codes.Unavailable, "on purpose")
		}
		return nil
	}
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := fails(); err != nil {
			return err
		}
		return stream.Send(&testpb.StreamingOutputCallResponse{})
	}
	s.duplex.Store(&duplex)
	s.onUnary(func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return s.answer(), fails()
	})
}

// heard are the names of the hooks that were called, in order.
type heard struct {
	mu    sync.Mutex
	names []string // guarded by mu
}

func (h *heard) add(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names = append(h.names, name)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.names, " ")
}

// trace is hooks that call f and then note their names.
func (h *heard) trace(f func(name string)) *telemetry.Trace {
	note := func(name string) { defer h.add(name); f(name) }
	return &telemetry.Trace{
		Picked:         func(telemetry.Pick) { note("picked") },
		AttemptDone:    func(telemetry.Try) { note("done") },
		RetryDecision:  func(telemetry.Repeat) { note("repeat") },
		BreakerRefused: func(string) { note("refused") },
		CallDone:       func(telemetry.Result) { note("end") },
	}
}

// returns says that f, which a hook calls, does not wait for the hook.
func returns(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{}) // closed when f returns
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-within(t).Done():
		t.Errorf("%s waits for the hook", what)
	}
}

// Hooks hear of a stream in the order of what happened, and may use the stream: no lock
// is held, neither ours nor gRPC's.
func TestHooksUseStream(t *testing.T) {
	s := native(t)
	overTargets(t, s, func(t *testing.T, users testpb.TestServiceClient) {
		s.unavailable(1)
		var stream grpc.ClientStream
		h := new(heard)
		ctx := telemetry.WithTrace(within(t), h.trace(func(name string) {
			if stream == nil { // the first pick
				return
			}
			returns(t, name+": Context", func() { _ = stream.Context() })
			returns(t, name+": Trailer", func() { _ = stream.Trailer() })
		}))
		opened, err := users.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream = opened
		for range 2 {
			if _, err = opened.Recv(); err != nil {
				break
			}
		}
		if err != io.EOF {
			t.Fatalf("got %v, want a message and the end", err)
		}
		want := "picked done repeat picked done end"
		if strings.HasSuffix(t.Name(), "passthrough") {
			want = "done end" // nobody of ours picks or repeats for it
		}
		if got := h.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The hook of an attempt or a repeat may wait for the end of the stream: who ends it is
// not held up by the hook.
func TestHookEndsStream(t *testing.T) {
	s := serve(t)
	m := mesh(t, transport.Service{Resolver: static(s)})
	users := dial(t, "tulle:///users", tullegrpc.DialOptions(m, tullegrpc.ServiceConfig(twice))...)
	for _, at := range []string{"done", "repeat"} {
		s.unavailable(1)
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		ended := make(chan struct{}) // closed by OnFinish
		h := new(heard)
		var once sync.Once
		traced := telemetry.WithTrace(ctx, h.trace(func(name string) {
			if name == at {
				once.Do(func() {
					cancel()
					returns(t, at+": the end", func() { <-ended })
				})
			}
		}))
		stream, err := users.FullDuplexCall(traced, grpc.OnFinish(func(error) { close(ended) }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Canceled && status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v, want Canceled, or what the attempt came to", at, err)
		}
		<-ended
		eventually(t, "the end", func() bool { return slices.Contains(strings.Fields(h.String()), "end") })
	}
}

// Of a stream that its caller forgets all is told, and its hooks may use it as well.
func TestHooksOfForgottenStream(t *testing.T) {
	s := serve(t)
	overTargets(t, s, func(t *testing.T, users testpb.TestServiceClient) {
		s.duplex.Store(nil)
		var opened atomic.Pointer[grpc.ClientStream]
		h := new(heard)
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		stream, err := users.FullDuplexCall(telemetry.WithTrace(ctx, h.trace(func(name string) {
			if stream := opened.Load(); stream != nil {
				returns(t, name+": Context", func() { _ = (*stream).Context() })
			}
		})))
		if err != nil {
			t.Fatal(err)
		}
		opened.Store(new(grpc.ClientStream(stream)))
		cancel()
		eventually(t, "both ends", func() bool {
			got := strings.Fields(h.String())
			return slices.Contains(got, "done") && slices.Contains(got, "end")
		})
	})
}

// A hook that panics is heard of by its caller, and those after it are called all the
// same.
func TestHookPanics(t *testing.T) {
	s := serve(t)
	s.unavailable(100)
	users := connect(t, mesh(t, transport.Service{Resolver: static(s)}), "tulle:///users")
	h := new(heard)
	ctx := telemetry.WithTrace(within(t), h.trace(func(name string) {
		if name == "done" {
			panic("on purpose")
		}
	}))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("got no panic")
			}
		}()
		users.UnaryCall(ctx, &testpb.SimpleRequest{})
	}()
	if got := h.String(); got != "picked done end" {
		t.Errorf("got %q, want the end to be told", got)
	}
}
