package destination

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// A Destination is where calls to a service go under one Config. It is never
// changed; a changed Config makes another one around the same Engine.
type Destination struct {
	// Name is the service's, Environment where it is, "" for a service that is
	// in none.
	Name        string
	Environment string

	// Host is the name that servers see, empty for that of the call.
	Host string

	// External says that no header of ours goes there.
	External bool

	// Timeout is the longest time of a call, AttemptTimeout that of an attempt
	// to its answer; 0 is none.
	Timeout        time.Duration
	AttemptTimeout time.Duration

	// TLS and TLSServerName are the service's own settings, or nil and empty.
	TLS           *tls.Config
	TLSServerName string

	// ClassifyGRPC is the service's own classifier of gRPC attempts, nil for
	// tulle.ClassifyGRPC.
	ClassifyGRPC func(tulle.GRPCFacts) tulle.Outcome

	// Late decides on calls whose time is up when they come.
	Late *deadline.Limiter

	// Limiter bounds the rate of calls.
	Limiter *limit.Limiter

	// Engine is the live state.
	Engine *cluster.Cluster

	// Gate counts the calls of the Transport.
	Gate *Gate

	// Telemetry is that of the Transport, Calls its part for this destination.
	Telemetry *telemetry.Telemetry
	Calls     *telemetry.Service
}

// End is when a call that comes now must be over: the earliest of its context's
// deadline, its own timeout and the service's. The zero Time is never. It returns
// an error for a call whose time is up already.
func (d *Destination) End(ctx context.Context, o *Options, now time.Time) (time.Time, error) {
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return time.Time{}, context.Cause(ctx)
	}
	end, _ := ctx.Deadline()
	if limit := o.CallTimeout(d.Timeout); limit > 0 {
		if own := now.Add(limit); end.IsZero() || own.Before(end) {
			end = own
		}
	}
	if !end.IsZero() && !now.Before(end) && d.Late.Late() {
		return end, deadline.ErrCall
	}
	return end, nil
}

// Ended is why a context has ended: an error of ours where time is up.
func Ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(cause, deadline.ErrAttempt) {
		return deadline.ErrCall
	}
	return cause
}

// Hold waits for as long as the call's rule has it held up, at most until end, the
// zero Time for never.
func Hold(ctx context.Context, o *Options, end time.Time) error {
	if d := o.Delay(); d > 0 {
		return wait(ctx, d, end)
	}
	return nil
}

// wait is Hold for a time.
func wait(ctx context.Context, d time.Duration, end time.Time) error {
	late := !end.IsZero() && time.Until(end) <= d
	if late {
		d = time.Until(end)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return Ended(ctx)
	case <-timer.C:
	}
	if late {
		return deadline.ErrCall
	}
	return nil
}
