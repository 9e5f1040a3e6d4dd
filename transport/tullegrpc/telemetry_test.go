package tullegrpc_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/telemetry"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// attr is the value of an attribute of a span as text.
func attr(s trace.ReadOnlySpan, key attribute.Key) string {
	for _, kv := range s.Attributes() {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

// An RPC is one internal span, each attempt a client span below it, whose context
// reaches the server with the headers; HTTP calls of the same trace join it.
func TestSpans(t *testing.T) {
	s := serve(t)
	var parents []string
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		parents = append(parents, metadata.ValueFromIncomingContext(ctx, "traceparent")...)
		if len(parents) == 1 {
			return nil, status.Error(codes.Unavailable, "on purpose")
		}
		return s.answer(), nil
	})
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	m, err := transport.New(transport.Config{
		Services:  map[string]transport.Service{"users": {Resolver: static(s)}},
		Telemetry: telemetry.Config{TracerProvider: provider, Propagator: propagation.TraceContext{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, root := provider.Tracer("test").Start(within(t), "root")
	if _, err := connect(t, m, "tulle:///users").UnaryCall(ctx, &testpb.SimpleRequest{}, tullegrpc.Idempotent()); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
	resp, err := m.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	root.End()
	ended := spans.Ended()
	if len(ended) != 6 {
		t.Fatalf("got %d spans, want 6: two attempts and a call, an attempt and a call, the root", len(ended))
	}
	call := ended[2]
	if call.Name() != "grpc.testing.TestService/UnaryCall" || attr(call, "rpc.method") == "" || call.Parent().SpanID() != root.SpanContext().SpanID() {
		t.Errorf("got the call span %s %v", call.Name(), call.Attributes())
	}
	for i, span := range ended[:2] {
		if span.Parent().SpanID() != call.SpanContext().SpanID() || span.SpanKind().String() != "client" {
			t.Errorf("attempt %d: got a %s span below %s", i, span.SpanKind(), span.Parent().SpanID())
		}
		want := "00-" + root.SpanContext().TraceID().String() + "-" + span.SpanContext().SpanID().String() + "-01"
		if i < len(parents) && parents[i] != want {
			t.Errorf("attempt %d: the server got %q, want %q", i, parents[i], want)
		}
	}
	if len(parents) != 2 {
		t.Errorf("got %d attempts at the server, want 2", len(parents))
	}
	for _, span := range ended {
		if span.SpanContext().TraceID() != root.SpanContext().TraceID() {
			t.Errorf("got %s in trace %s", span.Name(), span.SpanContext().TraceID())
		}
	}
}

// How an RPC ended is what its caller got, whatever it is and wherever it went.
func TestSpansOfFailures(t *testing.T) {
	s := serve(t)
	s.fails(codes.NotFound)
	duplex := func(testpb.TestService_FullDuplexCallServer) error { return status.Error(codes.NotFound, "on purpose") }
	s.duplex.Store(&duplex)
	spans := tracetest.NewSpanRecorder()
	m, err := transport.New(transport.Config{
		Services:  map[string]transport.Service{"users": {Resolver: static(s)}},
		Telemetry: telemetry.Config{TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(spans))},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, target := range []string{"tulle:///users", "passthrough:///" + s.addr} {
		users := connect(t, m, target)
		users.UnaryCall(within(t), &testpb.SimpleRequest{})
		stream, err := users.FullDuplexCall(within(t))
		if err != nil {
			t.Fatal(err)
		}
		stream.Recv()
	}
	if got := len(spans.Ended()); got != 8 {
		t.Fatalf("got %d spans, want a call and an attempt for each of 4 RPCs", got)
	}
	for _, span := range spans.Ended() {
		if got := attr(span, "rpc.response.status_code"); got != "NOT_FOUND" {
			t.Errorf("%s, %s: got status %q, want NOT_FOUND", span.Name(), span.SpanKind(), got)
		}
	}
}

// An attempt whose credentials give no metadata is sent to nobody, and ends.
func TestSpanOfUnsent(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	m, err := transport.New(transport.Config{
		Services:  map[string]transport.Service{"users": {Resolver: static(serve(t))}},
		Telemetry: telemetry.Config{TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(spans))},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users := connect(t, m, "tulle:///users", grpc.WithPerRPCCredentials(noToken{}))
	if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	if began, ended := len(spans.Started()), len(spans.Ended()); began != 2 || ended != began {
		t.Errorf("got %d spans that ended of %d, want 2 of 2", ended, began)
	}
}

// noToken are credentials that have none to give.
type noToken struct{ credentials.PerRPCCredentials }

func (noToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, status.Error(codes.Unavailable, "no token")
}

func (noToken) RequireTransportSecurity() bool { return false }

// The record of an RPC has the wait, the picks with what they were chosen from, and
// the state of the breaker, as that of an HTTP call has.
func TestRecord(t *testing.T) {
	s, other := serve(t), serve(t)
	m, err := transport.New(transport.Config{
		Services: map[string]transport.Service{"users": {
			Resolver: static(s, other),
			Policy:   transport.Policy{Limit: &limit.Config{Rate: 20, Burst: 1, MaxWait: time.Minute}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	client := connect(t, m, "tulle:///users")
	var rec telemetry.Record
	var picks []telemetry.Pick
	ctx := telemetry.WithTrace(within(t), &telemetry.Trace{Picked: func(p telemetry.Pick) { picks = append(picks, p) }})
	for range 2 {
		if _, err := client.UnaryCall(telemetry.WithRecord(ctx, &rec), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(rec.Waits) != 1 || rec.Waits[0].For != "rate" || rec.Breaker != "closed" || len(rec.Tries) != 1 || len(rec.Picks) != 1 {
		t.Errorf("got %+v", rec)
	}
	if len(picks) != 2 || len(picks[1].Candidates) != 2 || picks[1].Endpoint != rec.Tries[0].Endpoint {
		t.Errorf("got the picks %+v", picks)
	}
}
