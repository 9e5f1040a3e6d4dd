package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// Link returns life with the span that ctx carries, for work that ctx begins and
// that goes on after it: what that work does is in the same trace. Nothing else of
// ctx is in the result.
func Link(life, ctx context.Context) context.Context {
	if span := trace.SpanFromContext(ctx); span.SpanContext().IsValid() {
		return trace.ContextWithSpan(life, span)
	}
	return life
}
