package route

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The number of headers and of query parameters that a decision remembers.
const (
	headerSlots = 6
	querySlots  = 3
)

// view is what was found out about a call; what is looked up is kept. It has no
// pointer to the Input: the compiler takes what regular expressions are given to
// outlive the call, and would have every Input on the heap with it.
type view struct {
	path, method string
	service, rpc string // of a gRPC call
	headers      [headerSlots][]string
	queries      [querySlots]string
	gotHeaders   uint8 // a bit for each slot that was looked up
	gotQueries   uint8
	hasQuery     uint8 // a bit for each that is there
}

// fill completes what an Input may leave out.
func (v *view) fill(in *Input) {
	v.path, v.method = in.Path, in.Method
	if v.path == "" {
		v.path = "/"
	}
	switch {
	case in.GRPC:
		v.method = "POST"
		v.service, v.rpc, _ = strings.Cut(strings.TrimPrefix(v.path, "/"), "/")
	case v.method == "":
		v.method = "GET"
	}
}

// under says that path is prefix or below it. The prefix has no "/" at its end.
func under(path, prefix string) bool {
	// The cheap look at one byte first: it sorts out nearly all.
	n := len(prefix)
	if len(path) < n || len(path) > n && path[n] != '/' {
		return false
	}
	return path[:n] == prefix
}

// hostFits says that the group is for the host.
func (g *group) hostFits(host string) bool {
	if g.host == "" {
		return true
	}
	host = hostOnly(host)
	if !g.wild {
		return strings.EqualFold(host, g.host)
	}
	cut := len(host) - len(g.host)
	return cut > 0 && strings.EqualFold(host[cut:], g.host)
}

// hostOnly cuts port and trailing dot off.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return strings.TrimSuffix(host, ".")
}

// pathFits says that the path does.
func (c *candidate) pathFits(path string) bool {
	switch c.kind {
	case byExact:
		return path == c.path
	case byRegex:
		return c.pathRe.MatchString(path)
	}
	return c.path == "" || under(path, c.path)
}

// methodFits says that the method does.
func (c *candidate) methodFits(method string) bool {
	return c.match.Method == "" || c.match.Method == method
}

// fits says that service and method do.
func (g *grpcCond) fits(v *view) bool {
	return nameFits(v.service, g.service, g.serviceRe) && nameFits(v.rpc, g.method, g.methodRe)
}

// nameFits says that a name matches; "" matches all.
func nameFits(name, want string, re *regexp.Regexp) bool {
	if re != nil {
		return re.MatchString(name)
	}
	return want == "" || want == name
}

// portFits says that the port does that the call is made to.
func (c *candidate) portFits(in *Input) bool {
	return len(c.ports) == 0 || slices.Contains(c.ports, in.port())
}

// port is the port that a call is made to; 0 if it is none.
func (in *Input) port() int {
	address := in.Address
	if address == "" {
		address = in.Host
	}
	if _, text := splitHost(address); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return 0
		}
		return int(port)
	}
	if strings.EqualFold(in.Scheme, "https") {
		return 443
	}
	return 80
}

// valuesFit says that labels, headers, query and port do.
func (c *candidate) valuesFit(in *Input, v *view) bool {
	for i := range c.headers {
		if !c.headers[i].fitsHeader(in, v.header(in, &c.headers[i])) {
			return false
		}
	}
	for i := range c.query {
		if value, has := v.query(in, &c.query[i]); !has || !c.query[i].fits(value) {
			return false
		}
	}
	return c.never == "" && c.portFits(in)
}

// fits says that a value does.
func (c *valueCond) fits(value string) bool {
	switch {
	case c.any:
		return true
	case c.re != nil:
		return c.re.MatchString(value)
	}
	return value == c.exact
}

// fitsHeader says that one of the values of a header does. The host is not among
// the headers of a Go request.
func (c *valueCond) fitsHeader(in *Input, values []string) bool {
	for _, v := range values {
		if c.fits(v) {
			return true
		}
	}
	return c.name == "Host" && len(values) == 0 && in.Host != "" && c.fits(in.Host)
}

// header looks up the values of a header.
func (v *view) header(in *Input, c *valueCond) []string {
	if c.slot >= headerSlots {
		return in.Header[c.name]
	}
	return v.headerIn(in, c.slot, c.name)
}

// headerIn is header for a name with a slot.
func (v *view) headerIn(in *Input, slot int, name string) []string {
	if bit := uint8(1) << slot; v.gotHeaders&bit == 0 {
		v.gotHeaders |= bit
		v.headers[slot] = in.Header[name]
	}
	return v.headers[slot]
}

// query looks up the first value of a query parameter.
func (v *view) query(in *Input, c *valueCond) (value string, has bool) {
	if c.slot >= querySlots {
		return queryValue(in.RawQuery, c.name)
	}
	bit := uint8(1) << c.slot
	if v.gotQueries&bit == 0 {
		v.gotQueries |= bit
		if v.queries[c.slot], has = queryValue(in.RawQuery, c.name); has {
			v.hasQuery |= bit
		}
	}
	return v.queries[c.slot], v.hasQuery&bit != 0
}

// queryValue finds the first value of a parameter as url.ParseQuery would,
// without a map: parts that it refuses are passed over.
func queryValue(query, name string) (value string, has bool) {
	escaped := strings.IndexByte(query, '%') >= 0 || strings.IndexByte(query, '+') >= 0
	for query != "" {
		part := query
		if i := strings.IndexByte(query, '&'); i >= 0 {
			part, query = query[:i], query[i+1:]
		} else {
			query = ""
		}
		if escaped {
			if value, has = partValue(part, name); has {
				return value, true
			}
			continue
		}
		// Most parts are of others, which one look at a byte tells.
		n := len(name)
		if len(part) < n || len(part) > n && part[n] != '=' || part[:n] != name || strings.IndexByte(part, ';') >= 0 {
			continue
		}
		if part != "" {
			return part[min(n+1, len(part)):], true
		}
	}
	return "", false
}

// partValue is the value in a part of a query with escapes, if it is of the
// parameter.
func partValue(part, name string) (value string, has bool) {
	if part == "" || strings.IndexByte(part, ';') >= 0 {
		return "", false
	}
	key, raw, _ := strings.Cut(part, "=")
	if key != name && unescape(key, "") != name {
		return "", false
	}
	value, err := url.QueryUnescape(raw)
	return value, err == nil
}

// unescape decodes the name of a parameter that has escapes. Without, and where
// they are wrong, it returns instead.
func unescape(key, instead string) string {
	if !strings.ContainsAny(key, "%+") {
		return instead
	}
	if decoded, err := url.QueryUnescape(key); err == nil {
		return decoded
	}
	return instead
}
