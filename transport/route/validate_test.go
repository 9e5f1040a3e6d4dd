package route_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// errorsOf are the errors that err joins.
func errorsOf(err error) []*route.Error {
	var list []*route.Error
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, one := range joined.Unwrap() {
		var e *route.Error
		if errors.As(one, &e) {
			list = append(list, e)
		}
	}
	return list
}

// TestValidate: each bad setting gets an error at its path, and nothing else
// does.
func TestValidate(t *testing.T) {
	rule := func(r route.Rule) route.Config {
		return route.Config{Services: map[string]route.Service{"users": {Environments: []string{"prod"}}, "plain": {}}, Rules: []route.Rule{r}}
	}
	match := func(m route.Match) route.Config { return rule(route.Rule{Match: []route.Match{m}}) }
	header := func(h route.Headers) route.Config { return rule(route.Rule{RequestHeaders: h}) }
	env := func(name string, e route.Environment) route.Config {
		return route.Config{Environments: map[string]route.Environment{name: e, "prod": {}, "dev": {}}}
	}
	policy := func(o route.OverridePolicy) route.Config {
		cfg := rule(route.Rule{})
		cfg.Override = o
		return cfg
	}
	tests := []struct {
		name string
		cfg  route.Config
		want string // parts of each error, in order: path value: want
	}{
		{"default", route.Config{Default: "A"}, `default "A": want a DNS label`},
		{"environment", env("a.b", route.Environment{}), `environments["a.b"] "a.b": want as name a DNS label`},
		{"fallback on itself", env("a", route.Environment{Fallback: []string{"a"}}), `environments["a"].fallback[0] "a": want another`},
		{"fallback twice", env("a", route.Environment{Fallback: []string{"dev", "dev"}}), `environments["a"].fallback[1] "dev": want each environment once`},
		{"fallback unknown", env("a", route.Environment{Fallback: []string{"deb"}}), `environments["a"].fallback[0] "deb": want one of a, dev, prod`},
		{"writes without edge", env("a", route.Environment{Fallback: []string{"dev"}, FallbackWrites: []string{"prod"}}), `environments["a"].fallbackWrites[0] "prod": want one of fallback: dev`},
		{"writes anyway", env("a", route.Environment{Fallback: []string{"dev"}, FallbackWrites: []string{"dev"}}), `environments["a"].fallbackWrites[0] "dev": want a protected`},
		{"failover to nothing", env("a", route.Environment{Failover: true}), `environments["a"].failover true: want false`},
		{"service name", route.Config{Services: map[string]route.Service{"a b": {}}}, `services["a b"] "a b": want a key`},
		{"same but for case", route.Config{Services: map[string]route.Service{"A": {}, "a": {}}}, `services["a"] "a": want another name than "A"`},
		{"service environments", route.Config{Services: map[string]route.Service{"a": {Environments: []string{"x", "x", "X"}}}},
			`services["a"].environments[1] "x": want each|services["a"].environments[2] "X": want a DNS`},
		{"service default", route.Config{Services: map[string]route.Service{"a": {Environments: []string{"x"}, Default: "y"}}}, `services["a"].default "y": want one of prod, x`},
		{"default of none", route.Config{Services: map[string]route.Service{"a": {Default: "prod"}}}, `services["a"].default "prod": want none`},
		{"ports", rule(route.Rule{Ports: []int{80, 0, 65536}}), `rules[0].ports[1] 0: want 1 to 65535|rules[0].ports[2] 65536`},
		{"hosts", rule(route.Rule{Hosts: []string{"a:80", "*", "*.x", "a*b"}}), `rules[0].hosts[0] "a:80": want a host|rules[0].hosts[1] "*"|rules[0].hosts[3] "a*b"`},
		{"too many matches", rule(route.Rule{Match: make([]route.Match, 129)}), `rules[0].match 129: want up to 128`},
		{"path twice", match(path("/a", "/b", "")), `rules[0].match[0].path with several`},
		{"exact", match(path("a", "", "")), `rules[0].match[0].path.exact "a": want a path`},
		{"prefix", match(path("", "/a//b", "")), `rules[0].match[0].path.prefix "/a//b": want a path`},
		{"regex", match(path("", "", "(")), `rules[0].match[0].path.regex "(": want a regular expression (error parsing`},
		{"regex that would close the anchor", match(path("", "", "a)|(b")), `rules[0].match[0].path.regex "a)|(b": want`},
		{"long regex", match(path("", "", strings.Repeat("a", 1025))), `rules[0].match[0].path.regex`},
		{"method", match(route.Match{Method: "get"}), `rules[0].match[0].method "get": want a method, in upper case`},
		{"header name", match(route.Match{Headers: []route.ValueMatch{{Name: "a b", Present: true}}}), `rules[0].match[0].headers[0].name "a b"`},
		{"header nothing", match(route.Match{Headers: []route.ValueMatch{{Name: "a"}}}), `rules[0].match[0].headers[0] "a": want exactly one`},
		{"header regex", match(route.Match{Headers: []route.ValueMatch{{Name: "a", Regex: "["}}}), `rules[0].match[0].headers[0].regex "["`},
		{"query", match(route.Match{Query: []route.ValueMatch{{Exact: "b", Present: true}}}), `rules[0].match[0].query[0].name ""|rules[0].match[0].query[0] "": want exactly one`},
		{"grpc and path", match(route.Match{GRPC: &route.GRPCMatch{}, Method: "POST"}), `rules[0].match[0].grpc together`},
		{"grpc", match(route.Match{GRPC: &route.GRPCMatch{Service: "a/b"}}), `rules[0].match[0].grpc.service "a/b"`},
		{"grpc regex", match(route.Match{GRPC: &route.GRPCMatch{Method: "(", Regex: true}}), `rules[0].match[0].grpc.method "("`},
		{"backend", rule(route.Rule{Backends: []route.Backend{{Service: "user"}}}), `rules[0].backends[0].service "user": want one of plain, users`},
		{"backend environment", rule(route.Rule{Backends: []route.Backend{{Environment: "pro"}}}), `rules[0].backends[0].environment "pro": want one of prod`},
		{"backend without environments", rule(route.Rule{Backends: []route.Backend{{Service: "plain", Environment: "prod"}}}), `rules[0].backends[0].environment "prod": want none`},
		{"own environment", route.Config{Services: map[string]route.Service{"a": {Rules: []route.Rule{{Backends: []route.Backend{{Environment: "prod"}}}}}}},
			`services["a"].rules[0].backends[0].environment "prod": want none`},
		{"weight", rule(route.Rule{Backends: []route.Backend{{Weight: new(-1)}, {Weight: new(1_000_001)}}}), `rules[0].backends[0].weight -1: want 0 to 1000000|rules[0].backends[1].weight 1000001`},
		{"key", rule(route.Rule{Key: route.SplitKey{Header: "a b", Cookie: "c;"}}), `rules[0].key with several|rules[0].key.header "a b"|rules[0].key.cookie "c;"`},
		{"mirror", rule(route.Rule{Mirror: &route.Mirror{Percent: new(math.NaN())}}), `rules[0].mirror.percent NaN: want 0 to 100|rules[0].mirror {}: want a service`},
		{"mirror service", rule(route.Rule{Mirror: &route.Mirror{Service: "x", Percent: new(101.0)}}), `rules[0].mirror.service "x"|rules[0].mirror.percent 101`},
		{"timeouts", rule(route.Rule{Timeout: 5, AttemptTimeout: 25 * time.Hour}), `rules[0].timeout 5ns: want 1ms|rules[0].attemptTimeout 25h0m0s: want|rules[0].attemptTimeout 25h0m0s: want at most`},
		{"retry", rule(route.Rule{Retry: &route.Retry{Attempts: 11, MinBackoff: -1, MaxBackoff: 2 * time.Hour, Statuses: []int{200}, Codes: []string{"unavailable", "OK"}}}),
			`rules[0].retry.attempts 11|rules[0].retry.minBackoff -1ns|rules[0].retry.maxBackoff 2h0m0s|rules[0].retry.statuses[0] 200: want 400 to 599|rules[0].retry.codes[0] "unavailable": want the name|rules[0].retry.codes[1] "OK"`},
		{"backoff", rule(route.Rule{Retry: &route.Retry{MinBackoff: 2, MaxBackoff: 1}}), `rules[0].retry.minBackoff 2ns: want at most maxBackoff`},
		{"header set", header(route.Headers{Set: map[string]string{"a b": "c"}}), `rules[0].requestHeaders.set["a b"] "a b": want a header name`},
		{"header value", header(route.Headers{Add: map[string]string{"a": "b\r\nc: d"}}), `rules[0].requestHeaders.add["a"] "b\r\nc: d": want a header value`},
		{"header twice", header(route.Headers{Set: map[string]string{"x-a": "1"}, Remove: []string{"X-A"}}), `rules[0].requestHeaders.remove[0] "X-A": want each header once in set, add and remove; it is in set`},
		{"header of framing", header(route.Headers{Set: map[string]string{"host": "x"}, Remove: []string{"tulle-timeout"}}), `rules[0].requestHeaders.set["host"] "host"|rules[0].requestHeaders.remove[0] "tulle-timeout"`},
		{"two answers", rule(route.Rule{Fixed: &route.Fixed{Status: 200}, Redirect: &route.Redirect{Port: 1}}), `rules[0] rewrite, redirect, fixed: want at most one`},
		{"answer and backends", rule(route.Rule{Fixed: &route.Fixed{Status: 200}, Backends: []route.Backend{{}}}), `rules[0].backends 1: want none`},
		{"rewrite", rule(route.Rule{Rewrite: &route.Rewrite{Host: "a b", Path: route.PathEdit{Full: "a", Prefix: "b"}}}),
			`rules[0].rewrite.host "a b"|rules[0].rewrite.path with full|rules[0].rewrite.path.full "a"|rules[0].rewrite.path.prefix "b"`},
		{"rewrite nothing", rule(route.Rule{Rewrite: &route.Rewrite{}}), `rules[0].rewrite {}: want a host or a path`},
		{"rewrite what prefix", rule(route.Rule{Match: []route.Match{path("", "/a", ""), path("/b", "", "")}, Rewrite: &route.Rewrite{Path: route.PathEdit{Prefix: "/c"}}}),
			`rules[0].rewrite.path.prefix "/c": want full, as match[1] is not by prefix`},
		{"redirect", rule(route.Rule{Redirect: &route.Redirect{Scheme: "ftp", Host: "a:1", Port: 65536, Status: 300}}),
			`rules[0].redirect.scheme "ftp"|rules[0].redirect.host "a:1"|rules[0].redirect.port 65536|rules[0].redirect.status 300: want 301`},
		{"redirect nowhere", rule(route.Rule{Redirect: &route.Redirect{}}), `rules[0].redirect {}: want somewhere`},
		{"fixed", rule(route.Rule{Fixed: &route.Fixed{Status: 100, Body: strings.Repeat("a", 64<<10+1), Headers: map[string]string{"Content-Length": "1", "X-A": "1", "x-a": "2", "y": "\n"}}}),
			`rules[0].fixed.status 100|rules[0].fixed.body 65537: want up to 65536|rules[0].fixed.headers["Content-Length"]|rules[0].fixed.headers["x-a"] "x-a": want each header once|rules[0].fixed.headers["y"] "\n": want a header value`},
		{"fixed body", rule(route.Rule{Fixed: &route.Fixed{Status: 204, Body: "a"}}), `rules[0].fixed.body 1: want none`},
		{"fault", rule(route.Rule{Fault: &route.Fault{Only: &route.ValueMatch{}, Delay: -1, AbortStatus: 600, AbortCode: "X", DelayPercent: new(-1.0), AbortPercent: new(100.1)}}),
			`rules[0].fault.only.name ""|rules[0].fault.only "": want exactly|rules[0].fault.delay -1ns|rules[0].fault.abortStatus 600|rules[0].fault.abortCode "X": want the name|rules[0].fault.abortCode "X": want none|rules[0].fault.delayPercent -1|rules[0].fault.abortPercent 100.1`},
		{"no fault", rule(route.Rule{Fault: &route.Fault{}}), `rules[0].fault {}: want a delay`},
		{"override services", policy(route.OverridePolicy{Services: []string{"user", "*"}}), `override.services[0] "user": want * or one of plain, users|override.environments []: want some`},
		{"override environments", policy(route.OverridePolicy{Environments: []string{"x"}}), `override.environments[0] "x": want * or one of prod|override.services []`},
		{"override keys", policy(route.OverridePolicy{RequireSignature: true}), `override.keys []: want at least one`},
		{"override key", policy(route.OverridePolicy{Keys: []route.SigningKey{{ID: "a b", Secret: []byte("hush")}, key(), key()}}),
			`override.keys[0].id "a b"|override.keys[0].secret 4: want 16|override.keys[2].id "k1": want each once`},
		{"override expiry", policy(route.OverridePolicy{MaxExpiry: 721 * time.Hour}), `override.maxExpiry 721h0m0s: want 1s to 720h`},
		{"override short expiry", policy(route.OverridePolicy{MaxExpiry: time.Second - 1}), `override.maxExpiry 999.999999ms: want 1s to`},
		{"override negative expiry", policy(route.OverridePolicy{MaxExpiry: -time.Hour}), `override.maxExpiry -1h0m0s: want 1s to`},
		{"override too many keys", policy(route.OverridePolicy{Keys: make([]route.SigningKey, 17)}), `override.keys 17: want up to 16|…`},
	}
	for _, test := range tests {
		tb, err := route.New(test.cfg)
		got := errorsOf(err)
		if tb != nil || len(got) == 0 {
			t.Errorf("%s: got %v, want an error", test.name, err)
			continue
		}
		want := strings.Split(test.want, "|")
		if strings.Contains(test.want, "a)|(b") {
			want = []string{test.want}
		}
		for i, part := range want {
			if part == "…" {
				break
			}
			if i >= len(got) || !strings.HasPrefix(got[i].Error(), "route: "+part) {
				t.Errorf("%s: got\n%v\nwant %q", test.name, err, part)
				break
			}
			if i == len(want)-1 && len(got) > len(want) {
				t.Errorf("%s: got\n%v\nwant only %q", test.name, err, want)
			}
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error tells a secret", test.name)
		}
	}
}

func TestErrorSaysWhere(t *testing.T) {
	_, err := route.New(route.Config{Rules: []route.Rule{{File: "routes.yaml", Line: 12, Timeout: 1}, {Timeout: 1}}})
	want := "routes.yaml:12: route: rules[0].timeout 1ns: want 1ms to 24h0m0s, 0 for the service's, or less for none\n" +
		"route: rules[1].timeout 1ns: want 1ms to 24h0m0s, 0 for the service's, or less for none"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestErrorsAreBounded: input that is all wrong does not become a book.
func TestErrorsAreBounded(t *testing.T) {
	rules := make([]route.Rule, 5000)
	for i := range rules {
		rules[i].Timeout = 1
	}
	_, err := route.New(route.Config{Rules: rules})
	if got := len(errorsOf(err)); got != 100 {
		t.Errorf("got %d errors, want 100", got)
	}
	_, err = route.New(route.Config{Rules: make([]route.Rule, 10_001)})
	if err == nil || !strings.Contains(err.Error(), "rules 10001: want up to 10000") {
		t.Errorf("got %v, want too many rules refused", err)
	}
	services := map[string]route.Service{}
	for i := range 100_001 {
		services["s"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String()] = route.Service{}
	}
	if _, err = route.New(route.Config{Services: services}); err == nil {
		t.Error("got no error, want too many services refused")
	}
}

func TestZeroConfig(t *testing.T) {
	tb := table(t, route.Config{})
	d := tb.Decide(&route.Input{Service: "users"})
	if d.Action != route.Refuse || !errors.Is(d.Err, route.ErrUnknownService) {
		t.Errorf("got %v, %v, want it refused with ErrUnknownService", d.Action, d.Err)
	}
	if x := tb.Explain(&route.Input{Service: "users"}); x.Action != "refuse" || x.Error == "" {
		t.Errorf("got %+v, want the same explained", x)
	}
}
