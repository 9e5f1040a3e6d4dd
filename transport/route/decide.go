package route

import "time"

// Input is a call to decide on.
type Input struct {
	// Handle is the service that is called. If it is nil, Service names it.
	Handle  *Handle
	Service string

	// Method is "" for GET. Path is without percent-encoding, RawQuery with
	// it. Host is what the call is addressed to, with or without port.
	Method   string
	Path     string
	RawQuery string
	Host     string

	// Address is where the call is made to, as in its URL, with or without port,
	// and Scheme that of the URL: Rule.Ports are compared with the port.
	// Default: Host, and not https.
	Address string
	Scheme  string

	// Header has keys in the form of net/http. The caller may go on to change
	// it once Decide has returned.
	Header map[string][]string

	// GRPC says that it is a gRPC call: Path is "/service/method", metadata is
	// in Header, Method does not matter.
	GRPC bool

	// Safe says that the call changes nothing on the server although its
	// method does not say so, as with a gRPC method that only reads.
	Safe bool

	// Overrides are those of the call, see Table.Overrides. Default: none.
	Overrides *Overrides

	// Key is what SplitKey.Caller splits by.
	Key string

	// Random is a random number of this call.
	Random uint64
}

// Action is what becomes of a call.
type Action uint8

// The actions.
const (
	// Send it along Decision.Chain.
	Send Action = iota
	// Answer it as Decision.Rule.Fixed says.
	Answer
	// Reroute answers it with Decision.Rule.Redirect.
	Reroute
	// Abort answers it as Decision.Rule.Fault says.
	Abort
	// Refuse fails it with Decision.Err.
	Refuse
)

// String is the name of the action.
func (a Action) String() string {
	names := [...]string{"send", "answer", "redirect", "abort", "refuse"}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown"
}

// Decision is what becomes of a call. What it points to belongs to the Table
// and must not be changed.
type Decision struct {
	// Action is what to do, after Delay.
	Action Action

	// Overridden says that an override chose the environment. Refused says why
	// one was not honoured, "" if there was none.
	Overridden bool
	Refused    string

	// Service is the one whose destination is meant, which a rule may have
	// changed. It is nil for an unknown one.
	Service *Handle

	// Chain is where the call goes, for Send.
	Chain *Chain

	// Rule is the one that applies, Match what of it matched, and Backend the
	// one chosen, if it has any.
	Rule    *Rule
	Match   *Match
	Backend *Backend

	// Mirror is where a copy goes. It has one step. Nil: there is none.
	Mirror *Chain

	// Delay is waited first.
	Delay time.Duration

	// Err is why the call is refused.
	Err error
}

// Decide decides on a call. It allocates nothing, unless a query parameter that
// it looks at has escapes in it.
func (t *Table) Decide(in *Input) Decision {
	if h := in.Handle; h != nil && h.plain != nil && in.Overrides == nil {
		return Decision{Service: h, Chain: h.plain}
	}
	return t.decide(in)
}

// decide is Decide where there is something to decide. Decide is short enough
// to be inlined.
func (t *Table) decide(in *Input) Decision {
	h := in.Handle
	if h == nil {
		if h = t.services[in.Service]; h == nil {
			return Decision{Action: Refuse, Err: ErrUnknownService}
		}
	}
	d := Decision{Service: h}
	c := t.find(h, in)
	if c == nil {
		if h.onlyRules {
			d.Action, d.Err = Refuse, h.noRule
			return d
		}
		d.goTo(t, in, h, h.home)
		return d
	}
	r := c.rule
	d.Rule, d.Match = &r.pub, c.match
	switch {
	case r.pub.Fixed != nil:
		d.Action = Answer
	case r.pub.Redirect != nil:
		d.Action = Reroute
	default:
		t.follow(&d, r, h, in)
	}
	if r.pub.Fault != nil && d.Action != Refuse {
		r.disturb(&d, in)
	}
	return d
}

// find finds the match that applies: a service's own rules come first.
func (t *Table) find(h *Handle, in *Input) *candidate {
	if h.rules != nil {
		if c := h.rules.find(in); c != nil {
			return c
		}
	}
	if t.global == nil {
		return nil
	}
	return t.global.find(in)
}

// follow sends the call where the rule says.
func (t *Table) follow(d *Decision, r *rule, h *Handle, in *Input) {
	env := h.home
	if len(r.backends) > 0 {
		if r.total == 0 {
			d.Action, d.Err = Refuse, r.noWeight
			return
		}
		b := r.pick(in)
		d.Backend = b.pub
		if b.to != nil {
			d.Service = b.to
		}
		if b.env >= 0 {
			env = b.env
		}
	}
	d.goTo(t, in, h, env)
	if r.mirror != nil && d.Action == Send && share(r.pub.Mirror.Percent, draw(in.Random, forMirror)) {
		d.Mirror = t.mirror(r.mirror, d, in)
	}
}

// goTo sets the chain to d.Service from an environment, unless an override
// names another. The call was to service h.
func (d *Decision) goTo(t *Table, in *Input, h *Handle, env int) {
	way := wayOpen
	if in.Overrides != nil {
		env, way = d.override(t, in.Overrides, h, env)
	}
	d.Chain = d.Service.chain(env, way, in)
	if d.Chain.Err != nil {
		d.Action, d.Err, d.Chain = Refuse, d.Chain.Err, nil
	}
}

// chain is the chain of a service from an environment.
func (h *Handle) chain(env, way int, in *Input) *Chain {
	c := h.chains[env]
	if !c.uniform() && in.safe() {
		way |= waySafe
	}
	return c[way]
}

// safe says that the call changes nothing on the server: by its method (RFC
// 9110, 9.2.1), if that is what it is treated by and no tunnel begins with it.
func (in *Input) safe() bool {
	if in.GRPC || in.Safe {
		return in.Safe
	}
	switch in.Method {
	case "", "GET", "HEAD", "OPTIONS", "TRACE":
		return len(in.Header["Upgrade"]) == 0 && len(in.Header["X-Http-Method-Override"]) == 0 &&
			len(in.Header["X-Http-Method"]) == 0 && len(in.Header["X-Method-Override"]) == 0
	}
	return false
}

// mirror is where a copy of the call goes, or nil. Copies do not fall back.
func (t *Table) mirror(m *backend, d *Decision, in *Input) *Chain {
	to, first := d.Service, &d.Chain.Steps[0]
	if m.to != nil {
		to = m.to
	}
	env := to.home
	switch {
	case m.env >= 0:
		env = m.env
	case first.Environment != "":
		env = t.envIndex[first.Environment]
	}
	only := to.only[env]
	if only == nil || only.Steps[0].Destination == first.Destination {
		return nil
	}
	if s := &only.Steps[0]; s.Protected && !first.Protected && !in.safe() {
		return nil
	}
	return only
}

// disturb applies the faults of a rule.
func (r *rule) disturb(d *Decision, in *Input) {
	f := r.pub.Fault
	if r.only != nil && !r.only.fitsHeader(in, in.Header[r.only.name]) {
		return
	}
	if f.Delay > 0 && share(f.DelayPercent, draw(in.Random, forDelay)) {
		d.Delay = f.Delay
	}
	if (f.AbortStatus != 0 || f.AbortCode != "") && share(f.AbortPercent, draw(in.Random, forAbort)) {
		d.Action, d.Chain, d.Mirror = Abort, nil, nil
	}
}
