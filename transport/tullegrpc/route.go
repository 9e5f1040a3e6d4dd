package tullegrpc

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/route"
)

// route finds out where a call goes, and changes it as its rule says. Safe is what the
// method's descriptor says.
func (c *channel) route(x *call, name string, safe bool) error {
	if x.to = c.t.Direct(name); x.to != nil {
		x.dress(&undecided)
		return nil
	}
	in := route.Input{Service: name, Path: x.method, Host: name, GRPC: true, Header: headerOf(x), Safe: safe}
	to, d, options, next, err := c.t.RouteRPC(x.Context, name, &in, x.options)
	if err != nil {
		return local(err)
	}
	if to == nil {
		return answered(&d)
	}
	x.to, x.options = to, options
	if next != nil {
		x.way = &way{next: next, decision: d, ctx: x.Context}
	}
	x.dress(&d)
	return nil
}

// undecided is what a rule has decided where there is none.
var undecided route.Decision

// dress gives a call the metadata that goes out with it.
func (c *call) dress(d *route.Decision) {
	if !c.to.External && !d.EditsRequest() && route.From(c.Context) == nil {
		return // as its caller has it
	}
	if header := sent(c, d, headerOf(c)); header != nil {
		c.Context = metadata.NewOutgoingContext(c.Context, metadataOf(header))
	}
}

// way is where a call goes on to when it reaches nobody.
type way struct {
	next     func(reached bool) *destination.Destination
	decision route.Decision
	ctx      context.Context // before the rule and the destination changed it
}

// onward is the call at the next destination of its way, if it has come to err
// without reaching anybody, and there is one and time for it; else nil.
func (c *call) onward(err error) *call {
	if c.way == nil {
		return nil
	}
	reached, known := c.reached(err)
	if !known {
		return nil
	}
	to := c.way.next(reached)
	if to == nil || c.way.ctx.Err() != nil {
		return nil
	}
	y := &call{
		Context: c.way.ctx, to: to, cc: c.cc, method: c.method, waits: c.waits, stream: c.stream, req: c.req,
		sends: c.sends, configured: c.configured, way: c.way,
	}
	y.rpc.Safe, y.rpc.UnsentOnly = c.rpc.Safe, c.rpc.UnsentOnly
	if y.options = c.remaining(); y.options == nil || !to.Gate.Enter() {
		return nil
	}
	y.dress(&y.way.decision)
	y.follow()
	return y
}

// reached says whether a call that has come to err reached somebody, as far as that is
// known: time and the caller end calls that were on their way.
func (c *call) reached(err error) (reached, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil || c.sent:
		return true, err == nil || c.rpc.Last.Class == tulle.Answered
	case c.rpc.Last.Class == tulle.Unsent && c.picked:
		return false, true
	}
	return false, errors.Is(err, transport.ErrAllDown) || errors.Is(err, transport.ErrNoEndpoints) || errors.Is(err, breaker.ErrOpen)
}

// remaining are the options of the call with the time that is left of it, without what its
// rule has held it up by; nil if there is none.
func (c *call) remaining() *destination.Options {
	var o destination.Options
	if c.options != nil {
		o = *c.options
	}
	if o.Delay() > 0 {
		ruled := *o.Ruled
		ruled.Delay = 0
		o.Ruled = &ruled
	}
	if !c.end.IsZero() {
		if o.Timeout = time.Until(c.end); o.Timeout <= 0 {
			return nil
		}
	}
	return &o
}

// sent is the metadata that goes out, as HTTP writes it; nil if nothing changes. It
// has the edits of the call's rule and the overrides that travel on, which are for
// services of ours alone.
func sent(x *call, d *route.Decision, header map[string][]string) map[string][]string {
	overrides, edits := route.From(x.Context), d.EditsRequest()
	if x.to.External {
		if read, err := route.Read(header); err == nil && read == nil && !edits && !hasOurs(header) {
			return nil
		}
	} else if !edits && (len(header[route.Header]) > 0 || overrides.String() == "") {
		return nil
	}
	if header == nil {
		header = make(map[string][]string)
	}
	d.EditRequest(header)
	switch {
	case x.to.External:
		route.Strip(header)
		for _, name := range ours {
			delete(header, name)
		}
	case overrides != nil && len(header[route.Header]) == 0:
		overrides.Write(header)
	}
	return header
}

// ours are the headers, besides those of routes, that are for services of ours only.
// A handler may have copied them from the call that it serves.
var ours = [...]string{destination.AttemptHeader, deadline.Header, "Tulle-Mirror"}

// hasOurs says that there is one of ours.
func hasOurs(header map[string][]string) bool {
	for _, name := range ours {
		if len(header[name]) > 0 {
			return true
		}
	}
	return false
}

// headerOf is the metadata of a call as HTTP writes it, nil without any.
func headerOf(x *call) map[string][]string {
	md, ok := metadata.FromOutgoingContext(x.Context)
	if !ok {
		return nil
	}
	header := make(map[string][]string, len(md))
	for key, values := range md {
		header[textproto.CanonicalMIMEHeaderKey(key)] = values
	}
	return header
}

// metadataOf is headerOf the other way round.
func metadataOf(header map[string][]string) metadata.MD {
	md := make(metadata.MD, len(header))
	for key, values := range header {
		md.Append(key, values...)
	}
	return md
}

// answered is the end of a call that its rule answers. An answer of HTTP is what
// gRPC makes of one that comes from no gRPC server.
func answered(d *route.Decision) error {
	r := d.Rule
	switch d.Action {
	case route.Answer:
		return answer(destination.CodeOf(r.Fixed.Status), "answered by rule %q with status %d: %s", r.Name, r.Fixed.Status, r.Fixed.Body)
	case route.Reroute:
		return answer(destination.CodeOf(d.RedirectStatus()), "redirected by rule %q, which gRPC does not follow", r.Name)
	}
	code := destination.CodeOf(r.Fault.AbortStatus)
	if r.Fault.AbortCode != "" {
		code = destination.Code(r.Fault.AbortCode)
	}
	return answer(code, "fault injected by rule %q", r.Name)
}

// answer is an error with a code.
func answer(code uint32, format string, args ...any) error {
	return &callError{err: fmt.Errorf("tullegrpc: "+format, args...), code: codes.Code(code)}
}
