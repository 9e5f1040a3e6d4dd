package retry

import (
	"context"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/tullemesh/tulle"
)

// An Attempter makes one more attempt of the call in hand and reports its
// outcome to the call.
type Attempter interface {
	Attempt() (*http.Response, error)
}

// A Gate is an Attempter that may have to refuse. It is asked before a response
// is given up for another attempt.
type Gate interface {
	Attempter

	// Open says whether an attempt would be let through now.
	Open() bool
}

// A Witness is an Attempter that is told why there is no further attempt. It is told
// once, before Continue returns, also of a call that went well in the end, with
// DeniedOutcome.
type Witness interface {
	Attempter

	// Denied takes in why there is none.
	Denied(why Denial)
}

// Clock tells the time as the Retrier counts it.
type Clock func() time.Duration

// Continue takes over a call whose first attempt is done and came to call.Last
// with (resp, err), and makes further attempts as long as the policy has a
// reason, budget and time for them. It returns what the last attempt returned;
// responses that are given up are closed. Deadline is the end of the call, the
// zero Time without one. Continue starts nothing that outlives it.
//
// The loop is that of go-retryablehttp. It is shown empty responses in place of
// the real ones, so that it neither follows redirects, nor drains a body that
// may never end, nor swallows the last response.
func (r *Retrier) Continue(ctx context.Context, call *tulle.Call, next Attempter, clock Clock,
	deadline time.Time, resp *http.Response, err error) (*http.Response, error) {
	l := &loop{
		r: r, ctx: ctx, call: call, next: next, clock: clock, deadline: deadline,
		resp: resp, err: err, first: true,
	}
	defer l.witness()
	if !l.decide() {
		return resp, err
	}
	client := retryablehttp.Client{
		// Without a CloseIdleConnections method on the transport the client
		// cannot flush the pool that all calls share.
		HTTPClient:   &http.Client{Transport: l},
		RetryMax:     math.MaxInt,
		CheckRetry:   l.check,
		Backoff:      l.backoff,
		ErrorHandler: passOn,
	}
	stub := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "tulle"}, Header: http.Header{}}
	shown, doErr := client.Do(&retryablehttp.Request{Request: stub.WithContext(ctx)})
	if shown != nil {
		_ = shown.Body.Close() // it is empty
	}
	return l.result(doErr)
}

// passOn keeps retryablehttp from making an error of its own.
func passOn(resp *http.Response, err error, _ int) (*http.Response, error) { return resp, err }

// loop is one call in the hands of retryablehttp.
type loop struct {
	r        *Retrier
	ctx      context.Context
	call     *tulle.Call
	next     Attempter
	clock    Clock
	deadline time.Time

	resp *http.Response // of the last attempt
	err  error

	first   bool // the outcome of the first attempt has not been shown yet
	plan    Plan // valid while pausing
	pausing bool // a repeat is decided on and not yet sent
	status  int  // of the last response that was given up

	denied Denial // why there is no further attempt, "" as long as there is one
}

// RoundTrip shows retryablehttp the outcome of the first attempt as attempt 0,
// and makes the others.
func (l *loop) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.first {
		l.first = false
	} else if l.ctx.Err() != nil {
		// The pause and the context ended together: nothing is sent any more.
		return nil, l.ctx.Err()
	} else {
		l.pausing = false
		l.plan.Take(l.call)
		l.resp, l.err = l.next.Attempt()
		l.pausing = l.decide()
	}
	if l.err != nil {
		return nil, l.err
	}
	return &http.Response{
		Status: "204 No Content", StatusCode: http.StatusNoContent,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: req,
	}, nil
}

// decide asks for a repeat of the last attempt. Once one is granted, paid for
// and known to fit the time that is left, the response is given up.
func (l *loop) decide() bool {
	if l.ctx.Err() != nil {
		l.denied = DeniedEnded
		return false
	}
	left := Unlimited
	if !l.deadline.IsZero() {
		left = time.Until(l.deadline)
	}
	plan, ok := l.r.Next(l.call, l.clock(), left)
	if !ok {
		l.denied = plan.Denied
		return false
	}
	if gate, has := l.next.(Gate); has && !gate.Open() {
		l.denied = DeniedBreaker
		l.r.Abandon(plan)
		return false
	}
	l.plan, l.pausing = plan, true
	if l.resp != nil {
		l.status = l.resp.StatusCode
		if l.resp.Body != nil {
			discard(l.resp.Body)
		}
		l.resp = nil
	}
	return true
}

// check is retryablehttp's CheckRetry.
func (l *loop) check(context.Context, *http.Response, error) (bool, error) {
	return l.pausing && l.ctx.Err() == nil, nil
}

// backoff is retryablehttp's Backoff.
func (l *loop) backoff(_, _ time.Duration, _ int, _ *http.Response) time.Duration {
	return l.plan.Wait
}

// result is what the caller gets. Where the context ended during a pause, the
// token of the attempt that was not made goes back.
func (l *loop) result(doErr error) (*http.Response, error) {
	if l.pausing {
		l.r.Abandon(l.plan)
		l.denied = DeniedEnded
		if cause := context.Cause(l.ctx); cause != nil {
			doErr = cause
		}
		return nil, &Error{Attempts: int(l.call.Attempt), Status: l.status, Err: doErr}
	}
	if l.err != nil {
		return nil, &Error{Attempts: int(l.call.Attempt), Status: l.status, Err: l.err}
	}
	return l.resp, nil
}

// witness tells why there is no further attempt, if somebody wants to know and no
// panic has come in between.
func (l *loop) witness() {
	if w, ok := l.next.(Witness); ok && l.denied != "" {
		w.Denied(l.denied)
	}
}

const (
	drainBytes = 4 << 10
	drainTime  = 10 * time.Millisecond
)

// discard closes a response that nobody will read, once. Reading a little saves
// an HTTP/1 connection when the body is short and there; a body that is long or
// does not come is cut off, after a bounded time.
func discard(body io.ReadCloser) {
	closed := make(chan struct{}) // closed by the timer's function
	timer := time.AfterFunc(drainTime, func() {
		defer close(closed)
		_ = body.Close() // nobody wants it
	})
	_, _ = io.CopyN(io.Discard, body, drainBytes) // any error means the same: enough
	if !timer.Stop() {
		<-closed
		return
	}
	_ = body.Close() // nobody wants it
}
