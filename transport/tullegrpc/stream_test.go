package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A stream that fails before its first message is repeated elsewhere, with what was
// sent, and its caller sees nothing of it.
func TestStreamRetry(t *testing.T) {
	all := fleet(t, 3)
	var broken atomic.Int64
	for _, s := range all {
		f := func(stream testpb.TestService_FullDuplexCallServer) error {
			for range 2 {
				if _, err := stream.Recv(); err != nil {
					return err
				}
			}
			if broken.Add(1) < 3 {
				return status.Error(codes.Unavailable, "going away")
			}
			stream.Send(&testpb.StreamingOutputCallResponse{})
			_, err := stream.Recv()
			if err != io.EOF {
				return errors.New("want the end of the messages")
			}
			return nil
		}
		s.duplex.Store(&f)
	}
	users := connect(t, mesh(t, transport.Service{Resolver: static(all...)}), "tulle:///users")
	var info transport.Info
	stream, err := users.FullDuplexCall(within(t), tullegrpc.Idempotent(), tullegrpc.AttemptInfo(&info))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatalf("got %v, want a message from the third attempt", err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatalf("got %v, want EOF", err)
	}
	if info.Attempts != 3 || hits(all) != 3 {
		t.Errorf("got %d attempts, %d at the servers, want 3", info.Attempts, hits(all))
	}
}

// What is sent again is what was sent, though its caller has filled the same buffer
// with something else since.
func TestStreamRetryOfReusedMessage(t *testing.T) {
	const config = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.001s","maxBackoff":"0.002s",
		"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`
	s := native(t)
	var got []string
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		first := s.calls.Load()%2 == 1
		for range 3 {
			in, err := stream.Recv()
			if err != nil {
				return err
			}
			if !first {
				got = append(got, string(in.Payload.Body))
			}
		}
		if first {
			return status.Error(codes.Unavailable, "going away")
		}
		return stream.Send(&testpb.StreamingOutputCallResponse{})
	}
	s.duplex.Store(&duplex)
	m := mesh(t, transport.Service{Resolver: static(s)})
	for target, options := range map[string][]grpc.DialOption{
		"tulle:///users":           tullegrpc.DialOptions(m, tullegrpc.ServiceConfig(config)),
		"passthrough:///" + s.addr: append(tullegrpc.DialOptions(m), grpc.WithDefaultServiceConfig(config)),
	} {
		got = nil
		stream, err := dial(t, target, options...).FullDuplexCall(within(t))
		if err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 1)
		for _, b := range []byte("abc") {
			buffer[0] = b
			stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: buffer}})
		}
		if _, err := stream.Recv(); err != nil {
			t.Errorf("%s: got %v, want an answer to the second attempt", target, err)
		}
		if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("%s: the second attempt sent %q, want %q", target, got, want)
		}
	}
}

// A caller that only sends does not see that an attempt has failed, whether or not it
// receives on another goroutine meanwhile.
func TestStreamRetryWhileSending(t *testing.T) {
	for _, receiving := range []bool{false, true} {
		s := native(t)
		again, count := make(chan struct{}), make(chan int, 1)
		duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
			if s.calls.Load() == 1 {
				return status.Error(codes.Unavailable, "going away")
			}
			close(again)
			n := 0
			for {
				if _, err := stream.Recv(); err != nil {
					count <- n
					return nil
				}
				n++
			}
		}
		s.duplex.Store(&duplex)
		users := connect(t, mesh(t, transport.Service{Resolver: static(s)}), "tulle:///users")
		stream, err := users.FullDuplexCall(within(t), tullegrpc.Idempotent())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		receive := func() {
			_, err := stream.Recv()
			ended <- err
		}
		if receiving {
			go receive()
		}
		sent := 0
		send := func() {
			if err := stream.Send(&testpb.StreamingOutputCallRequest{}); err != nil {
				t.Fatalf("receiving %v: got %v after %d messages, want nothing to show", receiving, err, sent)
			}
			sent++
		}
		for pending := true; pending; {
			select {
			case <-again:
				pending = false
			default:
			}
			send()
		}
		stream.CloseSend()
		if got := <-count; got != sent {
			t.Errorf("receiving %v: the second attempt got %d messages, want %d", receiving, got, sent)
		}
		if !receiving {
			receive()
		}
		if err := <-ended; err != io.EOF {
			t.Errorf("receiving %v: got %v, want a good end", receiving, err)
		}
	}
}

// native starts a server that is gRPC's own: one behind net/http always sends headers.
func native(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{grpc: grpc.NewServer(), addr: l.Addr().String()}
	testpb.RegisterTestServiceServer(s.grpc, s)
	go s.grpc.Serve(l)
	t.Cleanup(s.grpc.Stop)
	return s
}

// What is not repeated: a stream that has had a message or a header, one that is not
// idempotent, and one that has sent too much.
func TestStreamCommitted(t *testing.T) {
	for _, c := range []struct {
		name   string
		opts   []grpc.CallOption
		header bool
		reply  bool
		size   int
		want   int64
	}{
		{name: "repeated", opts: []grpc.CallOption{tullegrpc.Idempotent()}, want: 3},
		{name: "not idempotent", want: 1},
		{name: "message", opts: []grpc.CallOption{tullegrpc.Idempotent()}, reply: true, want: 1},
		{name: "header", opts: []grpc.CallOption{tullegrpc.Idempotent()}, header: true, want: 1},
		{name: "too much", opts: []grpc.CallOption{tullegrpc.Idempotent()}, size: 300 << 10, want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := fleet(t, 3)
			for _, s := range all {
				f := func(stream testpb.TestService_FullDuplexCallServer) error {
					if c.header {
						stream.SendHeader(metadata.Pairs("k", "v"))
					}
					if _, err := stream.Recv(); err != nil {
						return err
					}
					if c.reply {
						stream.Send(&testpb.StreamingOutputCallResponse{})
					}
					return status.Error(codes.Unavailable, "going away")
				}
				s.duplex.Store(&f)
			}
			users := connect(t, mesh(t, transport.Service{Resolver: static(all...)}), "tulle:///users")
			stream, err := users.FullDuplexCall(within(t), c.opts...)
			if err != nil {
				t.Fatal(err)
			}
			if c.header {
				if md, err := stream.Header(); err != nil || len(md["k"]) != 1 {
					t.Fatalf("got header %v, %v", md, err)
				}
			}
			stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: make([]byte, c.size)}})
			for err = nil; err == nil; {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "going away" {
				t.Errorf("got %v, want the server's error", err)
			}
			if got := hits(all); got != c.want {
				t.Errorf("got %d attempts, want %d", got, c.want)
			}
		})
	}
}

// A stream counts as waiting until its first message, as streaming until its true
// end, and as nothing after, however it ends.
func TestStreamLease(t *testing.T) {
	for _, end := range []string{"eof", "error", "cancel", "forgotten"} {
		t.Run(end, func(t *testing.T) {
			s := serve(t)
			m := mesh(t, transport.Service{Resolver: static(s)})
			users := connect(t, m, "tulle:///users")
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			stream, err := users.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			see(t, m, "after opening", 1, 0)
			stream.Send(&testpb.StreamingOutputCallRequest{})
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			see(t, m, "after a message", 0, 1)
			switch end {
			case "eof":
				stream.CloseSend()
				if _, err := stream.Recv(); err != io.EOF {
					t.Errorf("got %v, want EOF", err)
				}
			case "error":
				s.grpc.Stop()
				if _, err := stream.Recv(); err == nil {
					t.Error("got no error from a server that stopped")
				}
			case "cancel":
				cancel()
				if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
					t.Errorf("got %v, want Canceled", err)
				}
			case "forgotten":
				cancel()
			}
			see(t, m, "after the end", 0, 0)
		})
	}
}

// see waits until the service's only endpoint has so many attempts.
func see(t *testing.T, m *transport.Transport, when string, waiting, streaming int) {
	t.Helper()
	var e transport.EndpointSnapshot
	for end := time.Now().Add(patience); time.Now().Before(end); {
		e = m.Snapshot().Services[0].Endpoints[0]
		if e.Waiting == waiting && e.Streaming == streaming {
			return
		}
	}
	t.Errorf("%s: got %d waiting, %d streaming, want %d and %d", when, e.Waiting, e.Streaming, waiting, streaming)
}

// An endpoint with long streams keeps its share of short calls.
func TestStreamShare(t *testing.T) {
	all := fleet(t, 2)
	m := mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{Balancer: balancer.LeastRequest{}}})
	users := connect(t, m, "tulle:///users")
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	for range 50 {
		stream, err := users.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream.Send(&testpb.StreamingOutputCallRequest{})
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	before := [2]int64{all[0].calls.Load(), all[1].calls.Load()}
	for range 400 {
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range all {
		if got := s.calls.Load() - before[i]; got < 120 {
			t.Errorf("server %d with %d streams: got %d of 400 calls", i, before[i], got)
		}
	}
}

// Streams have no timeout of the service's, and the one of their own.
func TestStreamTimeout(t *testing.T) {
	s := serve(t)
	m := mesh(t, transport.Service{Resolver: static(s), Policy: transport.Policy{Timeout: 50 * time.Millisecond, AttemptTimeout: 20 * time.Millisecond}})
	users := connect(t, m, "tulle:///users")
	stream, err := users.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if due, ok := stream.Context().Deadline(); ok && time.Until(due) < patience/2 {
		t.Errorf("got a deadline in %v, want none of the service's", time.Until(due))
	}
	stream.CloseSend()
	stream.Recv()
	withTime(t, 30*time.Millisecond, func(d time.Duration) bool {
		stream, err := users.FullDuplexCall(within(t), tullegrpc.CallTimeout(d))
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the call's timeout", err)
		}
		return stream != nil
	})
}

// A Shutdown waits for streams.
func TestStreamShutdown(t *testing.T) {
	s := serve(t)
	m := mesh(t, transport.Service{Resolver: static(s)})
	users := connect(t, m, "tulle:///users")
	stream, err := users.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := m.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a stream: got %v, want the context's error", err)
	}
	if _, err := users.FullDuplexCall(within(t)); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	stream.CloseSend()
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if err := m.Shutdown(within(t)); err != nil {
		t.Errorf("after the stream: got %v", err)
	}
}
