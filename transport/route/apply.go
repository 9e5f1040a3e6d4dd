package route

import (
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// EditRequest changes the header of a request as rule and backend say. The
// header must be the caller's own; values that it holds are not changed, but
// replaced.
func (d *Decision) EditRequest(header map[string][]string) {
	if d.Rule != nil {
		d.Rule.RequestHeaders.apply(header)
	}
	if d.Backend != nil {
		d.Backend.RequestHeaders.apply(header)
	}
}

// EditResponse is EditRequest for the header of a response.
func (d *Decision) EditResponse(header map[string][]string) {
	if d.Rule != nil {
		d.Rule.ResponseHeaders.apply(header)
	}
	if d.Backend != nil {
		d.Backend.ResponseHeaders.apply(header)
	}
}

// EditsRequest and EditsResponse say whether there is anything to change.
func (d *Decision) EditsRequest() bool {
	return d.Rule != nil && !d.Rule.RequestHeaders.none() || d.Backend != nil && !d.Backend.RequestHeaders.none()
}

// EditsResponse is EditsRequest for the response.
func (d *Decision) EditsResponse() bool {
	return d.Rule != nil && !d.Rule.ResponseHeaders.none() || d.Backend != nil && !d.Backend.ResponseHeaders.none()
}

// none says that nothing is changed.
func (h *Headers) none() bool { return len(h.Set) == 0 && len(h.Add) == 0 && len(h.Remove) == 0 }

// apply makes the changes. Keys are canonical.
func (h *Headers) apply(to map[string][]string) {
	for name, value := range h.Set {
		to[name] = []string{value}
	}
	for name, value := range h.Add {
		to[name] = append(slices.Clip(to[name]), value)
	}
	for _, name := range h.Remove {
		delete(to, name)
	}
}

// canonical is a copy with keys in the form of net/http.
func (h Headers) canonical() Headers {
	c := Headers{Set: canonicalKeys(h.Set), Add: canonicalKeys(h.Add)}
	for _, name := range h.Remove {
		c.Remove = append(c.Remove, textproto.CanonicalMIMEHeaderKey(name))
	}
	return c
}

// canonicalKeys is a copy with keys in the form of net/http.
func canonicalKeys(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	c := make(map[string]string, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c[textproto.CanonicalMIMEHeaderKey(name)] = m[name]
	}
	return c
}

// RewritePath changes the path of u as the rule says; a percent-encoding that
// the caller chose stays where the path does. It says whether it did anything.
func (d *Decision) RewritePath(u *url.URL) bool {
	if d.Rule == nil || d.Rule.Rewrite == nil || d.Rule.Rewrite.Path == (PathEdit{}) {
		return false
	}
	d.Rule.Rewrite.Path.apply(u, d.Match)
	return true
}

// Location is where a Reroute sends the caller. Host is what the call is
// addressed to; u is its URL, which is not changed.
func (d *Decision) Location(u *url.URL, host string) string {
	if d.Rule == nil || d.Rule.Redirect == nil {
		return ""
	}
	r := d.Rule.Redirect
	to := url.URL{Scheme: u.Scheme, Host: host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	if to.Host == "" {
		to.Host = u.Host
	}
	name, port := splitHost(to.Host)
	if r.Scheme != "" {
		to.Scheme, port = r.Scheme, ""
	}
	if r.Host != "" {
		name = r.Host
	}
	if r.Port != 0 {
		port = strconv.Itoa(r.Port)
	}
	if port == "80" && to.Scheme == "http" || port == "443" && to.Scheme == "https" {
		port = ""
	}
	to.Host = name
	if port != "" {
		to.Host += ":" + port
	}
	if r.Path != (PathEdit{}) {
		r.Path.apply(&to, d.Match)
	}
	return to.String()
}

// RedirectStatus is the status of a Reroute.
func (d *Decision) RedirectStatus() int {
	if d.Rule == nil || d.Rule.Redirect == nil || d.Rule.Redirect.Status == 0 {
		return 302
	}
	return d.Rule.Redirect.Status
}

// splitHost cuts the port off. It leaves the brackets on an IPv6 address.
func splitHost(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host, ""
	}
	return host[:i], host[i+1:]
}

// apply changes the path of u, which m has matched.
func (e PathEdit) apply(u *url.URL, m *Match) {
	if e.Full != "" {
		u.Path, u.RawPath = e.Full, ""
		return
	}
	prefix := ""
	if m != nil {
		prefix = strings.TrimSuffix(m.Path.Prefix, "/")
	}
	raw := rawAfter(u.EscapedPath(), prefix, e.Prefix)
	u.Path, u.RawPath = replacePrefix(u.Path, prefix, e.Prefix), ""
	if u.EscapedPath() != raw {
		u.RawPath = raw
	}
}

// rawAfter is replacePrefix of an encoded path: it cuts as many elements as the
// prefix has. An encoded "/" may make the prefix longer than that; then the
// result is no encoding of the path, and EscapedPath passes it over.
func rawAfter(raw, prefix, with string) string {
	for range strings.Count(prefix, "/") {
		next := strings.IndexByte(raw[min(1, len(raw)):], '/')
		if next < 0 {
			raw = ""
			break
		}
		raw = raw[next+1:]
	}
	return joinPath((&url.URL{Path: with}).EscapedPath(), raw)
}

// replacePrefix replaces a prefix that path has, by the table of the Gateway
// API's HTTPPathModifier.
func replacePrefix(path, prefix, with string) string {
	return joinPath(with, strings.TrimPrefix(path, prefix))
}

// joinPath puts a replacement before what is left of a path.
func joinPath(with, rest string) string {
	if rest != "" {
		with = strings.TrimSuffix(with, "/")
	}
	if with += rest; with == "" || with[0] != '/' {
		with = "/" + with
	}
	return with
}
