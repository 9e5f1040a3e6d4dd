package tullegrpc_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
)

// tooShort is less than an attempt must have waited for its deadline to be held
// against the endpoint, by some time for the machine.
const tooShort = 90 * time.Millisecond

// A caller may end a stream that works by its deadline. What counts is how long the
// first message took: it came at once, so that nobody is to blame.
func TestBlameStreamDeadline(t *testing.T) {
	for _, message := range []bool{true, false} {
		withTime(t, 400*time.Millisecond, func(d time.Duration) bool { return blameStreamDeadline(t, message, d) })
	}
}

// blameStreamDeadline has a stream end by a deadline after d. It says whether that
// was opened, and had its message if there is one, early enough.
func blameStreamDeadline(t *testing.T, message bool, d time.Duration) bool {
	t.Helper()
	s := serve(t)
	f := func(stream testpb.TestService_FullDuplexCallServer) error {
		if message {
			stream.Send(&testpb.StreamingOutputCallResponse{})
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	s.duplex.Store(&f)
	m := mesh(t, transport.Service{Resolver: static(s)})
	users := connect(t, m, "tulle:///users")
	begun := time.Now()
	ctx, cancel := context.WithTimeout(within(t), d)
	defer cancel()
	stream, err := users.FullDuplexCall(ctx)
	opened := time.Since(begun)
	if err != nil || opened > d/2 {
		return false
	}
	if _, err = stream.Recv(); message && (err != nil || time.Since(begun) > tooShort) {
		return false
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("got %v, want DeadlineExceeded", err)
	}
	e := m.Snapshot().Services[0].Endpoints[0]
	if want := map[bool]float64{true: 1, false: 0}[message]; e.Success != want {
		t.Errorf("message %v: got a success share of %v, want %v", message, e.Success, want)
	}
	return true
}

// A request that cannot be encoded is its maker's fault; a server that resets the
// stream is the server's, though gRPC has one code for both.
func TestBlameInternal(t *testing.T) {
	good := serve(t)
	m := mesh(t, transport.Service{Resolver: static(good)})
	users := connect(t, m, "tulle:///users")
	if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	bad := &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Message: "\xff"}}
	if _, err := users.UnaryCall(within(t), bad); status.Code(err) != codes.Internal {
		t.Fatalf("got %v, want Internal", err)
	}
	if e := m.Snapshot().Services[0].Endpoints[0]; e.Success != 1 {
		t.Errorf("a request that cannot be encoded: got a success share of %v, want 1", e.Success)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	aborts := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler) // resets the stream with INTERNAL_ERROR
	})}
	aborts.Protocols.SetUnencryptedHTTP2(true)
	go aborts.Serve(l)
	defer aborts.Close()
	m = mesh(t, transport.Service{Target: "static://" + l.Addr().String()})
	if _, err := connect(t, m, "tulle:///users").UnaryCall(within(t), &testpb.SimpleRequest{}); status.Code(err) != codes.Internal {
		t.Fatalf("got %v, want Internal", err)
	}
	if e := m.Snapshot().Services[0].Endpoints[0]; e.Success != 0 {
		t.Errorf("a stream that was reset: got a success share of %v, want 0", e.Success)
	}
}

// A stream that the server ends with an error while its caller is sending is a failure:
// gRPC calls it a good end at first.
func TestBlameWhileSending(t *testing.T) {
	bad, good := native(t), native(t)
	for s, end := range map[*server]error{bad: status.Error(codes.Internal, "on purpose"), good: nil} {
		duplex := func(testpb.TestService_FullDuplexCallServer) error { return end }
		s.duplex.Store(&duplex)
	}
	m := mesh(t, transport.Service{Resolver: static(bad, good), Policy: transport.Policy{Balancer: balancer.RoundRobin{}}})
	users := connect(t, m, "tulle:///users")
	until(t, m, bad.addr, "ejected", func() {
		stream, err := users.FullDuplexCall(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = stream.Send(&testpb.StreamingOutputCallRequest{})
		}
		if err != io.EOF {
			t.Errorf("got %v, want EOF", err)
		}
		stream.Recv()
	})
}
