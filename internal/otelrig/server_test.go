package otelrig_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// named is the resource of a process.
func named(name string) *resource.Resource {
	return resource.NewSchemaless(attribute.String("service.name", name))
}

// tracing exports spans to a collector.
func tracing(ctx context.Context, collector, name string) (*trace.TracerProvider, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(collector+"/v1/traces"))
	if err != nil {
		return nil, err
	}
	return trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(named(name))), nil
}

// flaky is a server whose first answer of each kind is "unavailable".
type flaky struct {
	testpb.UnimplementedTestServiceServer
	gets, calls atomic.Int64
}

// ServeHTTP implements http.Handler.
func (f *flaky) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if f.gets.Add(1) == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "hello")
}

// EmptyCall answers an RPC.
func (f *flaky) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	if f.calls.Add(1) == 1 {
		return nil, status.Error(codes.Unavailable, "not yet")
	}
	return &testpb.Empty{}, nil
}

// runServers is an HTTP and a gRPC server with the instrumentation that servers
// usually have. It writes their addresses and ends by a signal.
func runServers(collector string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	provider, err := tracing(ctx, collector, "server")
	if err != nil {
		return err
	}
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	f := new(flaky)
	hs := &http.Server{Handler: otelhttp.NewHandler(f, "web")}
	gs := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler()))
	testpb.RegisterTestServiceServer(gs, f)
	go hs.Serve(web)
	go gs.Serve(rpc)
	fmt.Fprintf(os.Stdout, "%s %s\n", web.Addr(), rpc.Addr())
	<-ctx.Done()
	hs.Close()
	gs.Stop()
	return provider.Shutdown(context.Background())
}
