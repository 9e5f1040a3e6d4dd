package grpc_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/tap"
)

// groupSize is how many servers a service has.
const groupSize = 3

// interopServer is gRPC's own test server, which tells its name to the cases that
// want to know it.
type interopServer struct {
	testpb.TestServiceServer
	name string
}

// UnaryCall implements testpb.TestServiceServer.
func (s *interopServer) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	out, err := s.TestServiceServer.UnaryCall(ctx, in)
	if err == nil && in.FillServerId {
		out.ServerId = s.name
	}
	return out, err
}

// newInteropServer is a server for all cases. Each RPC that arrives is counted.
func newInteropServer(name string, rpcs *atomic.Int64, options ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(append(options,
		orca.CallMetricsServerOption(nil),
		grpc.InTapHandle(func(ctx context.Context, _ *tap.Info) (context.Context, error) {
			rpcs.Add(1)
			return ctx, nil
		}))...)
	testpb.RegisterTestServiceServer(s, &interopServer{interop.NewTestServer(), name})
	return s
}

// listen serves on a free port of the loopback interface until the test ends.
func listen(t testing.TB, s *grpc.Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)
	return l.Addr().String()
}

// serveOn serves on l until the test ends.
func serveOn(t testing.TB, s *grpc.Server, l net.Listener) {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		// It may be stopped before the goroutine has come to Serve.
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("server %s: %v", l.Addr(), err)
		}
	})
}

// A group is the servers that the cases call.
type group struct {
	plain, secure string // addresses, with a comma between them
	roots         string // of the secure ones, as PEM
	rpcs          atomic.Int64
}

// newGroup starts groupSize servers without TLS and as many with it.
func newGroup(t *testing.T) *group {
	t.Helper()
	g := new(group)
	cert, roots := certificate()
	g.roots = roots
	var plain, secure []string
	for i := range groupSize {
		name := "s" + string(rune('1'+i))
		plain = append(plain, listen(t, newInteropServer(name, &g.rpcs)))
		secure = append(secure, listen(t, newInteropServer(name, &g.rpcs, grpc.Creds(credentials.NewTLS(cert)))))
	}
	g.plain, g.secure = strings.Join(plain, ","), strings.Join(secure, ",")
	return g
}

// certificateName is a name of the certificate.
const certificateName = "example.com"

// certificate borrows that of httptest.
func certificate() (server *tls.Config, roots string) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	return &tls.Config{Certificates: s.TLS.Certificates}, string(pem.EncodeToMemory(block))
}
