package config

import (
	"cmp"
	"crypto/tls"
	"maps"
	"net/url"
	"reflect"
	"strings"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// A builder makes the settings of package transport from sections, over those
// that the program has.
type builder struct {
	*decoder
	base   *transport.Config
	source *source
	memo   *memo
	notes  *problems // warnings

	gateways []gatewayRoute // those in the file itself
}

// config puts the file over the base.
func (b *builder) config(f *fileSection) transport.Config {
	cfg := *b.base
	cfg.Defaults = b.policy("defaults", &f.Defaults.policySection, b.base.Defaults, nil)
	cfg.RefuseAddrs = append(cfg.RefuseAddrs[:len(cfg.RefuseAddrs):len(cfg.RefuseAddrs)], f.RefuseAddrs...)
	switch f.Unknown {
	case "pass":
		cfg.Unknown = transport.Pass
	case "resolve":
		cfg.Unknown = transport.Resolve
	case "refuse":
		cfg.Unknown = transport.Refuse
	}
	b.routing(f, &cfg)
	shared := b.tls(f.Defaults.TLS, where{"defaults.tls", "defaults.tls"})
	cfg.Services = maps.Clone(b.base.Services)
	if cfg.Services == nil {
		cfg.Services = map[string]transport.Service{}
	}
	for _, name := range sorted(f.Services) {
		section := f.Services[name]
		known, _ := spelled(b.base.Services, name)
		delete(cfg.Services, known)
		s := b.service(&section, b.base.Services[known], name, cfg.RefuseAddrs)
		if f.Defaults.TLS != nil && section.TLS == nil && s.TLS == nil {
			share(&s, shared, f.Defaults.TLS.ServerName)
		}
		cfg.Services[name] = s
		if hasFile(&s) {
			cfg.Resolvers = withFiles(b.base.Resolvers)
		}
	}
	b.attach(append(b.gateways, b.routeFiles(f.RouteFiles)...), &cfg)
	return cfg
}

// share gives a service, or each of its destinations that has none, the TLS
// settings of the defaults. Cleartext has no use for them.
func share(s *transport.Service, c *tls.Config, serverName string) {
	if len(s.Environments) == 0 && s.Protocol != transport.H2C {
		s.TLS, s.TLSServerName = c, cmp.Or(s.TLSServerName, serverName)
	}
	s.Environments = maps.Clone(s.Environments)
	for env, d := range s.Environments {
		if d.TLS == nil && max(d.Protocol, s.Protocol) != transport.H2C {
			d.TLS, d.TLSServerName = c, cmp.Or(d.TLSServerName, s.TLSServerName, serverName)
			s.Environments[env] = d
		}
	}
}

// hasFile says that a target of a service is the URL of a file.
func hasFile(s *transport.Service) bool {
	is := func(target string) bool { return strings.HasPrefix(strings.ToLower(target), "file:") }
	for _, d := range s.Environments {
		if is(d.Target) {
			return true
		}
	}
	return is(s.Target)
}

// service puts the section of a service over that of the program.
func (b *builder) service(from *serviceSection, s transport.Service, name string, refuse addrsSection) transport.Service {
	at := where{}.field(&field{name: "Services", key: "services"}).entry(name)
	if from.Target != nil {
		s.Target, s.Resolver = b.target(from.Target, refuse)
	} else if s.Target == "" && s.Resolver == nil && from.Environments == nil && s.Environments == nil && !b.failed[at.path] && !b.failed[at.path+".target"] {
		b.failed[at.path+".target"] = true
		b.probs.add(b.places[at.path], "the key target is missing: want a URL such as dns://host:port, or a mapping")
	}
	if from.Host != "" {
		s.Host = from.Host
	}
	switch from.Protocol {
	case "auto":
		s.Protocol = transport.Auto
	case "h2c":
		s.Protocol = transport.H2C
	}
	if from.TLS != nil {
		s.TLS, s.TLSServerName = b.tls(from.TLS, where{at.key + ".tls", at.path + ".tls"}), from.TLS.ServerName
	}
	s.External = s.External || from.External
	b.environments(from, &s, at, refuse)
	s.Policy = b.policy(at.path, &from.policySection, s.Policy, &b.base.Defaults)
	return s
}

// policy puts a section over the policy of the program. Functions of the program
// stay: those at the same place, or else those of its defaults.
func (b *builder) policy(path string, from *policySection, p transport.Policy, defaults *transport.Policy) transport.Policy {
	if defaults == nil {
		defaults = &transport.Policy{}
	}
	if from.Timeout != 0 {
		p.Timeout = from.Timeout
	}
	if from.AttemptTimeout != 0 {
		p.AttemptTimeout = from.AttemptTimeout
	}
	p.DarkDeadlines = p.DarkDeadlines || from.DarkDeadlines
	if from.Balancer != nil && from.Balancer.policy != nil {
		p.Balancer = from.Balancer.policy
	}
	if from.Retry != nil {
		p.Retry = over(from.Retry, p.Retry, defaults.Retry)
		if from.Retry.Budget != nil {
			p.Retry.Budget = retry.BudgetConfig(*from.Retry.Budget)
		}
	}
	if from.Ejection != nil {
		p.Ejection = over(from.Ejection, p.Ejection, defaults.Ejection)
	}
	if from.Breaker != nil {
		p.Breaker = b.memo.breaker(path, over(from.Breaker, p.Breaker, defaults.Breaker))
	}
	if from.Locality != nil {
		p.Locality = over(from.Locality, p.Locality)
	}
	if from.Limit != nil {
		p.Limit = over(from.Limit, p.Limit, defaults.Limit)
	}
	return p
}

// over makes the settings of a section, with the functions and interfaces of the
// first of the others that is there: a file cannot say these.
func over[T any](section any, others ...*T) *T {
	c := new(T)
	for _, other := range others {
		if other == nil {
			continue
		}
		to, from := reflect.ValueOf(c).Elem(), reflect.ValueOf(other).Elem()
		for i := range to.NumField() {
			if kind := to.Field(i).Kind(); kind == reflect.Func || kind == reflect.Interface {
				to.Field(i).Set(from.Field(i))
			}
		}
		break
	}
	assign(c, section)
	return c
}

// These say at compile time that the leaves are what the sections mirror.
var (
	_ = over[retry.Config]
	_ = over[breaker.Config]
	_ = over[breaker.OutlierConfig]
	_ = over[limit.Config]
	_ = over[transport.Locality]
)

// target makes the target or the resolver of a service. A URL stays one, so that
// package transport checks and compares it.
func (b *builder) target(t *targetSection, refuse addrsSection) (string, discovery.Resolver) {
	if t.kind == "url" {
		return t.url, nil
	}
	return "", b.resolver(t, refuse)
}

// resolver makes a resolver, or notes why it cannot and returns nil.
func (b *builder) resolver(t *targetSection, refuse addrsSection) discovery.Resolver {
	var r discovery.Resolver
	var err error
	text := t.url
	switch t.kind {
	case "url":
		r, err = b.parse(t.url)
	case "static":
		r = discovery.Static(b.endpoints(t.Static))
	case "file":
		text = t.File
		f := fileTarget{Path: b.source.abs(t.File), Interval: t.Interval}
		r, err = f, discovery.File{Path: f.Path, Interval: f.Interval}.Validate()
	case "dns":
		text = t.DNS
		r, err = discovery.Parse("dns://" + t.DNS)
	case "srv":
		text = t.SRV
		r, err = discovery.Parse("srv://" + t.SRV)
	case "prefer":
		r = b.joined(t, t.Prefer, discovery.Prefer, refuse)
	case "merge":
		r = b.joined(t, t.Merge, discovery.Merge, refuse)
	default:
		return nil // it was said why
	}
	if err == nil {
		r, err = guarded(r, t, refuse)
	}
	if err != nil {
		b.wrong(t.where, t.node, text, "a target", err)
		return nil
	}
	if t.Subset != 0 {
		r = discovery.Subset{Resolver: r, Size: t.Subset, ByZone: t.ByZone}
	} else if t.ByZone {
		b.bad(t.node, t.where, "the key byZone: want subset beside it")
	}
	if t.Interval != 0 && t.kind != "file" && t.kind != "dns" && t.kind != "srv" {
		b.bad(t.node, t.where, "the key interval: want none, as nothing is looked up by %s", t.kind)
	}
	return r
}

// joined makes the resolver of a list of targets.
func (b *builder) joined(t *targetSection, list []targetSection, join func(...discovery.Resolver) discovery.Resolver, refuse addrsSection) discovery.Resolver {
	var parts []discovery.Resolver
	for i := range list {
		if r := b.resolver(&list[i], refuse); r != nil {
			parts = append(parts, r)
		}
	}
	if len(list) == 0 {
		b.bad(t.node, t.where, "an empty list: want one target or more")
	}
	return join(parts...)
}

// parse makes the resolver of a URL that is part of a list.
func (b *builder) parse(target string) (discovery.Resolver, error) {
	scheme, _, _ := strings.Cut(target, "://")
	f := withFiles(b.base.Resolvers)[strings.ToLower(scheme)]
	if f == nil {
		return discovery.Parse(target)
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	return f(u)
}

// guarded gives a resolver of names what the file says about all of them.
func guarded(r discovery.Resolver, t *targetSection, refuse addrsSection) (discovery.Resolver, error) {
	switch d := r.(type) {
	case discovery.DNS:
		d.RefuseAddrs, d.Interval = refuse, t.Interval
		return d, d.Validate()
	case discovery.SRV:
		d.RefuseAddrs, d.Interval = refuse, t.Interval
		return d, d.Validate()
	case discovery.Subset:
		inner, err := guarded(d.Resolver, t, refuse)
		d.Resolver = inner
		return d, err
	}
	return r, nil
}

// withFiles adds the resolver of file targets, which reads YAML as well as JSON,
// unless the program has one.
func withFiles(resolvers map[string]transport.ResolverFunc) map[string]transport.ResolverFunc {
	all := map[string]transport.ResolverFunc{"file": func(target *url.URL) (discovery.Resolver, error) {
		r, err := discovery.Parse(target.String())
		return readsYAML(r), err
	}}
	maps.Copy(all, resolvers)
	return all
}

// readsYAML is a resolver with the files in it read as YAML.
func readsYAML(r discovery.Resolver) discovery.Resolver {
	switch r := r.(type) {
	case discovery.File:
		return fileTarget{Path: r.Path, Interval: r.Interval}
	case discovery.Subset:
		r.Resolver = readsYAML(r.Resolver)
		return r
	}
	return r
}

// spelled finds a service by another spelling of its name.
func spelled(services map[string]transport.Service, name string) (string, bool) {
	for _, known := range sorted(services) {
		if canonical(known) == canonical(name) {
			return known, true
		}
	}
	return "", false
}

// canonical is the form in which services are looked up: lower case, without the
// trailing dot of the host.
func canonical(name string) string {
	name = strings.ToLower(name)
	if i := strings.LastIndexByte(name, ':'); i >= 0 && strings.LastIndexByte(name, ']') < i && (name[0] == '[' || strings.Count(name, ":") == 1) {
		return strings.TrimRight(name[:i], ".") + name[i:]
	}
	return strings.TrimRight(name, ".")
}
