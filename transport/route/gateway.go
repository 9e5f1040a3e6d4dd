package route

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Gateway is a route of the Kubernetes Gateway API in our terms.
type Gateway struct {
	// Kind is HTTPRoute or GRPCRoute. Namespace is "default" if the object has
	// none.
	Kind, Namespace, Name string

	// Created decides which of two routes comes first. Zero: after others.
	Created time.Time

	// Services are the keys of its parents. Ports are the ports of one that the
	// route is for. Without an entry: all.
	Services []string
	Ports    map[string][]int

	// Rules are its rules, in order.
	Rules []Rule
}

// GatewayOptions says how a route is read. The zero GatewayOptions will do.
type GatewayOptions struct {
	// Key is the key in Config.Services of a Kubernetes Service; port is 0 if
	// the reference has none. Default: the name, or name.namespace for a
	// Service that is not in the route's own namespace, whatever the port. A
	// parent with a port is for calls to that port alone, unless its key ends
	// with the port and has no other calls.
	Key func(namespace, name string, port int) string

	// Position tells where a path of the object, such as
	// spec.rules[0].matches[1].path, stands in the file that it was read from,
	// for errors and for Rule.File and Line. Default: nowhere. A path that the
	// file does not have is to be taken for the nearest above it.
	Position func(path string) (file string, line int)
}

// ParseGateway reads an HTTPRoute or GRPCRoute, as one JSON object: what kubectl
// prints, or its YAML after conversion. At least one of its parentRefs must be a
// Service; others (a Gateway) are left to whom they concern. Filters of kinds
// that are done by others (CORS, ExternalAuth, ExtensionRef), session
// persistence and unknown keys are errors, as a rule that is followed in part is
// another rule. The error joins an *Error for each.
//
// As the Gateway API has it, a rule without backends, and without a redirect,
// answers 500 (UNAVAILABLE over gRPC), and the parentRef's own Service is not
// its implied backend; an HTTPRoute without rules has one that matches all calls.
// Hostnames are for its Gateways: a mesh infers nothing from them (GEP-1294), so
// that one route can serve both; a header match on Host does what they would.
// Paths are percent-encoded there and not here. Retries: attempts counts repeats
// there, Retry.Attempts all, so that 0 is 1; backoff becomes MinBackoff.
func ParseGateway(data []byte, options GatewayOptions) (*Gateway, error) {
	v, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	r := &reader{g: &Gateway{}, options: options}
	root := node{problems{to: &found{}}, v}
	r.route(root.object())
	if !root.any() {
		r.checkRules(root.problems)
	}
	if root.any() {
		r.locate(root.to.errs)
		return nil, errors.Join(root.to.errs...)
	}
	return r.g, nil
}

// reader reads one route.
type reader struct {
	g       *Gateway
	options GatewayOptions
}

// route reads the object.
func (r *reader) route(o *object) {
	if o == nil {
		return
	}
	version, kind := o.need("apiVersion"), o.need("kind")
	if version != "" && !slices.Contains([]string{
		"gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1alpha2",
	}, version) {
		o.at(".apiVersion").add(version, "gateway.networking.k8s.io/v1")
	}
	if kind != "" && kind != "HTTPRoute" && kind != "GRPCRoute" {
		o.at(".kind").add(kind, "HTTPRoute or GRPCRoute")
		return
	}
	r.g.Kind = kind
	r.metadata(o.child("metadata"), o)
	o.ignore("status")
	spec, has := o.get("spec")
	if !has {
		spec.add(raw("(missing)"), "an object")
	} else {
		r.spec(spec.object())
	}
	o.done()
}

// grpc says that it is a GRPCRoute.
func (r *reader) grpc() bool { return r.g.Kind == "GRPCRoute" }

// metadata reads name and age. All else that stands there is the cluster's.
func (r *reader) metadata(m *object, o *object) {
	if m == nil {
		o.at(".metadata").add(raw("(missing)"), "an object with a name")
		return
	}
	r.g.Name, r.g.Namespace = m.need("name"), m.text("namespace", "default")
	if created := m.text("creationTimestamp", ""); created != "" {
		at, err := time.Parse(time.RFC3339, created)
		if err != nil {
			m.at(".creationTimestamp").add(created, "a time as in RFC 3339")
		}
		r.g.Created = at
	}
}

// spec reads parents and rules.
func (r *reader) spec(o *object) {
	for _, p := range o.list("parentRefs") {
		r.parent(p.object())
	}
	if len(r.g.Services) == 0 && o != nil {
		o.at(".parentRefs").add(raw("without a Service"), `at least one of kind Service, of group ""`)
	}
	o.refuse("routes to a Service have no Gateways", "useDefaultGateways")
	r.hostnames(o)
	rules := o.list("rules")
	if len(rules) == 0 && !r.grpc() && o != nil {
		// The default of the Gateway API, for HTTPRoutes alone: one that matches all.
		rules = []node{{o.at(".rules[0]"), map[string]any{}}}
	}
	for i, rule := range rules {
		one := r.rule(rule.object())
		if one.Name == "" {
			one.Name = fmt.Sprintf("%d", i)
		}
		one.Name = r.g.Namespace + "/" + r.g.Name + "/" + one.Name
		if r.options.Position != nil {
			one.File, one.Line = r.options.Position(rule.path)
		}
		r.g.Rules = append(r.g.Rules, one)
	}
	o.done()
}

// hostnames checks what Gateways select by. For Services nothing follows from it.
func (r *reader) hostnames(o *object) {
	for _, h := range o.list("hostnames") {
		host, ok := h.v.(string)
		if !ok {
			h.bad("a host name")
		}
		if ok && !isHostPattern(host) {
			h.add(host, "a host name without port, or *. and a host name")
		}
	}
}

// parent reads a parentRef.
func (r *reader) parent(o *object) {
	if o == nil {
		return
	}
	group := o.text("group", "gateway.networking.k8s.io")
	if kind := o.text("kind", "Gateway"); kind != "Service" || group != "" && group != "core" {
		return
	}
	o.refuse("a Service has no sections", "sectionName")
	r.bind(r.key(o))
	o.done()
}

// bind makes a Service a parent, for one port or, with 0, for all.
func (r *reader) bind(key string, port int) {
	known := slices.Contains(r.g.Services, key)
	ports := r.g.Ports[key]
	switch {
	case port == 0 || strings.HasSuffix(key, fmt.Sprintf(":%d", port)) || known && ports == nil:
		delete(r.g.Ports, key)
	case r.g.Ports == nil:
		r.g.Ports = map[string][]int{key: {port}}
	case !slices.Contains(ports, port):
		r.g.Ports[key] = append(ports, port)
	}
	if !known {
		r.g.Services = append(r.g.Services, key)
	}
}

// key is the key of the Service that a reference names, and its port or 0.
func (r *reader) key(o *object) (key string, port int) {
	namespace, name := o.text("namespace", r.g.Namespace), o.need("name")
	if n, has := o.get("port"); has {
		if port = n.integer(1); port < 1 || port > 65535 {
			n.bad("1 to 65535")
			port = 0
		}
	}
	switch {
	case r.options.Key != nil:
		key = r.options.Key(namespace, name, port)
		if key == "" {
			o.at(".name").add(name, "a Service that is configured")
		}
		return key, port
	case namespace == r.g.Namespace:
		return name, port
	}
	return name + "." + namespace, port
}

// checkRules finds what can be read and not be used. A table knows the services
// that the rules go to; here any will do.
func (r *reader) checkRules(p problems) {
	cfg := Config{Services: map[string]Service{}}
	for i := range r.g.Rules {
		one := &r.g.Rules[i]
		for _, b := range one.Backends {
			cfg.Services[b.Service] = Service{}
		}
		if one.Mirror != nil {
			cfg.Services[one.Mirror.Service] = Service{}
		}
	}
	c := &checker{cfg: &cfg}
	for i := range r.g.Rules {
		c.rule(&r.g.Rules[i], nil, p.at("spec.rules[%d]", i))
	}
	for _, err := range p.to.errs {
		var e *Error
		if errors.As(err, &e) {
			e.Path = theirPath(e.Path)
		}
	}
}

// theirPath is the path of a setting of ours in an object of the Gateway API. Of
// filters it names the list only.
func theirPath(path string) string {
	for _, filter := range []string{".requestHeaders", ".responseHeaders", ".rewrite", ".redirect", ".mirror"} {
		if i := strings.Index(path, filter); i >= 0 {
			path = path[:i] + ".filters"
		}
	}
	return strings.NewReplacer(
		".match[", ".matches[", ".query[", ".queryParams[", ".backends", ".backendRefs", ".grpc", ".method",
		".path.exact", ".path.value", ".path.prefix", ".path.value", ".path.regex", ".path.value",
		"].exact", "].value", "].regex", "].value",
		".timeout", ".timeouts.request", ".attemptTimeout", ".timeouts.backendRequest", ".retry.statuses", ".retry.codes",
	).Replace(path)
}

// locate adds file and line to errors.
func (r *reader) locate(errs []error) {
	for _, err := range errs {
		var e *Error
		if errors.As(err, &e) && r.options.Position != nil {
			e.File, e.Line = r.options.Position(e.Path)
		}
	}
}

// Attach adds the rules of routes to the services of cfg that are their parents,
// which then want a rule for each call (OnlyRules), or for each to one of its ports
// if the routes are for these: a last rule answers 404 to the others. Older routes
// come first, and of two that are as old the first by namespace/name: where two
// rules are as specific as each other that decides. A service's own rules stay
// before them.
// The error joins an *Error for each parent that cfg does not have; then cfg
// stays as it is. Services and lists of rules of cfg are not changed but
// replaced.
func (cfg *Config) Attach(routes ...*Gateway) error {
	sorted := slices.DeleteFunc(slices.Clone(routes), func(g *Gateway) bool { return g == nil })
	slices.SortStableFunc(sorted, func(a, b *Gateway) int {
		return cmp.Or(boolInt(a.Created.IsZero())-boolInt(b.Created.IsZero()), a.Created.Compare(b.Created),
			strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	services, ports := maps.Clone(cfg.Services), map[string][]int{}
	p := problems{to: &found{}}
	for _, g := range sorted {
		for _, key := range g.Services {
			s, known := services[key]
			if !known {
				p.at("%s %s/%s: parentRefs", g.Kind, g.Namespace, g.Name).add(key, "a service of the configuration")
				continue
			}
			s.Rules = append(slices.Clip(s.Rules), g.rulesFor(key)...)
			s.OnlyRules = s.OnlyRules || g.Ports[key] == nil
			ports[key] = append(ports[key], g.Ports[key]...)
			services[key] = s
		}
	}
	if p.any() {
		return errors.Join(p.to.errs...)
	}
	for key, s := range services {
		if some := ports[key]; len(some) > 0 && !s.OnlyRules {
			slices.Sort(some)
			s.Rules = append(s.Rules, Rule{
				Name: "no rule of a route", Ports: slices.Compact(some), Fixed: &Fixed{Status: 404},
			})
			services[key] = s
		}
	}
	cfg.Services = services
	return nil
}

// rulesFor are its rules for one of its parents.
func (g *Gateway) rulesFor(key string) []Rule {
	if g.Ports[key] == nil {
		return g.Rules
	}
	rules := slices.Clone(g.Rules)
	for i := range rules {
		rules[i].Ports = g.Ports[key]
	}
	return rules
}
