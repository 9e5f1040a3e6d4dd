package route

import (
	"maps"
	"net/textproto"
	"slices"
	"strings"
)

// answer checks rewrite, redirect and fixed answer.
func (r *Rule) answer(p problems) {
	set := boolInt(r.Rewrite != nil) + boolInt(r.Redirect != nil) + boolInt(r.Fixed != nil)
	if set > 1 {
		p.add(raw("rewrite, redirect, fixed"), "at most one of the three")
	}
	if (r.Redirect != nil || r.Fixed != nil) && (len(r.Backends) > 0 || r.Mirror != nil) {
		p.at(".backends").add(len(r.Backends), "none, and no mirror, as the call is not sent")
	}
	if r.Rewrite != nil {
		if h := r.Rewrite.Host; h != "" && !isHost(h, true) {
			p.at(".rewrite.host").add(h, "a host or host:port")
		}
		if *r.Rewrite == (Rewrite{}) {
			p.at(".rewrite").add(raw("{}"), "a host or a path")
		}
		r.Rewrite.Path.validate(r.Match, p.at(".rewrite.path"))
	}
	if d := r.Redirect; d != nil {
		d.validate(p.at(".redirect"))
		d.Path.validate(r.Match, p.at(".redirect.path"))
	}
	if r.Fixed != nil {
		r.Fixed.validate(p.at(".fixed"))
	}
}

// validate checks changes to a retry policy.
func (r *Retry) validate(p problems) {
	if r == nil {
		return
	}
	if r.Attempts < 0 || r.Attempts > 10 {
		p.at(".attempts").add(r.Attempts, "1 to 10, or 0 for the policy's")
	}
	if r.MinBackoff < 0 || r.MinBackoff > maxDelay {
		p.at(".minBackoff").add(r.MinBackoff, "0 to %v", maxDelay)
	}
	if r.MaxBackoff < 0 || r.MaxBackoff > maxDelay {
		p.at(".maxBackoff").add(r.MaxBackoff, "0 to %v", maxDelay)
	}
	if r.MaxBackoff > 0 && r.MinBackoff > r.MaxBackoff {
		p.at(".minBackoff").add(r.MinBackoff, "at most maxBackoff, %v", r.MaxBackoff)
	}
	for i, s := range r.Statuses {
		if s < 400 || s > 599 {
			p.at(".statuses[%d]", i).add(s, "400 to 599")
		}
	}
	for i, code := range r.Codes {
		if !isCode(code) || code == "OK" {
			p.at(".codes[%d]", i).add(code, wantCode)
		}
	}
}

// validate checks header changes.
func (h *Headers) validate(p problems) {
	seen := map[string]string{}
	name := func(in, name string, p problems) {
		key := textproto.CanonicalMIMEHeaderKey(name)
		if other, twice := seen[key]; headerName(name, p) && twice {
			p.add(name, "each header once in set, add and remove; it is in %s", other)
		}
		seen[key] = in
	}
	for _, part := range []struct {
		in string
		m  map[string]string
	}{{"set", h.Set}, {"add", h.Add}} {
		for _, key := range slices.Sorted(maps.Keys(part.m)) {
			at := p.at(".%s[%q]", part.in, key)
			name(part.in, key, at)
			if !isHeaderValue(part.m[key]) {
				at.add(part.m[key], wantHeaderValue)
			}
		}
	}
	for i, key := range h.Remove {
		name("remove", key, p.at(".remove[%d]", i))
	}
}

// headerName notes a name that is none, or not for rules, and says whether all is
// well.
func headerName(name string, p problems) bool {
	switch {
	case !isToken(name):
		p.add(name, "a header name")
	case isFraming(textproto.CanonicalMIMEHeaderKey(name)):
		p.add(name, "a header that is not of the message's framing, nor of tulle")
	default:
		return true
	}
	return false
}

const wantHeaderValue = "a header value without control characters, up to 4096 bytes"

// isHeaderValue says that a value can be sent.
func isHeaderValue(s string) bool {
	return len(s) <= 4*maxPattern && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// isFraming says that a header is not for rules: others rely on it.
func isFraming(key string) bool {
	switch key {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Te", "Upgrade", "Keep-Alive",
		"Proxy-Connection", "Grpc-Timeout":
		return true
	}
	return strings.HasPrefix(key, "Tulle-")
}

// validate checks a change of a path, which the matches of a rule find.
func (e *PathEdit) validate(matches []Match, p problems) {
	if e.Full != "" && e.Prefix != "" {
		p.add(raw("with full and prefix"), "at most one")
	}
	if e.Full != "" && !isPath(e.Full) {
		p.at(".full").add(e.Full, wantPath)
	}
	if e.Prefix == "" {
		return
	}
	if !isPath(e.Prefix) {
		p.at(".prefix").add(e.Prefix, wantPath+"; / takes the prefix away")
	}
	for i := range matches {
		if m := &matches[i]; m.Path.Exact != "" || m.Path.Regex != "" || m.GRPC != nil {
			p.at(".prefix").add(e.Prefix, "full, as match[%d] is not by prefix", i)
		}
	}
}

// validate checks a redirect.
func (r *Redirect) validate(p problems) {
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		p.at(".scheme").add(r.Scheme, "http or https")
	}
	if r.Host != "" && !isHost(r.Host, false) {
		p.at(".host").add(r.Host, "a host without port")
	}
	if r.Port < 0 || r.Port > 65535 {
		p.at(".port").add(r.Port, "1 to 65535, or 0 for the usual one")
	}
	if !slices.Contains([]int{0, 301, 302, 303, 307, 308}, r.Status) {
		p.at(".status").add(r.Status, "301, 302, 303, 307 or 308")
	}
	if *r == (Redirect{}) {
		p.add(raw("{}"), "somewhere to redirect to")
	}
}

// validate checks a fixed answer.
func (f *Fixed) validate(p problems) {
	if f.Status < 200 || f.Status > 599 {
		p.at(".status").add(f.Status, "200 to 599")
	}
	if len(f.Body) > 64<<10 {
		p.at(".body").add(len(f.Body), "up to %d bytes", 64<<10)
	}
	if f.Body != "" && (f.Status == 204 || f.Status == 304) {
		p.at(".body").add(len(f.Body), "none, as status %d has no body", f.Status)
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		at, key := p.at(".headers[%q]", name), textproto.CanonicalMIMEHeaderKey(name)
		if headerName(name, at) && seen[key] {
			at.add(name, "each header once")
		}
		seen[key] = true
		if !isHeaderValue(f.Headers[name]) {
			at.add(f.Headers[name], wantHeaderValue)
		}
	}
}

// validate checks a fault.
func (f *Fault) validate(p problems) {
	if f == nil {
		return
	}
	if f.Only != nil {
		f.Only.validate(isToken, p.at(".only"))
	}
	if f.Delay < 0 || f.Delay > maxDelay {
		p.at(".delay").add(f.Delay, "0 to %v", maxDelay)
	}
	if f.AbortStatus != 0 && (f.AbortStatus < 200 || f.AbortStatus > 599) {
		p.at(".abortStatus").add(f.AbortStatus, "200 to 599")
	}
	if f.AbortCode != "" && !isCode(f.AbortCode) {
		p.at(".abortCode").add(f.AbortCode, wantCode)
	}
	if f.AbortStatus != 0 && f.AbortCode != "" {
		p.at(".abortCode").add(f.AbortCode, "none, as abortStatus is set")
	}
	if f.Delay == 0 && f.AbortStatus == 0 && f.AbortCode == "" {
		p.add(raw("{}"), "a delay or an abort")
	}
	percent(f.DelayPercent, p.at(".delayPercent"))
	percent(f.AbortPercent, p.at(".abortPercent"))
}
