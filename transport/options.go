package transport

import (
	"context"
	"time"

	"github.com/tullemesh/tulle"
)

// A CallOption changes how one call is treated.
type CallOption func(*callOptions)

// callOptions is what the options of a call say. A nil pointer is a call without
// any.
type callOptions struct {
	limit  time.Duration // 0: that of the service; negative: none
	once   bool
	vouch  bool
	unsent bool // set by Inbound: the request being served is a repeat
	report *Info
}

// Info tells what became of a call.
type Info struct {
	// Service is the service that was called, empty for a host that passed
	// through.
	Service string

	// Endpoint is the endpoint of the last attempt; its Addr is empty if none
	// was picked.
	Endpoint tulle.Endpoint

	// Attempts is the number of attempts that were made.
	Attempts int
}

// optionsKey is the context key of callOptions.
type optionsKey struct{}

// WithCall returns a context for calls with these options, besides those that
// ctx has already:
//
//	req = req.WithContext(transport.WithCall(ctx, transport.CallTimeout(time.Second)))
func WithCall(ctx context.Context, options ...CallOption) context.Context {
	o := new(callOptions)
	if has := optionsOf(ctx); has != nil {
		*o = *has
	}
	for _, option := range options {
		option(o)
	}
	return context.WithValue(ctx, optionsKey{}, o)
}

// optionsOf are the options that ctx carries, or nil.
func optionsOf(ctx context.Context) *callOptions {
	o, _ := ctx.Value(optionsKey{}).(*callOptions)
	return o
}

// CallTimeout replaces Policy.Timeout for the call. Zero or less means none; a
// deadline of the context counts all the same.
func CallTimeout(d time.Duration) CallOption {
	if d <= 0 {
		d = -1
	}
	return func(o *callOptions) { o.limit = d }
}

// NoRetry keeps the call from being sent again once it may have reached an
// endpoint. An attempt that provably reached nobody still moves on.
func NoRetry() CallOption { return func(o *callOptions) { o.once = true } }

// unsentOnly limits repeats to attempts that reached nobody.
func unsentOnly(o *callOptions) { o.unsent = true }

// Idempotent says that the call may be sent twice, whatever its method.
func Idempotent() CallOption { return func(o *callOptions) { o.vouch = true } }

// AttemptInfo has info filled in when RoundTrip returns, also when it fails. It
// must not be read before, nor be used for two calls at a time.
func AttemptInfo(info *Info) CallOption { return func(o *callOptions) { o.report = info } }

// timeout is the call's timeout, or that of its service.
func (o *callOptions) timeout(service time.Duration) time.Duration {
	if o == nil || o.limit == 0 {
		return service
	}
	return o.limit
}

// noRetry says that NoRetry was given, or that a repeat is being served.
func (o *callOptions) noRetry() bool { return o != nil && (o.once || o.unsent) }

// idempotent says that Idempotent was given.
func (o *callOptions) idempotent() bool { return o != nil && o.vouch }

// tell fills in the caller's Info.
func (o *callOptions) tell(x *exchange) {
	if o == nil || o.report == nil {
		return
	}
	*o.report = Info{Service: x.svc.name, Attempts: int(x.call.Attempt)}
	if x.endpoint != nil {
		o.report.Endpoint = *x.endpoint
	}
}

// tellPassed fills in the caller's Info for a call that passes through.
func (o *callOptions) tellPassed() {
	if o != nil && o.report != nil {
		*o.report = Info{Attempts: 1}
	}
}
