package tullegrpc

import (
	"io"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// facts are what telemetry knows of a call from the start.
func (c *call) facts() telemetry.Facts {
	return telemetry.Facts{Protocol: telemetry.GRPC, Method: strings.TrimPrefix(c.method, "/")}
}

// follow begins to watch a call.
func (c *call) follow() {
	f := c.facts()
	c.Context, c.followed = c.to.Calls.Start(c.Context, &f)
	c.begun = -1
	if c.followed != nil || c.to.Calls.Measures(c.Context, telemetry.GRPC) {
		c.begun = c.to.Engine.Now()
	}
}

// repeats tells that the last attempt is repeated.
func (c *call) repeats() {
	reason, engine := c.rpc.Last.Class, c.to.Engine
	c.to.Calls.Retried(c.Context, reason)
	if c.followed != nil {
		c.followed.Repeat(telemetry.Repeat{
			Granted: true, Reason: reason.String(), Budget: engine.Retrier().Budget().Balance(engine.Now()),
		})
	}
}

// ended ends what follow began.
func (c *call) ended(err error) {
	if c.begun < 0 {
		return
	}
	f := c.facts()
	c.mu.Lock()
	r := telemetry.Result{Class: c.rpc.Last.Class, Attempts: int(c.rpc.Attempt), Elapsed: c.to.Engine.Now() - c.begun}
	c.mu.Unlock()
	if err != nil && err != io.EOF {
		r.Err, r.Status = err, int(status.Code(err))
	}
	c.to.Calls.End(c.Context, c.followed, &f, &r)
}

// announce adds the trace to what the server gets. The picker's metadata goes out
// with the headers of the attempt.
func (a *attempt) announce(md metadata.MD) metadata.MD {
	if a.call.to.External || a.call.to.Telemetry == nil {
		return md
	}
	return a.call.to.Telemetry.Metadata(a.ctx, a.span, md)
}

// measureLocked ends the span of an attempt.
func (a *attempt) measureLocked(o *tulle.Outcome) {
	r := telemetry.Result{Class: o.Class, Status: o.Status, Err: o.Err, Elapsed: o.Elapsed}
	a.call.to.Calls.EndAttempt(a.ctx, a.span, a.lease.Endpoint(), &r)
}
