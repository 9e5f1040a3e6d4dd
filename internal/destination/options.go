package destination

import (
	"context"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// Options is what the options of a call say. A nil pointer is a call without any.
type Options struct {
	Timeout    time.Duration // 0: that of the service; negative: none
	NoRetry    bool
	Idempotent bool
	UnsentOnly bool // the request being served is a repeat

	// Key is what rules split calls by that say so.
	Key string

	// Ruled is what a rule says of the call, or nil.
	Ruled *Ruled

	// Report is told what became of the call, before that returns. Endpoint is
	// nil if none was picked.
	Report func(service string, endpoint *tulle.Endpoint, attempts int)
}

// Ruled is what a rule says of a call. What is zero stays as it is.
type Ruled struct {
	Rule           string        // its name
	Timeout        time.Duration // negative: none
	AttemptTimeout time.Duration // negative: none
	Delay          time.Duration // before anything is sent
	Retry          *retry.Override
	Host           string // that the server sees
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

// CallTimeout is the call's timeout: its own, or its rule's, or its service's.
func (o *Options) CallTimeout(service time.Duration) time.Duration {
	switch {
	case o == nil:
		return service
	case o.Timeout != 0:
		return o.Timeout
	case o.Ruled != nil && o.Ruled.Timeout != 0:
		return o.Ruled.Timeout
	}
	return service
}

// AttemptTimeout is that of the call's attempts: its rule's or its service's.
func (o *Options) AttemptTimeout(service time.Duration) time.Duration {
	if o != nil && o.Ruled != nil && o.Ruled.AttemptTimeout != 0 {
		return max(0, o.Ruled.AttemptTimeout)
	}
	return service
}

// Delay is how long the call is held up.
func (o *Options) Delay() time.Duration {
	if o != nil && o.Ruled != nil {
		return o.Ruled.Delay
	}
	return 0
}

// Retrier is r under the call's rule.
func (o *Options) Retrier(r *retry.Retrier) *retry.Retrier {
	if o != nil && o.Ruled != nil && o.Ruled.Retry != nil {
		return r.With(*o.Ruled.Retry)
	}
	return r
}

// Host is the name that the server sees, by the call's rule or its service.
func (o *Options) Host(service string) string {
	if o != nil && o.Ruled != nil && o.Ruled.Host != "" {
		return o.Ruled.Host
	}
	return service
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
