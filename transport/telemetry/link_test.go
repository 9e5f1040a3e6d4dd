package telemetry_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/tullemesh/tulle/transport/telemetry"
)

// The result lives as long as the first context, and has the span of the second and
// nothing else of it.
func TestLink(t *testing.T) {
	type key struct{}
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	from, end := context.WithCancel(trace.ContextWithSpanContext(context.WithValue(t.Context(), key{}, "from"), span))
	life, stop := context.WithCancel(context.WithValue(t.Context(), key{}, "life"))
	got := telemetry.Link(life, from)
	end()
	if got.Err() != nil || got.Value(key{}) != "life" || !trace.SpanContextFromContext(got).Equal(span) {
		t.Errorf("got %v, %v, %v", got.Err(), got.Value(key{}), trace.SpanContextFromContext(got))
	}
	if stop(); got.Err() == nil {
		t.Error("it outlives the context that it lives by")
	}
	if got := telemetry.Link(life, context.Background()); got != life {
		t.Errorf("without a span: got %v, want the context itself", got)
	}
}
