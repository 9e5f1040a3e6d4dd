package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// tree shows the spans that have ended, in the order in which they began, each
// below its parent.
func (l *lab) tree() []string {
	l.t.Helper()
	ended := slices.Clone(l.spans.Ended())
	slices.SortFunc(ended, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	var lines []string
	var show func(parent trace.SpanID, indent string)
	show = func(parent trace.SpanID, indent string) {
		for _, s := range ended {
			if s.Parent().SpanID() != parent {
				continue
			}
			line := fmt.Sprintf("%s%s %s %s", indent, s.SpanKind(), s.Name(), attributes(s.Attributes()))
			if st := s.Status(); st.Code != codes.Unset {
				line += fmt.Sprintf(" [%s %q]", st.Code, st.Description)
			}
			lines = append(lines, line)
			for _, e := range s.Events() {
				lines = append(lines, fmt.Sprintf("%s! %s %s", indent, e.Name, attributes(e.Attributes)))
			}
			show(s.SpanContext().SpanID(), indent+". ")
		}
	}
	show(trace.SpanID{}, "")
	return lines
}

func TestSpans(t *testing.T) {
	broken := errors.New("connection reset by peer")
	http500 := telemetry.Result{Class: tulle.Unavailable, Status: 503, Proto: "HTTP/2.0"}
	tests := []struct {
		name    string
		service string
		facts   telemetry.Facts
		steps   []step
		want    []string
	}{
		{
			"one attempt", "users", telemetry.Facts{Method: "GET", URL: parse(t, "http://me:pw@users/v1/me?sig=x&a=b")},
			[]step{{"10.0.0.1:8080", ok(200)}},
			[]string{
				"internal GET http.request.method=GET http.response.status_code=200 server.address=users tulle.attempts=1",
				". client GET http.request.method=GET http.response.status_code=200 network.peer.address=10.0.0.1 " +
					"network.peer.port=8080 network.protocol.version=1.1 server.address=users server.port=80 " +
					"url.full=http://REDACTED:REDACTED@users/v1/me?sig=REDACTED&a=b",
			},
		},
		{
			"a repeat", "users:8443", telemetry.Facts{Method: "PUT", URL: parse(t, "https://users:8443/x"), Template: "/{id}"},
			[]step{{"a:1", http500}, {"b:2", telemetry.Result{Class: tulle.Lost, Err: broken}}, {"[::1]:3", ok(204)}},
			[]string{
				"internal PUT /{id} http.request.method=PUT http.response.status_code=204 server.address=users " +
					"tulle.attempts=3 url.template=/{id}",
				". client PUT /{id} error.type=503 http.request.method=PUT http.response.status_code=503 " +
					"network.peer.address=a network.peer.port=1 network.protocol.version=2 server.address=users " +
					`server.port=8443 tulle.outcome=unavailable url.full=https://users:8443/x url.template=/{id} [Error ""]`,
				". client PUT /{id} error.type=lost http.request.method=PUT http.request.resend_count=1 " +
					"network.peer.address=b network.peer.port=2 server.address=users server.port=8443 tulle.outcome=lost " +
					`url.full=https://users:8443/x url.template=/{id} [Error "connection reset by peer"]`,
				". client PUT /{id} http.request.method=PUT http.request.resend_count=2 http.response.status_code=204 " +
					"network.peer.address=::1 network.peer.port=3 network.protocol.version=1.1 server.address=users " +
					"server.port=8443 url.full=https://users:8443/x url.template=/{id}",
			},
		},
		{
			"a host that nobody configured", telemetry.Other, telemetry.Facts{Method: "BREW", URL: parse(t, "http://pot.example:81/")},
			[]step{{"", ok(418)}},
			[]string{
				"internal HTTP error.type=418 http.request.method=_OTHER http.request.method_original=BREW " +
					`http.response.status_code=418 server.address=pot.example tulle.attempts=1 [Error ""]`,
				". client HTTP error.type=418 http.request.method=_OTHER http.request.method_original=BREW " +
					"http.response.status_code=418 network.protocol.version=1.1 " +
					`server.address=pot.example server.port=81 url.full=http://pot.example:81/ [Error ""]`,
			},
		},
		{
			"an RPC", "orders", telemetry.Facts{Protocol: telemetry.GRPC, Method: "shop.Orders/Get"},
			[]step{{"10.0.0.9:1", telemetry.Result{Class: tulle.Answered, Status: 5, Err: errors.New("no such order")}}},
			[]string{
				"internal shop.Orders/Get error.type=NOT_FOUND rpc.method=shop.Orders/Get rpc.response.status_code=NOT_FOUND " +
					`rpc.system.name=grpc server.address=orders tulle.attempts=1 [Error "no such order"]`,
				". client shop.Orders/Get error.type=NOT_FOUND network.peer.address=10.0.0.9 network.peer.port=1 " +
					"rpc.method=shop.Orders/Get rpc.response.status_code=NOT_FOUND rpc.system.name=grpc " +
					`server.address=orders [Error "no such order"]`,
			},
		},
		{
			"a refused call", "users", telemetry.Facts{URL: parse(t, "http://users/")}, nil,
			[]string{"internal GET http.request.method=GET server.address=users tulle.attempts=0 tulle.outcome=unclassified"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, nil)
			l.play(context.Background(), tt.service, tt.facts, tt.steps...)
			equal(t, "spans", l.tree(), tt.want)
		})
	}
}

// What an error is called in error.type.
func TestErrorType(t *testing.T) {
	tests := []struct {
		result telemetry.Result
		want   string
	}{
		{telemetry.Result{Err: fmt.Errorf("x: %w", context.Canceled), Class: tulle.Ignored}, "canceled"},
		{telemetry.Result{Err: fmt.Errorf("x: %w", context.DeadlineExceeded), Class: tulle.TimedOut}, "timeout"},
		{telemetry.Result{Err: errors.New("x"), Class: tulle.Unsent}, "unsent"},
		{telemetry.Result{Err: errors.New("x")}, "_OTHER"},
		{telemetry.Result{Err: errors.New("x"), Class: tulle.Truncated, Status: 200}, "truncated"},
		{telemetry.Result{Err: errors.New("x"), ErrorType: "limited"}, "limited"},
		{telemetry.Result{Status: 404, Class: tulle.Answered}, "404"},
	}
	for _, tt := range tests {
		l := newLab(t, nil)
		l.play(context.Background(), "users", telemetry.Facts{URL: parse(t, "http://users/")}, step{"a:1", tt.result})
		for _, s := range l.spans.Ended() {
			set := attribute.NewSet(s.Attributes()...)
			if got, _ := set.Value("error.type"); got.String() != tt.want {
				t.Errorf("%+v: got error.type %s, want %s", tt.result, got.String(), tt.want)
			}
			if s.Status().Code != codes.Error {
				t.Errorf("%+v: got status %v, want Error", tt.result, s.Status())
			}
		}
	}
}

// The caller's span is the parent, hedges and mirrors have links.
func TestLinks(t *testing.T) {
	l := newLab(t, nil)
	root, parent := l.tracer.Tracer("app").Start(context.Background(), "handler")
	svc, f := l.Service("users"), telemetry.Facts{URL: parse(t, "http://users/")}
	r := ok(200)
	e := &tulle.Endpoint{Addr: "a:1"}

	ctx, call := svc.Start(root, &f)
	actx, first := call.Attempt(ctx, e, 1)
	hctx, hedge := call.Hedge(ctx, e, 2)
	svc.EndAttempt(hctx, hedge, e, &r)
	svc.EndAttempt(actx, first, e, &r)
	f.Mirror = true
	mctx, mirror := svc.Start(ctx, &f)
	svc.End(mctx, mirror, &f, &r)
	f.Mirror = false
	svc.End(ctx, call, &f, &r)

	spans := l.spans.Ended()
	if len(spans) != 4 {
		t.Fatalf("got %d spans, want 4", len(spans))
	}
	inHedge, inFirst, inMirror, inCall := spans[0], spans[1], spans[2], spans[3]
	if got, want := inCall.Parent().SpanID(), parent.SpanContext().SpanID(); got != want {
		t.Errorf("parent of the call: got %s, want %s", got, want)
	}
	if got := inHedge.Links(); len(got) != 1 || got[0].SpanContext.SpanID() != inFirst.SpanContext().SpanID() ||
		attributes(got[0].Attributes) != "tulle.link=hedge" {
		t.Errorf("links of the hedge: got %v, want the first attempt", got)
	}
	if got := inMirror.Links(); len(got) != 1 || got[0].SpanContext.SpanID() != inCall.SpanContext().SpanID() ||
		attributes(got[0].Attributes) != "tulle.link=mirror" {
		t.Errorf("links of the mirror: got %v, want the call", got)
	}
	if inMirror.SpanContext().TraceID() == inCall.SpanContext().TraceID() {
		t.Error("the mirror is in the trace of the call")
	}
	if len(inFirst.Links()) != 0 || len(inCall.Links()) != 0 {
		t.Errorf("got links %v and %v, want none", inFirst.Links(), inCall.Links())
	}
}

// What is decided about a call becomes events of its span.
func TestSpanEvents(t *testing.T) {
	l := newLab(t, nil)
	svc, f := l.Service("users"), telemetry.Facts{URL: parse(t, "http://users/")}
	var rec telemetry.Record
	ctx, call := svc.Start(telemetry.WithRecord(context.Background(), &rec), &f)
	tellAll(call)
	r := ok(200)
	svc.End(ctx, call, &f, &r)
	equal(t, "spans", l.tree(), []string{
		"internal GET http.request.method=GET http.response.status_code=200 server.address=users tulle.attempts=0 " +
			"tulle.destination=users-b tulle.route.override=canary tulle.route.rule=r1",
		"! tulle.wait tulle.error=gave up tulle.wait.for=rate tulle.wait.time=0.001",
		`! tulle.pick tulle.attempt=1 tulle.candidates=["a:1 0.5","b:1 2 ejected"] tulle.endpoint=a:1`,
		"! tulle.retry tulle.reason=lost tulle.retry.budget=3 tulle.retry.granted=true tulle.wait.time=0.002",
		"! tulle.breaker.refused tulle.reason=open",
	})
}

// A sampler sees attributes only if they are there from the start.
func TestEarlyAttributes(t *testing.T) {
	for _, early := range []bool{false, true} {
		s := &sampler{}
		l := newLab(t, func(c *telemetry.Config) {
			c.EarlyAttributes = early
			c.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(s))
		})
		l.play(context.Background(), "users", telemetry.Facts{URL: parse(t, "http://users/x")}, step{"a:1", ok(200)})
		want := []string{"", ""}
		if early {
			want = []string{
				"http.request.method=GET server.address=users server.port=80",
				"http.request.method=GET network.peer.address=a network.peer.port=1 server.address=users server.port=80 " +
					"url.full=http://users/x",
			}
		}
		equal(t, fmt.Sprint("early ", early), s.saw, want)
	}
}

// sampler remembers what it is asked.
type sampler struct{ saw []string }

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.saw = append(s.saw, attributes(p.Attributes))
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

func (s *sampler) Description() string { return "remembers" }

// Nothing listens, or only to what others do: there is no Call, and the headers
// carry on what came in.
func TestNobodyListens(t *testing.T) {
	sc := remote(t)
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), sc)
	tests := []struct {
		name   string
		cfg    telemetry.Config
		header bool
		same   bool // the span in the header is the one that came in
	}{
		{"globals", telemetry.Config{}, false, false},
		{"no-op", telemetry.Config{TracerProvider: noop.NewTracerProvider()}, false, false},
		{"propagator only", telemetry.Config{Propagator: propagation.TraceContext{}}, true, true},
		{"not sampled", telemetry.Config{
			Propagator:     propagation.TraceContext{},
			TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
		}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tel := newTelemetry(t, tt.cfg)
			f := telemetry.Facts{URL: parse(t, "http://users/")}
			got, call := tel.Service("users").Start(ctx, &f)
			if call != nil {
				t.Errorf("got a Call, want none")
			}
			h := tel.Header(got, nil, http.Header{})
			if (h.Get("Traceparent") != "") != tt.header {
				t.Fatalf("got header %v, want one: %v", h, tt.header)
			}
			if tt.header && strings.Contains(h.Get("Traceparent"), sc.SpanID().String()) != tt.same {
				t.Errorf("got %v, want span %s: %v", h, sc.SpanID(), tt.same)
			}
		})
	}
}

// remote is a span context as a server gets it.
func remote(t testing.TB) trace.SpanContext {
	t.Helper()
	ts, err := trace.ParseTraceState("a=1,b=2")
	if err != nil {
		t.Fatal(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5, 6}, TraceFlags: trace.FlagsSampled, TraceState: ts,
	})
}

// A provider that is installed after New is used, and so is the next one.
func TestGlobalProviderLater(t *testing.T) {
	old, oldProp := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	defer otel.SetTracerProvider(old)
	defer otel.SetTextMapPropagator(oldProp)
	tel := newTelemetry(t, telemetry.Config{})
	svc, f, r := tel.Service("users"), telemetry.Facts{URL: parse(t, "http://users/")}, ok(200)
	call := func() http.Header {
		ctx, call := svc.Start(context.Background(), &f)
		h := tel.Header(ctx, nil, nil)
		svc.End(ctx, call, &f, &r)
		return h
	}
	if h := call(); h != nil {
		t.Errorf("before: got header %v, want none", h)
	}
	otel.SetTextMapPropagator(telemetry.W3C{})
	for i := range 2 {
		rec := tracetest.NewSpanRecorder()
		otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec)))
		h := call()
		if got := len(rec.Ended()); got != 1 {
			t.Fatalf("provider %d: got %d spans, want 1", i, got)
		}
		if got, want := h.Get("Traceparent"), rec.Ended()[0].SpanContext().TraceID().String(); !strings.Contains(got, want) {
			t.Errorf("provider %d: got %q, want trace %s", i, got, want)
		}
	}
}

// A Call and an Attempt end once, whoever ends them.
func TestEndsOnce(t *testing.T) {
	l := newLab(t, nil)
	svc, f, r := l.Service("users"), telemetry.Facts{URL: parse(t, "http://users/")}, ok(200)
	ctx, call := svc.Start(context.Background(), &f)
	actx, att := call.Attempt(ctx, nil, 1)
	for range 2 {
		svc.EndAttempt(actx, att, nil, &r)
		svc.End(ctx, call, &f, &r)
	}
	m := l.collect()
	equal(t, "calls", points(m["http.client.request.duration"]), []string{
		"http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 server.address=users server.port=80: 1",
	})
	equal(t, "attempts", points(m["tulle.client.attempt.duration"]), []string{"tulle.outcome=answered tulle.service=users: 1"})
}

// Nil is nobody.
func TestNil(t *testing.T) {
	var svc *telemetry.Service
	f, r := telemetry.Facts{}, telemetry.Result{}
	ctx, call := svc.Start(context.Background(), &f)
	tellAll(call)
	ctx, att := call.Attempt(ctx, nil, 1)
	ctx, hedge := call.Hedge(ctx, nil, 2)
	svc.EndAttempt(ctx, att, nil, &r)
	svc.End(ctx, call, &f, &r)
	svc.Retried(ctx, tulle.Lost)
	svc.HedgeWon(ctx)
	svc.HedgeLost(ctx)
	if ctx != context.Background() || call != nil || att != nil || hedge != nil || call.Record() != nil || call.Detailed() {
		t.Errorf("got %v, %v, %v, %v, want nothing", ctx, call, att, hedge)
	}
	l := newLab(t, nil)
	if _, c := l.Service("users").Start(ctx, nil); c != nil {
		t.Error("got a Call without Facts, want none")
	}
	l.Service("users").End(ctx, nil, nil, nil)
	l.Service("users").EndAttempt(ctx, nil, nil, nil)
}
