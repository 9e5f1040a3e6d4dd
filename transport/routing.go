package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/route"
)

// routed sends a call where rules, environments and overrides say. It ends what
// Gate.Enter began.
func (t *Transport) routed(tb *table, e *entry, req *http.Request) (*http.Response, error) {
	options := destination.OptionsOf(req.Context())
	in := tb.input(e, req, options)
	d := tb.routes.Decide(&in)
	if d.Action != route.Send {
		defer t.gate.Exit()
		return answerRouted(&d, e, req, options)
	}
	if d.Rule == nil {
		return t.carry(tb, d.Chain, in.Random, req, options)
	}
	return t.carryRuled(tb, &d, in.Random, req, options)
}

// input is what is known of a request before it is sent.
func (tb *table) input(e *entry, req *http.Request, options *destination.Options) route.Input {
	in := route.Input{
		Handle: e.handle, Method: req.Method, Path: req.URL.Path, RawQuery: req.URL.RawQuery,
		Host: hostOf(req), Address: req.URL.Host, Scheme: req.URL.Scheme, Header: req.Header, Random: rand.Uint64(),
		Overrides: tb.routes.Overrides(req.Context(), req.Header, time.Now()),
	}
	if options != nil {
		in.Key = options.Key
	}
	return in
}

// hostOf is the host that a request is addressed to.
func hostOf(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
}

// dialled is the destination of a connection: the service's own, unless a rule
// that looks at nothing but the port of addr, or an override, names another. It
// returns where to go on to, too, see onward.
func (tb *table) dialled(ctx context.Context, e *entry, addr string) (to *service, next func(reached bool) *service, err error) {
	if e.direct {
		return e.home, nil, nil
	}
	in := route.Input{
		Handle: e.handle, Method: http.MethodConnect, Address: addr, Random: rand.Uint64(),
		Overrides: tb.routes.Overrides(ctx, nil, time.Now()),
	}
	d := tb.routes.Decide(&in)
	if d.Action != route.Send {
		return nil, nil, refused(&d, e)
	}
	step, to := tb.place(d.Chain, in.Random, (*service).levelNow)
	return to, tb.onward(d.Chain, step), nil
}

// refused is the error of a call that is not to be sent.
func refused(d *route.Decision, e *entry) error {
	err := d.Err
	if err == nil {
		err = fmt.Errorf("rule %s: %s", ruleName(d), d.Action)
	}
	return &Error{Service: e.name, Err: err}
}

// ruleName is the name of a rule, or where it stands.
func ruleName(d *route.Decision) string {
	switch {
	case d.Rule == nil:
		return ""
	case d.Rule.Name != "":
		return d.Rule.Name
	case d.Rule.File != "":
		return d.Rule.File + ":" + strconv.Itoa(d.Rule.Line)
	}
	return "without a name"
}

// carryRuled sends a call as its rule has changed it.
func (t *Transport) carryRuled(tb *table, d *route.Decision, random uint64, req *http.Request, options *destination.Options) (
	*http.Response, error) {
	options = ruled(d, options)
	if d.Mirror != nil {
		// What a backend is sent besides, such as a key for it alone, is not for
		// another one.
		shared := *d
		shared.Backend = nil
		t.shadows.send(tb.destinations[d.Mirror.Steps[0].Destination], edited(&shared, req), options.Host(""))
	}
	resp, err := t.carry(tb, d.Chain, random, edited(d, req), options)
	if resp != nil {
		resp.Request = req
		if d.EditsResponse() {
			if resp.Header == nil {
				resp.Header = make(http.Header)
			}
			d.EditResponse(resp.Header)
		}
	}
	return resp, err
}

// edited is the request as a rule has it: itself if the rule changes nothing.
func edited(d *route.Decision, req *http.Request) *http.Request {
	path := d.Rule.Rewrite != nil && d.Rule.Rewrite.Path != (route.PathEdit{})
	if !path && !d.EditsRequest() {
		return req
	}
	out := req.WithContext(req.Context())
	if path {
		u := *req.URL
		d.RewritePath(&u)
		out.URL = &u
	}
	if out.Header = req.Header.Clone(); out.Header == nil {
		out.Header = make(http.Header)
	}
	d.EditRequest(out.Header)
	return out
}

// ruled are the options of a call with what its rule says.
func ruled(d *route.Decision, options *destination.Options) *destination.Options {
	r := d.Rule
	if r.Timeout == 0 && r.AttemptTimeout == 0 && r.Retry == nil && d.Delay == 0 && (r.Rewrite == nil || r.Rewrite.Host == "") {
		return options
	}
	say := &destination.Ruled{
		Rule: r.Name, Timeout: r.Timeout, AttemptTimeout: r.AttemptTimeout, Delay: d.Delay, Retry: repeats(r.Retry),
	}
	if r.Rewrite != nil {
		say.Host = r.Rewrite.Host
	}
	var o destination.Options
	if options != nil {
		o = *options
	}
	o.Ruled = say
	return &o
}

// repeats is what a rule changes of a retry policy. HTTP statuses and gRPC codes
// have no number in common.
func repeats(r *route.Retry) *retry.Override {
	if r == nil {
		return nil
	}
	o := &retry.Override{Attempts: r.Attempts, MinBackoff: r.MinBackoff, MaxBackoff: r.MaxBackoff, Statuses: r.Statuses}
	if len(r.Codes) > 0 {
		o.Statuses = append([]int(nil), r.Statuses...)
	}
	for _, name := range r.Codes {
		o.Statuses = append(o.Statuses, int(destination.Code(name)))
	}
	return o
}

// Direct is where all calls of other protocols to a service go, as no rule nor override
// can have it otherwise; nil if RouteRPC is to decide. It is for the adapters that come
// with this module.
func (t *Transport) Direct(name string) *destination.Destination {
	if e := t.table.Load().find(name); e != nil && e.direct {
		return &e.home.Destination
	}
	return nil
}

// RouteRPC decides on a call of another protocol: where it goes, with which
// options, and what becomes of its metadata. It is for the adapters that come with
// this module. A call that its rule answers has neither a destination nor an
// error. Next, if it is not nil, is to be told whether the call reached somebody, at
// this destination and at each that it returns for one that did not; nil is the end.
func (t *Transport) RouteRPC(ctx context.Context, name string, in *route.Input, options *destination.Options) (
	to *destination.Destination, d route.Decision, o *destination.Options, next func(reached bool) *destination.Destination, err error) {
	tb := t.table.Load()
	e := tb.find(name)
	if e == nil {
		return nil, d, nil, nil, fmt.Errorf("%w: %s", ErrUnknownService, name)
	}
	if e.direct {
		return &e.home.Destination, d, options, nil, nil
	}
	in.Handle, in.Random = e.handle, rand.Uint64()
	in.Overrides = tb.routes.Overrides(ctx, in.Header, time.Now())
	if options != nil {
		in.Key = options.Key
	}
	d = tb.routes.Decide(in)
	o = options
	if d.Rule != nil {
		o = ruled(&d, options)
	}
	switch d.Action {
	case route.Send:
		step, svc := tb.place(d.Chain, in.Random, (*service).levelNow)
		if onward := tb.onward(d.Chain, step); onward != nil {
			next = func(reached bool) *destination.Destination {
				if to := onward(reached); to != nil {
					return &to.Destination
				}
				return nil
			}
		}
		return &svc.Destination, d, o, next, nil
	case route.Refuse:
		return nil, d, nil, nil, refused(&d, e)
	}
	return nil, d, nil, nil, hold(ctx, e, o)
}

// hold holds up a call that is not sent, for as long as its rule says and as its
// time lasts.
func hold(ctx context.Context, e *entry, o *destination.Options) error {
	var end time.Time
	if e.home != nil {
		var err error
		if end, err = e.home.End(ctx, o, time.Now()); err != nil {
			return &Error{Service: e.name, Err: err}
		}
	}
	if err := destination.Hold(ctx, o, end); err != nil {
		return &Error{Service: e.name, Err: err}
	}
	return nil
}
