package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// What a transport tells of a call, and what becomes of it.
func ExampleNew() {
	spans := tracetest.NewSpanRecorder()
	tel, err := telemetry.New(telemetry.Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		Propagator:     propagation.TraceContext{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Close()

	svc := tel.Service("users")
	facts := telemetry.Facts{Method: "GET", URL: &url.URL{Scheme: "http", Host: "users", Path: "/v1/me"}}
	ctx, call := svc.Start(context.Background(), &facts)

	endpoint := &tulle.Endpoint{Addr: "10.0.0.1:8080"}
	attemptCtx, attempt := call.Attempt(ctx, endpoint, 1)
	header := tel.Header(attemptCtx, attempt, http.Header{})
	result := telemetry.Result{Class: tulle.Answered, Status: 200, Proto: "HTTP/1.1", Elapsed: 3 * time.Millisecond}
	svc.EndAttempt(attemptCtx, attempt, endpoint, &result)

	result.Attempts = 1
	svc.End(ctx, call, &facts, &result)

	for _, s := range spans.Ended() {
		fmt.Println(s.SpanKind(), s.Name(), len(s.Attributes()), "attributes")
	}
	fmt.Println(len(header.Get("traceparent")), "characters of traceparent")
	// Output:
	// client GET 8 attributes
	// internal GET 4 attributes
	// 55 characters of traceparent
}

// Hooks tell why a call went where it went.
func ExampleWithTrace() {
	ctx := telemetry.WithTrace(context.Background(), &telemetry.Trace{
		Picked: func(p telemetry.Pick) {
			for _, c := range p.Candidates {
				fmt.Printf("%s costs %v, avoided: %q\n", c.Addr, c.Cost, c.Avoided)
			}
			fmt.Println("picked", p.Endpoint)
		},
	})

	// The transport does this when the call is made with ctx.
	tel, err := telemetry.New(telemetry.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Close()
	_, call := tel.Service("users").Start(ctx, &telemetry.Facts{Method: "GET"})
	if call.Detailed() {
		call.Picked(telemetry.Pick{Attempt: 1, Endpoint: "10.0.0.1:80", Candidates: []telemetry.Candidate{
			{Addr: "10.0.0.1:80", Cost: 0.012}, {Addr: "10.0.0.2:80", Cost: 0.4, Avoided: "ejected"},
		}})
	}
	// Output:
	// 10.0.0.1:80 costs 0.012, avoided: ""
	// 10.0.0.2:80 costs 0.4, avoided: "ejected"
	// picked 10.0.0.1:80
}

// A request from outside, whose headers a client may have sent twice.
func ExampleW3C() {
	h := http.Header{
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Tracestate":  {"congo=1", "", "rojo=2"},
	}
	ctx := telemetry.W3C{}.Extract(context.Background(), propagation.HeaderCarrier(h))

	out := http.Header{}
	telemetry.W3C{}.Inject(ctx, propagation.HeaderCarrier(out))
	fmt.Println(out.Get("Tracestate"))
	// Output: congo=1,rojo=2
}
