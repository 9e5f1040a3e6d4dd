package tullegrpc

import (
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/retry"
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
	if c.followed != nil {
		c.told = new(teller)
	}
	if c.followed != nil || c.to.Calls.Measures(c.Context, telemetry.GRPC) {
		c.begun = c.to.Engine.Now()
	}
}

// repeats tells that the last attempt is repeated, after a pause that began then.
func (c *call) repeats(began time.Duration) {
	reason := c.rpc.Last.Class
	c.to.Calls.Retried(c.Context, reason)
	if c.told == nil {
		return
	}
	r := telemetry.Repeat{Granted: true, Reason: reason.String(), Budget: c.budget()}
	if wait := c.to.Engine.Now() - began; wait >= minWait {
		r.Wait = wait
	}
	c.told.say(func() { c.followed.Repeat(r) })
	c.told.tell()
}

// denied tells why the last attempt is not repeated, unless the end of the call, which
// says it all, has been told meanwhile.
func (c *call) denied(why retry.Denial) {
	if c.told == nil || c.left.Load() || !destination.Notable(&c.rpc.Last, why) {
		return
	}
	r := telemetry.Repeat{Reason: string(why), Budget: c.budget()}
	c.told.say(func() { c.followed.Repeat(r) })
	c.told.tell()
}

// budget is how many repeats are left.
func (c *call) budget() float64 {
	engine := c.to.Engine
	return engine.Retrier().Budget().Balance(engine.Now())
}

// tellLate tells of an attempt that gRPC has ended after the call was left, as happens
// to streams that their callers forget. Else the interceptor tells, when gRPC has
// returned. The call counts as one meanwhile.
func (c *call) tellLate() {
	if c.told == nil || !c.left.Load() {
		return
	}
	counted := c.to.Gate.Enter()
	go func() {
		c.told.tell()
		if counted {
			c.to.Gate.Exit()
		}
	}()
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
	if c.told == nil {
		c.to.Calls.End(c.Context, nil, &f, &r)
		return
	}
	c.sayEnded(f, r)
	c.told.tell()
}

// sayEnded has the end told. It takes copies, for the sake of calls that nobody follows,
// which need none.
func (c *call) sayEnded(f telemetry.Facts, r telemetry.Result) {
	c.told.say(func() { c.to.Calls.End(c.Context, c.followed, &f, &r) })
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
	if a.call.begun >= 0 {
		a.endLocked(o)
	}
}

// endLocked is measureLocked where somebody measures.
func (a *attempt) endLocked(o *tulle.Outcome) {
	r := telemetry.Result{Class: o.Class, Status: o.Status, Err: o.Err, Elapsed: o.Elapsed}
	c := a.call
	if c.told == nil {
		c.to.Calls.EndAttempt(a.ctx, nil, a.lease.Endpoint(), &r) // nobody is called back
		return
	}
	a.sayEnded(r)
}

// sayEnded has the end told. See that of call.
func (a *attempt) sayEnded(r telemetry.Result) {
	a.call.told.say(func() { a.call.to.Calls.EndAttempt(a.ctx, a.span, a.lease.Endpoint(), &r) })
}
