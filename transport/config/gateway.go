package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/tullemesh/tulle/internal/setting"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// gatewayGroup is how the apiVersion of a route of the Gateway API begins.
const gatewayGroup = "gateway.networking.k8s.io/"

// scalarAt is the text of a key of a mapping, "" if there is none.
func scalarAt(n *yaml.Node, key string) string {
	if v := valueAt(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// valueAt is the value of a key of a mapping, nil if there is none.
func valueAt(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// isGateway says that a document is a route of the Gateway API.
func isGateway(doc *yaml.Node) bool {
	return strings.HasPrefix(scalarAt(doc, "apiVersion"), gatewayGroup)
}

// A gatewayRoute is a route of the Gateway API and where it was written.
type gatewayRoute struct {
	doc  *yaml.Node
	file string
}

// routeFiles reads the files of routes. Other objects of Kubernetes in them are
// passed over.
func (b *builder) routeFiles(patterns []string) (list []gatewayRoute) {
	for i, pattern := range patterns {
		at := b.places[where{path: "routefiles"}.item(i).path]
		found, err := b.source.glob(pattern)
		if err == nil && len(found) == 0 && !strings.ContainsAny(pattern, `*?[\`) {
			err = errors.New("no such file")
		}
		if err != nil {
			b.wrongFile(where{path: where{path: "routefiles"}.item(i).path}, pattern, err)
		}
		for _, path := range found {
			data, err := b.source.read(path, maxFile)
			if err != nil {
				b.probs.add(at, "%s: %v", shown(path), err)
				continue
			}
			for _, doc := range parseTree(path, data, b.probs) {
				list = append(list, b.routesOf(doc, path)...)
			}
		}
	}
	return list
}

// routesOf are the routes that a document of a file of routes is or lists.
func (b *builder) routesOf(doc *yaml.Node, path string) (list []gatewayRoute) {
	switch {
	case isList(doc):
		for _, item := range items(doc) {
			list = append(list, b.routesOf(item, path)...)
		}
	case isGateway(doc) && !isInfrastructure(scalarAt(doc, "kind")):
		list = append(list, gatewayRoute{doc, path})
	case scalarAt(doc, "apiVersion") == "":
		b.probs.add(place{file: path, line: doc.Line, column: doc.Column}, "want objects of Kubernetes, such as an HTTPRoute")
	}
	return list
}

// isInfrastructure says that objects of a kind of the Gateway API stand beside
// routes and say nothing of where calls go.
func isInfrastructure(kind string) bool {
	return kind == "Gateway" || kind == "GatewayClass" || kind == "ReferenceGrant"
}

// isList says that a document is a list of objects: what kubectl prints of several
// is a List of v1, what the cluster itself answers an HTTPRouteList.
func isList(doc *yaml.Node) bool {
	version, list := scalarAt(doc, "apiVersion"), valueAt(doc, "items")
	return strings.HasSuffix(scalarAt(doc, "kind"), "List") && (version == "v1" || isGateway(doc)) &&
		list != nil && list.Kind == yaml.SequenceNode
}

// items are the objects of a list. Those of an HTTPRouteList need not say what they
// are, as the list does.
func items(list *yaml.Node) []*yaml.Node {
	var all []*yaml.Node
	for _, item := range valueAt(list, "items").Content {
		if isGateway(list) && item.Kind == yaml.MappingNode && valueAt(item, "kind") == nil && valueAt(item, "apiVersion") == nil {
			own := *item
			own.Content = append(slices.Clone(item.Content),
				named("apiVersion", item), named(scalarAt(list, "apiVersion"), item),
				named("kind", item), named(strings.TrimSuffix(scalarAt(list, "kind"), "List"), item))
			item = &own
		}
		all = append(all, item)
	}
	return all
}

// named is a text at the place of another node.
func named(text string, at *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: at.Line, Column: at.Column}
}

// attach gives services the rules of routes of the Gateway API that name them as
// parents, the oldest first, after their own.
func (b *builder) attach(list []gatewayRoute, cfg *transport.Config) {
	var all []*route.Gateway
	for _, g := range list {
		if parsed := b.gateway(g, cfg); parsed != nil {
			all = append(all, parsed)
		}
	}
	to := route.Config{Services: map[string]route.Service{}}
	said := func(key string) bool {
		_, said := b.places[where{path: "services"}.entry(key).path+".onlyrules"]
		return said
	}
	for key, s := range cfg.Services {
		// What the file says itself of calls that no rule matches is not for
		// the routes to change.
		to.Services[key] = route.Service{Rules: s.Rules, OnlyRules: s.OnlyRules || said(key)}
	}
	if err := to.Attach(all...); err != nil { // never: Key has found the parents here
		b.probs.add(place{file: list[0].file, line: 1, column: 1}, "%s", bounded(err.Error()))
		return
	}
	for key, with := range to.Services {
		s := cfg.Services[key]
		s.Rules, s.OnlyRules = with.Rules, s.OnlyRules || with.OnlyRules && !said(key)
		cfg.Services[key] = s
	}
}

// gateway reads one route, or notes why it cannot and returns nil.
func (b *builder) gateway(g gatewayRoute, cfg *transport.Config) *route.Gateway {
	c := &converter{decoder: newDecoder(g.file, nil, b.probs), lines: map[string]int{}}
	before := len(b.probs.list)
	value := c.convert(g.doc, "")
	data, err := json.Marshal(value)
	if err != nil || len(b.probs.list) > before {
		return nil // it was said why: what was converted is maps, lists, texts and numbers
	}
	namespace := cmp.Or(scalarAt(valueAt(g.doc, "metadata"), "namespace"), "default")
	unknown := map[string]bool{} // names, as an error shows them
	parsed, err := route.ParseGateway(data, route.GatewayOptions{
		Position: func(path string) (string, int) { return g.file, c.line(path, g.doc.Line) },
		Key: func(ns, name string, port int) string {
			key := b.serviceOf(cfg, ns, name, port, ns == namespace)
			if key == "" {
				unknown[fmt.Sprintf("%q", name)] = true
			}
			return key
		},
	})
	setting.Walk(err, func(_ string, _ *setting.Error, err error) {
		at := place{file: g.file, line: g.doc.Line, column: 1}
		if re, ok := err.(*route.Error); ok {
			at.line, at.key = max(re.Line, at.line), re.Path
			err = fmt.Errorf("%s: want %s", re.Value, re.Want)
			if unknown[re.Value] && strings.HasSuffix(re.Path, ".name") {
				err = fmt.Errorf("%s: want one of the services: %s", re.Value, strings.Join(sorted(cfg.Services), ", "))
			}
		}
		b.probs.add(at, "%s", bounded(err.Error()))
	})
	if parsed != nil {
		parsed.Services = b.allPorts(cfg, parsed.Services, g.doc, namespace)
	}
	return parsed
}

// serviceOf finds a Service of Kubernetes among ours: name.namespace, or name
// alone for one in the namespace of the route, each with the port first.
func (b *builder) serviceOf(cfg *transport.Config, namespace, name string, port int, own bool) string {
	names := []string{name + "." + namespace}
	if own {
		names = append(names, name)
	}
	for _, n := range names {
		if key, ok := spelled(cfg.Services, fmt.Sprintf("%s:%d", n, port)); ok && port > 0 {
			return key
		}
		if key, ok := spelled(cfg.Services, n); ok {
			return key
		}
		if all := portsOf(cfg, n); port == 0 && len(all) == 1 {
			return all[0]
		}
	}
	return ""
}

// portsOf are the services that are a name with a port.
func portsOf(cfg *transport.Config, name string) []string {
	return slices.DeleteFunc(sorted(cfg.Services), func(key string) bool {
		rest, ok := strings.CutPrefix(canonical(key), canonical(name)+":")
		return !ok || strings.Contains(rest, ":")
	})
}

// allPorts adds to the parents of a route in a namespace the services that are a
// port of one: a parentRef without a port is for all of them.
func (b *builder) allPorts(cfg *transport.Config, keys []string, doc *yaml.Node, namespace string) []string {
	refs := valueAt(valueAt(doc, "spec"), "parentRefs")
	if refs == nil {
		return keys
	}
	for _, ref := range refs.Content {
		if scalarAt(ref, "kind") == "Service" && valueAt(ref, "port") == nil {
			of := cmp.Or(scalarAt(ref, "namespace"), namespace)
			keys = append(keys, portsOf(cfg, b.serviceOf(cfg, of, scalarAt(ref, "name"), 0, of == namespace))...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// A converter turns a document into values of JSON and remembers the lines.
type converter struct {
	*decoder
	lines map[string]int // by path
}

// line is that of a path, or of the nearest one above it.
func (c *converter) line(path string, otherwise int) int {
	for p := strings.TrimPrefix(path, "."); p != ""; p = p[:max(strings.LastIndexAny(p, ".["), 0)] {
		if line, ok := c.lines[p]; ok {
			return line
		}
	}
	return otherwise
}

// convert converts a value.
func (c *converter) convert(n *yaml.Node, path string) any {
	w := where{key: path}
	if !c.enter(&n, w) {
		return nil
	}
	defer c.leave()
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, p := range c.pairs(n, w) {
			at := dotted(path, p.key.Value)
			c.lines[at] = p.key.Line
			m[p.key.Value] = c.convert(p.value, at)
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			c.lines[at] = item.Line
			list = append(list, c.convert(item, at))
		}
		return list
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if !decimal.MatchString(n.Value) {
			c.bad(n, w, "%s: want a decimal number", bounded(n.Value))
			return nil
		}
		return json.Number(n.Value)
	}
	return n.Value // text, and times, which are text in JSON
}
