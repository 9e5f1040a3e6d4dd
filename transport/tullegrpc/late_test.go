package tullegrpc_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A caller cancels a stream, and only then finds in SendMsg that the server has ended it
// with an error, after headers. That was the end of the attempt for gRPC, which says in
// SendMsg that it was a good one. Its true end used to be waited for from RecvMsg, for
// good: nobody receives from a stream that was cancelled. Both can happen at once; here
// an interceptor hides the cancellation from gRPC, so that they come in this order.
func TestStreamLeftWhileSending(t *testing.T) {
	s := native(t)
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		stream.SendHeader(metadata.Pairs("k", "v"))
		return status.Error(codes.Internal, "on purpose")
	}
	s.duplex.Store(&duplex)
	m := mesh(t, transport.Service{Resolver: static(s)})
	later := within(t)
	users := connect(t, m, "tulle:///users", grpc.WithChainStreamInterceptor(
		func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return streamer(valued{later, ctx}, desc, cc, method, opts...)
		}))
	ctx, cancel := context.WithCancel(within(t))
	left := make(chan error, 1)
	stream, err := users.FullDuplexCall(ctx, grpc.OnFinish(func(err error) { left <- err }))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-left; status.Code(err) != codes.Canceled {
		t.Fatalf("got the end %v, want Canceled", err)
	}
	for err == nil { // of small messages, after which gRPC could still repeat it
		err = stream.Send(&testpb.StreamingOutputCallRequest{})
	}
	if err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	see(t, m, "after the end", 0, 0)
	if e := m.Snapshot().Services[0].Endpoints[0]; e.Success != -1 {
		t.Errorf("got a success share of %v of a stream that was cancelled, want -1", e.Success)
	}
}

// A server refuses a stream, which gRPC finds in SendMsg and so begins another attempt by
// itself, and that ends in SendMsg too. Only the latter's end used to be remembered.
func TestStreamRefusedWhileSending(t *testing.T) {
	refuses, s := refuser(t), native(t)
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		stream.SendHeader(metadata.Pairs("k", "v"))
		return status.Error(codes.Internal, "on purpose")
	}
	s.duplex.Store(&duplex)
	m := mesh(t, transport.Service{Resolver: static(&server{addr: refuses}, s), Policy: transport.Policy{Balancer: balancer.RoundRobin{}}})
	users := connect(t, m, "tulle:///users")
	until := within(t)
	for m.Snapshot().Services[0].TransparentRetries == 0 {
		ctx, cancel := context.WithCancel(until)
		stream, err := users.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = stream.Send(&testpb.StreamingOutputCallRequest{})
		}
		if err != io.EOF {
			t.Fatalf("got %v, want EOF", err)
		}
		cancel()
	}
	eventually(t, "the end of all attempts", func() bool {
		for _, e := range m.Snapshot().Services[0].Endpoints {
			if e.Waiting+e.Streaming > 0 {
				return false
			}
		}
		return true
	})
}

// refuser starts a server that refuses each stream (RFC 9113, 8.7), which tells clients
// that nothing of it was processed. It returns the address.
func refuser(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { refuseAll(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().String()
}

// refuseAll answers each HEADERS of a connection with a RST_STREAM.
func refuseAll(conn net.Conn) {
	defer conn.Close()
	const headers, reset, settings, ack, refused = 1, 3, 4, 1, 7
	r := bufio.NewReader(conn)
	r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	conn.Write([]byte{0, 0, 0, settings, 0, 0, 0, 0, 0})
	for {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		r.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2]))
		switch {
		case head[3] == settings && head[4] != ack:
			conn.Write([]byte{0, 0, 0, settings, ack, 0, 0, 0, 0})
		case head[3] == headers:
			conn.Write(append([]byte{0, 0, 4, reset, 0}, append(head[5:], 0, 0, 0, refused)...))
		}
	}
}

// A hook that panics on the way to another attempt of a stream leaves nothing behind
// either.
func TestStreamPanicsAgain(t *testing.T) {
	s := serve(t)
	s.unavailable(1)
	m := mesh(t, transport.Service{Resolver: static(s)})
	users := connect(t, m, "tulle:///users")
	picks := 0
	ctx, cancel := context.WithCancel(telemetry.WithTrace(within(t), &telemetry.Trace{Picked: func(telemetry.Pick) {
		if picks++; picks > 1 {
			panic("on purpose")
		}
	}}))
	defer cancel()
	ended := make(chan error, 1)
	stream, err := users.FullDuplexCall(ctx, tullegrpc.Idempotent(), grpc.OnFinish(func(err error) { ended <- err }))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("got no panic")
			}
		}()
		stream.Recv()
	}()
	if err := <-ended; status.Code(err) != codes.Internal {
		t.Errorf("got the end %v, want Internal", err)
	}
	see(t, m, "after the panic", 0, 0)
	if err := m.Shutdown(within(t)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// valued is a context with the values of another.
type valued struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (v valued) Value(key any) any { return v.values.Value(key) }
