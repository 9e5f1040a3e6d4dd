package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Body is what the server answers, by HTTP and by gRPC.
var Body = []byte(`{"user":"u-4711","name":"Ada Lovelace","groups":["engines","notes"],"since":"1843-07-10T00:00:00Z","active":true}` + "\n")

// role is the environment variable that makes a process the server.
const role = "TULLE_BENCH_SERVER"

// ports is what the server tells its parent.
type ports struct{ HTTP, GRPC int }

// Main is the server if this process was started to be it: it then does not
// return. It ends when its standard input does, and so with its parent.
func Main() {
	if os.Getenv(role) == "" {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve listens at all addresses of the machine, since the calls go to many
// loopback addresses, and tells the ports.
func serve(until io.Reader, tell io.Writer) error {
	web, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return errors.Join(err, web.Close())
	}
	h := &handler{}
	httpServer, grpcServer := &http.Server{Handler: h}, NewGRPC(h)
	ended := make(chan error, 2)
	go func() { ended <- httpServer.Serve(web) }()
	go func() { ended <- grpcServer.Serve(rpc) }()
	if err := json.NewEncoder(tell).Encode(ports{portOf(web), portOf(rpc)}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, until)
	grpcServer.Stop()
	err = errors.Join(err, httpServer.Close())
	for range 2 {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) && !errors.Is(e, grpc.ErrServerStopped) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// handler answers with Body and counts.
type handler struct{ calls atomic.Int64 }

// countPath tells the number of calls, HTTP and gRPC.
const countPath = "/count"

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == countPath {
		_, _ = io.WriteString(w, strconv.FormatInt(h.calls.Load(), 10)) // who asks sees what is missing
		return
	}
	h.calls.Add(1)
	_, _ = io.Copy(io.Discard, req.Body) // a client that goes away is no concern of the server
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(Body)
}

// Echo answers a call of gRPC.
func (h *handler) Echo(_ context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	if len(in.GetValue()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "nothing to echo")
	}
	h.calls.Add(1)
	return in, nil
}

// EchoMethod is the gRPC method that answers with what it is sent.
const EchoMethod = "/bench.Echo/Echo"

// echoer is what NewGRPC serves.
type echoer interface {
	Echo(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
}

// NewGRPC is a gRPC server with one method.
func NewGRPC(e echoer) *grpc.Server {
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*echoer)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return srv.(echoer).Echo(ctx, in)
		}}},
	}, e)
	return s
}
