package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/discovery"
)

// A balancerSection is the name of a policy, or a mapping of name and options.
type balancerSection struct {
	name   string
	policy balancer.Policy
}

// A balancerKind is one row of the table of policies.
type balancerKind struct {
	name    string
	doc     string
	options any // a pointer to a new section, nil for none
	build   func(options any) balancer.Policy
}

// The options of the policies, by the names of their fields.
type (
	expectedDelayOptions struct {
		Choices      int           `min:"2" max:"1024" default:"32" doc:"Candidates of a pick."`
		Introduction time.Duration `above:"0s" none:"-1ns" default:"10s" doc:"Longest time that an endpoint which joined later is left alone."`
	}
	peakOptions struct {
		Tau time.Duration `min:"1ms" default:"10s" doc:"How long a sample is remembered: after it 1/e is left."`
	}
	leastOptions struct {
		Choices int `min:"2" max:"32" default:"2" doc:"Endpoints to compare."`
	}
)

// balancers is the table of policies. To add one is a row here and, with
// options, a type above.
func balancers() []balancerKind {
	return []balancerKind{
		{"shortest_expected_delay", "The default: lowest expected time, queue and risk of failure considered.", &expectedDelayOptions{}, func(o any) balancer.Policy {
			var p balancer.ShortestExpectedDelay
			assign(&p, o)
			return p
		}},
		{"peak_ewma", "Finagle's rule: of two the one with the lower moving mean of latency.", &peakOptions{}, func(o any) balancer.Policy {
			var p balancer.PeakEWMA
			assign(&p, o)
			return p
		}},
		{"least_request", "Of some the one with the fewest waiting attempts.", &leastOptions{}, func(o any) balancer.Policy {
			var p balancer.LeastRequest
			assign(&p, o)
			return p
		}},
		{"round_robin", "Turns.", nil, func(any) balancer.Policy { return balancer.RoundRobin{} }},
		{"random", "By chance.", nil, func(any) balancer.Policy { return balancer.Random{} }},
	}
}

// assign copies the fields of a section to those of the same name. Sections have
// no other fields, and a test says so.
func assign(to, section any) {
	from, dst := reflect.ValueOf(section).Elem(), reflect.ValueOf(to).Elem()
	for i := range from.NumField() {
		name := from.Type().Field(i).Name
		if f := dst.FieldByName(name); f.IsValid() && f.Type() == from.Field(i).Type() {
			f.Set(from.Field(i))
		}
	}
}

func (b *balancerSection) decode(d *decoder, n *yaml.Node, w where) {
	kinds := balancers()
	names := make([]string, len(kinds))
	for i := range kinds {
		names[i] = kinds[i].name
	}
	var options []pair
	name := n
	if n.Kind == yaml.MappingNode {
		name = nil
		for _, p := range d.pairs(n, w) {
			if p.key.Value == "name" {
				name = p.value
			} else {
				options = append(options, p)
			}
		}
		if name == nil {
			d.bad(n, w, "the key name is missing: want one of %v", names)
			return
		}
	}
	i := slices.Index(names, d.word(name, w, names))
	if i < 0 {
		return
	}
	into := reflect.ValueOf(kinds[i].options)
	if into.IsValid() {
		d.fill(into.Elem(), options, w)
	} else if len(options) > 0 {
		d.bad(options[0].key, w, "unknown key %s: %s has no options", shown(options[0].key.Value), names[i])
	}
	b.name, b.policy = names[i], kinds[i].build(kinds[i].options)
}

// fill fills a struct from the keys of a mapping.
func (d *decoder) fill(v reflect.Value, pairs []pair, w where) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range pairs {
		n.Content = append(n.Content, p.key, p.value)
	}
	d.section(v, n, w)
}

// An addrsSection is a list of networks.
type addrsSection []netip.Prefix

// nonPublic stands for discovery.NonPublic.
const nonPublic = "non_public"

func (a *addrsSection) decode(d *decoder, n *yaml.Node, w where) {
	if isNull(n) {
		return
	}
	var texts []string
	d.items(reflect.ValueOf(&texts).Elem(), n, w, &field{})
	for i, text := range texts {
		if text == "" {
			continue // the text was a problem already
		}
		if text == nonPublic {
			*a = append(*a, discovery.NonPublic()...)
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			at := w.item(i)
			d.wrong(at, n.Content[i], text, "a network such as 10.0.0.0/8, or "+nonPublic, nil)
			continue
		}
		*a = append(*a, prefix)
	}
}

// wrong notes a text that cannot be used, and why, without what its references
// led to: the cause may quote it.
func (d *decoder) wrong(w where, n *yaml.Node, text, want string, cause error) {
	if raw, has := d.raw(w.path); has && !d.probs.full() {
		d.bad(n, w, "%s, with its references filled in: want %s", shown(raw), want)
		return
	}
	if cause != nil {
		want += fmt.Sprintf(" (%s)", bounded(cause.Error()))
	}
	d.bad(n, w, "%s: want %s", shown(text), want)
}

// raw is the text as written of a setting that has references in it or below.
func (d *decoder) raw(path string) (string, bool) {
	for p, raw := range d.raws {
		if within(p, path) {
			return raw, true
		}
	}
	return "", false
}

// within says that path is at, or a part of it.
func within(path, at string) bool {
	rest, ok := strings.CutPrefix(path, at)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// A targetSection is where endpoints come from: a URL, or a mapping with one
// key that says how.
type targetSection struct {
	url string

	Static   []endpointSection `doc:"The endpoints themselves."`
	File     string            `doc:"A YAML or JSON file with a list of endpoints, read again when it changes. A relative path is relative to this file."`
	DNS      string            `key:"dns" doc:"host or host:port, looked up again and again."`
	SRV      string            `key:"srv" doc:"The name of SRV records, such as _http._tcp.users.internal."`
	Prefer   []targetSection   `doc:"Targets of which the first counts that has endpoints."`
	Merge    []targetSection   `doc:"Targets whose endpoints are put together."`
	Interval time.Duration     `min:"10ms" max:"24h" default:"30s, 1s for file" doc:"Time between look-ups of file (10ms to 1h), dns and srv (1s to 24h)."`
	Subset   int               `min:"1" max:"1000000" doc:"How many endpoints of each priority are kept, chosen by each process for itself, of a very large set; 20 or more. All without it."`
	ByZone   bool              `default:"false" doc:"The subset has its part of each zone."`

	kind  string // the key that is there
	where where
	node  *yaml.Node
}

// targetFields is targetSection without its method, for the decoder.
type targetFields targetSection

func (t *targetSection) decode(d *decoder, n *yaml.Node, w where) {
	t.where, t.node = w, n
	if n.Kind != yaml.MappingNode {
		t.kind = "url"
		if t.url = d.text(n, w, false); t.url == "" && !d.failed[w.path] {
			d.bad(n, w, `"": want a URL such as dns://host:port, or a mapping`)
		}
		return
	}
	d.section(reflect.ValueOf((*targetFields)(t)).Elem(), n, w)
	var kinds []string
	for _, p := range d.pairs(n, w) {
		if key := p.key.Value; slices.Contains(targetKinds, key) {
			kinds = append(kinds, key)
		}
	}
	if len(kinds) != 1 {
		d.bad(n, w, "%d of the keys %v: want exactly one", len(kinds), targetKinds)
		return
	}
	t.kind = kinds[0]
}

var targetKinds = []string{"static", "file", "dns", "srv", "prefer", "merge"}

// An endpointSection is "host:port", or a mapping with the keys of
// tulle.Endpoint.
type endpointSection struct {
	Addr     string            `need:"yes" doc:"host:port, or host alone for the port of the request's scheme."`
	Name     string            `doc:"The instance's stable identity, such as a pod name."`
	Zone     string            `doc:"The failure domain that the instance runs in."`
	Weight   float64           `above:"0" max:"1000000" default:"1" doc:"Share of traffic relative to the other endpoints."`
	Priority int               `min:"0" default:"0" doc:"Endpoints of the lowest number get the calls while enough of them are usable, the next ones the rest."`
	GRPCPort uint16            `key:"grpc_port" min:"1" max:"65535" default:"that of addr" doc:"The port for gRPC where it is another one."`
	Labels   map[string]string `doc:"Facts of the instance, such as its version."`

	where where
	node  *yaml.Node
}

type endpointFields endpointSection

func (e *endpointSection) decode(d *decoder, n *yaml.Node, w where) {
	e.where, e.node = w, n
	if n.Kind == yaml.ScalarNode {
		e.Addr = d.text(n, w, false)
		return
	}
	d.section(reflect.ValueOf((*endpointFields)(e)).Elem(), n, w)
}

// endpoints are the endpoints of a list, each of them checked.
func (d *decoder) endpoints(list []endpointSection) []tulle.Endpoint {
	set := make([]tulle.Endpoint, 0, len(list))
	lines := map[string]int{}
	for i := range list {
		s := &list[i]
		e := tulle.Endpoint{Addr: s.Addr, Name: s.Name, Zone: s.Zone, Weight: s.Weight, Priority: s.Priority, GRPCPort: s.GRPCPort, Labels: s.Labels}
		if e.Addr == "" && len(d.probs.list) > 0 {
			continue // what is wrong with it was said already
		}
		if err := e.Validate(); err != nil {
			d.wrong(s.where, s.node, e.Addr, "a valid endpoint", err)
			continue
		}
		if at := lines[e.Addr]; at > 0 {
			d.wrong(s.where, s.node, e.Addr, fmt.Sprintf("each address once, and it is already on line %d", at), nil)
			continue
		}
		lines[e.Addr] = s.node.Line
		set = append(set, e)
	}
	return set
}
