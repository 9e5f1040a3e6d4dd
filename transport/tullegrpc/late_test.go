package tullegrpc_test

import (
	"context"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
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
	for err == nil {
		err = stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: make([]byte, replayed)}})
	}
	if err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	see(t, m, "after the end", 0, 0)
	if e := m.Snapshot().Services[0].Endpoints[0]; e.Success != -1 {
		t.Errorf("got a success share of %v of a stream that was cancelled, want -1", e.Success)
	}
}

// replayed is more than what is remembered for a repeat.
const replayed = 300 << 10

// valued is a context with the values of another.
type valued struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (v valued) Value(key any) any { return v.values.Value(key) }
