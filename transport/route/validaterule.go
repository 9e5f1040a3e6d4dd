package route

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// rules checks a list; the service is nil for global rules.
func (c *checker) rules(rules []Rule, s *Service, p problems) {
	if len(rules) > maxRules {
		p.add(len(rules), "up to %d", maxRules)
		return
	}
	for i := range rules {
		r := &rules[i]
		at := p.at("[%d]", i)
		at.file, at.line = r.File, r.Line
		c.rule(r, s, at)
	}
}

// rule checks one rule.
func (c *checker) rule(r *Rule, s *Service, p problems) {
	for i, h := range r.Hosts {
		if !isHostPattern(h) {
			p.at(".hosts[%d]", i).add(h, "a host name without port, or *. and a host name")
		}
	}
	for i, port := range r.Ports {
		if port < 1 || port > 65535 {
			p.at(".ports[%d]", i).add(port, "1 to 65535")
		}
	}
	if len(r.Match) > maxMatches {
		p.at(".match").add(len(r.Match), "up to %d", maxMatches)
		return
	}
	for i := range r.Match {
		r.Match[i].validate(p.at(".match[%d]", i))
	}
	for i := range r.Backends {
		c.backend(&r.Backends[i], s, p.at(".backends[%d]", i))
	}
	r.Key.validate(p.at(".key"))
	if r.Mirror != nil {
		c.place(r.Mirror.Service, r.Mirror.Environment, s, p.at(".mirror"))
		percent(r.Mirror.Percent, p.at(".mirror.percent"))
		if r.Mirror.Service == "" && r.Mirror.Environment == "" {
			p.at(".mirror").add(raw("{}"), "a service or an environment")
		}
	}
	timeout(r.Timeout, p.at(".timeout"))
	timeout(r.AttemptTimeout, p.at(".attemptTimeout"))
	if r.Timeout > 0 && r.AttemptTimeout > r.Timeout {
		p.at(".attemptTimeout").add(r.AttemptTimeout, "at most timeout, %v", r.Timeout)
	}
	r.Retry.validate(p.at(".retry"))
	r.RequestHeaders.validate(p.at(".requestHeaders"))
	r.ResponseHeaders.validate(p.at(".responseHeaders"))
	r.answer(p)
	r.Fault.validate(p.at(".fault"))
	if r.onlyGRPC() {
		r.overGRPC(p)
	}
}

// onlyGRPC says that the rule is for gRPC calls alone.
func (r *Rule) onlyGRPC() bool {
	return len(r.Match) > 0 && !slices.ContainsFunc(r.Match, func(m Match) bool { return m.GRPC == nil })
}

// overGRPC refuses what is not done over gRPC, rather than not do it.
func (r *Rule) overGRPC(p problems) {
	const why = "none in a rule for gRPC calls, where it is not done"
	if r.Mirror != nil {
		p.at(".mirror").add(raw("an object"), why)
	}
	if !r.ResponseHeaders.none() {
		p.at(".responseHeaders").add(raw("an object"), why)
	}
	if r.Rewrite != nil && r.Rewrite.Path != (PathEdit{}) {
		p.at(".rewrite.path").add(raw("an object"), why)
	}
}

// backend checks one backend.
func (c *checker) backend(b *Backend, s *Service, p problems) {
	c.place(b.Service, b.Environment, s, p)
	if b.Weight != nil && (*b.Weight < 0 || *b.Weight > maxWeight) {
		p.at(".weight").add(*b.Weight, "0 to %d", maxWeight)
	}
	b.RequestHeaders.validate(p.at(".requestHeaders"))
	b.ResponseHeaders.validate(p.at(".responseHeaders"))
}

// maxWeight is the limit of the Gateway API.
const maxWeight = 1_000_000

// place checks where a backend or mirror goes. The service s is the one whose
// rule it is, or nil.
func (c *checker) place(service, environment string, s *Service, p problems) {
	if service != "" {
		to, known := c.cfg.Services[service]
		if !known {
			p.at(".service").add(service, "%s", c.someServices())
			return
		}
		s = &to
	}
	switch {
	case environment == "":
	case !slices.Contains(c.environments, environment):
		p.at(".environment").add(environment, "one of %s", strings.Join(c.environments, ", "))
	case s != nil && len(s.Environments) == 0:
		p.at(".environment").add(environment, "none, as the service has no environments")
	}
}

// validate checks one match.
func (m *Match) validate(p problems) {
	m.Path.validate(p.at(".path"))
	if m.Method != "" && (!isToken(m.Method) || m.Method != strings.ToUpper(m.Method)) {
		p.at(".method").add(m.Method, "a method, in upper case")
	}
	for i := range m.Headers {
		m.Headers[i].validate(isToken, p.at(".headers[%d]", i))
	}
	for i := range m.Query {
		m.Query[i].validate(func(s string) bool { return s != "" && len(s) <= maxPattern }, p.at(".query[%d]", i))
	}
	if m.GRPC == nil {
		return
	}
	if m.Path != (PathMatch{}) || m.Method != "" || len(m.Query) > 0 {
		p.at(".grpc").add(raw("together with path, method or query"), "grpc, headers and caller alone")
	}
	for _, part := range []struct{ name, value string }{{"service", m.GRPC.Service}, {"method", m.GRPC.Method}} {
		at := p.at(".grpc.%s", part.name)
		switch {
		case m.GRPC.Regex:
			regex(part.value, at)
		case strings.ContainsAny(part.value, "/ \t\r\n") || len(part.value) > maxPattern:
			at.add(part.value, "a name without / and spaces, up to %d bytes", maxPattern)
		}
	}
}

// validate checks how a path is matched.
func (m *PathMatch) validate(p problems) {
	if boolInt(m.Exact != "")+boolInt(m.Prefix != "")+boolInt(m.Regex != "") > 1 {
		p.add(raw("with several of exact, prefix, regex"), "at most one")
	}
	if m.Exact != "" && !isPath(m.Exact) {
		p.at(".exact").add(m.Exact, wantPath)
	}
	if m.Prefix != "" && !isPath(m.Prefix) {
		p.at(".prefix").add(m.Prefix, wantPath)
	}
	regex(m.Regex, p.at(".regex"))
}

// regex checks an expression; "" is none.
func regex(text string, p problems) {
	if len(text) > maxPattern {
		p.add(text, "up to %d bytes", maxPattern)
		return
	}
	// Alone first: anchored, ")(" would compile.
	if _, err := regexp.Compile(text); err != nil {
		p.add(text, "a regular expression (%v)", err)
		return
	}
	if _, err := regexp.Compile(anchored(text)); err != nil {
		p.add(text, "a shorter regular expression (%v)", err)
	}
}

// validate checks one condition on a value.
func (v *ValueMatch) validate(isName func(string) bool, p problems) {
	if !isName(v.Name) {
		p.at(".name").add(v.Name, "a name")
	}
	if boolInt(v.Exact != "")+boolInt(v.Regex != "")+boolInt(v.Present) != 1 {
		p.add(v.Name, "exactly one of exact, regex and present")
	}
	if len(v.Exact) > 4*maxPattern {
		p.at(".exact").add(v.Exact, "up to %d bytes", 4*maxPattern)
	}
	regex(v.Regex, p.at(".regex"))
}

// validate checks what a split depends on.
func (k *SplitKey) validate(p problems) {
	if boolInt(k.Header != "")+boolInt(k.Cookie != "")+boolInt(k.Query != "")+boolInt(k.Caller) > 1 {
		p.add(raw("with several of header, cookie, query, caller"), "at most one")
	}
	if k.Header != "" && !isToken(k.Header) {
		p.at(".header").add(k.Header, "a header name")
	}
	if k.Cookie != "" && !isToken(k.Cookie) {
		p.at(".cookie").add(k.Cookie, "a cookie name")
	}
}

// percent checks a percentage; nil is 100.
func percent(v *float64, p problems) {
	if v != nil && !(*v >= 0 && *v <= 100) { // so that NaN is refused
		p.add(*v, "0 to 100")
	}
}

// timeout checks a timeout. A few nanoseconds are mostly a unit that was
// forgotten.
func timeout(d time.Duration, p problems) {
	if d > 0 && (d < minTimeout || d > maxTimeout) {
		p.add(d, "%v to %v, 0 for the service's, or less for none", minTimeout, maxTimeout)
	}
}
