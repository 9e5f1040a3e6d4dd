package tullegrpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// brokenToken are credentials whose source cannot be reached.
type brokenToken struct{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (brokenToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, status.Error(codes.Unavailable, "no token")
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (brokenToken) RequireTransportSecurity() bool { return false }

// That a call has no credentials is no endpoint's failure, though to the balancer it
// looks like a connection that is gone: every endpoint was ejected by three calls.
func TestBrokenCredentials(t *testing.T) {
	m := mesh(t, transport.Service{Resolver: static(fleet(t, 3)...)})
	users := connect(t, m, "tulle:///users")
	var info transport.Info
	for range 5 {
		_, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, grpc.PerRPCCredentials(brokenToken{}), tullegrpc.AttemptInfo(&info))
		if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "no token" || info.Attempts != 1 {
			t.Errorf("got %v after %d attempts, want the error of the credentials after 1", err, info.Attempts)
		}
		_, err = users.FullDuplexCall(within(t), grpc.PerRPCCredentials(brokenToken{}))
		if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "no token" {
			t.Errorf("stream: got %v, want the error of the credentials", err)
		}
	}
	for _, e := range m.Snapshot().Services[0].Endpoints {
		if e.State != "healthy" || e.Waiting+e.Streaming != 0 {
			t.Errorf("got %+v, want an endpoint in good health without calls", e)
		}
	}
}

// endings are what grpc.OnFinish was called with.
type endings struct {
	mu  sync.Mutex
	all []codes.Code // guarded by mu
}

// option is the option that takes note.
func (e *endings) option() grpc.CallOption {
	return grpc.OnFinish(func(err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, status.Code(err))
	})
}

// take returns what has come since the last time.
func (e *endings) take() []codes.Code {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// An RPC that is repeated has one end, and so has one that never began.
func TestOnFinish(t *testing.T) {
	all := fleet(t, 3)
	bad := status.Error(codes.Unavailable, "on purpose")
	calls := 0
	for _, s := range all {
		s.onUnary(func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			if calls++; calls%2 == 1 {
				return nil, bad
			}
			return s.answer(), nil
		})
		duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
			if calls++; calls%2 == 1 {
				return bad
			}
			return stream.Send(&testpb.StreamingOutputCallResponse{})
		}
		s.duplex.Store(&duplex)
	}
	m := mesh(t, transport.Service{Resolver: static(all...)})
	users := connect(t, m, "tulle:///users")
	var ends, twice endings
	if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, ends.option(), tullegrpc.Idempotent(), twice.option()); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*endings{"first": &ends, "second": &twice} {
		if got := e.take(); !slices.Equal(got, []codes.Code{codes.OK}) {
			t.Errorf("unary, %s option: got ends %v, want OK", name, got)
		}
	}
	stream, err := users.FullDuplexCall(within(t), tullegrpc.Idempotent(), ends.option())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil || len(ends.take()) > 0 {
		t.Errorf("got %v and an end, want a message of the second attempt", err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	if got := ends.take(); !slices.Equal(got, []codes.Code{codes.OK}) {
		t.Errorf("stream: got ends %v, want OK", got)
	}
	gone, cancel := context.WithCancel(within(t))
	cancel()
	users.UnaryCall(gone, &testpb.SimpleRequest{}, ends.option())
	users.FullDuplexCall(gone, ends.option())
	if got := ends.take(); !slices.Equal(got, []codes.Code{codes.Canceled, codes.Canceled}) {
		t.Errorf("cancelled before: got ends %v, want Canceled twice", got)
	}
}

// A stream that its caller forgets ends with its context.
func TestOnFinishOfForgottenStream(t *testing.T) {
	users := connect(t, mesh(t, transport.Service{Resolver: static(serve(t))}), "tulle:///users")
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 2)
	if _, err := users.FullDuplexCall(ctx, grpc.OnFinish(func(err error) { ended <- err })); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
}

// A stream that its caller forgets ends with its channel, for Shutdown too.
func TestStreamOfClosedChannel(t *testing.T) {
	s := serve(t)
	m := mesh(t, transport.Service{Resolver: static(s)})
	for _, target := range []string{"tulle:///users", "passthrough:///" + s.addr} {
		cc, err := grpc.NewClient(target, append(tullegrpc.DialOptions(m), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		if _, err := testpb.NewTestServiceClient(cc).FullDuplexCall(context.Background(), grpc.OnFinish(func(err error) { ended <- err })); err != nil {
			t.Fatal(err)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("%s: got the end %v, want Canceled", target, err)
		}
	}
	if err := m.Shutdown(within(t)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Servers that know gRPC's own header learn from it which attempt it is, with every
// target.
func TestPreviousAttempts(t *testing.T) {
	const config = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.001s","maxBackoff":"0.002s",
		"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`
	s := native(t)
	var got []string
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got = append(got, fmt.Sprint(md["grpc-previous-rpc-attempts"]))
		return nil, status.Error(codes.Unavailable, "on purpose")
	})
	m := mesh(t, transport.Service{Resolver: static(s), External: true})
	for target, options := range map[string][]grpc.DialOption{
		"tulle:///users":           tullegrpc.DialOptions(m, tullegrpc.ServiceConfig(config)),
		"passthrough:///" + s.addr: append(tullegrpc.DialOptions(m), grpc.WithDefaultServiceConfig(config)),
	} {
		got = nil
		dial(t, target, options...).UnaryCall(within(t), &testpb.SimpleRequest{})
		if want := []string{"[]", "[1]", "[2]"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

// A call that waits for endpoints and ends by its context says so, not that they
// are down.
func TestWaitEnds(t *testing.T) {
	users := connect(t, mesh(t, transport.Service{Target: "static://127.0.0.1:1"}), "tulle:///users")
	const wait = 100 * time.Millisecond
	short, cancel := context.WithTimeout(within(t), wait)
	defer cancel()
	_, err := users.UnaryCall(short, &testpb.SimpleRequest{}, grpc.WaitForReady(true))
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	ended, cancel := context.WithCancel(within(t))
	defer time.AfterFunc(wait, cancel).Stop()
	_, err = users.UnaryCall(ended, &testpb.SimpleRequest{}, grpc.WaitForReady(true))
	if status.Code(err) != codes.Canceled || errors.Is(err, transport.ErrAllDown) {
		t.Errorf("got %v, want Canceled", err)
	}
}
