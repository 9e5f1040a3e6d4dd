package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// An Attempt is one try of a Call. A nil Attempt does nothing.
type Attempt struct {
	call   *Call
	span   trace.Span // nil if none is recorded
	start  time.Time  // for the record only
	number int
	hedge  bool
	begun  atomic.Bool // and has a span
	ended  atomic.Bool

	value   [1]string // of the header traceparent
	fullURL string
	carrier carrier
}

// Attempt takes in that try n of the call, from 1, goes to e. The context is ctx
// unless there is a span; ctx is the call's. Of nil it returns ctx and nil.
func (c *Call) Attempt(ctx context.Context, e *tulle.Endpoint, n int) (context.Context, *Attempt) {
	return c.attempt(ctx, e, n, attemptOptions)
}

// Hedge is Attempt for a try that is made beside an earlier one. Its span links
// to that of the first, if that has begun.
func (c *Call) Hedge(ctx context.Context, e *tulle.Endpoint, n int) (context.Context, *Attempt) {
	options := attemptOptions
	if c != nil && c.first.begun.Load() {
		of := c.first.span.SpanContext()
		options = []trace.SpanStartOption{attemptOptions[0], trace.WithLinks(linkTo(of, "hedge"))}
	}
	ctx, a := c.attempt(ctx, e, n, options)
	if a != nil {
		a.hedge = true
	}
	return ctx, a
}

// attempt begins an attempt.
func (c *Call) attempt(
	ctx context.Context, e *tulle.Endpoint, n int, options []trace.SpanStartOption,
) (context.Context, *Attempt) {
	if c == nil {
		return ctx, nil
	}
	a := &c.first
	if c.taken.Swap(true) {
		a = new(Attempt)
	}
	a.call, a.number = c, n
	if c.detail != nil {
		a.start = time.Now()
	}
	if c.span == nil && !c.bare {
		return ctx, a
	}
	tracer := c.svc.t.tracer()
	if tracer == nil { // taken away since the call began
		return ctx, a
	}
	if c.svc.t.cfg.EarlyAttributes {
		options = append(options[:len(options):len(options)], trace.WithAttributes(a.early(e)...))
	}
	if c.bare {
		options = c.facts.apart(ctx, options)
	}
	ctx, span := tracer.Start(ctx, c.svc.spanName(&c.facts), options...)
	if span.IsRecording() {
		a.span = span
		a.begun.Store(true)
	}
	if c.bare && c.detail != nil {
		c.detail.traced(ctx)
	}
	return ctx, a
}

// early are the attributes that are known when the attempt begins.
func (a *Attempt) early(e *tulle.Endpoint) []attribute.KeyValue {
	c := a.call
	kv := appendPeer(c.svc.appendServer(nil, &c.facts), e)
	kv = c.facts.append(kv)
	if u := c.facts.URL; c.facts.Protocol == HTTP && u != nil {
		kv = append(kv, semconv.URLFull(string(appendURL(nil, u))))
	}
	return kv
}

// EndAttempt takes in that the attempt has headers, or an error: it measures it,
// and completes the span if a is not nil. Ctx is what Attempt returned. It may
// come later, when the body has ended; Elapsed is the time to headers all the
// same. Further calls for one Attempt are ignored; without one each counts.
func (s *Service) EndAttempt(ctx context.Context, a *Attempt, e *tulle.Endpoint, r *Result) {
	if s == nil || r == nil || a != nil && a.ended.Swap(true) {
		return
	}
	s.measureAttempt(ctx, e, r)
	if a == nil {
		return
	}
	if a.span != nil {
		a.endSpan(e, r)
	}
	if d := a.call.detail; d != nil {
		t := a.try(e, r)
		d.note(func(rec *Record) {
			t.Start = a.start.Sub(rec.Time)
			add(&rec.Tries, t)
		})
		tell(d.hooks.AttemptDone, t)
	}
}

// endSpan gives the span its attributes and ends it.
func (a *Attempt) endSpan(e *tulle.Endpoint, r *Result) {
	c := a.call
	f := &c.facts
	buf := c.svc.t.take()
	kv := f.append(c.svc.appendServer(buf.kv[:0], f))
	kv = appendPeer(kv, e)
	if f.Protocol == HTTP {
		kv = a.appendHTTP(kv, r)
	}
	kv = r.append(kv, f.Protocol)
	a.span.SetAttributes(kv...)
	c.svc.t.give(buf, kv)
	end(a.span, f.Protocol, r)
}

// appendHTTP adds what only spans of HTTP attempts have.
func (a *Attempt) appendHTTP(kv []attribute.KeyValue, r *Result) []attribute.KeyValue {
	if a.fullURL != "" {
		kv = append(kv, semconv.URLFull(a.fullURL))
	} else if u := a.call.facts.URL; u != nil {
		kv = append(kv, semconv.URLFull(string(appendURL(nil, u))))
	}
	if v := version(r.Proto); v != 0 {
		kv = append(kv, semconv.NetworkProtocolVersion(versions[v]))
	}
	if a.number > 1 {
		kv = append(kv, semconv.HTTPRequestResendCount(a.number-1))
	}
	return kv
}

// try is the attempt for the record.
func (a *Attempt) try(e *tulle.Endpoint, r *Result) Try {
	t := Try{Attempt: a.number, Hedge: a.hedge, Time: r.Elapsed, Outcome: r.Class.String(), Status: r.Status}
	if e != nil {
		t.Endpoint = e.Addr
	}
	if r.Err != nil {
		t.Error = r.Err.Error()
	}
	return t
}
