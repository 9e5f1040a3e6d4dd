package transport

import (
	"context"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/destination"
)

// A CallOption changes how one call is treated, over HTTP and gRPC alike.
type CallOption func(*destination.Options)

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

// WithCall returns a context for calls with these options, besides those that
// ctx has already:
//
//	req = req.WithContext(transport.WithCall(ctx, transport.CallTimeout(time.Second)))
func WithCall(ctx context.Context, options ...CallOption) context.Context {
	o := new(destination.Options)
	if has := destination.OptionsOf(ctx); has != nil {
		*o = *has
	}
	for _, option := range options {
		option(o)
	}
	return destination.WithOptions(ctx, o)
}

// CallTimeout replaces Policy.Timeout for the call. Zero or less means none; a
// deadline of the context counts all the same.
func CallTimeout(d time.Duration) CallOption {
	if d <= 0 {
		d = -1
	}
	return func(o *destination.Options) { o.Timeout = d }
}

// NoRetry keeps the call from being sent again once it may have reached an
// endpoint. An attempt that provably reached nobody still moves on.
func NoRetry() CallOption { return func(o *destination.Options) { o.NoRetry = true } }

// OnlyUnsent is NoRetry for calls that a repeat makes: the request which is being
// served was sent before, and repeats must not multiply down a chain of services.
// Inbound sets it.
func OnlyUnsent() CallOption { return func(o *destination.Options) { o.UnsentOnly = true } }

// Idempotent says that the call may be sent twice, whatever its method.
func Idempotent() CallOption { return func(o *destination.Options) { o.Idempotent = true } }

// RouteKey gives the call a key for rules that split calls by it
// (route.SplitKey.Caller): calls with one key go to one backend.
func RouteKey(key string) CallOption { return func(o *destination.Options) { o.Key = key } }

// AttemptInfo has info filled in when RoundTrip returns, also when it fails. It
// must not be read before, nor be used for two calls at a time.
func AttemptInfo(info *Info) CallOption {
	return func(o *destination.Options) {
		o.Report = func(service string, endpoint *tulle.Endpoint, attempts int) {
			*info = Info{Service: service, Attempts: attempts}
			if endpoint != nil {
				info.Endpoint = *endpoint
			}
		}
	}
}
