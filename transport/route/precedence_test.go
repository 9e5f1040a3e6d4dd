package route_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// The rules and calls in this file are those of the Gateway API's conformance
// tests (github.com/kubernetes-sigs/gateway-api, conformance/tests): the same
// calls must come to the same backends, v1, v2 and v3, or to none.

// a rule of theirs, in short: what each match needs, and the backend.
type theirRule struct {
	to      string
	matches []theirMatch
}

type theirMatch struct {
	exact, prefix, method string
	headers, query        map[string]string
}

// call is one of their requests and the backend that it must come to.
type call struct {
	method, url string
	header      map[string]string
	want        string // "" for none
}

// route builds their object as JSON, so that the parser is part of the test.
func httpRoute(t *testing.T, hosts []string, rules []theirRule) []byte {
	t.Helper()
	var list []any
	for _, r := range rules {
		var matches []any
		for _, m := range r.matches {
			matches = append(matches, m.json())
		}
		list = append(list, map[string]any{"matches": matches, "backendRefs": []any{map[string]any{"name": r.to, "port": 8080}}})
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "r"},
		"spec": map[string]any{
			"parentRefs": []any{map[string]any{"group": "", "kind": "Service", "name": "echo"}},
			"hostnames":  hosts, "rules": list,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (m theirMatch) json() map[string]any {
	out := map[string]any{}
	if m.exact != "" {
		out["path"] = map[string]any{"type": "Exact", "value": m.exact}
	}
	if m.prefix != "" {
		out["path"] = map[string]any{"type": "PathPrefix", "value": m.prefix}
	}
	if m.method != "" {
		out["method"] = m.method
	}
	for key, values := range map[string]map[string]string{"headers": m.headers, "queryParams": m.query} {
		var list []any
		for name, value := range values {
			list = append(list, map[string]any{"name": name, "value": value})
		}
		if list != nil {
			out[key] = list
		}
	}
	return out
}

// backends are services that the rules may go to.
func backends() map[string]route.Service {
	return map[string]route.Service{"echo": {}, "v1": {}, "v2": {}, "v3": {}}
}

// attached makes a table of routes.
func attached(t *testing.T, objects ...[]byte) *route.Table {
	t.Helper()
	var routes []*route.Gateway
	for _, o := range objects {
		routes = append(routes, parsed(t, o))
	}
	return attachedAll(t, routes)
}

// parsed reads a route.
func parsed(t *testing.T, object []byte) *route.Gateway {
	t.Helper()
	g, err := route.ParseGateway(object, route.GatewayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// forHosts is a route whose rules have hosts: what hostnames are to a Gateway,
// Rule.Hosts are to us.
func forHosts(t *testing.T, hosts []string, rules []theirRule) *route.Gateway {
	t.Helper()
	g := parsed(t, httpRoute(t, nil, rules))
	for i := range g.Rules {
		g.Rules[i].Hosts = hosts
	}
	return g
}

// attachedAll makes a table of routes that were read.
func attachedAll(t *testing.T, routes []*route.Gateway) *route.Table {
	t.Helper()
	cfg := route.Config{Services: backends()}
	if err := cfg.Attach(routes...); err != nil {
		t.Fatal(err)
	}
	return table(t, cfg)
}

// input is the call as an Input.
func (c call) input(t *testing.T) *route.Input {
	t.Helper()
	u, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	in := &route.Input{Service: "echo", Method: c.method, Path: u.Path, RawQuery: u.RawQuery, Host: u.Host, Address: u.Host, Scheme: u.Scheme, Header: map[string][]string{}}
	for name, value := range c.header {
		in.Header[strings.ToUpper(name[:1])+name[1:]] = []string{value}
	}
	return in
}

// check makes the calls.
func check(t *testing.T, tb *route.Table, calls []call) {
	t.Helper()
	for _, c := range calls {
		d := tb.Decide(c.input(t))
		got := ""
		if d.Action == route.Send {
			got = d.Service.Name()
		}
		if got != c.want {
			t.Errorf("%s %s %v: got %q (%v), want %q", c.method, c.url, c.header, got, d.Err, c.want)
		}
	}
}

func TestPathAndHeaderMatching(t *testing.T) {
	rules := []theirRule{
		{"v1", []theirMatch{{prefix: "/"}, {headers: map[string]string{"version": "one"}}}},
		{"v2", []theirMatch{{prefix: "/v2"}, {headers: map[string]string{"version": "two"}}}},
	}
	check(t, attached(t, httpRoute(t, nil, rules)), []call{
		{url: "/", want: "v1"},
		{url: "/example", want: "v1"},
		{url: "/", header: map[string]string{"Version": "one"}, want: "v1"},
		{url: "/v2", want: "v2"},
		{url: "/v2/example", want: "v2"},
		{url: "/", header: map[string]string{"Version": "two"}, want: "v2"},
		{url: "/v2/", want: "v2"},
		{url: "/v2example", want: "v1"}, // not a prefix by elements
		{url: "/foo/v2/example", want: "v1"},
		{url: "", want: "v1"},
	})
}

func TestPathMatchOrder(t *testing.T) {
	rules := []theirRule{
		{"v1", []theirMatch{{exact: "/match"}}},
		{"v2", []theirMatch{{exact: "/match/exact"}}},
		{"v3", []theirMatch{{exact: "/match/exact/one"}}},
		{"v3", []theirMatch{{prefix: "/match/"}}},
		{"v1", []theirMatch{{prefix: "/match/prefix/"}}},
		{"v2", []theirMatch{{prefix: "/match/prefix/one"}}},
	}
	calls := []call{
		{url: "/match/exact/one", want: "v3"},
		{url: "/match/exact", want: "v2"},
		{url: "/match", want: "v1"},
		{url: "/match/prefix/one/any", want: "v2"},
		{url: "/match/prefix/any", want: "v1"},
		{url: "/match/any", want: "v3"},
		{url: "/other", want: ""},
	}
	check(t, attached(t, httpRoute(t, nil, rules)), calls)
	// The place in the list does not matter.
	for i, j := 0, len(rules)-1; i < j; i, j = i+1, j-1 {
		rules[i], rules[j] = rules[j], rules[i]
	}
	check(t, attached(t, httpRoute(t, nil, rules)), calls)
}

func TestExactPathMatching(t *testing.T) {
	check(t, attached(t, httpRoute(t, nil, []theirRule{
		{"v1", []theirMatch{{exact: "/one"}}},
		{"v2", []theirMatch{{exact: "/two"}}},
	})), []call{
		{url: "/one", want: "v1"}, {url: "/two", want: "v2"},
		{url: "/"}, {url: "/one/example"}, {url: "/two/"}, {url: "/Two"},
	})
}

func TestHeaderMatching(t *testing.T) {
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	check(t, attached(t, httpRoute(t, nil, []theirRule{
		{"v1", []theirMatch{{headers: one("version", "one")}}},
		{"v2", []theirMatch{{headers: one("version", "two")}}},
		{"v1", []theirMatch{{headers: map[string]string{"version": "two", "color": "orange"}}}},
		{"v1", []theirMatch{{headers: one("color", "blue")}, {headers: one("color", "green")}}},
		{"v2", []theirMatch{{headers: one("color", "red")}, {headers: one("color", "yellow")}}},
	})), []call{
		{url: "/", header: one("Version", "one"), want: "v1"},
		{url: "/", header: one("Version", "two"), want: "v2"},
		{url: "/", header: map[string]string{"Version": "two", "Color": "orange"}, want: "v1"},
		{url: "/", header: map[string]string{"Version": "two", "Color": "blue"}, want: "v2"},
		{url: "/", header: one("Color", "orange")},
		{url: "/", header: one("Some-Other-Header", "one")},
		{url: "/", header: one("Color", "blue"), want: "v1"},
		{url: "/", header: one("Color", "green"), want: "v1"},
		{url: "/", header: one("Color", "red"), want: "v2"},
		{url: "/", header: one("Color", "yellow"), want: "v2"},
		{url: "/", header: one("Color", "purple")},
	})
}

func TestQueryMatching(t *testing.T) {
	animal := func(s string) map[string]string { return map[string]string{"animal": s} }
	version := func(s string) map[string]string { return map[string]string{"version": s} }
	check(t, attached(t, httpRoute(t, nil, []theirRule{
		{"v1", []theirMatch{{query: animal("whale")}}},
		{"v2", []theirMatch{{query: animal("dolphin")}}},
		{"v3", []theirMatch{{query: map[string]string{"animal": "dolphin", "color": "blue"}}, {query: map[string]string{"ANIMAL": "Whale"}}}},
		{"v1", []theirMatch{{prefix: "/path1", query: animal("whale")}}},
		{"v2", []theirMatch{{headers: version("one"), query: animal("whale")}}},
		{"v3", []theirMatch{{prefix: "/path2", headers: version("two"), query: animal("whale")}}},
		{"v1", []theirMatch{{prefix: "/path3", query: animal("shark")}, {prefix: "/path4", headers: version("three"), query: animal("kraken")}}},
		{"v1", []theirMatch{{prefix: "/path5"}}},
		{"v2", []theirMatch{{query: animal("hydra")}}},
		{"v3", []theirMatch{{headers: version("four")}}},
	})), []call{
		{url: "/?animal=whale", want: "v1"},
		{url: "/?animal=dolphin", want: "v2"},
		{url: "/?animal=dolphin&color=blue", want: "v3"},
		{url: "/?ANIMAL=Whale", want: "v3"},
		{url: "/?animal=whale&otherparam=irrelevant", want: "v1"},
		{url: "/?animal=dolphin&color=yellow", want: "v2"},
		{url: "/?color=blue"}, {url: "/?animal=dog"}, {url: "/?animal=whaledolphin"}, {url: "/"},
		{url: "/path1?animal=whale", want: "v1"},
		{url: "/?animal=whale", header: version("one"), want: "v2"},
		{url: "/path2?animal=whale", header: version("two"), want: "v3"},
		{url: "/path3?animal=shark", want: "v1"},
		{url: "/path4?animal=kraken", header: version("three"), want: "v1"},
		{url: "/?animal=shark"}, {url: "/path4?animal=kraken"},
		{url: "/path5?animal=hydra", want: "v1"},
		{url: "/?animal=hydra", header: version("four"), want: "v3"},
		// The parameter as url.ParseQuery reads it.
		{url: "/?%61nimal=wh%61le", want: "v1"},
		{url: "/?animal=dog&animal=whale"},
	})
}

func TestMethodMatching(t *testing.T) {
	version := func(s string) map[string]string { return map[string]string{"version": s} }
	check(t, attached(t, httpRoute(t, nil, []theirRule{
		{"v1", []theirMatch{{method: "POST"}}},
		{"v2", []theirMatch{{method: "GET"}}},
		{"v1", []theirMatch{{prefix: "/path1", method: "GET"}}},
		{"v2", []theirMatch{{headers: version("one"), method: "PUT"}}},
		{"v3", []theirMatch{{prefix: "/path2", headers: version("two"), method: "POST"}}},
		{"v1", []theirMatch{{prefix: "/path3", method: "PATCH"}, {prefix: "/path4", headers: version("three"), method: "DELETE"}}},
		{"v1", []theirMatch{{prefix: "/path5"}}},
		{"v2", []theirMatch{{method: "PATCH"}}},
		{"v3", []theirMatch{{headers: version("four")}}},
	})), []call{
		{method: "POST", url: "/", want: "v1"},
		{method: "GET", url: "/", want: "v2"},
		{method: "", url: "/", want: "v2"},
		{method: "HEAD", url: "/"},
		{method: "GET", url: "/path1", want: "v1"},
		{method: "PUT", url: "/", header: version("one"), want: "v2"},
		{method: "POST", url: "/path2", header: version("two"), want: "v3"},
		{method: "PATCH", url: "/path3", want: "v1"},
		{method: "DELETE", url: "/path4", header: version("three"), want: "v1"},
		{method: "PUT", url: "/"},
		{method: "DELETE", url: "/path4"},
		{method: "PATCH", url: "/path5", want: "v1"},
		{method: "PATCH", url: "/", header: version("four"), want: "v2"},
	})
}

func TestMatchingAcrossRoutes(t *testing.T) {
	check(t, attachedAll(t, []*route.Gateway{
		forHosts(t, []string{"example.com", "example.net"}, []theirRule{
			{"v1", []theirMatch{{prefix: "/"}, {headers: map[string]string{"version": "one"}}}},
		}),
		forHosts(t, []string{"example.com"}, []theirRule{
			{"v2", []theirMatch{{prefix: "/v2"}, {headers: map[string]string{"version": "two"}}}},
		}),
	}), []call{
		{url: "http://example.com/", want: "v1"},
		{url: "http://example.com/example", want: "v1"},
		{url: "http://example.net/example", want: "v1"},
		{url: "http://example.com/example", header: map[string]string{"Version": "one"}, want: "v1"},
		{url: "http://example.com/v2", want: "v2"},
		{url: "http://example.net/v2", want: "v1"}, // v2 is for example.com only
		{url: "http://example.com/v2/example", want: "v2"},
		{url: "http://example.com/", header: map[string]string{"Version": "two"}, want: "v2"},
		{url: "http://example.com:8080/v2", want: "v2"}, // ports do not matter
		{url: "http://EXAMPLE.com./v2", want: "v2"},
		{url: "http://example.org/", want: ""},
	})
}

// TestHostPrecedence is HTTPRouteSpec.hostnames: characters in a matching host
// without a wildcard, then in one with, and only then the path.
func TestHostPrecedence(t *testing.T) {
	check(t, attachedAll(t, []*route.Gateway{
		forHosts(t, nil, []theirRule{{"echo", []theirMatch{{exact: "/deep/path"}}}}),
		forHosts(t, []string{"*.example.com"}, []theirRule{{"v1", []theirMatch{{exact: "/deep/path"}}}}),
		forHosts(t, []string{"*.b.example.com"}, []theirRule{{"v2", []theirMatch{{prefix: "/deep"}}}}),
		forHosts(t, []string{"a.b.example.com"}, []theirRule{{"v3", []theirMatch{{prefix: "/"}}}}),
	}), []call{
		{url: "http://a.b.example.com/deep/path", want: "v3"},
		{url: "http://c.b.example.com/deep/path", want: "v2"},
		{url: "http://x.example.com/deep/path", want: "v1"},
		{url: "http://example.com/deep/path", want: "echo"}, // the wildcard stands for something
		{url: "http://b.example.com/deep/path", want: "v1"},
		{url: "http://.example.com/deep/path", want: "echo"},
		{url: "http://other/deep/path", want: "echo"},
		{url: "http://c.b.example.com/else", want: ""},
	})
}

// TestHostnames: a mesh infers nothing from the hostnames of a route (GEP-1294), so
// that one which has them for its Gateway serves the calls to its Service as well.
func TestHostnames(t *testing.T) {
	object := httpRoute(t, []string{"shop.example.com", "*.example.org"}, []theirRule{
		{"v1", []theirMatch{{prefix: "/"}}}, {"v2", []theirMatch{{headers: map[string]string{"Host": "shop.example.com"}}}},
	})
	object = []byte(strings.Replace(string(object), `"parentRefs":[`, `"parentRefs":[{"name":"front"},`, 1))
	check(t, attached(t, object), []call{
		{url: "http://echo/", want: "v1"},
		{url: "http://echo.default.svc:8080/", want: "v1"},
		{url: "http://shop.example.com/", want: "v2"}, // what they recommend instead
	})
}
