package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// forms are the targets that Parse knows, for its errors.
const forms = "want static://host:port,host:port, file:///path, dns://host:port or srv://name, with ?subset=20 or without"

// Parse returns the Resolver that a target names, with its default settings:
//
//	static://10.0.0.1:80,10.0.0.2:80   Static
//	file:///etc/mesh/users.json        File, the path is absolute
//	dns://users.internal:8080          DNS; without a port the endpoints have none
//	srv://_http._tcp.users.internal    SRV; the records have the ports
//
// With ?subset=20 behind it, a target names a Subset of that Size.
//
// Paths are percent-decoded as in URLs. A user, any other query or a fragment, a
// path after a name, a port after that of SRV records, and any other scheme are
// errors that name the target and what is allowed. Nothing is looked up or opened.
func Parse(target string) (Resolver, error) {
	r, err := parse(target)
	if err != nil {
		return nil, fmt.Errorf("discovery: target %q: %w; %s", shown(target), err, forms)
	}
	return r, nil
}

// parse takes the target apart itself: net/url refuses lists of addresses, and
// its errors would print a password.
func parse(target string) (Resolver, error) {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok {
		return nil, errors.New("no scheme")
	}
	if authority, _, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
		return nil, errors.New("a user is not allowed") // before all else, as passwords may hold anything
	}
	if strings.Contains(rest, "#") {
		return nil, errors.New("a fragment is not allowed")
	}
	rest, query, asks := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	r, err := parseSource(scheme, authority, path)
	if err != nil || !asks {
		return r, err
	}
	return parseSubset(r, query)
}

// parseSource takes what stands before a query.
func parseSource(scheme, authority, path string) (Resolver, error) {
	switch strings.ToLower(scheme) {
	case "static":
		return parseStatic(authority + path)
	case "file":
		return parseFile(authority, path)
	case "dns":
		return parseDNS(authority, path)
	case "srv":
		return parseSRV(authority, path)
	}
	return nil, fmt.Errorf("unknown scheme %q", scheme)
}

// parseSubset takes a query, of which there is one.
func parseSubset(r Resolver, query string) (Resolver, error) {
	text, ok := strings.CutPrefix(query, "subset=")
	if !ok {
		return nil, fmt.Errorf("query %q: want none, or subset=20 or another number", query)
	}
	size, err := strconv.ParseUint(text, 10, 32)
	if err != nil || size < 1 || size > maxSubset {
		return nil, fmt.Errorf("subset %q: want 1 to %d", text, maxSubset)
	}
	return Subset{Resolver: r, Size: int(size)}, nil
}

// These return untyped nils with their errors: a nil Static in a Resolver
// would not be nil.

func parseStatic(list string) (Resolver, error) {
	s, err := ParseStatic(list)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func parseFile(authority, path string) (Resolver, error) {
	if authority != "" {
		return nil, fmt.Errorf("%q stands where a host would: the path must be absolute, after three slashes", authority)
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	if path == "" || strings.HasSuffix(path, "/") {
		return nil, fmt.Errorf("path %q does not name a file", path)
	}
	f := File{Path: path}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return f, nil
}

func parseDNS(authority, path string) (Resolver, error) {
	host, port, err := parseName(authority, path)
	if err != nil {
		return nil, err
	}
	d := DNS{Host: host, Port: port}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return d, nil
}

func parseSRV(authority, path string) (Resolver, error) {
	name, port, err := parseName(authority, path)
	if err != nil {
		return nil, err
	}
	if port != "" {
		return nil, fmt.Errorf("a port is not allowed, got %q: SRV records have their own", port)
	}
	s := SRV{Name: name}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// parseName takes what stands behind the scheme of targets that are looked up.
func parseName(authority, path string) (host, port string, err error) {
	switch {
	case authority == "":
		return "", "", errors.New("no host after two slashes")
	case path != "":
		return "", "", fmt.Errorf("a path is not allowed, got %q", path)
	}
	return splitHost(authority)
}

// splitHost takes host, host:port, [v6] and [v6]:port. An IPv6 zone is written
// %25zone, as in URLs.
func splitHost(authority string) (host, port string, err error) {
	text, err := url.PathUnescape(authority)
	if err != nil {
		return "", "", fmt.Errorf("host: %w", err)
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), "", nil
	}
	if !strings.Contains(text, ":") {
		return text, "", nil
	}
	host, port, err = net.SplitHostPort(text)
	switch {
	case err != nil:
		return "", "", err
	case host == "":
		return "", "", errors.New("no host before the port")
	case port == "":
		return "", "", errors.New("no port after the colon")
	}
	return host, port, nil
}

// shown is the target without a user and password, as errors end up in logs.
func shown(target string) string {
	scheme, rest, _ := strings.Cut(target, "://")
	authority, path, slash := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = "***" + authority[i:]
	} else {
		return target
	}
	if slash {
		path = "/" + path
	}
	return scheme + "://" + authority + path
}
