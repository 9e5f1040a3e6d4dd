package route_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// head is the beginning of an HTTPRoute for the Service echo, up to its rules.
const head = `{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
	"metadata": {"name": "r", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"}, "uid": "x"},
	"status": {"parents": []},
	"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "echo"}], "rules": [`

// withRule is an HTTPRoute with one rule.
func withRule(rule string) []byte { return []byte(head + rule + "]}}") }

// TestParseGateway: everything that is supported, in one rule.
func TestParseGateway(t *testing.T) {
	g, err := route.ParseGateway(withRule(`{
		"name": "all",
		"matches": [{
			"path": {"type": "PathPrefix", "value": "/api"}, "method": "GET",
			"headers": [{"name": "a", "value": "b"}, {"name": "c", "type": "RegularExpression", "value": "d.*"}],
			"queryParams": [{"name": "q", "value": "1"}]
		}],
		"filters": [
			{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "s", "value": "1"}], "add": [{"name": "t", "value": "2"}], "remove": ["u"]}},
			{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["server"]}},
			{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow", "port": 80}, "fraction": {"numerator": 1, "denominator": 8}}},
			{"type": "URLRewrite", "urlRewrite": {"hostname": "h", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}}}
		],
		"backendRefs": [
			{"name": "v1", "port": 80, "weight": 9, "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}]},
			{"group": "", "kind": "Service", "name": "v2", "namespace": "other", "weight": 0}
		],
		"timeouts": {"request": "1m30s", "backendRequest": "0s"},
		"retry": {"codes": [500, 503], "attempts": 2, "backoff": "100ms"}
	}`), route.GatewayOptions{Position: func(path string) (string, int) { return "r.yaml", len(path) }})
	if err != nil {
		t.Fatal(err)
	}
	want := &route.Gateway{
		Kind: "HTTPRoute", Namespace: "shop", Name: "r", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Services: []string{"echo"},
		Rules: []route.Rule{{
			Name: "shop/r/all", File: "r.yaml", Line: len("spec.rules[0]"),
			Match: []route.Match{{
				Path: route.PathMatch{Prefix: "/api"}, Method: "GET",
				Headers: []route.ValueMatch{{Name: "a", Exact: "b"}, {Name: "c", Regex: "d.*"}},
				Query:   []route.ValueMatch{{Name: "q", Exact: "1"}},
			}},
			RequestHeaders:  route.Headers{Set: map[string]string{"s": "1"}, Add: map[string]string{"t": "2"}, Remove: []string{"u"}},
			ResponseHeaders: route.Headers{Set: map[string]string{}, Add: map[string]string{}, Remove: []string{"server"}},
			Mirror:          &route.Mirror{Service: "shadow", Percent: new(12.5)},
			Rewrite:         &route.Rewrite{Host: "h", Path: route.PathEdit{Prefix: "/"}},
			Backends: []route.Backend{
				{Service: "v1", Weight: new(9), RequestHeaders: route.Headers{Set: map[string]string{"x": "y"}, Add: map[string]string{}}},
				{Service: "v2.other", Weight: new(0)},
			},
			Timeout: 90 * time.Second, AttemptTimeout: -1,
			Retry: &route.Retry{Attempts: 3, MinBackoff: 100 * time.Millisecond, Statuses: []int{500, 503}},
		}},
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got\n%+v\nwant\n%+v", g, want)
	}
}

// TestGatewayDefaults: what is left out.
func TestGatewayDefaults(t *testing.T) {
	for name, test := range map[string]struct {
		rule string
		want route.Rule
	}{
		"no backend": {`{}`, route.Rule{Fixed: &route.Fixed{Status: 500}}},
		"redirect":   {`{"filters": [{"type": "RequestRedirect", "requestRedirect": {"port": 81}}]}`, route.Rule{Redirect: &route.Redirect{Port: 81}}},
		"empty path": {`{"matches": [{"path": {}}], "backendRefs": [{"name": "v1"}]}`, route.Rule{
			Match: []route.Match{{Path: route.PathMatch{Prefix: "/"}}}, Backends: []route.Backend{{Service: "v1"}},
		}},
		"redirect full": {`{"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "hostname": "h", "statusCode": 301, "path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}}]}`,
			route.Rule{Redirect: &route.Redirect{Scheme: "https", Host: "h", Status: 301, Path: route.PathEdit{Full: "/x"}}}},
		"no repeats": {`{"retry": {"attempts": 0}, "backendRefs": [{"name": "v1"}]}`, route.Rule{Retry: &route.Retry{Attempts: 1}, Backends: []route.Backend{{Service: "v1"}}}},
		"encoded paths": {`{"matches": [{"path": {"value": "/a%20b/%C3%A9"}}, {"path": {"type": "Exact", "value": "/%3F"}}, {"path": {"type": "RegularExpression", "value": "/%41"}}],
			"filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/c%20d"}}}], "backendRefs": [{"name": "v1"}]}`, route.Rule{
			Match:   []route.Match{{Path: route.PathMatch{Prefix: "/a b/é"}}, {Path: route.PathMatch{Exact: "/?"}}, {Path: route.PathMatch{Regex: "/%41"}}},
			Rewrite: &route.Rewrite{Path: route.PathEdit{Full: "/c d"}}, Backends: []route.Backend{{Service: "v1"}},
		}},
		"mirror percent": {`{"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "v2"}, "percent": 0}}], "backendRefs": [{"name": "v1"}]}`,
			route.Rule{Mirror: &route.Mirror{Service: "v2", Percent: new(0.0)}, Backends: []route.Backend{{Service: "v1"}}}},
	} {
		g, err := route.ParseGateway(withRule(test.rule), route.GatewayOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		test.want.Name = "shop/r/0"
		if !reflect.DeepEqual(g.Rules[0], test.want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", name, g.Rules[0], test.want)
		}
	}
	for _, data := range [][]byte{withRule(""), []byte(strings.Replace(string(withRule("")), `, "rules": []`, "", 1))} {
		g, err := route.ParseGateway(data, route.GatewayOptions{})
		if want := []route.Rule{{Name: "shop/r/0", Fixed: &route.Fixed{Status: 500}}}; err != nil || !reflect.DeepEqual(g.Rules, want) {
			t.Errorf("no rules: got %+v, %v, want one that matches all", g, err)
		}
	}
	grpc := strings.NewReplacer("HTTPRoute", "GRPCRoute", `"namespace": "shop", `, "").Replace(string(withRule(`{}, {"matches": [{"headers": [{"name": "a", "value": "b"}]}, {"method": {"type": "RegularExpression", "method": "G.*"}}], "backendRefs": [{"name": "v1"}]}`)))
	g, err := route.ParseGateway([]byte(grpc), route.GatewayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []route.Rule{
		{Name: "default/r/0", Match: []route.Match{{GRPC: &route.GRPCMatch{}}}, Fixed: &route.Fixed{Status: 503}},
		{Name: "default/r/1", Match: []route.Match{
			{GRPC: &route.GRPCMatch{}, Headers: []route.ValueMatch{{Name: "a", Exact: "b"}}},
			{GRPC: &route.GRPCMatch{Method: "G.*", Regex: true}},
		}, Backends: []route.Backend{{Service: "v1"}}},
	}
	if !reflect.DeepEqual(g.Rules, want) {
		t.Errorf("got\n%+v\nwant\n%+v", g.Rules, want)
	}
}

// TestGatewayErrors: what cannot be done is named, all of it, with where it is.
func TestGatewayErrors(t *testing.T) {
	backend := `"backendRefs": [{"name": "v1"}]`
	filter := func(f string) []byte { return withRule(`{"filters": [` + f + `], ` + backend + `}`) }
	spec := func(s string) []byte {
		return []byte(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": ` + s + `}`)
	}
	for _, test := range []struct {
		name string
		data []byte
		want string // the beginnings of all errors
	}{
		{"session", withRule(`{"sessionPersistence": {"type": "Cookie"}, ` + backend + `}`), `spec.rules[0].sessionPersistence an object: want none: tulle does not keep sessions`},
		{"CORS", filter(`{"type": "CORS", "cors": {"maxAge": 1}}`), `spec.rules[0].filters[0].type "CORS": want RequestHeaderModifier`},
		{"extension", filter(`{"type": "ExtensionRef", "extensionRef": {}}`), `spec.rules[0].filters[0].type "ExtensionRef": want`},
		{"auth", filter(`{"type": "ExternalAuth", "externalAuth": {}}`), `spec.rules[0].filters[0].type "ExternalAuth": want`},
		{"filter twice", filter(`{"type": "URLRewrite", "urlRewrite": {"hostname": "a"}}, {"type": "URLRewrite", "urlRewrite": {"hostname": "b"}}`), `spec.rules[0].filters[1].type "URLRewrite": want each type once`},
		{"filter without its field", filter(`{"type": "URLRewrite", "requestRedirect": {}}`), `spec.rules[0].filters[0].urlRewrite (missing): want an object|spec.rules[0].filters[0].requestRedirect an object: want none: unknown key`},
		{"unknown keys", withRule(`{"nmae": "x", "matches": [{"paths": {}, "path": {"valeu": "/"}}], ` + backend + `}`),
			`spec.rules[0].matches[0].path.valeu "/": want none: unknown key; there are type, value|spec.rules[0].matches[0].paths an object: want none: unknown key|spec.rules[0].nmae "x": want none`},
		{"types", withRule(`{"name": 7, "matches": {}, "filters": [null], "backendRefs": [7], "timeouts": [], "retry": {"attempts": "2", "codes": [1.5]}}`),
			`spec.rules[0].name 7: want a text|spec.rules[0].matches an object: want a list|spec.rules[0].filters[0] null: want an object|spec.rules[0].backendRefs[0] 7: want an object|spec.rules[0].timeouts a list: want an object|spec.rules[0].retry.codes[0] 1.5: want an integer|spec.rules[0].retry.attempts "2": want an integer`},
		{"enums", withRule(`{"matches": [{"path": {"type": "Glob", "value": "/"}, "headers": [{"type": "Like", "name": "a", "value": "b"}]}], ` + backend + `}`),
			`spec.rules[0].matches[0].headers[0].type "Like": want Exact or|spec.rules[0].matches[0].path.type "Glob": want Exact, PathPrefix or`},
		{"backend kinds", withRule(`{"backendRefs": [{"group": "x", "kind": "Bucket", "name": "b"}, {"weight": 1}]}`),
			`spec.rules[0].backendRefs[0].group "x": want ""|spec.rules[0].backendRefs[0].kind "Bucket": want Service|spec.rules[0].backendRefs[1].name (missing)`},
		{"backend filters", withRule(`{"backendRefs": [{"name": "a", "filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "b"}}]}]}`),
			`spec.rules[0].backendRefs[0].filters with mirror, redirect or rewrite: want header modifiers`},
		{"durations", withRule(`{"timeouts": {"request": "1d", "backendRequest": "1.5s"}, "retry": {"backoff": ""}, ` + backend + `}`),
			`spec.rules[0].timeouts.request "1d": want a duration|spec.rules[0].timeouts.backendRequest "1.5s": want a duration|spec.rules[0].retry.backoff "": want a duration`},
		{"values", withRule(`{"matches": [{"path": {"type": "RegularExpression", "value": "("}, "method": "get", "headers": [{"name": "a", "value": ""}]}], ` + backend + `}`),
			`spec.rules[0].matches[0].path.value "(": want a regular expression|spec.rules[0].matches[0].method "get"|spec.rules[0].matches[0].headers[0] "a": want exactly one`},
		{"timeouts", withRule(`{"timeouts": {"request": "1s", "backendRequest": "2s"}, ` + backend + `}`), `spec.rules[0].timeouts.backendRequest 2s: want at most timeout, 1s`},
		{"weight", withRule(`{"backendRefs": [{"name": "a", "weight": -1}]}`), `spec.rules[0].backendRefs[0].weight -1: want 0 to 1000000`},
		{"prefix without prefix", filter(`{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}}}`), ""},
		{"prefix of an exact path", withRule(`{"matches": [{"path": {"type": "Exact", "value": "/a"}}], "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}}}], ` + backend + `}`),
			`spec.rules[0].filters "/x": want full, as match[0] is not by prefix`},
		{"path edits", filter(`{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceAll"}}}, {"type": "RequestRedirect", "requestRedirect": {"path": {"type": "ReplaceFullPath"}}}`),
			`spec.rules[0].filters[0].urlRewrite.path.type "ReplaceAll": want|spec.rules[0].filters[1].requestRedirect.path.replaceFullPath (missing)`},
		{"redirect and backend", filter(`{"type": "RequestRedirect", "requestRedirect": {"port": 1}}`), `spec.rules[0].backendRefs 1: want none`},
		{"mirrors", filter(`{"type": "RequestMirror", "requestMirror": {}}, {"type": "RequestMirror", "requestMirror": {}}`),
			`spec.rules[0].filters[0].requestMirror.backendRef (missing)|spec.rules[0].filters[1].type "RequestMirror": want each type once`},
		{"mirror both", filter(`{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}, "percent": 1, "fraction": {"numerator": 1}}}`), `spec.rules[0].filters[0].requestMirror with percent and fraction`},
		{"fraction", filter(`{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}, "fraction": {"numerator": 9, "denominator": 8}}}`), `spec.rules[0].filters[0].requestMirror.fraction.numerator 9: want 0 to the denominator, 8`},
		{"no fraction", filter(`{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}, "fraction": {"denominator": 0}}}`), `spec.rules[0].filters[0].requestMirror.fraction.numerator (missing)|spec.rules[0].filters[0].requestMirror.fraction.denominator 0: want 1 or more`},
		{"pairs", filter(`{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [1, {"name": "a", "value": "b"}, {"name": "a", "value": "c"}], "remove": [2]}}`),
			`spec.rules[0].filters[0].requestHeaderModifier.set[0] 1: want an object|spec.rules[0].filters[0].requestHeaderModifier.set[2].name "a": want each name once|spec.rules[0].filters[0].requestHeaderModifier.remove[0] 2: want a header name`},
		{"paths", withRule(`{"matches": [{"path": {"value": "/a%2fb"}}, {"path": {"type": "Exact", "value": "/a%"}}, {"path": {"value": "/a?b"}}, {"path": {"value": "/a/../b"}}], ` + backend + `}`),
			`spec.rules[0].matches[0].path.value "/a%2fb": want a path with percent-encoding|spec.rules[0].matches[1].path.value "/a%"|spec.rules[0].matches[2].path.value "/a?b"|spec.rules[0].matches[3].path.value "/a/../b": want a path without elements`},
		{"edited path", filter(`{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a%zz"}}}`), `spec.rules[0].filters[0].urlRewrite.path.replaceFullPath "/a%zz": want a path with percent-encoding`},
		{"attempts", withRule(`{"retry": {"attempts": -1}, ` + backend + `}`), `spec.rules[0].retry.attempts -1: want 0 to 9`},
		{"gateway parent only", spec(`{"parentRefs": [{"name": "gw"}]}`), `spec.parentRefs without a Service: want at least one of kind Service`},
		{"ports", spec(`{"parentRefs": [{"group": "", "kind": "Service", "name": "a", "port": 0}, {"group": "", "kind": "Service", "name": "b", "port": "80"}]}`),
			`spec.parentRefs[0].port 0: want 1 to 65535|spec.parentRefs[1].port "80": want an integer`},
		{"no parent", spec(`{}`), `spec.parentRefs without a Service`},
		{"section", spec(`{"parentRefs": [{"group": "", "kind": "Service", "name": "a", "sectionName": "http"}]}`), `spec.parentRefs[0].sectionName "http": want none`},
		{"default gateways", spec(`{"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "useDefaultGateways": "All"}`), `spec.useDefaultGateways "All": want none`},
		{"hosts", spec(`{"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "hostnames": ["a:1", 2]}`), `spec.hostnames[0] "a:1": want a host|spec.hostnames[1] 2: want a host`},
		{"no spec", []byte(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}`), `spec (missing)`},
		{"metadata", []byte(`{"apiVersion": "v1", "kind": "HTTPRoute", "metadata": {"creationTimestamp": "today"}, "spec": 1, "extra": true}`),
			`apiVersion "v1": want gateway|metadata.name (missing)|metadata.creationTimestamp "today"|spec 1: want an object|extra true: want none: unknown key`},
		{"no metadata", []byte(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}]}}`), `metadata (missing)`},
		{"kind", []byte(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute"}`), `kind "TCPRoute": want HTTPRoute or GRPCRoute`},
		{"not an object", []byte(`[]`), ` a list: want an object`},
		{"too many", withRule(strings.Repeat(`{`+backend+`},`, 128) + `{` + backend + `}`), `spec.rules 129: want up to 128 elements`},
	} {
		g, err := route.ParseGateway(test.data, route.GatewayOptions{})
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: got %v, want none", test.name, err)
			}
			continue
		}
		got := errorsOf(err)
		want := strings.Split(test.want, "|")
		if g != nil || len(got) != len(want) {
			t.Errorf("%s: got\n%v\nwant %d errors", test.name, err, len(want))
			continue
		}
		for i := range want {
			if !strings.HasPrefix(got[i].Error(), "route: "+want[i]) {
				t.Errorf("%s: got\n%v\nwant %q", test.name, got[i], want[i])
			}
		}
	}
}

// TestGatewayGRPCErrors: a GRPCRoute has fewer filters, and no timeouts yet.
func TestGatewayGRPCErrors(t *testing.T) {
	data := strings.Replace(string(withRule(`{
		"matches": [{"path": {}, "method": {}}], "timeouts": {},
		"filters": [{"type": "URLRewrite", "urlRewrite": {}}], "backendRefs": [{"name": "a"}]
	}`)), "HTTPRoute", "GRPCRoute", 1)
	_, err := route.ParseGateway([]byte(data), route.GatewayOptions{Position: func(path string) (string, int) { return "r.yaml", 3 }})
	want := []string{
		`r.yaml:3: route: spec.rules[0].matches[0].method without service and method`,
		`r.yaml:3: route: spec.rules[0].matches[0].path an object: want none: unknown key`,
		`r.yaml:3: route: spec.rules[0].filters[0].type "URLRewrite": want RequestHeaderModifier: the others are not done over gRPC`,
		`r.yaml:3: route: spec.rules[0].filters[0].urlRewrite an object: want none`,
		`r.yaml:3: route: spec.rules[0].timeouts an object: want none`,
	}
	got := errorsOf(err)
	if len(got) != len(want) {
		t.Fatalf("got\n%v\nwant %d errors", err, len(want))
	}
	for i := range want {
		if !strings.HasPrefix(got[i].Error(), want[i]) {
			t.Errorf("got %v, want %q", got[i], want[i])
		}
	}
}

// TestGatewayJSON: what encoding/json would let pass is refused.
func TestGatewayJSON(t *testing.T) {
	for data, want := range map[string]string{
		``:                           "EOF",
		`{"kind": "a"`:               "EOF",
		`{"a": 1, "a": 2}`:           `key "a" twice`,
		`{} {}`:                      "one object only",
		`{"a": nul}`:                 "byte",
		string([]byte{0x7b, 0xff}):   "byte",
		strings.Repeat(`[`, 40):      "nested more than 32 deep",
		strings.Repeat(` `, 1<<20+1): "want up to 1048576",
	} {
		if _, err := route.ParseGateway([]byte(data), route.GatewayOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want an error with %q", data, err, want)
		}
	}
}

// TestGatewayKeys: how Kubernetes names become keys.
func TestGatewayKeys(t *testing.T) {
	data := []byte(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "shop"},
		"spec": {"parentRefs": [
			{"name": "some-gateway"},
			{"group": "", "kind": "Service", "name": "a"}, {"group": "core", "kind": "Service", "name": "a", "namespace": "shop", "port": 80},
			{"group": "", "kind": "Service", "name": "a", "namespace": "other"}
		]}}`)
	full := func(namespace, name string, port int) string {
		return fmt.Sprintf("%s.%s.svc:%d", name, namespace, port)
	}
	for _, test := range []struct {
		key  func(namespace, name string, port int) string
		want []string
	}{
		{nil, []string{"a", "a.other"}},
		{full, []string{"a.shop.svc:0", "a.shop.svc:80", "a.other.svc:0"}},
	} {
		g, err := route.ParseGateway(data, route.GatewayOptions{Key: test.key})
		if err != nil || !reflect.DeepEqual(g.Services, test.want) {
			t.Errorf("got %+v, %v, want %v", g, err, test.want)
		}
	}
	_, err := route.ParseGateway(data, route.GatewayOptions{Key: func(string, string, int) string { return "" }})
	if err == nil || !strings.Contains(err.Error(), `spec.parentRefs[1].name "a": want a Service that is configured`) {
		t.Errorf("got %v, want the names without a key", err)
	}
}

// TestGatewayPort: a parent with a port is for calls to that port, which then want a
// rule; one without is for all.
func TestGatewayPort(t *testing.T) {
	object := func(name, parents, path string) []byte {
		return []byte(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "` + name + `"}, "spec": {
			"parentRefs": [` + parents + `], "rules": [{"matches": [{"path": {"value": "` + path + `"}}], "backendRefs": [{"name": "v1"}]}]}}`)
	}
	parent := func(port string) string { return `{"group": "", "kind": "Service", "name": "echo"` + port + `}` }
	p80, p81, every := parent(`, "port": 80`), parent(`, "port": 81`), parent("")
	for _, test := range []struct {
		name    string
		objects [][]byte
		calls   []call
	}{
		{"one", [][]byte{object("a", p80, "/a")}, []call{
			{url: "http://echo/a", want: "v1"}, {url: "http://echo:80/a", want: "v1"}, {url: "http://echo/b"},
			{url: "http://echo:81/a", want: "echo"}, {url: "http://[::1]:81/a", want: "echo"}, {url: "http://[::1]/a", want: "v1"},
			{url: "https://echo/a", want: "echo"}, {url: "http://echo:99999/a", want: "echo"},
		}},
		{"two of one route", [][]byte{object("a", p80+","+p81, "/a")}, []call{
			{url: "http://echo/a", want: "v1"}, {url: "http://echo:81/a", want: "v1"}, {url: "http://echo:81/b"}, {url: "http://echo:82/a", want: "echo"},
		}},
		{"of two routes", [][]byte{object("a", p80, "/a"), object("b", p81, "/b")}, []call{
			{url: "http://echo/a", want: "v1"}, {url: "http://echo/b"}, {url: "http://echo:81/b", want: "v1"}, {url: "http://echo:81/a"},
			{url: "http://echo:82/a", want: "echo"},
		}},
		{"and all, in one route", [][]byte{object("a", p80+","+every+","+p81, "/a")}, []call{
			{url: "http://echo:82/a", want: "v1"}, {url: "http://echo:82/b"},
		}},
		{"and all, in another", [][]byte{object("a", p80, "/a"), object("b", every, "/")}, []call{
			{url: "http://echo/b", want: "v1"}, {url: "http://echo:82/a", want: "v1"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) { check(t, attached(t, test.objects...), test.calls) })
	}
	// A key that is the port's own has no other calls, however they are made.
	g, err := route.ParseGateway(object("a", p80, "/a"), route.GatewayOptions{Key: func(_, name string, port int) string {
		return fmt.Sprint(name, ":", port)
	}})
	if err != nil || len(g.Ports) > 0 {
		t.Errorf("got %+v, %v, want no ports", g, err)
	}
}

// TestPortOfGRPC: rules for a port refuse what does not match there over gRPC, too.
func TestPortOfGRPC(t *testing.T) {
	tb := withRules(t, route.Rule{Ports: []int{81}, Fixed: &route.Fixed{Status: 404}})
	for host, want := range map[string]route.Action{"echo:81": route.Answer, "echo": route.Send} {
		if d := tb.Decide(&route.Input{Service: "echo", GRPC: true, Path: "/a/b", Host: host}); d.Action != want {
			t.Errorf("%s: got %v, want %v", host, d.Action, want)
		}
	}
}

// TestAttach: older routes first, then by name; a Config in use does not change.
func TestAttach(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	gateway := func(name string, created time.Time) *route.Gateway {
		return &route.Gateway{Kind: "HTTPRoute", Namespace: "shop", Name: name, Created: created, Services: []string{"echo"}, Rules: []route.Rule{{Name: name}}}
	}
	own := make([]route.Rule, 1, 8)
	own[0].Name = "own"
	cfg := route.Config{Services: map[string]route.Service{"echo": {Rules: own}}}
	old := cfg.Services
	if err := cfg.Attach(nil, gateway("none", time.Time{}), gateway("b", day(2)), gateway("c", day(1)), gateway("a", day(2))); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range cfg.Services["echo"].Rules {
		got = append(got, r.Name)
	}
	if want := []string{"own", "c", "a", "b", "none"}; !reflect.DeepEqual(got, want) || !cfg.Services["echo"].OnlyRules {
		t.Errorf("got %v, want %v and OnlyRules", got, want)
	}
	if len(old["echo"].Rules) != 1 || own[:2][1].Name != "" {
		t.Errorf("got %v changed, want it as it was", old)
	}
	stray := gateway("stray", day(1))
	stray.Services = []string{"echo", "nobody"}
	err := cfg.Attach(stray)
	if err == nil || !strings.Contains(err.Error(), `HTTPRoute shop/stray: parentRefs "nobody": want a service`) || len(cfg.Services["echo"].Rules) != 5 {
		t.Errorf("got %v, %d rules, want an error and nothing attached", err, len(cfg.Services["echo"].Rules))
	}
}
