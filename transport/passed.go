package transport

import (
	"context"
	"net/http"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/eob"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// passing is a call to a host that is no service, as telemetry sees it: one attempt,
// to an endpoint that nobody here picked.
type passing struct {
	calls *telemetry.Service
	facts telemetry.Facts

	ctx     context.Context    // of the call's span
	call    *telemetry.Call    // nil unless somebody follows the call
	spanCtx context.Context    // of the attempt's
	span    *telemetry.Attempt // or nil
	result  telemetry.Result
	body    eob.Watch
}

// pass hands a call to a host that is no service to the Base, and tells telemetry
// of it. The trace is not written into its header: the host is not known to be ours.
func (t *Transport) pass(tb *table, req *http.Request) (*http.Response, error) {
	facts := telemetry.Facts{Method: req.Method, URL: req.URL}
	traces := t.strangers.Traces()
	ctx, call := t.strangers.Start(req.Context(), &facts)
	if call == nil && !traces && !t.strangers.Measures(ctx, telemetry.HTTP) {
		return tb.passed(req, nil)
	}
	if call != nil {
		return t.follow(tb, req, ctx, call)
	}
	var in context.Context // without spans the caller's does
	if traces {
		in = ctx
	}
	begun := time.Now()
	resp, err := tb.passed(req, in)
	r := passedResult(ctx, begun, resp, err)
	t.strangers.EndAttempt(ctx, nil, nil, &r)
	t.strangers.End(ctx, nil, &facts, &r)
	return resp, err
}

// follow is pass for a call that somebody follows, until its body has ended. Ctx is
// that of the call's span.
func (t *Transport) follow(tb *table, req *http.Request, ctx context.Context, call *telemetry.Call) (*http.Response, error) {
	p := &passing{calls: t.strangers, facts: telemetry.Facts{Method: req.Method, URL: req.URL}, ctx: ctx, call: call}
	p.spanCtx, p.span = call.Attempt(ctx, nil, 1)
	begun := time.Now()
	resp, err := tb.passed(req, p.spanCtx)
	p.result = passedResult(p.spanCtx, begun, resp, err)
	if resp == nil || resp.Body == nil || resp.Body == http.NoBody {
		p.end()
	} else {
		p.body.Start(resp, (*passingBody)(p))
	}
	return resp, err
}

// passedResult is what a call that began at a time came to.
func passedResult(ctx context.Context, begun time.Time, resp *http.Response, err error) telemetry.Result {
	now := time.Now()
	f := tulle.HTTPFacts{Response: resp, Err: err, Elapsed: now.Sub(begun), Now: now}
	if err != nil {
		f.Ended = ctx.Err()
		if isDialError(err) {
			f.Reach = tulle.DialFailed
		}
	}
	o := tulle.ClassifyHTTP(f)
	r := resultOf(&o)
	r.Attempts = 1
	if resp != nil {
		r.Proto = resp.Proto
	}
	return r
}

// end ends the spans and measures the call.
func (p *passing) end() {
	p.calls.EndAttempt(p.spanCtx, p.span, nil, &p.result)
	p.calls.End(p.ctx, p.call, &p.facts, &p.result)
}

// BodyEnded implements eob.Owner.
func (p *passing) BodyEnded(err error) error {
	p.end()
	return err
}

// passingBody is a call that passes through as the body of its response.
type passingBody passing

func (b *passingBody) Read(p []byte) (int, error) { return b.body.Read(p, (*passing)(b)) }
func (b *passingBody) Close() error               { return b.body.Close((*passing)(b)) }
