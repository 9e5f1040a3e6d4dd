package telemetry_test

import (
	"context"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/trace"
)

// Without spans of calls those of attempts are the caller's children, and a call
// that makes none is seen all the same.
func TestNoCallSpan(t *testing.T) {
	unavailable := telemetry.Result{Class: tulle.Unavailable, Status: 503, Proto: "HTTP/1.1"}
	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{
			"a repeat", []step{{"a:1", unavailable}, {"b:2", ok(200)}},
			[]string{
				"internal handler ",
				". client GET error.type=503 http.request.method=GET http.response.status_code=503 network.peer.address=a " +
					"network.peer.port=1 network.protocol.version=1.1 server.address=users server.port=80 " +
					`tulle.outcome=unavailable url.full=http://users/ [Error ""]`,
				". client GET http.request.method=GET http.request.resend_count=1 http.response.status_code=200 " +
					"network.peer.address=b network.peer.port=2 network.protocol.version=1.1 server.address=users " +
					"server.port=80 url.full=http://users/",
			},
		},
		{
			"no attempt", nil,
			[]string{
				"internal handler ",
				". internal GET http.request.method=GET server.address=users tulle.attempts=0 tulle.outcome=unclassified",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, func(c *telemetry.Config) { c.NoCallSpan = true })
			ctx, handler := l.tracer.Tracer("app").Start(context.Background(), "handler")
			var rec telemetry.Record
			l.play(telemetry.WithRecord(ctx, &rec), "users", telemetry.Facts{URL: parse(t, "http://users/")}, tt.steps...)
			handler.End()
			equal(t, "spans", l.tree(), tt.want)
			if got, want := rec.TraceID, handler.SpanContext().TraceID().String(); got != want {
				t.Errorf("trace of the record: got %s, want %s", got, want)
			}
		})
	}
}

// A copy of a call is in a trace of its own, with a link, also without a span
// around its attempts.
func TestNoCallSpanMirror(t *testing.T) {
	l := newLab(t, func(c *telemetry.Config) { c.NoCallSpan = true })
	ctx, handler := l.tracer.Tracer("app").Start(context.Background(), "handler")
	var rec telemetry.Record
	f := telemetry.Facts{URL: parse(t, "http://users/"), Mirror: true}
	l.play(telemetry.WithRecord(ctx, &rec), "users", f, step{"a:1", ok(200)})
	spans := l.spans.Ended()
	if len(spans) != 1 {
		t.Fatalf("got %d spans, want that of the attempt", len(spans))
	}
	links := spans[0].Links()
	if len(links) != 1 || links[0].SpanContext.SpanID() != handler.SpanContext().SpanID() {
		t.Errorf("links: got %v, want one to the caller's span", links)
	}
	own := spans[0].SpanContext().TraceID()
	if own == handler.SpanContext().TraceID() || rec.TraceID != own.String() {
		t.Errorf("got trace %s and %s in the record, want one of its own in both", own, rec.TraceID)
	}
}

// The headers carry the span of the attempt, or that of a caller who is not
// sampled.
func TestNoCallSpanHeader(t *testing.T) {
	l := newLab(t, func(c *telemetry.Config) { c.NoCallSpan = true })
	svc, f := l.Service("users"), telemetry.Facts{URL: parse(t, "http://users/")}
	ctx, call := svc.Start(context.Background(), &f)
	if trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("the call has a span")
	}
	actx, a := call.Attempt(ctx, &tulle.Endpoint{Addr: "a:1"}, 1)
	h := l.Header(actx, a, nil)
	if id := trace.SpanContextFromContext(actx).SpanID().String(); len(h["Traceparent"]) != 1 || h["Traceparent"][0][36:52] != id {
		t.Errorf("got header %v, want span %s", h, id)
	}
	r := ok(200)
	svc.EndAttempt(actx, a, &tulle.Endpoint{Addr: "a:1"}, &r)
	svc.End(ctx, call, &f, &r)
}
