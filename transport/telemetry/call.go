package telemetry

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// A Call is a call that somebody listens to: a span is recorded, or hooks or a
// record are to be served. A nil Call does nothing. It is safe for concurrent
// use.
type Call struct {
	svc    *Service
	span   trace.Span // nil if none is recorded
	bare   bool       // it has no span, its attempts do
	facts  Facts
	detail *detail // nil unless hooks or a record are to be served

	first Attempt // in place, as most calls have but one
	taken atomic.Bool
	ended atomic.Bool
}

// detail is what a Call needs for hooks and records.
type detail struct {
	hooks *Trace  // never nil
	into  *Record // the caller's, or nil
	keep  bool    // in the ring

	mu  sync.Mutex
	rec Record // guarded by mu
}

// answered is the class of calls that went well.
const answered = "answered"

// The options of spans, made once.
var (
	callOptions    = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal)}
	attemptOptions = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
	noHooks        = &Trace{}
)

// Start takes in that a call begins. The Call is nil unless somebody listens.
// The context is ctx unless there is a span.
func (s *Service) Start(ctx context.Context, f *Facts) (context.Context, *Call) {
	return s.StartIn(ctx, f, nil)
}

// StartIn is Start for who has room for a Call in an object of its own. The room
// must be a zero Call, and stay where it is. Without room one is allocated.
func (s *Service) StartIn(ctx context.Context, f *Facts, room *Call) (context.Context, *Call) {
	if s == nil || f == nil {
		return ctx, nil
	}
	var span trace.Span
	caller, bare := ctx, false
	if tracer := s.t.tracer(); tracer != nil {
		if bare = s.t.cfg.NoCallSpan; !bare {
			ctx, span = s.startSpan(ctx, tracer, f, callOptions)
		}
	}
	d := s.detail(caller, f)
	if span == nil && d == nil && !bare {
		return ctx, nil
	}
	c := room
	if c == nil {
		c = new(Call)
	}
	c.svc, c.span, c.bare, c.facts, c.detail = s, span, bare, *f, d
	if d != nil {
		c.begin(ctx)
	}
	return ctx, c
}

// startSpan begins the span of the call, which is nil if nobody will see it. The
// context has one all the same then, for the servers that the call reaches.
func (s *Service) startSpan(
	ctx context.Context, tracer trace.Tracer, f *Facts, options []trace.SpanStartOption,
) (context.Context, trace.Span) {
	options = f.apart(ctx, options)
	if s.t.cfg.EarlyAttributes {
		options = append(options[:len(options):len(options)], trace.WithAttributes(f.append(s.appendServer(nil, f))...))
	}
	ctx, span := tracer.Start(ctx, s.spanName(f), options...)
	if !span.IsRecording() {
		return ctx, nil
	}
	return ctx, span
}

// apart adds what a copy of a call needs to be in a trace of its own.
func (f *Facts) apart(ctx context.Context, options []trace.SpanStartOption) []trace.SpanStartOption {
	if !f.Mirror {
		return options
	}
	options = append(options[:len(options):len(options)], trace.WithNewRoot())
	if of := trace.SpanContextFromContext(ctx); of.IsValid() {
		options = append(options, trace.WithLinks(linkTo(of, "mirror")))
	}
	return options
}

// linkTo is a link that says why it is there.
func linkTo(of trace.SpanContext, why string) trace.Link {
	return trace.Link{SpanContext: of, Attributes: []attribute.KeyValue{attribute.String("tulle.link", why)}}
}

// spanName is the method, with the template of the path if that is known.
func (s *Service) spanName(f *Facts) string {
	name := s.method(f).name
	if f.Protocol == HTTP {
		if name == otherValue {
			name = "HTTP"
		}
		if f.Template != "" {
			return name + " " + f.Template
		}
		return name
	}
	return name
}

// detail is what hooks and records need, nil if there are none.
func (s *Service) detail(ctx context.Context, f *Facts) *detail {
	hooks, _ := ctx.Value(traceKey{}).(*Trace)
	into, _ := ctx.Value(recordKey{}).(*Record)
	keep := s.t.sampled()
	if hooks == nil && into == nil && !keep {
		return nil
	}
	d := &detail{hooks: hooks, into: into, keep: keep}
	if hooks == nil {
		d.hooks = noHooks
	}
	d.rec = Record{Time: time.Now(), Service: s.name, Method: f.Method}
	if f.URL != nil {
		d.rec.Path = f.URL.Path
	} else if f.Protocol != HTTP {
		d.rec.Path = "/" + strings.TrimPrefix(f.Method, "/")
	}
	return d
}

// begin tells who listens that the call begins.
func (c *Call) begin(ctx context.Context) {
	c.detail.traced(ctx)
	if f := c.detail.hooks.CallStart; f != nil {
		f(c.svc.name, c.facts)
	}
}

// traced keeps the trace of ctx for the record.
func (d *detail) traced(ctx context.Context) {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		d.note(func(rec *Record) { rec.TraceID = sc.TraceID().String() })
	}
}

// Detailed says that candidates and their costs are wanted. They are not worth
// the work otherwise.
func (c *Call) Detailed() bool { return c != nil && c.detail != nil }

// note changes the record under its lock.
func (d *detail) note(change func(*Record)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.rec)
}

// Routed takes in where the call goes.
func (c *Call) Routed(r Route) {
	if c == nil {
		return
	}
	if c.span != nil {
		kv := []attribute.KeyValue{attribute.String("tulle.destination", r.Destination)}
		if r.Rule != "" {
			kv = append(kv, attribute.String("tulle.route.rule", r.Rule))
		}
		if r.Override != "" {
			kv = append(kv, attribute.String("tulle.route.override", r.Override))
		}
		c.span.SetAttributes(kv...)
	}
	if d := c.detail; d != nil {
		d.note(func(rec *Record) { rec.Route = r })
		tell(d.hooks.Routed, r)
	}
}

// Waited takes in that the call was held back. It is an event of the span.
func (c *Call) Waited(w Wait) {
	if c == nil {
		return
	}
	if c.span != nil {
		kv := []attribute.KeyValue{attribute.String("tulle.wait.for", w.For), attribute.Float64("tulle.wait.time", w.Time.Seconds())}
		if w.Error != "" {
			kv = append(kv, attribute.String("tulle.error", valid(w.Error)))
		}
		c.span.AddEvent("tulle.wait", trace.WithAttributes(kv...))
	}
	if d := c.detail; d != nil {
		d.note(func(rec *Record) { add(&rec.Waits, w) })
		tell(d.hooks.Waited, w)
	}
}

// Picked takes in a pick. It is an event of the span if the call is Detailed.
// The Candidates become the Call's.
func (c *Call) Picked(p Pick) {
	if !c.Detailed() {
		return
	}
	if c.span != nil {
		c.span.AddEvent("tulle.pick", trace.WithAttributes(
			attribute.Int("tulle.attempt", p.Attempt), endpointKey.String(p.Endpoint),
			attribute.StringSlice("tulle.candidates", p.lines())))
	}
	kept := p
	kept.Candidates = p.Candidates[:min(len(p.Candidates), maxParts)]
	c.detail.note(func(rec *Record) { add(&rec.Picks, kept) })
	tell(c.detail.hooks.Picked, p)
}

// Repeat takes in a decision on a repeat. It is an event of the span.
func (c *Call) Repeat(r Repeat) {
	if c == nil {
		return
	}
	if c.span != nil {
		c.span.AddEvent("tulle.retry", trace.WithAttributes(
			attribute.Bool("tulle.retry.granted", r.Granted), reasonKey.String(r.Reason),
			attribute.Float64("tulle.wait.time", r.Wait.Seconds()), attribute.Float64("tulle.retry.budget", r.Budget)))
	}
	if d := c.detail; d != nil {
		d.note(func(rec *Record) { add(&rec.Repeats, r) })
		tell(d.hooks.RetryDecision, r)
	}
}

// Breaker takes in the state that the service breaker is found in, for the
// record only.
func (c *Call) Breaker(state string) {
	if c.Detailed() {
		c.detail.note(func(rec *Record) { rec.Breaker = state })
	}
}

// Refused takes in that a breaker refuses an attempt, and why. It is an event of
// the span.
func (c *Call) Refused(reason string) {
	if c == nil {
		return
	}
	if c.span != nil {
		c.span.AddEvent("tulle.breaker.refused", trace.WithAttributes(reasonKey.String(reason)))
	}
	if d := c.detail; d != nil {
		d.note(func(rec *Record) { rec.Refused++ })
		tell(d.hooks.BreakerRefused, reason)
	}
}

// Record is what has been recorded of the call so far, nil unless it is
// Detailed. It is a copy.
func (c *Call) Record() *Record {
	if !c.Detailed() {
		return nil
	}
	c.detail.mu.Lock()
	defer c.detail.mu.Unlock()
	return c.detail.rec.clone()
}

// End takes in that the call has ended: it measures it and, if c is not nil,
// completes the span, the hooks and the record. Facts are those of Start, ctx is
// what Start returned. Further calls for one Call are ignored; without a Call
// each counts.
func (s *Service) End(ctx context.Context, c *Call, f *Facts, r *Result) {
	if s == nil || f == nil || r == nil || c != nil && c.ended.Swap(true) {
		return
	}
	s.measure(ctx, f, r)
	if c == nil {
		return
	}
	if c.bare && !c.taken.Load() {
		c.startLate(ctx, r)
	}
	if c.span != nil {
		c.endSpan(r)
	}
	if c.detail != nil {
		c.detail.finish(s, c.facts.Protocol, r)
	}
}

// startLate gives a call without attempts the span that would else be theirs.
func (c *Call) startLate(ctx context.Context, r *Result) {
	if tracer := c.svc.t.tracer(); tracer != nil {
		began := trace.WithTimestamp(time.Now().Add(-r.Elapsed))
		_, c.span = c.svc.startSpan(ctx, tracer, &c.facts, []trace.SpanStartOption{callOptions[0], began})
	}
}

// endSpan gives the span its attributes, all at once: each time costs a copy.
func (c *Call) endSpan(r *Result) {
	buf := c.svc.t.take()
	kv := append(buf.kv[:0], semconv.ServerAddress(c.svc.hostOf(&c.facts)), attribute.Int("tulle.attempts", r.Attempts))
	kv = c.facts.append(kv)
	kv = r.append(kv, c.facts.Protocol)
	c.span.SetAttributes(kv...)
	c.svc.t.give(buf, kv)
	end(c.span, c.facts.Protocol, r)
}

// end gives the span its status, after semconv's rules for clients, and ends it.
func end(span trace.Span, p Protocol, r *Result) {
	if r.failed(p) {
		why := ""
		if r.Err != nil {
			why = valid(r.Err.Error())
		}
		span.SetStatus(codes.Error, why)
	}
	span.End()
}

// failed says whether the span shows an error.
func (r *Result) failed(p Protocol) bool {
	return r.Err != nil || p == HTTP && r.Status >= 400 || p != HTTP && r.Status != 0
}

// finish completes the record and tells who listens.
func (d *detail) finish(s *Service, p Protocol, r *Result) {
	d.mu.Lock()
	d.rec.Elapsed, d.rec.Outcome, d.rec.Status = r.Elapsed, r.Class.String(), r.Status
	if why := errorType(p, r); why != "" && (r.Class == 0 || r.Class == tulle.Ignored) {
		d.rec.Outcome = why // no endpoint has said anything
	}
	if r.Err != nil {
		d.rec.Error = r.Err.Error()
	}
	rec := d.rec.clone()
	d.mu.Unlock()
	if d.keep {
		s.t.records.put(rec)
	}
	if d.into != nil {
		*d.into = *rec.clone()
	}
	tell(d.hooks.CallDone, *r)
}
