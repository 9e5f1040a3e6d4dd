package transport

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
)

// A handler takes an attempt one step further on its way.
type handler func(*attempt) (*http.Response, error)

// A layer is one step of the way: it adds itself in front of the next.
type layer struct {
	name  string
	scope scope
	wrap  func(next handler) handler
}

// A scope says how often a layer runs for one call.
type scope string

// The scopes.
const (
	perCall     scope = "call"
	perAttempt  scope = "attempt"
	perEndpoint scope = "endpoint"
)

// stack is the way of a call, outermost first. The route, service to
// destination, has been decided when it begins.
func stack() []layer {
	return []layer{
		// Before everything that waits or works: a call without time left
		// must not wait for endpoints, take budget or send anything.
		{"deadline", perCall, deadlineLayer},
		// After the deadline, which bounds it; before all that it would keep
		// waiting.
		{"delay", perCall, delayLayer},
		// After the deadline, past which no call waits here; above the retry,
		// so that a call is charged once, however often it is sent.
		{"limit", perCall, limitLayer},
		// After the deadline, which bounds the wait for the first endpoints;
		// before the retry, as no repeat helps where there is nobody.
		{"discover", perCall, discoverLayer},
		// Above the pick, so that each attempt picks again and avoids the
		// endpoints that were tried.
		{"retry", perCall, retryLayer},
		// Above the send, so that the outcome of everything below (timeouts,
		// connections, TLS) goes to the endpoint that was picked.
		{"pick", perAttempt, pickLayer},
		// Nearest the wire: the attempt's time begins when it can be sent.
		{"send", perEndpoint, sendLayer},
	}
}

// assemble links the layers and returns the whole way, and its part from the
// first layer that runs for each attempt on.
func assemble(layers []layer) (call, attempt handler) {
	var next handler
	for i := len(layers) - 1; i >= 0; i-- {
		next = layers[i].wrap(next)
		if layers[i].scope != perCall {
			attempt = next
		}
	}
	return next, attempt
}

// deadlineLayer finds the end of the call: the earliest of the context's, the
// service's and the call's own.
func deadlineLayer(next handler) handler {
	return func(a *attempt) (*http.Response, error) {
		x := a.x
		if a.bound == nil {
			if err := x.in.Context().Err(); errors.Is(err, context.Canceled) {
				return nil, context.Cause(x.in.Context())
			}
			return next(a)
		}
		end, err := x.svc.End(x.in.Context(), x.options, time.Now())
		if err != nil {
			return nil, err
		}
		x.limits.end = end
		return next(a)
	}
}

// delayLayer holds a call up whose rule says so.
func delayLayer(next handler) handler {
	return func(a *attempt) (*http.Response, error) {
		x := a.x
		if x.options != nil {
			if err := destination.Hold(x.in.Context(), x.options, x.deadline()); err != nil {
				return nil, err
			}
		}
		return next(a)
	}
}

// limitLayer waits for the call's turn.
func limitLayer(next handler) handler {
	return func(a *attempt) (*http.Response, error) {
		x := a.x
		key := ""
		if x.svc.limitKey != nil {
			key = x.svc.limitKey(x.in)
		}
		began := x.clock()
		err := x.svc.Limiter.Acquire(x.in.Context(), key, x.deadline())
		x.waited("rate", began, err)
		if err != nil {
			return nil, err
		}
		return next(a)
	}
}

// discoverLayer waits for endpoints.
func discoverLayer(next handler) handler {
	return func(a *attempt) (*http.Response, error) {
		x := a.x
		began := x.clock()
		err := x.svc.Engine.Admit(x.in.Context(), x.deadline())
		x.waited("endpoints", began, err)
		if err != nil {
			return nil, err
		}
		return next(a)
	}
}

// retryLayer makes further attempts of a call that failed.
func retryLayer(next handler) handler {
	return func(a *attempt) (*http.Response, error) {
		x := a.x
		resp, err := next(a)
		r := x.options.Retrier(x.svc.Engine.Retrier())
		if !r.Wants(&x.call) {
			return resp, err
		}
		return r.Continue(x.in.Context(), &x.call, x, x.svc.Engine.Now, x.deadline(), resp, err)
	}
}

// pickLayer picks an endpoint and accounts for what happens there.
func pickLayer(next handler) handler {
	return func(a *attempt) (*http.Response, error) {
		x := a.x
		c := x.svc.Engine
		x.call.Begin()
		if err := c.Begin(&a.lease, &x.call, c.Now()); err != nil {
			o := tulle.Outcome{Class: tulle.Ignored, Err: err}
			if errors.Is(err, cluster.ErrAllDown) && c.Restarting() {
				// After a pause one may be back. There is nowhere to go at once.
				o.Class, x.call.Pool = tulle.Unsent, nil
			}
			x.call.Report(o)
			x.refused(err)
			return nil, err
		}
		x.endpoint = a.lease.Endpoint()
		x.open.Add(1)
		returned := false
		defer func() {
			if !returned { // the sender panicked
				a.drop()
			}
		}()
		resp, err := next(a)
		returned = true
		return a.settle(resp, err)
	}
}

// sendLayer hands the attempt to whoever sends it.
func sendLayer(handler) handler {
	return func(a *attempt) (*http.Response, error) {
		var now time.Time
		if a.bound != nil {
			now = time.Now()
		}
		if err := a.prepare(now); err != nil {
			return nil, err
		}
		return a.x.svc.wire.send(a)
	}
}
