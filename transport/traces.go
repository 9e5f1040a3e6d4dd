package transport

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// traces is what a call needs that somebody follows: by spans, hooks or a record.
// Metrics need none of it.
type traces struct {
	ctx    context.Context // of the call's span
	call   *telemetry.Call // nil if that is not recorded
	room   telemetry.Call  // for call
	first  extra           // of the first attempt
	came   tulle.Outcome   // of the first attempt
	ended  time.Duration   // when the latest attempt was answered
	result telemetry.Result
}

// callWatch is a call as telemetry sees it from outside.
type callWatch struct {
	svc    *service
	facts  telemetry.Facts
	traced *traced       // the exchange to be, nil unless somebody follows the call
	begun  time.Duration // when the call came; negative: nobody measures
}

// watchCall begins to watch a call.
func (s *service) watchCall(req *http.Request) callWatch {
	w := callWatch{svc: s, begun: -1}
	w.facts = telemetry.Facts{Method: req.Method, URL: req.URL, Mirror: req.Header[mirrorHeader] != nil}
	ctx, call := req.Context(), (*telemetry.Call)(nil)
	if s.Calls.Traces() {
		w.traced = new(traced)
		ctx, call = s.Calls.StartIn(ctx, &w.facts, &w.traced.traces.room)
	} else if ctx, call = s.Calls.Start(ctx, &w.facts); call != nil {
		w.traced = new(traced)
	}
	if w.traced != nil {
		w.traced.traces.ctx, w.traced.traces.call = ctx, call
	}
	if call != nil || s.Calls.Measures(ctx, telemetry.HTTP) {
		w.begun = s.Engine.Now()
	}
	return w
}

// routed tells where a call goes that a rule or its environment sent there.
func (w *callWatch) routed(options *destination.Options) {
	if w.traced == nil {
		return
	}
	if r, ok := w.svc.Routed(options, route.From(w.traced.traces.ctx).String()); ok {
		w.traced.traces.call.Routed(r)
	}
}

// clock is the time, which is not worth looking at unless somebody follows the call.
func (x *exchange) clock() time.Duration {
	if x.traces() == nil {
		return 0
	}
	return x.svc.Engine.Now()
}

// waited tells that a call was held back. What took no time is not worth telling.
func (x *exchange) waited(what string, began time.Duration, err error) {
	t := x.traces()
	if t == nil {
		return
	}
	took := x.svc.Engine.Now() - began
	if took < minWait && err == nil {
		return
	}
	w := telemetry.Wait{For: what, Time: took}
	if err != nil {
		w.Error = err.Error()
	}
	t.call.Waited(w)
}

// minWait is the shortest wait that is told.
const minWait = time.Millisecond

// repeats tells that the last attempt is repeated.
func (x *exchange) repeats() {
	reason := x.call.Last.Class
	x.svc.Calls.Retried(x.in.Context(), reason)
	if t := x.traces(); t != nil {
		r := telemetry.Repeat{Granted: true, Reason: reason.String(), Budget: x.budget()}
		if wait := x.svc.Engine.Now() - t.ended; wait >= minWait {
			r.Wait = wait
		}
		t.call.Repeat(r)
	}
}

// Denied implements retry.Witness: it tells why the last attempt is not repeated.
func (x *exchange) Denied(why retry.Denial) {
	if t := x.traces(); t != nil && destination.Notable(&x.call.Last, why) {
		t.call.Repeat(telemetry.Repeat{Reason: string(why), Budget: x.budget()})
	}
}

// budget is how many repeats are left.
func (x *exchange) budget() float64 {
	return x.svc.Engine.Retrier().Budget().Balance(x.svc.Engine.Now())
}

// refused tells that no endpoint was picked, and why.
func (x *exchange) refused(err error) {
	if t := x.traces(); t != nil {
		t.call.Refused(err.Error())
	}
}

// returned takes in what the caller gets. A call that is followed ends with its
// last body.
func (w *callWatch) returned(x *exchange, resp *http.Response, err error) {
	if w.begun < 0 {
		return
	}
	r := telemetry.Result{
		Class: x.call.Last.Class, Status: x.call.Last.Status, Err: err,
		Attempts: int(x.call.Attempt), Elapsed: w.svc.Engine.Now() - w.begun, ErrorType: refusedAs(err),
	}
	if resp != nil {
		r.Proto = resp.Proto
	}
	if x.traces() != nil {
		x.traces().result = r
		return
	}
	w.svc.Calls.End(x.in.Context(), nil, &w.facts, &r)
}

// end ends the span of a call.
func (t *traces) end(x *exchange) {
	f := telemetry.Facts{Method: x.in.Method, URL: x.in.URL, Mirror: x.in.Header[mirrorHeader] != nil}
	x.svc.Calls.End(t.ctx, t.call, &f, &t.result)
}

// follow begins the span of an attempt.
func (a *attempt) follow() {
	t, e := a.x.traces(), a.more()
	e.ctx, e.span = t.call.Attempt(t.ctx, a.lease.Endpoint(), int(a.x.call.Attempt))
	if t.call.Detailed() {
		t.call.Breaker(a.x.svc.breaker.State().String())
		t.call.Picked(a.x.svc.Picked(&a.x.call, a.lease.Endpoint().Addr))
	}
}

// inject writes the trace into the header.
func (a *attempt) inject() {
	ctx := a.x.in.Context()
	var span *telemetry.Attempt
	if a.x.traces() != nil {
		ctx, span = a.outer(), a.more().span
	}
	a.req.Header = a.x.svc.Telemetry.Header(ctx, span, a.req.Header)
}

// measure takes in that an attempt has headers or an error.
func (a *attempt) measure(resp *http.Response, o *tulle.Outcome) {
	if t := a.x.traces(); t != nil {
		came := &t.came
		if a != &a.x.first {
			came = new(tulle.Outcome)
		}
		*came = *o
		a.more().came = came
		if resp != nil {
			a.more().proto = resp.Proto
		}
		return
	}
	if !a.x.svc.Calls.Measures(a.x.in.Context(), telemetry.HTTP) {
		return
	}
	r := resultOf(o)
	if resp != nil {
		r.Proto = resp.Proto
	}
	a.x.svc.Calls.EndAttempt(a.x.in.Context(), nil, a.lease.Endpoint(), &r)
}

// traced ends the span of an attempt.
func (a *attempt) traced(o *tulle.Outcome) {
	e := a.more()
	if e.ctx == nil {
		return // it was never sent
	}
	if came := e.came; came != nil {
		if came.Class == tulle.Answered && o.Class != tulle.Answered {
			came.Class, came.Err = o.Class, o.Err // the body's end
		}
		o = came
	}
	r := resultOf(o)
	r.Proto = e.proto
	a.x.svc.Calls.EndAttempt(e.ctx, e.span, a.lease.Endpoint(), &r)
}

// resultOf is an outcome as telemetry has it.
func resultOf(o *tulle.Outcome) telemetry.Result {
	return telemetry.Result{Class: o.Class, Status: o.Status, Err: o.Err, Elapsed: o.Elapsed}
}

// refusedAs names what kept a call from being sent, for error.type; "" if that was
// something else.
func refusedAs(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, breaker.ErrOpen):
		return "breaker_open"
	case errors.Is(err, limit.ErrLimited):
		return "limited"
	case errors.Is(err, ErrNoEndpoints):
		return "no_endpoints"
	case errors.Is(err, ErrAllDown):
		return "all_down"
	}
	return ""
}
