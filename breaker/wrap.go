package breaker

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/eob"
)

// Wrap returns a RoundTripper that asks the Breaker before base and tells it
// after. A nil base is http.DefaultTransport. All that one Breaker wraps shares
// it.
//
// A refused call fails with an *Error, its request body closed. Other errors and
// all responses are those of base. What an attempt came to is what a layer below
// reported to the tulle.Call in the request's context, else what
// tulle.ClassifyHTTP says; it is reported there too. A response that is a success
// counts as such when its body has ended well, one without a body and a 101 at
// once.
//
// A request body that cannot be had again (no GetBody) is watched, as it is not
// the service's fault when reading it fails. An *os.File is then not sent by the
// system call for that.
func (b *Breaker) Wrap(base http.RoundTripper) http.RoundTripper {
	return newWrapper(base, func(*http.Request) *Breaker { return b })
}

// newWrapper fills in the default base.
func newWrapper(base http.RoundTripper, of func(*http.Request) *Breaker) *wrapper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &wrapper{base: base, of: of}
}

// wrapper is the layer alone.
type wrapper struct {
	base http.RoundTripper
	of   func(*http.Request) *Breaker
}

// CloseIdleConnections passes on to the base.
func (w *wrapper) CloseIdleConnections() {
	if c, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wrapper) RoundTrip(req *http.Request) (*http.Response, error) {
	b := w.of(req)
	if b.cfg.Off {
		return w.base.RoundTrip(req)
	}
	call := tulle.CallFrom(req.Context())
	x := &exchange{req: req, start: time.Now()}
	var err error
	if x.ticket, err = b.Allow(); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // nothing was sent, so there is nothing to report
		}
		// A retry around this must not take it for an endpoint's failure.
		call.Report(tulle.Outcome{Class: tulle.Ignored, Err: err})
		return nil, err
	}
	defer x.unwind()
	// A report that was there before is one of another attempt.
	old := call.Reported()
	out := x.watched()
	resp, err := w.base.RoundTrip(out)
	if resp != nil && resp.Request == out {
		resp.Request = req
	}
	var o tulle.Outcome
	if call.Reported() && !old {
		o = call.Last
	} else {
		o = x.classify(resp, err)
		call.Report(o)
	}
	x.settle(resp, err, o)
	x.returned = true
	return resp, err
}

// exchange is one request and its Ticket.
type exchange struct {
	req    *http.Request // the caller's, never changed
	start  time.Time
	ticket Ticket
	body   eob.Watch
	stop   func() bool // takes back the watch on the context, or nil

	bodyFailed atomic.Bool // reading the request's body failed
	returned   bool        // base did, so it did not panic
}

// watched is the request as the base gets it: the caller's own, or one whose body
// is watched.
func (x *exchange) watched() *http.Request {
	if x.req.Body == nil || x.req.Body == http.NoBody || x.req.GetBody != nil {
		return x.req
	}
	out := x.req.WithContext(x.req.Context())
	out.Body = &requestBody{ReadCloser: x.req.Body, x: x}
	return out
}

// requestBody is the caller's body under watch.
type requestBody struct {
	io.ReadCloser
	x      *exchange
	closed atomic.Bool
}

// Read implements io.Reader. A Read that fails because the sender has closed the
// body meanwhile is no fault of the caller's.
func (r *requestBody) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !r.closed.Load() {
		r.x.bodyFailed.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (r *requestBody) Close() error {
	r.closed.Store(true)
	return r.ReadCloser.Close()
}

// unwind gives the permit back when the base panics.
func (x *exchange) unwind() {
	if !x.returned {
		x.ticket.Cancel()
	}
}

// settle tells the Breaker what the exchange came to, or arranges that it will be
// told.
func (x *exchange) settle(resp *http.Response, err error, o tulle.Outcome) {
	if err != nil || resp == nil || o.Class.Service() != tulle.Success || bodyless(resp) {
		x.ticket.Done(o)
		return
	}
	x.ticket.Answered()
	x.body.Start(resp, (*body)(x))
	// A caller may forget a body once its context has ended. The permit of a
	// trial must not be forgotten with it; the others need no return.
	if ctx := x.req.Context(); x.ticket.Trial() && ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, x.abandoned)
	}
}

// bodyless says that the response is all there, or that its end will not tell
// anything: an upgraded connection is no longer HTTP.
func bodyless(resp *http.Response) bool {
	return resp.Body == nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols
}

// body is an exchange as the body of its response.
type body exchange

func (b *body) Read(p []byte) (int, error) { return b.body.Read(p, (*exchange)(b)) }
func (b *body) Close() error               { return b.body.Close((*exchange)(b)) }

// BodyEnded implements eob.Owner.
func (x *exchange) BodyEnded(err error) error {
	if x.stop != nil {
		x.stop()
	}
	o := tulle.Outcome{Class: tulle.Answered}
	if err != nil && err != io.EOF {
		o = x.classifyBody(err)
	}
	x.ticket.Done(o)
	return err
}

// abandoned ends the exchange when its context ends before the body. The verdict
// is that of a Read that fails for the same reason, as it may come first.
func (x *exchange) abandoned() {
	x.ticket.Done(x.classifyBody(x.req.Context().Err()))
}

// classify asks the classifier about the round trip.
func (x *exchange) classify(resp *http.Response, err error) tulle.Outcome {
	f := tulle.HTTPFacts{Response: resp, Err: err, Elapsed: time.Since(x.start)}
	switch {
	case err != nil:
		f.Response = nil // net/http ignores it too
		f.Ended = x.ended()
		f.RequestBody = x.bodyFailed.Load()
	case resp == nil:
		return tulle.Outcome{Class: tulle.Ignored} // a base that is broken
	case resp.StatusCode >= 400:
		f.Now = time.Now()
	}
	return tulle.ClassifyHTTP(f)
}

// classifyBody asks the classifier about an error in the response's body.
func (x *exchange) classifyBody(err error) tulle.Outcome {
	return tulle.ClassifyHTTP(tulle.HTTPFacts{
		Err: err, InBody: true, Ended: x.ended(),
		RequestBody: x.bodyFailed.Load(), Elapsed: time.Since(x.start),
	})
}

// ended is the Err of the context, or that of one which Request.Cancel ended.
// http.Client closes that at its Timeout, which is the deadline of the context as
// well, and either may come first.
func (x *exchange) ended() error {
	ctx := x.req.Context()
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	//lint:ignore SA1019 it is part of RoundTripper as long as net/http obeys it
	case <-x.req.Cancel:
		if due, ok := ctx.Deadline(); ok && !time.Now().Before(due) {
			return context.DeadlineExceeded
		}
		return context.Canceled
	default:
		return nil
	}
}
