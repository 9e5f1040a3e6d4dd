package transport

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/setting"
	"github.com/tullemesh/tulle/transport/route"
)

// problems collects everything that is wrong with a Config, so that it can be
// mended in one go.
type problems struct {
	at   string
	errs []error
}

// add notes that a field has a value that cannot be used.
func (p *problems) add(field string, value any, want string) {
	p.errs = append(p.errs, &setting.Error{Package: "transport", Field: p.at + field, Value: value, Want: want})
}

// wrap notes an error that a leaf found in a field.
func (p *problems) wrap(field string, err error) {
	if err != nil {
		p.errs = append(p.errs, &setting.Within{Package: "transport", Field: p.at + field, Err: err})
	}
}

// Validate returns an error that names every setting that cannot be used, with
// its value and what is allowed, or nil. New calls it.
func (c *Config) Validate() error {
	p := &problems{at: "Defaults."}
	c.Defaults.validate(p)
	p.at = ""
	if c.Unknown > Refuse {
		p.add("Unknown", c.Unknown, "Pass, Resolve or Refuse")
	}
	p.wrap("Telemetry", c.Telemetry.Validate())
	for scheme, f := range c.Resolvers {
		if scheme == "" || strings.ContainsAny(scheme, ":/?#") || scheme != strings.ToLower(scheme) {
			p.add("Resolvers", fmt.Sprintf("%q", scheme), "a scheme in lower case, without \"://\"")
		}
		if f == nil {
			p.add("Resolvers", fmt.Sprintf("%q: nil", scheme), "a function")
		}
	}
	seen := make(map[string]string, len(c.Services))
	for _, name := range sortedKeys(c.Services) {
		p.at = fmt.Sprintf("Services[%q].", name)
		key, err := serviceKey(name)
		if p.wrap("name", err); err != nil {
			continue
		}
		if other, twice := seen[key]; twice {
			p.add("name", fmt.Sprintf("%q", name), fmt.Sprintf("another name than that of %q, which it equals", other))
		}
		seen[key] = name
		c.validatePlaces(c.Services[name], p)
	}
	if _, err := route.New(c.routing()); err != nil {
		p.errs = append(p.errs, err)
	}
	return errors.Join(p.errs...)
}

// validatePlaces checks the destinations of a service.
func (c *Config) validatePlaces(s Service, p *problems) {
	if len(s.Environments) == 0 {
		c.validateService(&s, p)
		return
	}
	if s.Target != "" || s.Resolver != nil {
		p.add("Target", fmt.Sprintf("%q", s.Target), "neither Target nor Resolver, as Environments is set")
	}
	s.Policy.validate(p)
	service := p.at
	for _, env := range sortedKeys(s.Environments) {
		p.at = fmt.Sprintf("%sEnvironments[%q].", service, env)
		at := s.at(s.Environments[env])
		c.validateService(&at, p)
	}
	p.at = service
}

// validateService checks one service.
func (c *Config) validateService(s *Service, p *problems) {
	switch {
	case s.Target == "" && s.Resolver == nil:
		p.add("Target", `""`, "a target, or a Resolver")
	case s.Target != "" && s.Resolver != nil:
		p.add("Target", fmt.Sprintf("%q", s.Target), "none, as Resolver is set")
	case s.Target != "":
		_, err := c.resolver(s.Target)
		p.wrap("Target", err)
	}
	if s.Host != "" && (strings.ContainsAny(s.Host, " /?#@\t\r\n") || strings.Contains(s.Host, "://")) {
		p.add("Host", fmt.Sprintf("%q", s.Host), "host or host:port")
	}
	if strings.ContainsAny(s.TLSServerName, " /:?#@\t\r\n") {
		p.add("TLSServerName", fmt.Sprintf("%q", s.TLSServerName), "a host name")
	}
	if s.Protocol > H2C {
		p.add("Protocol", s.Protocol, "Auto or H2C")
	}
	secure := s.TLS != nil || s.TLSServerName != ""
	if s.Protocol == H2C && secure {
		p.add("Protocol", "H2C", "Auto, as TLS is set")
	}
	if _, can := c.Base.(EndpointRoundTripper); !isTransport(c.Base) && !can && (secure || s.Protocol == H2C) {
		p.add("TLS", "and Protocol", fmt.Sprintf(
			"none, as the Base, a %T, is neither an *http.Transport nor an EndpointRoundTripper", c.Base))
	}
	effective := s.Policy.over(c.Defaults)
	s.Policy.validate(p)
	if effective.Timeout > 0 && effective.AttemptTimeout > effective.Timeout {
		p.add("Policy.AttemptTimeout", effective.AttemptTimeout, fmt.Sprintf("at most Timeout, %v", effective.Timeout))
	}
}

// validate checks the fields of a policy that are set.
func (p Policy) validate(to *problems) {
	durationIn(to, "Timeout", p.Timeout)
	durationIn(to, "AttemptTimeout", p.AttemptTimeout)
	if p.Timeout > 0 && p.AttemptTimeout > p.Timeout {
		to.add("AttemptTimeout", p.AttemptTimeout, fmt.Sprintf("at most Timeout, %v", p.Timeout))
	}
	if p.Retry != nil {
		to.wrap("Retry", p.Retry.Validate())
	}
	if p.Ejection != nil {
		to.wrap("Ejection", p.Ejection.Validate())
	}
	if p.Breaker != nil {
		to.wrap("Breaker", p.Breaker.Validate())
	}
	if p.Locality != nil {
		to.wrap("Locality", p.Locality.Validate())
	}
	if p.Limit != nil {
		to.wrap("Limit", p.Limit.Validate())
	}
}

// durationIn checks a timeout. A few nanoseconds are mostly a unit that was
// forgotten.
func durationIn(p *problems, field string, d time.Duration) {
	if d > 0 && (d < minTimeout || d > maxTimeout) {
		p.add(field, d, fmt.Sprintf("%v to %v, 0 for the default, or less for none", minTimeout, maxTimeout))
	}
}

// isTransport says that base is one that can be cloned for each endpoint.
func isTransport(base http.RoundTripper) bool {
	if base == nil {
		return true
	}
	t, ok := base.(*http.Transport)
	return ok && t != nil
}

// resolver makes the resolver of a target.
func (c *Config) resolver(target string) (discovery.Resolver, error) {
	scheme, _, ok := strings.Cut(target, "://")
	f := c.Resolvers[strings.ToLower(scheme)]
	if !ok || f == nil {
		r, err := discovery.Parse(target)
		if err != nil && len(c.Resolvers) > 0 {
			err = fmt.Errorf("%w (Resolvers has %s)", err, strings.Join(sortedKeys(c.Resolvers), ", "))
		}
		if err != nil {
			return nil, err
		}
		return c.guarded(r)
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, errors.Unwrap(err))
	}
	r, err := f(u)
	if err == nil && r == nil {
		err = fmt.Errorf("target %q: its ResolverFunc returned no Resolver", target)
	}
	return r, err
}

// guarded makes a resolver of names keep to RefuseAddrs.
func (c *Config) guarded(r discovery.Resolver) (discovery.Resolver, error) {
	switch d := r.(type) {
	case discovery.DNS:
		d.RefuseAddrs = c.RefuseAddrs
		return d, d.Validate()
	case discovery.SRV:
		d.RefuseAddrs = c.RefuseAddrs
		return d, d.Validate()
	case discovery.Subset:
		inner, err := c.guarded(d.Resolver)
		d.Resolver = inner
		return d, err
	}
	return r, nil
}

// serviceKey is the form of a service's name in which it is looked up.
func serviceKey(name string) (string, error) {
	if name == "" {
		return "", errors.New(`"": want a host or host:port`)
	}
	if strings.Contains(name, "://") || strings.ContainsFunc(name, notInName) {
		return "", fmt.Errorf("%q: want a host or host:port, without scheme or path", name)
	}
	key := canonicalHost(name)
	host := key
	if h, port, err := net.SplitHostPort(key); err == nil {
		if host = h; port == "" {
			return "", fmt.Errorf("%q: empty port", name)
		}
	} else if strings.Count(key, ":") == 1 {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	if strings.Trim(host, "[]") == "" {
		return "", fmt.Errorf("%q: no host", name)
	}
	return key, nil
}

// notInName tells what would make a service's name another one in a URL.
func notInName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("/?#@%\\\"<>^`{|}", r)
}

// canonicalHost lower-cases a host or host:port and cuts the trailing dot of
// the host.
func canonicalHost(s string) string {
	s = strings.ToLower(s)
	if host, port, ok := splitPort(s); ok {
		return strings.TrimRight(host, ".") + ":" + port
	}
	return strings.TrimRight(s, ".")
}

// splitPort cuts the port off a host:port without allocating. It leaves the
// brackets on an IPv6 address.
func splitPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.LastIndexByte(s, ']') > i || s[0] != '[' && strings.IndexByte(s, ':') != i {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// sortedKeys makes errors come in the same order each time.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
