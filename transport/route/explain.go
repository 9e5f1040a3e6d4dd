package route

import (
	"fmt"
	"strings"
)

// Explanation tells what Decide makes of a call, and why. It is for people, and
// for JSON; its texts may change.
type Explanation struct {
	// Service is the one called, Environment the one that the call is for
	// before rules and overrides.
	Service     string `json:"service"`
	Environment string `json:"environment,omitempty"`

	// Action is what becomes of the call; Error why it is refused.
	Action string `json:"action"`
	Error  string `json:"error,omitempty"`

	// Rule is the one that applies.
	Rule *RuleNote `json:"rule,omitempty"`

	// Considered are the matches that were looked at, in order, up to 100; a
	// rule is there once for each of its matches and hosts. More is how many
	// were left out.
	Considered []RuleNote `json:"considered,omitempty"`
	More       int        `json:"more,omitempty"`

	// Overrides are those that came with the call. Overridden says that one
	// was honoured, Refused why one was not.
	Overrides  string `json:"overrides,omitempty"`
	Overridden bool   `json:"overridden,omitempty"`
	Refused    string `json:"refused,omitempty"`

	// Destination is the service that the call goes to; Chain is where, in the
	// order in which environments are asked.
	Destination string     `json:"destination,omitempty"`
	Chain       []StepNote `json:"chain,omitempty"`

	// Mirror is where a copy goes.
	Mirror *StepNote `json:"mirror,omitempty"`

	// Delay is waited first, as text.
	Delay string `json:"delay,omitempty"`
}

// RuleNote is a rule in an Explanation.
type RuleNote struct {
	// Path is where it stands in the Config, with the match:
	// services["users"].rules[2].match[0].
	Path string `json:"path"`

	// Name, File and Line are those of the Rule.
	Name string `json:"name,omitempty"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`

	// Why says why it does not match, or "matches".
	Why string `json:"why"`
}

// StepNote is a Step in an Explanation.
type StepNote struct {
	// Service and Environment are the destination.
	Service     string `json:"service"`
	Environment string `json:"environment,omitempty"`

	// Protected, SafeOnly and Fallback are those of the Step.
	Protected bool `json:"protected,omitempty"`
	SafeOnly  bool `json:"safe_only,omitempty"`
	Fallback  bool `json:"fallback,omitempty"`
}

// maxConsidered bounds an Explanation.
const maxConsidered = 100

// Explain decides like Decide, with reasons. It is slow, and for people.
func (t *Table) Explain(in *Input) Explanation {
	d := t.Decide(in)
	x := Explanation{
		Service: in.Service, Action: d.Action.String(), Overrides: in.Overrides.describe(),
		Overridden: d.Overridden, Refused: d.Refused,
	}
	if d.Err != nil {
		x.Error = d.Err.Error()
	}
	h := in.Handle
	if h == nil {
		h = t.services[in.Service]
	}
	if h == nil {
		return x
	}
	x.Service = h.name
	if !h.bare {
		x.Environment = t.envs[h.home].name
	}
	x.consider(t, h, in)
	x.goes(&d)
	return x
}

// consider fills in the rules.
func (x *Explanation) consider(t *Table, h *Handle, in *Input) {
	v := view{}
	v.fill(in)
	for _, l := range []struct {
		list *list
		path string
	}{{h.rules, fmt.Sprintf("services[%q].rules", h.name)}, {t.global, "rules"}} {
		if l.list == nil || x.Rule != nil {
			continue
		}
		// The names that conditions look up are numbered by list.
		v.gotHeaders, v.gotQueries, v.hasQuery = 0, 0, 0
		for c := range l.list.inOrder(in.GRPC) {
			note := c.note(l.path, in, &v)
			if len(x.Considered) < maxConsidered {
				x.Considered = append(x.Considered, note)
			} else {
				x.More++
			}
			if note.Why == whyMatches {
				x.Rule = &note
				break
			}
		}
	}
}

// whyMatches is the Why of the rule that applies.
const whyMatches = "matches"

// note describes a candidate.
func (c *candidate) note(list string, in *Input, v *view) RuleNote {
	r := &c.rule.pub
	return RuleNote{
		Path: fmt.Sprintf("%s[%d].match[%d]", list, c.order[0], c.order[1]),
		Name: r.Name, File: r.File, Line: r.Line, Why: c.misses(in, v),
	}
}

// misses says why a candidate does not match.
func (c *candidate) misses(in *Input, v *view) string {
	g := group{host: c.host, wild: c.wild}
	switch {
	case c.never != "":
		return c.never
	case !g.hostFits(in.Host):
		return fmt.Sprintf("host is %q", clip(in.Host))
	case !c.portFits(in):
		return fmt.Sprintf("port is %d", in.port())
	case c.grpc != nil && !in.GRPC:
		return "not a gRPC call"
	case c.grpc != nil && !c.grpc.fits(v):
		return fmt.Sprintf("gRPC service and method are %q and %q", clip(v.service), clip(v.rpc))
	case !c.pathFits(v.path):
		return fmt.Sprintf("path is %q", clip(v.path))
	case !c.methodFits(v.method):
		return fmt.Sprintf("method is %q", clip(v.method))
	case c.valuesFit(in, v):
		return whyMatches
	}
	return c.missesValue(in, v)
}

// missesValue says which header or parameter does not match. Its value is not
// told: it may be a secret.
func (c *candidate) missesValue(in *Input, v *view) string {
	for i := range c.headers {
		values := v.header(in, &c.headers[i])
		if !c.headers[i].fitsHeader(in, values) {
			return missing("header", c.headers[i].name, len(values) > 0)
		}
	}
	for i := range c.query {
		value, has := v.query(in, &c.query[i])
		if !has || !c.query[i].fits(value) {
			return missing("query parameter", c.query[i].name, has)
		}
	}
	return ""
}

// missing says what is wrong with a header or parameter.
func missing(what, name string, has bool) string {
	if has {
		return fmt.Sprintf("%s %q has another value", what, name)
	}
	return fmt.Sprintf("no %s %q", what, name)
}

// clip bounds what a caller can make us write.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// goes fills in where the call goes.
func (x *Explanation) goes(d *Decision) {
	if d.Delay > 0 {
		x.Delay = d.Delay.String()
	}
	if d.Chain != nil {
		x.Destination = d.Service.name
		for i := range d.Chain.Steps {
			x.Chain = append(x.Chain, d.Chain.Steps[i].note(d.Chain.Service))
		}
	}
	if d.Mirror != nil {
		n := d.Mirror.Steps[0].note(d.Mirror.Service)
		x.Mirror = &n
	}
}

// note describes a step of a service.
func (s *Step) note(service string) StepNote {
	return StepNote{
		Service: service, Environment: s.Environment,
		Protected: s.Protected, SafeOnly: s.SafeOnly, Fallback: s.Fallback,
	}
}

// describe writes overrides for an Explanation, without the signature.
func (o *Overrides) describe() string {
	if o == nil {
		return ""
	}
	var parts []string
	for _, part := range []struct {
		from string
		list []Override
	}{{"code", o.code}, {"header", o.header}} {
		for _, one := range part.list {
			parts = append(parts, fmt.Sprintf("%s=%s (%s)", clip(one.Service), clip(one.Environment), part.from))
		}
	}
	if o.signed != nil {
		parts = append(parts, fmt.Sprintf("signed with %s", o.signed.keyID))
	}
	if o.why != "" {
		parts = append(parts, o.why)
	}
	return strings.Join(parts, "; ")
}
