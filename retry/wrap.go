package retry

import (
	"context"
	"net/http"
	"time"

	"github.com/tullemesh/tulle"
)

// Wrap returns a RoundTripper that repeats what base fails at. A nil base is
// http.DefaultTransport. All that one Retrier wraps shares its budget.
//
// The request's context carries the tulle.Call, so that layers below can report
// outcomes; where none does, the error and the status decide. Without layers
// below that know endpoints, an attempt that timed out is not repeated.
func (r *Retrier) Wrap(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &wrapper{r: r, base: base, clock: func() time.Duration { return time.Since(r.start) }}
}

// wrapper is the layer alone.
type wrapper struct {
	r     *Retrier
	base  http.RoundTripper
	clock Clock
}

// CloseIdleConnections passes on to the base.
func (w *wrapper) CloseIdleConnections() {
	if c, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wrapper) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{w: w, req: req}
	x.call.Safe = w.r.Safe(req)
	// A tunnel or an upgrade, once asked for, may be there.
	x.call.UnsentOnly = req.Method == http.MethodConnect || req.Header["Upgrade"] != nil
	x.body.Start(req, w.r.cfg.Replay)
	defer x.body.Finish(req)
	w.r.Open(w.clock())
	resp, err := x.Attempt()
	if w.r.Wants(&x.call) {
		ctx, release := untilCancel(req)
		defer release()
		deadline, _ := ctx.Deadline()
		resp, err = w.r.Continue(ctx, &x.call, x, w.clock, deadline, resp, err)
	}
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// untilCancel is the request's context, which ends with Request.Cancel as well:
// a pause must not outlast it. http.Client sets that for its Timeout over any
// RoundTripper that it does not know. Release waits for what was started.
func untilCancel(req *http.Request) (ctx context.Context, release func()) {
	//lint:ignore SA1019 it is part of RoundTripper as long as net/http obeys it
	canceled := req.Cancel
	if canceled == nil {
		return req.Context(), func() {}
	}
	ctx, cancel := context.WithCancel(req.Context())
	done := make(chan struct{}) // closed when the goroutine below ends
	go func() {
		defer close(done)
		select {
		case <-canceled:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-done }
}

// ended is the Err of the context, or that of one which Request.Cancel ended.
func (x *exchange) ended() error {
	if err := x.req.Context().Err(); err != nil {
		return err
	}
	select {
	//lint:ignore SA1019 as above
	case <-x.req.Cancel:
		return context.Canceled
	default:
		return nil
	}
}

// exchange is one call.
type exchange struct {
	w    *wrapper
	req  *http.Request
	call tulle.Call
	body Replay
}

// Attempt implements Attempter.
func (x *exchange) Attempt() (*http.Response, error) {
	body, err := x.body.Next(x.req)
	if err != nil {
		x.call.Last = tulle.Outcome{Class: tulle.Ignored, Err: err}
		return nil, err
	}
	x.call.Begin()
	ctx := tulle.WithCall(x.req.Context(), &x.call)
	req := x.req.WithContext(ctx)
	req.Body = body
	start := x.w.clock()
	resp, err := x.w.base.RoundTrip(req)
	if !x.call.Reported() {
		x.call.Report(tulle.ClassifyHTTP(tulle.HTTPFacts{
			Response: resp, Err: err, Ended: x.ended(),
			RequestBody: x.body.Failed(), Elapsed: x.w.clock() - start, Now: time.Now(),
		}))
	}
	x.call.Spent = x.body.Spent()
	return resp, err
}
