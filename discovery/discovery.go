package discovery

import (
	"context"

	"github.com/tullemesh/tulle"
)

// A Resolver finds the endpoints of one service and keeps watching them. It
// must be safe for concurrent use: one value may serve several watches.
type Resolver interface {
	// Watch finds the endpoints and calls report with what it found, at once
	// and whenever that changes, until ctx is done; then it returns nil or
	// the context's error. It returns earlier only when it cannot go on; the
	// owner may then call it again after a pause.
	//
	// Report is called from one goroutine at a time, may block briefly, and
	// is not called after Watch has returned. All goroutines that Watch
	// starts have ended by then.
	//
	// A receive from refresh is a hint that the set may be out of date, as
	// connecting to its endpoints fails. A Resolver that is told of changes
	// may ignore it; one that polls should look again, within its limits.
	// Refresh is never closed and may be nil; its sender never waits for the
	// Resolver, so a hint may be lost while another one is waiting.
	Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error
}

// An Update is one report of a watch.
type Update struct {
	// Endpoints is the whole set, not a difference, each Addr once. The
	// receiver keeps it, so the sender must not change it afterwards. Empty
	// with a nil Err means that the source is sure that there is none.
	Endpoints []tulle.Endpoint

	// Err says why the source could not be asked or its answer not be
	// understood. Endpoints is then ignored and the last good set stays in
	// force. A good Update ends the error, so a source that is back reports
	// its set again even where that has not changed.
	Err error
}

// Func is a func as a Resolver.
type Func func(ctx context.Context, report func(Update), refresh <-chan struct{}) error

// Watch calls f.
func (f Func) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	return f(ctx, report, refresh)
}
