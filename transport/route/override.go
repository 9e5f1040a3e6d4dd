package route

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Header is the header that overrides travel in.
const Header = "Tulle-Route"

// The bounds of overrides in text.
const (
	maxOverrideText = 1024 // bytes
	maxOverrides    = 16
	maxServiceName  = 253
	maxEnvironment  = 63
)

// An Override sends the calls of one service to another environment.
type Override struct {
	// Service is the key of a service, in any case. Environment is where its
	// calls go.
	Service, Environment string
}

// Overrides are those of one request, from code and from a header. The value
// never changes. Nil are none.
type Overrides struct {
	code []Override

	header []Override
	text   string     // the header as it came
	signed *signature // nil if it was not
	keys   *keyring   // that has checked the signature
	why    string     // why the header is not honoured, "" if it may be
}

// Parse reads overrides from a header value:
//
//	value     = pair *( ";" pair ) [ "@" signature ]
//	pair      = service "=" environment
//	signature = key-id "." expiry "." mac
//
// A service is up to 253 of a-z, 0-9, and "-._:[]", an environment a DNS label
// in lower case; no service appears twice. Nothing else is allowed, spaces
// neither. There are up to 16 pairs and 1024 bytes. See Sign for the signature,
// which is not checked here: only Table.Overrides knows keys and time.
func Parse(text string) (*Overrides, error) {
	if len(text) > maxOverrideText {
		return nil, fmt.Errorf("route: overrides of %d bytes: want up to %d", len(text), maxOverrideText)
	}
	o := &Overrides{text: text}
	pairs, sig, signed := strings.Cut(text, "@")
	if signed {
		s, err := parseSignature(text, sig)
		if err != nil {
			return nil, err
		}
		o.signed = s
	}
	for pair := range strings.SplitSeq(pairs, ";") {
		one, err := parsePair(pair)
		if err != nil {
			return nil, err
		}
		if len(o.header) == maxOverrides {
			return nil, fmt.Errorf("route: overrides %.200q: want up to %d pairs", text, maxOverrides)
		}
		if _, twice := lookup(o.header, one.Service); twice {
			return nil, fmt.Errorf("route: override of %q: want it once", one.Service)
		}
		o.header = append(o.header, one)
	}
	return o, nil
}

// parsePair reads one pair.
func parsePair(pair string) (Override, error) {
	service, environment, ok := strings.Cut(pair, "=")
	if !ok || !isServiceName(service) || !isEnvironment(environment) {
		return Override{}, fmt.Errorf("route: override %.200q: want service=environment, in lower case", pair)
	}
	return Override{service, environment}, nil
}

// isServiceName says that a header may name the service.
func isServiceName(s string) bool {
	return s != "" && len(s) <= maxServiceName && !strings.ContainsFunc(s, func(r rune) bool {
		return !isLabelRune(r) && !strings.ContainsRune("._:[]", r)
	})
}

// isEnvironment says that the name is one of an environment.
func isEnvironment(s string) bool {
	return s != "" && len(s) <= maxEnvironment && s[0] != '-' && s[len(s)-1] != '-' &&
		!strings.ContainsFunc(s, func(r rune) bool { return !isLabelRune(r) })
}

// isLabelRune tells what a DNS label in lower case is made of.
func isLabelRune(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }

// lookup finds the override of a service.
func lookup(list []Override, service string) (Override, bool) {
	for _, o := range list {
		if o.Service == service {
			return o, true
		}
	}
	return Override{}, false
}

// overridesKey is the context key of *Overrides.
type overridesKey struct{}

// With returns a context whose calls go where the overrides say, as far as
// OverridePolicy.IgnoreCode and CodeProtected let them. They join those that
// ctx has; of two for one service the later one counts. Names that do not exist
// are ignored, and Explain says so.
func With(ctx context.Context, overrides ...Override) context.Context {
	o := Overrides{}
	if old := From(ctx); old != nil {
		o = *old
	}
	merged := slices.Clone(o.code)
	for _, add := range overrides {
		add.Service = strings.ToLower(add.Service)
		merged = slices.DeleteFunc(merged, func(c Override) bool { return c.Service == add.Service })
		merged = append(merged, add)
	}
	o.code = merged
	return context.WithValue(ctx, overridesKey{}, &o)
}

// WithHeader returns a context that carries what was read from the header of an
// incoming request (Read), in place of what ctx carried from one. It is not
// checked here, and what goes out is decided where it goes out.
func WithHeader(ctx context.Context, read *Overrides) context.Context {
	if read == nil {
		return ctx
	}
	o := *read
	o.code = nil
	if old := From(ctx); old != nil {
		o.code = old.code
	}
	return context.WithValue(ctx, overridesKey{}, &o)
}

// From returns the overrides that ctx carries, or nil.
func From(ctx context.Context) *Overrides {
	o, _ := ctx.Value(overridesKey{}).(*Overrides)
	return o
}

// String is what goes to the next hop: the header as it came if it was signed,
// since a signature is for the whole text; otherwise the overrides from header
// and code together, code first, sorted.
func (o *Overrides) String() string {
	if o == nil {
		return ""
	}
	if o.signed != nil {
		return o.text
	}
	merged := map[string]string{}
	for _, list := range [][]Override{o.header, o.code} {
		for _, one := range list {
			if isServiceName(one.Service) && isEnvironment(one.Environment) {
				merged[one.Service] = one.Environment
			}
		}
	}
	text, err := format(merged)
	if err != nil {
		return ""
	}
	return text
}

// format writes pairs, sorted.
func format(pairs map[string]string) (string, error) {
	var b strings.Builder
	for _, service := range slices.Sorted(maps.Keys(pairs)) {
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		b.WriteString(service + "=" + pairs[service])
	}
	if len(pairs) > maxOverrides || b.Len() > maxOverrideText {
		return "", fmt.Errorf("route: %d overrides, %d bytes: want up to %d and %d",
			len(pairs), b.Len(), maxOverrides, maxOverrideText)
	}
	return b.String(), nil
}

// errTwice is for a header that came more than once: which one counts would
// depend on who looks.
var errTwice = errors.New("route: more than one " + Header + " header")

// Overrides gathers the overrides of a call: those that ctx carries, and those
// in the call's own header, which count in place of those that ctx carries from
// a header. It checks signatures, at the time now. It returns nil when there
// are none. What cannot be read or is not signed well is kept as refused, so
// that Explain can tell.
func (t *Table) Overrides(ctx context.Context, header map[string][]string, now time.Time) *Overrides {
	o := From(ctx)
	read, err := Read(header)
	switch {
	case err != nil:
		read = &Overrides{why: err.Error()}
	case read == nil && (o == nil || o.text == ""):
		return o
	case read == nil:
		c := *o
		read = &c
	}
	if o != nil {
		read.code = o.code
	}
	t.check(read, now)
	return read
}

// The reasons for which overrides are refused.
const (
	whyOff        = "overrides from headers are off"
	whyCodeOff    = "overrides from code are off"
	whyService    = "the service is not one that headers may override"
	whyTarget     = "the environment is not one that headers may lead to"
	whyUnknown    = "no such environment"
	whyNone       = "the service has no environments"
	whyInto       = "the environment is protected"
	whyInside     = "the call is for a protected environment"
	whyNowhere    = "the service has no destination there, nor where it may fall back from there"
	whyUnsigned   = "not signed"
	whyUnchecked  = "the signature was not checked"
	whyUnknownKey = "signed with an unknown key"
	whyBadMAC     = "the signature is wrong"
	whyExpired    = "expired"
	whyTooFar     = "expires further ahead than maxExpiry allows"
)

// override finds the environment of a call to service h that goes to d.Service
// in env, and how it may fall back from there.
func (d *Decision) override(t *Table, o *Overrides, h *Handle, env int) (to, way int) {
	if one, has := o.find(o.code, d.Service, h); has {
		why := ""
		if t.policy.IgnoreCode {
			why = whyCodeOff
		}
		if to, ok := d.try(t, one, env, t.policy.CodeProtected, why); ok {
			return to, wayIf(t.policy.CodeProtected)
		}
	}
	if one, has := o.find(o.header, d.Service, h); has {
		if to, ok := d.try(t, one, env, t.policy.Protected, t.refuses(o, one, d.Service, h)); ok {
			return to, wayIf(t.policy.Protected)
		}
	} else if o.why != "" && d.Refused == "" {
		d.Refused = o.why
	}
	return env, wayOpen
}

// wayIf is wayOpen if the override may use protected environments.
func wayIf(protected bool) int {
	if protected {
		return wayOpen
	}
	return 0
}

// find finds the override of the service that a call goes to, or of the one
// that it was made to.
func (o *Overrides) find(list []Override, to, called *Handle) (Override, bool) {
	if one, has := lookup(list, to.lower); has || to == called {
		return one, has
	}
	return lookup(list, called.lower)
}

// refuses says why the policy does not honour an override from the header, for a
// call that was made to one service and goes to another or the same. Both must
// be overridable if the override is for the one called.
func (t *Table) refuses(o *Overrides, one Override, to, called *Handle) string {
	switch {
	case !t.byHeader:
		return whyOff
	case o.why != "":
		return o.why
	case o.keys != t.keys && (o.signed != nil && t.keys != nil || t.policy.RequireSignature):
		return whyUnchecked
	case !to.allowed || one.Service != to.lower && !called.allowed:
		return whyService
	}
	if i, known := t.envIndex[one.Environment]; known && !t.envs[i].allowed {
		return whyTarget
	}
	return ""
}

// try honours an override unless there is a reason not to.
func (d *Decision) try(t *Table, one Override, env int, protected bool, why string) (to int, ok bool) {
	to, known := t.envIndex[one.Environment]
	switch {
	case why != "":
	case !known:
		why = whyUnknown
	case d.Service.bare:
		why = whyNone
	case !protected && t.envs[to].protected:
		why = whyInto
	case !protected && t.envs[env].protected:
		why = whyInside
	case d.Service.chains[to][wayIf(protected)|waySafe].Err != nil:
		// A call that only may not write there is not sent elsewhere: it fails.
		why = whyNowhere
	}
	if d.Refused == "" {
		d.Refused = why
	}
	d.Overridden = d.Overridden || why == ""
	return to, why == ""
}
