package route

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rule reads one rule.
func (r *reader) rule(o *object) Rule {
	var rule Rule
	if o == nil {
		return rule
	}
	rule.Name = o.text("name", "")
	for _, m := range o.list("matches") {
		rule.Match = append(rule.Match, r.match(m.object()))
	}
	if len(rule.Match) == 0 && r.grpc() {
		rule.Match = []Match{{GRPC: &GRPCMatch{}}}
	}
	r.filters(o, &rule)
	for _, b := range o.list("backendRefs") {
		rule.Backends = append(rule.Backends, r.backend(b.object()))
	}
	if !r.grpc() {
		r.timeouts(o.child("timeouts"), &rule)
		rule.Retry = r.retry(o.child("retry"))
	}
	o.refuse("tulle does not keep sessions; a rule's key splits stably", "sessionPersistence")
	o.done()
	if len(rule.Backends) == 0 && rule.Redirect == nil {
		rule.Mirror, rule.Rewrite = nil, nil
		rule.Fixed = &Fixed{Status: 500}
		if r.grpc() {
			rule.Fixed.Status = 503
		}
	}
	return rule
}

// match reads one match.
func (r *reader) match(o *object) Match {
	var m Match
	for _, h := range o.list("headers") {
		m.Headers = append(m.Headers, value(h.object()))
	}
	if r.grpc() {
		m.GRPC = grpcMatch(o.child("method"))
		o.done()
		return m
	}
	for _, q := range o.list("queryParams") {
		m.Query = append(m.Query, value(q.object()))
	}
	m.Method = o.text("method", "")
	if p := o.child("path"); p != nil {
		m.Path = pathMatch(p)
	}
	o.done()
	return m
}

// pathMatch reads how a path is matched.
func pathMatch(o *object) PathMatch {
	defer o.done()
	path := o.text("value", "/")
	if path == "" {
		o.at(".value").add(path, wantPath)
		return PathMatch{}
	}
	switch kind := o.text("type", "PathPrefix"); kind {
	case "Exact":
		return PathMatch{Exact: o.decoded("value", path, theirPaths)}
	case "PathPrefix":
		return PathMatch{Prefix: o.decoded("value", path, theirPaths)}
	case "RegularExpression":
		return PathMatch{Regex: path}
	default:
		o.at(".type").add(kind, "Exact, PathPrefix or RegularExpression")
	}
	return PathMatch{}
}

// theirPaths is what the Gateway API lets stand in a path that is matched; what
// it refuses besides (HTTPPathMatch) would match no request that a client sends.
var theirPaths = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+$`)

// decoded is a path without its percent-encoding, which paths have there and not
// here; "/" if it cannot be decoded. Form is what it must look like, or nil.
func (o *object) decoded(key, path string, form *regexp.Regexp) string {
	plain, err := url.PathUnescape(path)
	switch {
	case err != nil || form != nil && !form.MatchString(path) || strings.Contains(strings.ToLower(path), "%2f"):
		o.at(".%s", key).add(path, "a path with percent-encoding, without %%2F, ? and #")
		return "/"
	case form != nil && dotted(path):
		o.at(".%s", key).add(path, "a path without elements . and ..")
		return "/"
	}
	return plain
}

// dotted says that an element of a path is "." or "..".
func dotted(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(e string) bool { return e == "." || e == ".." })
}

// value reads how a header or parameter is matched.
func value(o *object) ValueMatch {
	defer o.done()
	v := ValueMatch{Name: o.need("name")}
	text := o.need("value")
	switch kind := o.text("type", "Exact"); kind {
	case "Exact":
		v.Exact = text
	case "RegularExpression":
		v.Regex = text
	default:
		o.at(".type").add(kind, "Exact or RegularExpression")
	}
	return v
}

// grpcMatch reads how service and method are matched; all are without one.
func grpcMatch(o *object) *GRPCMatch {
	defer o.done()
	m := &GRPCMatch{Service: o.text("service", ""), Method: o.text("method", "")}
	switch kind := o.text("type", "Exact"); kind {
	case "Exact":
	case "RegularExpression":
		m.Regex = true
	default:
		o.at(".type").add(kind, "Exact or RegularExpression")
	}
	if o != nil && m.Service == "" && m.Method == "" {
		o.add(raw("without service and method"), "at least one of them")
	}
	return m
}

// backend reads a backendRef.
func (r *reader) backend(o *object) Backend {
	var b Backend
	if o == nil {
		return b
	}
	defer o.done()
	b.Service = r.service(o)
	if _, has := o.get("weight"); has {
		weight := o.number("weight", 1)
		b.Weight = &weight
	}
	var rule Rule
	r.filters(o, &rule)
	if rule.Mirror != nil || rule.Redirect != nil || rule.Rewrite != nil {
		o.at(".filters").add(raw("with mirror, redirect or rewrite"), "header modifiers only, at a backend")
	}
	b.RequestHeaders, b.ResponseHeaders = rule.RequestHeaders, rule.ResponseHeaders
	return b
}

// service reads a reference to a Service.
func (r *reader) service(o *object) string {
	if group := o.text("group", ""); group != "" && group != "core" {
		o.at(".group").add(group, `""`)
	}
	if kind := o.text("kind", "Service"); kind != "Service" {
		o.at(".kind").add(kind, "Service")
	}
	key, _ := r.key(o)
	return key
}

// timeouts reads the timeouts of a rule.
func (r *reader) timeouts(o *object, rule *Rule) {
	rule.Timeout, rule.AttemptTimeout = timeoutOf(o, "request"), timeoutOf(o, "backendRequest")
	o.done()
}

// timeoutOf reads a timeout; 0 is none there, and less than 0 here.
func timeoutOf(o *object, key string) time.Duration {
	if _, has := o.get(key); !has {
		return 0
	}
	if d := o.duration(key); d != 0 {
		return d
	}
	return -1
}

// retry reads the retry policy of a rule.
func (r *reader) retry(o *object) *Retry {
	if o == nil {
		return nil
	}
	defer o.done()
	to := &Retry{MinBackoff: o.duration("backoff")}
	for _, c := range o.list("codes") {
		to.Statuses = append(to.Statuses, c.integer(0))
	}
	if n, has := o.get("attempts"); has {
		switch repeats := o.number("attempts", 1); {
		case repeats < 0 || repeats > 9:
			n.bad("0 to 9")
		default:
			to.Attempts = repeats + 1
		}
	}
	return to
}

// duration reads a duration as GEP-2257 defines them; 0 without one.
func (o *object) duration(key string) time.Duration {
	n, has := o.get(key)
	if !has {
		return 0
	}
	text, _ := n.v.(string)
	d, err := time.ParseDuration(text)
	if err != nil || !regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`).MatchString(text) {
		n.bad("a duration such as 1m30s, of h, m, s and ms")
		return 0
	}
	return d
}
