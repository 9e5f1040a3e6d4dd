package tullegrpc

import (
	"time"

	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// tellRoute tells where a call goes that a rule or its environment sent there.
func (c *call) tellRoute() {
	if r, ok := c.to.Routed(c.options, route.From(c.Context).String()); ok {
		c.followed.Routed(r)
	}
}

// clock is the time, which is not worth looking at unless somebody follows the call.
func (c *call) clock() time.Duration {
	if c.followed == nil {
		return 0
	}
	return c.to.Engine.Now()
}

// minWait is the shortest wait that is told.
const minWait = time.Millisecond

// waited tells that a call was held back. What took no time is not worth telling.
func (c *call) waited(what string, began time.Duration, err error) {
	if c.followed != nil {
		c.tellWait(what, began, err)
	}
}

// tellWait is waited where somebody follows.
func (c *call) tellWait(what string, began time.Duration, err error) {
	w := telemetry.Wait{For: what, Time: c.to.Engine.Now() - began}
	if w.Time < minWait && err == nil {
		return
	}
	if err != nil {
		w.Error = err.Error()
	}
	c.followed.Waited(w)
}

// tellPick tells of the pick.
func (a *attempt) tellPick() {
	c := a.call
	if c.followed == nil || !c.followed.Detailed() {
		return
	}
	c.tellPicked(a)
}

// tellPicked is tellPick where somebody wants to know.
func (c *call) tellPicked(a *attempt) {
	c.mu.Lock()
	p := c.to.Picked(&c.rpc, a.lease.Endpoint().Addr)
	c.mu.Unlock()
	state := c.to.Engine.Breaker().String()
	c.told.say(func() {
		c.followed.Breaker(state)
		c.followed.Picked(p)
	})
	c.told.tell()
}
