package destination

import (
	"context"
	"time"

	"github.com/tullemesh/tulle"
)

// Options is what the options of a call say. A nil pointer is a call without any.
type Options struct {
	Timeout    time.Duration // 0: that of the service; negative: none
	NoRetry    bool
	Idempotent bool
	UnsentOnly bool // the request being served is a repeat

	// Report is told what became of the call, before that returns. Endpoint is
	// nil if none was picked.
	Report func(service string, endpoint *tulle.Endpoint, attempts int)
}

// optionsKey is the context key of Options.
type optionsKey struct{}

// WithOptions returns a context with o, which is not changed any more.
func WithOptions(ctx context.Context, o *Options) context.Context {
	return context.WithValue(ctx, optionsKey{}, o)
}

// OptionsOf are the options that ctx carries, or nil.
func OptionsOf(ctx context.Context) *Options {
	o, _ := ctx.Value(optionsKey{}).(*Options)
	return o
}

// CallTimeout is the call's timeout, or that of its service.
func (o *Options) CallTimeout(service time.Duration) time.Duration {
	if o == nil || o.Timeout == 0 {
		return service
	}
	return o.Timeout
}

// OnlyUnsent says that the call is repeated only if it reached nobody.
func (o *Options) OnlyUnsent() bool { return o != nil && (o.NoRetry || o.UnsentOnly) }

// Vouched says that the caller vouches for the call being idempotent.
func (o *Options) Vouched() bool { return o != nil && o.Idempotent }

// Tell reports the call.
func (o *Options) Tell(service string, endpoint *tulle.Endpoint, attempts int) {
	if o != nil && o.Report != nil {
		o.Report(service, endpoint, attempts)
	}
}
