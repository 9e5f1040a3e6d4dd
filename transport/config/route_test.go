package config_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
	"github.com/tullemesh/tulle/transport/route"
)

// ptr is a pointer to a value.
func ptr[T any](v T) *T { return &v }

func TestRouting(t *testing.T) {
	r := mustParse(t, `
environment: local
environments:
  local: {fallback: [staging], failover: true, spillOver: true, protected: false, fallbackWrites: [staging]}
  staging: {protected: true}
labels: {team: a}
override: {services: ["*"], environments: [local], protected: true, requireSignature: true, maxExpiry: 1h, ignoreCode: true, codeProtected: true,
  keys: [{id: k1, secret: "${KEY}"}]}
rules:
- name: all
  match:
  - path: {prefix: /a}
    method: GET
    headers: [{name: x, exact: "1"}, {name: y, regex: "[0-9]+"}]
    query: [{name: q, present: true}]
    caller: {team: a}
  - path: {exact: /b}
  - path: {regex: "/c.*"}
  backends:
  - {service: users, environment: local, weight: 0, requestHeaders: {set: {a: b}}}
  - {service: orders, weight: 3}
  key: {header: x-user}
  mirror: {service: orders, environment: staging, percent: 12.5}
  timeout: none
  attemptTimeout: 2s
  retry: {attempts: 2, minBackoff: 1ms, maxBackoff: 2ms, statuses: [500], codes: [UNKNOWN]}
  requestHeaders: {set: {a: b}, add: {c: d}, remove: [e]}
  fault: {only: {name: x, present: true}, delay: 1s, delayPercent: 50, abortStatus: 503, abortPercent: 0}
services:
  users:
    environments:
      local: {target: "static://a", host: h, timeout: 3s, retry: {attempts: 5}, external: true}
      staging: {target: {dns: users.staging}, protocol: h2c}
    environment: staging
    onlyRules: true
    timeout: 9s
    rules:
    - fixed: {status: 404, headers: {x: y}, body: "a\nb\n"}
      match: [{grpc: {service: acme.Users, method: Get}}]
  orders: {environments: {staging: {target: "static://b"}}}
`, "KEY", "0123456789abcdef").Transport
	rule := got1(t, r.Rules)
	want := route.Rule{
		Name: "all", File: "tulle.yaml", Line: 10,
		Match: []route.Match{
			{
				Path: route.PathMatch{Prefix: "/a"}, Method: "GET", Caller: map[string]string{"team": "a"},
				Headers: []route.ValueMatch{{Name: "x", Exact: "1"}, {Name: "y", Regex: "[0-9]+"}},
				Query:   []route.ValueMatch{{Name: "q", Present: true}},
			},
			{Path: route.PathMatch{Exact: "/b"}},
			{Path: route.PathMatch{Regex: "/c.*"}},
		},
		Backends: []route.Backend{
			{Service: "users", Environment: "local", Weight: ptr(0), RequestHeaders: route.Headers{Set: map[string]string{"a": "b"}}},
			{Service: "orders", Weight: ptr(3)},
		},
		Key:            route.SplitKey{Header: "x-user"},
		Mirror:         &route.Mirror{Service: "orders", Environment: "staging", Percent: ptr(12.5)},
		Timeout:        -1,
		AttemptTimeout: 2 * time.Second,
		Retry:          &route.Retry{Attempts: 2, MinBackoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond, Statuses: []int{500}, Codes: []string{"UNKNOWN"}},
		RequestHeaders: route.Headers{Set: map[string]string{"a": "b"}, Add: map[string]string{"c": "d"}, Remove: []string{"e"}},
		Fault: &route.Fault{
			Only: &route.ValueMatch{Name: "x", Present: true}, Delay: time.Second, DelayPercent: ptr(50.0),
			AbortStatus: 503, AbortPercent: ptr(0.0),
		},
	}
	if !reflect.DeepEqual(rule, want) {
		t.Errorf("rule: got\n%+v\nwant\n%+v", rule, want)
	}
	users := r.Services["users"]
	local, staging := users.Environments["local"], users.Environments["staging"]
	if local.Target != "static://a" || local.Host != "h" || !local.External || local.Policy.Timeout != 3*time.Second || local.Policy.Retry.Attempts != 5 {
		t.Errorf("local: got %+v", local)
	}
	if staging.Resolver == nil || staging.Protocol != transport.H2C || !reflect.DeepEqual(staging.Policy, transport.Policy{}) {
		t.Errorf("staging: got %+v", staging)
	}
	if users.Environment != "staging" || !users.OnlyRules || users.Policy.Timeout != 9*time.Second || users.Rules[0].Fixed.Body != "a\nb\n" || users.Rules[0].Line != 38 {
		t.Errorf("users: got %+v", users)
	}
	if r.Environment != "local" || !reflect.DeepEqual(r.Labels, map[string]string{"team": "a"}) ||
		!reflect.DeepEqual(r.Environments, map[string]route.Environment{"local": {
			Fallback: []string{"staging"}, Failover: true, SpillOver: true, Protected: ptr(false), FallbackWrites: []string{"staging"},
		}, "staging": {Protected: ptr(true)}}) {
		t.Errorf("got %q, %v, %+v", r.Environment, r.Labels, r.Environments)
	}
	if !reflect.DeepEqual(r.Override, route.OverridePolicy{
		Services: []string{"*"}, Environments: []string{"local"}, Protected: true, RequireSignature: true, MaxExpiry: time.Hour, IgnoreCode: true, CodeProtected: true,
		Keys: []route.SigningKey{{ID: "k1", Secret: []byte("0123456789abcdef")}},
	}) {
		t.Errorf("override: got %+v", r.Override)
	}
}

// got1 is the only rule of a list.
func got1(t *testing.T, rules []route.Rule) route.Rule {
	t.Helper()
	if len(rules) != 1 {
		t.Fatalf("got %d rules, want 1", len(rules))
	}
	return rules[0]
}

// Rules and destinations of the program stay, after those of the file.
func TestRoutingBase(t *testing.T) {
	base := transport.Config{
		Rules:  []route.Rule{{Name: "program"}},
		Labels: map[string]string{"a": "1", "b": "1"},
		Services: map[string]transport.Service{"users": {
			Environments: map[string]transport.Destination{"prod": {Target: "static://p"}, "local": {Target: "static://l", Host: "h"}},
			Rules:        []route.Rule{{Name: "own program"}},
		}},
	}
	r, err := config.Parse("tulle.yaml", []byte(`
labels: {b: "2"}
rules: [{name: file}]
services:
  users:
    rules: [{name: own file}]
    environments: {local: {target: static://f, retry: {attempts: 2}}, staging: {target: static://s}}
`), config.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	users := r.Transport.Services["users"]
	names := fmt.Sprint(r.Transport.Rules[0].Name, r.Transport.Rules[1].Name, users.Rules[0].Name, users.Rules[1].Name, r.Transport.Labels)
	if names != "fileprogramown fileown programmap[a:1 b:2]" {
		t.Errorf("got %s", names)
	}
	local := users.Environments["local"]
	if len(users.Environments) != 3 || local.Target != "static://f" || local.Host != "h" || !reflect.DeepEqual(local.Policy.Retry, &retry.Config{Attempts: 2}) {
		t.Errorf("got %+v", users.Environments)
	}
	if len(base.Services["users"].Environments) != 2 || len(base.Rules) != 1 {
		t.Error("the base was changed")
	}
}

// What package route finds is told with the place in the file.
func TestRoutingErrors(t *testing.T) {
	for text, want := range map[string]string{
		"environment: Local":                                 "1:1: environment: ",
		"environments:\n  local: {fallback: [local]}":        "2:22: environments.local.fallback[0]: ",
		"rules:\n- match: [{path: {regex: '('}}]":            "2:19: rules[0].match[0].path.regex: ",
		"rules:\n- match: [{path: {prefix: /a, exact: /b}}]": "2:12: rules[0].match[0].path: ",
		"rules:\n- {}\n- retry: {statuses: [200]}":           "3:22: rules[1].retry.statuses[0]: 200: want 400 to 599",
		"rules:\n- {timout: 1s}":                             "2:4: rules[0]: unknown key \"timout\": did you mean timeout?",
		"rules:\n- {timeout: 1}":                             "2:13: rules[0].timeout: 1 has no unit",
		"rules:\n- backends: [{service: nobody}]":            "rules[0].backends[0]",
		"rules:\n- {line: 5}":                                "2:4: rules[0]: unknown key \"line\"",
		"rules:\n- fixed: {body: x}":                         "2:10: rules[0].fixed: the key status is missing",
		"services:\n  a:\n    target: static://a\n    environments: {prod: {target: static://b}}": "3:5: services.a.target: ",
		"services:\n  a:\n    environments: {prod: {host: x}}":                                    "3:26: services.a.environments.prod: the key target is missing",
		"services:\n  a:\n    environments: {prod: {target: x}}":                                  "3:27: services.a.environments.prod.target: ",
		"services:\n  a:\n    target: static://a\n    rules: [{match: [{method: get}]}]":          "4:23: services.a.rules[0].match[0].method: ",
		"services:\n  a:\n    environment: moon\n    environments: {prod: {target: static://b}}":  `3:5: services.a.environment: "moon": want one of prod`,
		"override: {services: ['*'], environments: [B]}":                                          "1:44: override.environments[0]: ",
		"override: {maxExpiry: 721h}":                                                             "1:23: override.maxExpiry: 721h: ",
		"override: {maxExpiry: 0s}":                                                               "1:23: override.maxExpiry: 0s: ",
		"override: {keys: [{id: k, secret: short}]}":                                              "override.keys[0].secret",
		"routeFiles: [nowhere.yaml]":                                                              `1:14: routeFiles[0]: "nowhere.yaml": no such file`,
	} {
		_, err := parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

const httpRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: shop, creationTimestamp: %s}
spec:
  parentRefs: [{group: "", kind: Service, name: users}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /%[1]s}}]
    backendRefs: [{name: orders, port: 8080, weight: 1}]
`

// Routes of the Gateway API are taken as they stand, from the file itself and
// from others, the oldest first.
func TestGateway(t *testing.T) {
	dir := t.TempDir()
	write(t, dir,
		"routes/b.yaml", fmt.Sprintf(httpRoute, "second", "2026-01-02T00:00:00Z")+"---\napiVersion: v1\nkind: Service\n",
		"routes/a.yaml", "# nothing yet\n",
		"tulle.yaml", "services:\n  users: {target: static://a, rules: [{name: own}]}\n  orders.shop:8080: {target: static://b}\n"+
			"routeFiles: [routes/*.yaml]\n---"+fmt.Sprintf(httpRoute, "third", "2026-01-03T00:00:00Z")+"---"+fmt.Sprintf(httpRoute, "first", "2026-01-01T00:00:00Z"))
	r, err := config.Load(filepath.Join(dir, "tulle.yaml"), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	users := r.Transport.Services["users"]
	var got []string
	for _, rule := range users.Rules {
		line := fmt.Sprint(filepath.Base(rule.File), ":", rule.Line, " ", rule.Name)
		if len(rule.Match) > 0 {
			line += rule.Match[0].Path.Prefix + " to " + rule.Backends[0].Service
		}
		got = append(got, line)
	}
	if len(got) != 4 || !strings.HasPrefix(got[0], "tulle.yaml:2 own") || !strings.Contains(got[1], "/first to orders.shop:8080") ||
		!strings.HasPrefix(got[2], "b.yaml:8 ") || !strings.Contains(got[3], "/third") || !users.OnlyRules {
		t.Errorf("got %q, only rules %v", got, users.OnlyRules)
	}

	// A new file of routes is seen by a Loader: what the pattern matches counts.
	write(t, dir, "routes/c.yaml", fmt.Sprintf(httpRoute, "fourth", "2026-01-04T00:00:00Z"))
	again, err := config.Load(filepath.Join(dir, "tulle.yaml"), config.Options{})
	if err != nil || len(again.Transport.Services["users"].Rules) != 5 || again.Version == r.Version {
		t.Errorf("got %+v, %v, want a fifth rule", again, err)
	}
}

func TestGatewayErrors(t *testing.T) {
	head := "services: {users: {target: static://a}, orders: {target: static://b}}\n---"
	good := fmt.Sprintf(httpRoute, "x", "2026-01-02T00:00:00Z")
	if _, err := parse(head + good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ from, to, want string }{
		{"name: users", "name: nobody", `7:1: spec.parentRefs[0].name: "nobody": want one of the services: orders, users`},
		{"name: orders", "name: nobody", `10:1: spec.rules[0].backendRefs[0].name: "nobody": want one of the services: orders, users`},
		{"PathPrefix", "PathSuffix", "9:1: spec.rules[0].matches[0].path.type: "},
		{"backendRefs", "backends", "10:1: spec.rules[0].backends: "},
		{"weight: 1", "weight: 1, weight: 2", `the key "weight" is already on line 10`},
		{"users}", "users, port: 0x50}", "spec.parentRefs[0].port: 0x50: want a decimal number"},
		{"users}", "users, port: 65536}", "7:1: spec.parentRefs[0].port: 65536: want 1 to 65535"},
		{"HTTPRoute", "TLSRoute", "4:1: kind: "},
		{"- matches", "- filters: [{type: CORS}]\n    matches", "spec.rules[0].filters[0]"},
	} {
		text := strings.Replace(good, tt.from, tt.to, 1)
		if text == good {
			t.Fatalf("%s does not stand in the route", tt.from)
		}
		_, err := parse(head + text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.to, err, tt.want)
		}
	}
	dir := t.TempDir()
	write(t, dir, "routes.yaml", "a: b\n---\n- c\n", "folder/x", "", "tulle.yaml", "routeFiles: [routes.yaml, folder]\n")
	_, err := config.Load(filepath.Join(dir, "tulle.yaml"), config.Options{})
	if got := config.Problems(err); len(got) != 3 || !strings.HasSuffix(got[0].Error(), "routes.yaml:1:1: want objects of Kubernetes, such as an HTTPRoute") {
		t.Errorf("got %v, want three problems", err)
	}
}

// A parentRef without a port is for all ports of its Service, one with a port for
// that alone.
func TestGatewayPorts(t *testing.T) {
	for _, test := range []struct{ services, port, want string }{
		{"users, users:81, users.shop:82, orders", ", port: 80", "users"},
		{"users, users:80, users:81, orders", ", port: 80", "users:80"},
		{"users, users:81, users:82, orders", "", "users users:81 users:82"},
		{"users.shop, users.shop:81, users:82, users.web:83, orders", "", "users.shop users.shop:81"},
		{"users:81, orders", "", "users:81"},
		{"users:81, users:82, orders", "", ""},
	} {
		text := "services:\n"
		for name := range strings.SplitSeq(test.services, ", ") {
			text += fmt.Sprintf("  %q: {target: static://a, attemptTimeout: none}\n", name)
		}
		text += "---" + strings.Replace(fmt.Sprintf(httpRoute, "x", "2026-01-02T00:00:00Z"), "users}", "users"+test.port+"}", 1)
		r, err := parse(text)
		var got []string
		if err == nil {
			for _, name := range slices.Sorted(maps.Keys(r.Transport.Services)) {
				if len(r.Transport.Services[name].Rules) > 0 {
					got = append(got, name)
				}
			}
		}
		if strings.Join(got, " ") != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s, port %q: got %v, %v, want %s", test.services, test.port, got, err, test.want)
		}
	}
}

// A parentRef with a port is for calls to that port, also where the file has the
// Service without one.
func TestGatewayPortOfCalls(t *testing.T) {
	for _, test := range []struct{ own, port, url, want string }{
		{"", "80", "http://users/x", "send shop/x/0"},
		{"", "80", "http://users:80/x", "send shop/x/0"},
		{"", "80", "http://users/y", "answer no rule of a route"},
		{"", "80", "http://users:81/x", "send "},
		{"", "80", "https://users/x", "send "},
		{"", "443", "https://users/x", "send shop/x/0"},
		{", onlyRules: true", "80", "http://users:81/x", "refuse "},
		{", onlyRules: true", "80", "http://users/y", "refuse "},
		{", onlyRules: false", "80", "http://users/y", "send "},
	} {
		r, err := parse("services: {users: {target: static://a" + test.own + "}, orders: {target: static://b}}\n---" +
			strings.Replace(fmt.Sprintf(httpRoute, "x", "2026-01-02T00:00:00Z"), "users}", "users, port: "+test.port+"}", 1))
		if err != nil {
			t.Fatal(err)
		}
		rt, err := transport.New(r.Transport)
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodGet, test.url, nil)
		req.Host = "" // as a client leaves it
		x := rt.Explain(t.Context(), req).Route
		got := x.Action + " "
		if x.Rule != nil {
			got += x.Rule.Name
		}
		if got != test.want {
			t.Errorf("port %s%s, %s: got %q, want %q", test.port, test.own, test.url, got, test.want)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Lists are what kubectl prints of several objects. Objects of other kinds in them,
// and beside them, are passed over; what is a route and cannot be read is not.
func TestGatewayLists(t *testing.T) {
	const head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute"
	whole := strings.TrimSpace(fmt.Sprintf(httpRoute, "x", "2026-01-02T00:00:00Z"))
	item := func(text string) string {
		return "\n- " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	}
	list := "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service}\n- {apiVersion: gateway.networking.k8s.io/v1, kind: Gateway}" + item(whole)
	bare := head + "List\nitems:" + item(strings.TrimPrefix(whole, head))
	dir := t.TempDir()
	for name, text := range map[string]string{"of kubectl": list, "of the cluster": bare} {
		write(t, dir, "routes.yaml", text+"\n---\n{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant}\n",
			"tulle.yaml", "services: {users: {target: static://a}, orders: {target: static://b}}\nrouteFiles: [routes.yaml]\n")
		r, err := config.Load(filepath.Join(dir, "tulle.yaml"), config.Options{})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if users := r.Transport.Services["users"]; len(users.Rules) != 1 || !users.OnlyRules {
			t.Errorf("%s: got %+v, want the rule of the list", name, users)
		}
		r, err = parse("services: {users: {target: static://a}, orders: {target: static://b}}\n---\n" + text)
		if err != nil || len(r.Transport.Services["users"].Rules) != 1 {
			t.Errorf("%s, in the file itself: got %+v, %v, want the rule of the list", name, r, err)
		}
	}
	_, err := parse("services: {users: {target: static://a}}\n---\n{apiVersion: v1, kind: List, items: [{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute}, 7]}")
	if got := config.Problems(err); len(got) != 2 {
		t.Errorf("got %v, want two problems", err)
	}
}

// A new file that a pattern matches is a change.
func TestRunSeesNewRouteFiles(t *testing.T) {
	files := []string{"tulle.yaml", version(1) + "routeFiles: ['r/*.yaml']\n", "r/.keep", ""}
	watch(t, config.Options{}, files, func(w *watched) {
		write(t, w.dir, "r/a.yaml", strings.ReplaceAll(fmt.Sprintf(httpRoute, "x", "2026-01-02T00:00:00Z"), "orders, port: 8080", "users, port: 80"))
		w.after(2 * time.Second)
		w.want(1)
		if n := len(w.Result().Transport.Services["users"].Rules); n != 1 {
			t.Errorf("got %d rules, want 1: %v", n, w.Status().LastError)
		}
		if err := os.Remove(filepath.Join(w.dir, "r/a.yaml")); err != nil {
			t.Fatal(err)
		}
		w.after(2 * time.Second)
		w.want(1, 1)
	})
}

// Secrets of overrides and of headers are not shown, in no error and no setting.
func TestRoutingSecrets(t *testing.T) {
	for _, text := range []string{
		"override: {keys: [{id: '${S}', secret: '${S}'}]}",
		"override: {requireSignature: true, keys: [{id: k, secret: '${S}'}]}\nrules: [{timeout: 1us}]",
		"rules: [{requestHeaders: {set: {'a b': '${S}'}}}]",
		"rules: [{match: [{path: {regex: '(${S}'}}]}]",
		"labels: {a: '${S}'}\nunknown: x",
		"environment: '${S}'",
		"rules: [{fixed: {status: 200, headers: {'a b': '${S}', c: '${S}\u007f'}}}]",
	} {
		for _, secret := range []string{"hunter2 hunter2", `hunter2"\hunter2`, strings.Repeat("hunter2 ", 600)} {
			_, err := parse(text, "S", secret)
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: got %v, want an error without the secret", text, err)
			}
		}
	}
}
