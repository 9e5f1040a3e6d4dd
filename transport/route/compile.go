package route

import (
	"cmp"
	"fmt"
	"maps"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
)

// rule is a Rule at work.
type rule struct {
	pub      Rule
	backends []backend
	total    uint64 // the sum of weights
	only     *valueCond
	mirror   *backend
	noWeight error
}

// backend is a Backend, or a Mirror, at work.
type backend struct {
	pub    *Backend
	to     *Handle // nil: the one called
	env    int     // -1: that of the call
	weight uint64
	seed   uint64 // of its rendezvous hash
}

// candidate is one match of one rule, for one of its hosts: the unit in which
// precedence is decided.
type candidate struct {
	rule    *rule
	match   *Match
	host    string // in lower case, without the "*" of a wildcard
	wild    bool
	order   [2]int // of the rule, of the match
	kind    pathKind
	path    string // exact, or a prefix without its last "/"
	pathRe  *regexp.Regexp
	grpc    *grpcCond // nil unless gRPC only
	headers []valueCond
	query   []valueCond
	ports   []int  // empty for all
	never   string // why it can never match this caller, or ""
}

// pathKind is the way a path is matched, from the least specific.
type pathKind uint8

const (
	byPrefix pathKind = iota
	byRegex
	byExact
)

// grpcCond is a GRPCMatch at work. Nil expressions and "" match all.
type grpcCond struct {
	service, method     string
	serviceRe, methodRe *regexp.Regexp
}

// valueCond is a ValueMatch at work.
type valueCond struct {
	name  string // canonical
	exact string
	re    *regexp.Regexp
	any   bool
	slot  int // where the list keeps the value in a decision
}

// compile makes a list of rules that have been checked, or nil of none. The
// handle is nil for global rules.
func (t *Table) compile(rules []Rule, h *Handle) *list {
	if len(rules) == 0 {
		return nil
	}
	var found []*candidate
	for i := range rules {
		r := t.compileRule(&rules[i])
		for j := range r.pub.Match {
			found = append(found, t.candidates(r, &r.pub.Match[j], [2]int{i, j})...)
		}
	}
	return newList(found)
}

// compileRule makes one rule, of copies.
func (t *Table) compileRule(from *Rule) *rule {
	r := &rule{pub: copyRule(from)}
	seen := map[string]uint64{}
	for i := range r.pub.Backends {
		b := &r.pub.Backends[i]
		one := t.compileBackend(b.Service, b.Environment)
		one.pub, one.weight = b, 1
		if b.Weight != nil {
			one.weight = uint64(*b.Weight)
		}
		// Two backends of one place differ in their place in the list.
		id := b.Service + "\x00" + b.Environment
		one.seed = mix(hash(id) + seen[id])
		seen[id]++
		r.total += one.weight
		r.backends = append(r.backends, one)
	}
	if m := r.pub.Mirror; m != nil {
		one := t.compileBackend(m.Service, m.Environment)
		r.mirror = &one
	}
	if f := r.pub.Fault; f != nil && f.Only != nil {
		c := compileValue(*f.Only, textproto.CanonicalMIMEHeaderKey)
		r.only = &c
	}
	r.noWeight = refuse(ErrNoBackend, fmt.Sprintf("rule %q", r.pub.Name))
	return r
}

// compileBackend finds the place of a backend or mirror.
func (t *Table) compileBackend(service, environment string) backend {
	b := backend{to: t.services[service], env: -1}
	if environment != "" {
		b.env = t.envIndex[environment]
	}
	return b
}

// refuse is an error of a call, made beforehand.
func refuse(why error, what string) error { return fmt.Errorf("%w: %s", why, what) }

// copyRule copies a rule, so that nothing of the caller's is kept, with headers
// in canonical form and at least one match.
func copyRule(from *Rule) Rule {
	r := *from
	r.Hosts, r.Ports = slices.Clone(r.Hosts), slices.Clone(r.Ports)
	r.Match = slices.Clone(r.Match)
	if len(r.Match) == 0 {
		r.Match = make([]Match, 1)
	}
	for i := range r.Match {
		m := &r.Match[i]
		m.Headers, m.Query = slices.Clone(m.Headers), slices.Clone(m.Query)
		m.GRPC, m.Caller = clone(m.GRPC), maps.Clone(m.Caller)
	}
	r.Backends = slices.Clone(r.Backends)
	for i := range r.Backends {
		b := &r.Backends[i]
		b.Weight = clone(b.Weight)
		b.RequestHeaders, b.ResponseHeaders = b.RequestHeaders.canonical(), b.ResponseHeaders.canonical()
	}
	r.RequestHeaders, r.ResponseHeaders = r.RequestHeaders.canonical(), r.ResponseHeaders.canonical()
	if r.Retry = clone(r.Retry); r.Retry != nil {
		r.Retry.Statuses, r.Retry.Codes = slices.Clone(r.Retry.Statuses), slices.Clone(r.Retry.Codes)
	}
	if r.Mirror = clone(r.Mirror); r.Mirror != nil {
		r.Mirror.Percent = clone(r.Mirror.Percent)
	}
	if r.Fixed = clone(r.Fixed); r.Fixed != nil {
		r.Fixed.Headers = canonicalKeys(r.Fixed.Headers)
	}
	if r.Fault = clone(r.Fault); r.Fault != nil {
		f := r.Fault
		f.Only, f.DelayPercent, f.AbortPercent = clone(f.Only), clone(f.DelayPercent), clone(f.AbortPercent)
	}
	r.Key.Header = textproto.CanonicalMIMEHeaderKey(r.Key.Header)
	r.Rewrite, r.Redirect = clone(r.Rewrite), clone(r.Redirect)
	return r
}

// clone copies what p points to.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// candidates are those of one match: one for each host.
func (t *Table) candidates(r *rule, m *Match, order [2]int) []*candidate {
	c := candidate{rule: r, match: m, order: order, ports: r.pub.Ports, never: t.callerMisses(m)}
	c.setPath(m.Path)
	if g := m.GRPC; g != nil {
		c.grpc = &grpcCond{service: g.Service, method: g.Method}
		if g.Regex {
			c.grpc.serviceRe, c.grpc.methodRe = compileRegex(g.Service), compileRegex(g.Method)
		}
	}
	for _, v := range firstOfEach(m.Headers, textproto.CanonicalMIMEHeaderKey) {
		c.headers = append(c.headers, compileValue(v, textproto.CanonicalMIMEHeaderKey))
	}
	for _, v := range firstOfEach(m.Query, strings.Clone) {
		c.query = append(c.query, compileValue(v, strings.Clone))
	}
	if len(r.pub.Hosts) == 0 {
		return []*candidate{&c}
	}
	var list []*candidate
	for _, host := range r.pub.Hosts {
		one := c
		one.host, one.wild = strings.CutPrefix(strings.ToLower(host), all)
		list = append(list, &one)
	}
	return list
}

// setPath sets how the path is matched.
func (c *candidate) setPath(m PathMatch) {
	switch {
	case m.Exact != "":
		c.kind, c.path = byExact, m.Exact
	case m.Regex != "":
		c.kind, c.pathRe = byRegex, compileRegex(m.Regex)
	default:
		c.kind, c.path = byPrefix, strings.TrimSuffix(m.Prefix, "/")
	}
}

// callerMisses says which label of the match this caller does not have.
func (t *Table) callerMisses(m *Match) string {
	for _, name := range slices.Sorted(maps.Keys(m.Caller)) {
		if got, has := t.labels[name]; !has || got != m.Caller[name] {
			return fmt.Sprintf("caller label %q is %q, want %q", name, got, m.Caller[name])
		}
	}
	return ""
}

// firstOfEach drops all but the first of the entries with one name, as the
// Gateway API has it.
func firstOfEach(values []ValueMatch, canonical func(string) string) []ValueMatch {
	var kept []ValueMatch
	for _, v := range values {
		name := canonical(v.Name)
		if !slices.ContainsFunc(kept, func(k ValueMatch) bool { return canonical(k.Name) == name }) {
			kept = append(kept, v)
		}
	}
	return kept
}

// compileValue makes one condition on a value.
func compileValue(v ValueMatch, canonical func(string) string) valueCond {
	return valueCond{name: canonical(v.Name), exact: v.Exact, re: compileRegex(v.Regex), any: v.Present}
}

// compileRegex compiles an expression that has been checked, for whole texts;
// nil for none.
func compileRegex(text string) *regexp.Regexp {
	if text == "" {
		return nil
	}
	re, err := regexp.Compile(anchored(text))
	if err != nil {
		return nil
	}
	return re
}

// anchored makes an expression match whole texts, line breaks or not.
func anchored(text string) string { return `\A(?:` + text + `)\z` }

// compare orders candidates: negative if a is the more specific one. Hosts
// come first for both protocols.
func (a *candidate) compare(b *candidate) int {
	if c := a.compareHost(b); c != 0 {
		return c
	}
	return cmp.Or(
		-cmp.Compare(a.kind, b.kind),
		-cmp.Compare(a.pathLength(), b.pathLength()),
		-cmp.Compare(boolInt(a.match.Method != ""), boolInt(b.match.Method != "")),
		-cmp.Compare(len(a.headers), len(b.headers)),
		-cmp.Compare(len(a.query), len(b.query)),
		-cmp.Compare(len(a.match.Caller), len(b.match.Caller)),
		slices.Compare(a.order[:], b.order[:]),
	)
}

// compareHost orders by host: those without a wildcard first, then longer ones.
// Among hosts that match one call this is the order of the Gateway API.
func (a *candidate) compareHost(b *candidate) int {
	return cmp.Or(
		-cmp.Compare(boolInt(a.host != "" && !a.wild), boolInt(b.host != "" && !b.wild)),
		-cmp.Compare(len(a.host), len(b.host)),
		cmp.Compare(a.host, b.host),
	)
}

// compareGRPC is compare for matches with GRPC.
func (a *candidate) compareGRPC(b *candidate) int {
	if c := a.compareHost(b); c != 0 {
		return c
	}
	return cmp.Or(
		-cmp.Compare(len(a.grpc.service), len(b.grpc.service)),
		cmp.Compare(boolInt(a.grpc.serviceRe != nil), boolInt(b.grpc.serviceRe != nil)),
		-cmp.Compare(len(a.grpc.method), len(b.grpc.method)),
		cmp.Compare(boolInt(a.grpc.methodRe != nil), boolInt(b.grpc.methodRe != nil)),
		-cmp.Compare(len(a.headers), len(b.headers)),
		a.compare(b),
	)
}

// pathLength is the number of characters of the path match, as written.
func (a *candidate) pathLength() int {
	p := a.match.Path
	return max(len(p.Exact), len(p.Regex), len(p.Prefix), 1)
}

// boolInt makes booleans comparable.
func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
