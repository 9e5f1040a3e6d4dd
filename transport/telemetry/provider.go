package telemetry

import (
	"reflect"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// tracing is what was found out about a provider. It is never changed.
type tracing struct {
	pointer  bool // provider is one, so that it may be compared
	provider trace.TracerProvider
	tracer   trace.Tracer // nil if nobody listens
}

// tracer is the one to use now, nil if nobody listens.
func (t *Telemetry) tracer() trace.Tracer {
	p := t.cfg.TracerProvider
	if p == nil {
		p = otel.GetTracerProvider()
	}
	if c := t.tracing.Load(); c != nil && (t.cfg.TracerProvider != nil || c.pointer && c.provider == p || same(c.provider, p)) {
		return c.tracer
	}
	c := &tracing{pointer: isPointer(p), provider: p}
	if _, none := p.(noop.TracerProvider); !none && !placeholder(p) {
		c.tracer = p.Tracer(scopeName,
			trace.WithSchemaURL(semconv.SchemaURL), trace.WithInstrumentationAttributes(t.cfg.Attributes...))
	}
	t.tracing.Store(c)
	return c.tracer
}

// placeholder says that v is what package otel hands out until the application
// installs something. It would work, at five allocations a span; that nobody
// listens cannot be asked of it.
func placeholder(v any) bool {
	return isPointer(v) && reflect.TypeOf(v).Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global"
}

// isPointer says whether v is a pointer.
func isPointer(v any) bool { return reflect.TypeOf(v).Kind() == reflect.Pointer }

// same says whether a and b are one value, also for types that == panics on.
func same(a, b any) bool {
	x, y := reflect.TypeOf(a), reflect.TypeOf(b)
	if x != y {
		return false
	}
	if x.Size() == 0 {
		return true // Comparable would allocate to find out
	}
	switch x.Kind() {
	case reflect.Pointer:
		return a == b
	case reflect.Slice:
		v, w := reflect.ValueOf(a), reflect.ValueOf(b)
		return v.Len() == w.Len() && v.Pointer() == w.Pointer()
	}
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// headers is what was found out about a propagator. It is never changed.
type headers struct {
	propagator propagation.TextMapPropagator
	pointer    bool // the propagator is one, so that it may be compared
	off        bool // it writes nothing
	own        bool // it is that of W3C, which we write ourselves
	trace      bool // own: it writes traceparent and tracestate
	baggage    bool // own: it writes baggage
}

// propagator is the one to use now.
func (t *Telemetry) propagator() *headers {
	p := t.cfg.Propagator
	if p == nil {
		p = otel.GetTextMapPropagator()
	}
	if h := t.headers.Load(); h != nil && (t.cfg.Propagator != nil || h.pointer && h.propagator == p || same(h.propagator, p)) {
		return h
	}
	h := &headers{propagator: p, pointer: isPointer(p)}
	h.own = h.knows(reflect.ValueOf(p))
	h.off = placeholder(p) || h.own && !h.trace && !h.baggage
	t.headers.Store(h)
	return h
}

// knows says whether all that p does is what we can do. Several propagators in
// one are a slice of them, whose type is not exported.
func (h *headers) knows(p reflect.Value) bool {
	switch p.Interface().(type) {
	case W3C:
		h.trace, h.baggage = true, true
		return true
	case propagation.TraceContext:
		h.trace = true
		return true
	case propagation.Baggage:
		h.baggage = true
		return true
	}
	if p.Kind() != reflect.Slice || p.Type().PkgPath() != reflect.TypeFor[propagation.TraceContext]().PkgPath() {
		return false
	}
	for i := range p.Len() {
		if e := p.Index(i); e.Kind() != reflect.Interface || e.IsNil() || !h.knows(e.Elem()) {
			return false
		}
	}
	return true
}
