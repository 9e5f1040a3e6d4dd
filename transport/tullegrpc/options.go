package tullegrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
)

// callOption is an option of tulle as one of gRPC.
type callOption struct {
	grpc.EmptyCallOption
	apply transport.CallOption
}

// CallTimeout is transport.CallTimeout for one RPC. It holds for streams too,
// which have no timeout of their service's.
func CallTimeout(d time.Duration) grpc.CallOption { return with(transport.CallTimeout(d)) }

// NoRetry is transport.NoRetry for one RPC. It says nothing of the repeats that gRPC
// makes by itself with targets of other schemes.
func NoRetry() grpc.CallOption { return with(transport.NoRetry()) }

// Idempotent is transport.Idempotent for one RPC.
func Idempotent() grpc.CallOption { return with(transport.Idempotent()) }

// AttemptInfo is transport.AttemptInfo for one RPC. For a stream, info is filled in
// when the stream has ended.
func AttemptInfo(info *transport.Info) grpc.CallOption { return with(transport.AttemptInfo(info)) }

// with makes an option of gRPC. Options of transport.WithCall hold for RPCs too.
func with(option transport.CallOption) grpc.CallOption { return callOption{apply: option} }

// takeOnFinish takes what is to be called at the end of an RPC out of its options,
// as gRPC would call that at the end of each attempt.
func takeOnFinish(opts []grpc.CallOption) (rest []grpc.CallOption, finish func(error)) {
	for _, option := range opts {
		if _, ok := option.(grpc.OnFinishCallOption); ok {
			return splitOnFinish(opts)
		}
	}
	return opts, nil
}

// splitOnFinish is takeOnFinish where there is such an option.
func splitOnFinish(opts []grpc.CallOption) (rest []grpc.CallOption, finish func(error)) {
	var all []func(error)
	for _, option := range opts {
		if f, ok := option.(grpc.OnFinishCallOption); ok {
			all = append(all, f.OnFinish)
		} else {
			rest = append(rest, option)
		}
	}
	return rest, func(err error) {
		for _, f := range all {
			f(err)
		}
	}
}

// readOptions is what context and options say of a call, nil for nothing.
func readOptions(ctx context.Context, opts []grpc.CallOption) (o *destination.Options, waits bool) {
	o = destination.OptionsOf(ctx)
	shared := o != nil
	for _, option := range opts {
		switch option := option.(type) {
		case callOption:
			if o == nil {
				o = new(destination.Options)
			} else if shared {
				own := *o
				o, shared = &own, false
			}
			option.apply(o)
		case grpc.FailFastCallOption:
			waits = !option.FailFast
		}
	}
	return o, waits
}
