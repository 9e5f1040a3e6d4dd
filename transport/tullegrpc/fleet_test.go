package tullegrpc_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A server is a real gRPC server on loopback, which serves plain HTTP on the same
// port too.
type server struct {
	testpb.UnimplementedTestServiceServer
	addr  string
	grpc  *grpc.Server
	http  *http.Server
	calls atomic.Int64 // RPCs that reached a handler
	gets  atomic.Int64 // HTTP requests

	unary  atomic.Pointer[func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)]
	duplex atomic.Pointer[func(testpb.TestService_FullDuplexCallServer) error]
	status atomic.Int64 // of HTTP responses
}

// serve starts a server.
func serve(tb testing.TB, options ...grpc.ServerOption) *server {
	tb.Helper()
	s := &server{grpc: grpc.NewServer(options...)}
	s.status.Store(http.StatusOK)
	testpb.RegisterTestServiceServer(s.grpc, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s, Protocols: new(http.Protocols)}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	go s.http.Serve(l)
	tb.Cleanup(s.stop)
	return s
}

// stop ends the server and its connections.
func (s *server) stop() {
	s.http.Close()
	s.grpc.Stop()
}

// ServeHTTP tells gRPC from HTTP.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		s.grpc.ServeHTTP(w, r)
		return
	}
	s.gets.Add(1)
	w.WriteHeader(int(s.status.Load()))
	io.WriteString(w, s.addr)
}

// UnaryCall answers with the server's address.
func (s *server) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	s.calls.Add(1)
	if f := s.unary.Load(); f != nil {
		return (*f)(ctx, in)
	}
	return s.answer(), nil
}

// answer is a response with the server's address.
func (s *server) answer() *testpb.SimpleResponse { return &testpb.SimpleResponse{Hostname: s.addr} }

// FullDuplexCall answers each message.
func (s *server) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	s.calls.Add(1)
	if f := s.duplex.Load(); f != nil {
		return (*f)(stream)
	}
	for {
		in, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// onUnary sets what unary calls come to.
func (s *server) onUnary(f func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)) {
	s.unary.Store(&f)
}

// fails has unary calls end with a code.
func (s *server) fails(code codes.Code) {
	s.onUnary(func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return nil, status.Error(code, "on purpose")
	})
}

// fleet starts n servers.
func fleet(tb testing.TB, n int) []*server {
	tb.Helper()
	all := make([]*server, n)
	for i := range all {
		all[i] = serve(tb)
	}
	return all
}

// static is the servers as endpoints.
func static(all ...*server) discovery.Static {
	var set discovery.Static
	for _, s := range all {
		set = append(set, tulle.Endpoint{Addr: s.addr})
	}
	return set
}

// mesh is a Transport with the service "users".
func mesh(tb testing.TB, svc transport.Service) *transport.Transport {
	tb.Helper()
	t, err := transport.New(transport.Config{Services: map[string]transport.Service{"users": svc}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { t.Close() })
	return t
}

// connect is a connection to target through t.
func connect(tb testing.TB, t *transport.Transport, target string, options ...grpc.DialOption) testpb.TestServiceClient {
	tb.Helper()
	return dial(tb, target, append(tullegrpc.DialOptions(t), options...)...)
}

// dial is a connection without TLS.
func dial(tb testing.TB, target string, options ...grpc.DialOption) testpb.TestServiceClient {
	tb.Helper()
	cc, err := grpc.NewClient(target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cc.Close() })
	return testpb.NewTestServiceClient(cc)
}

// patience bounds what a test waits for.
const patience = 20 * time.Second

// withTime runs what a machine that is too slow can spoil: try has a time of d, says
// whether that was enough to tell anything, and gets twice as much if it was not.
func withTime(tb testing.TB, d time.Duration, try func(d time.Duration) bool) {
	tb.Helper()
	for range 7 {
		if try(d) {
			return
		}
		d *= 2
	}
	tb.Errorf("not in time, even with %v", d/2)
}

// within is a context for one step of a test.
func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}
