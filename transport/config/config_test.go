package config_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
	"github.com/tullemesh/tulle/transport/limit"
)

// whole sets every key that needs no other file. A test of the sections holds
// these against the types of the leaves.
const whole = `
defaults:
  timeout: 2s
  attemptTimeout: 500ms
  darkDeadlines: true
  balancer: {name: shortest_expected_delay, choices: 16, introduction: none}
  retry:
    attempts: 4
    minBackoff: 10ms
    maxBackoff: 100ms
    maxRetryAfter: none
    idempotent: [PUT, DELETE]
    replay: 1024
    dark: true
    budget: {ratio: 0.2, perSecond: 0}
  ejection:
    off: true
    dark: true
    consecutive: 7
    successShare: 0.7
    requests: 9
    behind: 0.1
    window: 20s
    base: 1s
    max: 1m
    unsent: 2s
    probeTimeout: 3s
    ramp: none
  breaker: {requests: 30, failureShare: 0.6, window: 5s, openFor: 2s, probeTimeout: 4s, off: true, dark: true}
  locality: {off: true, overprovision: 2, explore: 0, least: 5, tolerance: 0}
  limit: {rate: 10.5, burst: 20, maxWait: 1s, maxWaiters: 50, keys: 10, dark: true}
services:
  users:
    target: dns://users.internal:8080
    host: users.example.com
    protocol: h2c
    external: true
    timeout: none
    balancer: random
unknown: refuse
zone: a
refuseAddrs: [10.0.0.0/8, "::1/128"]
`

func TestParse(t *testing.T) {
	got := mustParse(t, whole).Transport
	want := transport.Config{
		Defaults: transport.Policy{
			Timeout: 2 * time.Second, AttemptTimeout: 500 * time.Millisecond, DarkDeadlines: true,
			Balancer: balancer.ShortestExpectedDelay{Choices: 16, Introduction: -1},
			Retry: &retry.Config{
				Attempts: 4, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, MaxRetryAfter: -1,
				Idempotent: []string{"PUT", "DELETE"}, Replay: 1024, Dark: true,
				Budget: retry.BudgetConfig{Ratio: 0.2, PerSecond: -1},
			},
			Ejection: &breaker.OutlierConfig{
				Off: true, Dark: true, Consecutive: 7, SuccessShare: 0.7, Requests: 9, Behind: 0.1, Window: 20 * time.Second,
				Base: time.Second, Max: time.Minute, Unsent: 2 * time.Second, ProbeTimeout: 3 * time.Second, Ramp: -1,
			},
			Breaker: &breaker.Config{
				Requests: 30, FailureShare: 0.6, Window: 5 * time.Second, OpenFor: 2 * time.Second,
				ProbeTimeout: 4 * time.Second, Off: true, Dark: true,
			},
			Locality: &transport.Locality{Off: true, Overprovision: 2, Explore: -1, Least: 5, Tolerance: -1},
			Limit:    &limit.Config{Rate: 10.5, Burst: 20, MaxWait: time.Second, MaxWaiters: 50, Keys: 10, Dark: true},
		},
		Services: map[string]transport.Service{"users": {
			Target: "dns://users.internal:8080", Host: "users.example.com", Protocol: transport.H2C, External: true,
			Policy: transport.Policy{Timeout: -1, Balancer: balancer.Random{}},
		}},
		Unknown:     transport.Refuse,
		Zone:        "a",
		RefuseAddrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// What is not there is not set: an empty file is the zero Config.
func TestParseNothing(t *testing.T) {
	for _, text := range []string{"# only this\n", "---\n", "{}", "null", "defaults:\nservices:\nrefuseAddrs:\n", "x-anchors: {a: [1, {b: c}]}"} {
		got := mustParse(t, text).Transport
		got.Services = nil
		if !reflect.DeepEqual(got, transport.Config{}) {
			t.Errorf("%q: got %+v, want the zero Config", text, got)
		}
	}
}

func TestBalancers(t *testing.T) {
	tests := map[string]balancer.Policy{
		"shortest_expected_delay":                                balancer.ShortestExpectedDelay{},
		"{name: peak_ewma}":                                      balancer.PeakEWMA{},
		"{name: peak_ewma, tau: 5s}":                             balancer.PeakEWMA{Tau: 5 * time.Second},
		"{choices: 4, name: least_request}":                      balancer.LeastRequest{Choices: 4},
		"round_robin":                                            balancer.RoundRobin{},
		"{name: shortest_expected_delay, introduction: 1s}":      balancer.ShortestExpectedDelay{Introduction: time.Second},
		"{name: random}":                                         balancer.Random{},
		"least_request":                                          balancer.LeastRequest{},
		"{name: shortest_expected_delay, choices: 2, \"x\": 5s}": nil,
	}
	for text, want := range tests {
		r, err := parse("defaults: {balancer: " + text + "}")
		if want == nil {
			if err == nil {
				t.Errorf("%s: got no error", text)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(r.Transport.Defaults.Balancer, want) {
			t.Errorf("%s: got %+v, %v, want %+v", text, r, err, want)
		}
	}
}

func TestTargets(t *testing.T) {
	refuse := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	dns := func(host, port string, interval time.Duration) discovery.Resolver {
		return discovery.DNS{Host: host, Port: port, Interval: interval, RefuseAddrs: refuse}
	}
	tests := map[string]discovery.Resolver{
		"{dns: users:80}":                     dns("users", "80", 0),
		"{dns: users, interval: 5s}":          dns("users", "", 5*time.Second),
		`{dns: "[::2]:80"}`:                   dns("::2", "80", 0),
		"{srv: _http._tcp.users}":             discovery.SRV{Name: "_http._tcp.users", RefuseAddrs: refuse},
		"{static: []}":                        discovery.Static{},
		"{prefer: [dns://a, {dns: b}]}":       discovery.Prefer(dns("a", "", 0), dns("b", "", 0)),
		"{merge: [static://a, {dns: b}]}":     discovery.Merge(discovery.Static{{Addr: "a"}}, dns("b", "", 0)),
		"{prefer: [{merge: [dns://a]}]}":      discovery.Prefer(discovery.Merge(dns("a", "", 0))),
		"{prefer: [own://a, static://b]}":     discovery.Prefer(discovery.Static{{Addr: "own-a"}}, discovery.Static{{Addr: "b"}}),
		"{dns: a, subset: 20, byZone: true}":  discovery.Subset{Resolver: dns("a", "", 0), Size: 20, ByZone: true},
		"{merge: ['dns://a?subset=9']}":       discovery.Merge(discovery.Subset{Resolver: dns("a", "", 0), Size: 9}),
		"{static: [a, {addr: b, zone: z}]}":   discovery.Static{{Addr: "a"}, {Addr: "b", Zone: "z"}},
		"{static: [{addr: a, grpc_port: 9}]}": discovery.Static{{Addr: "a", GRPCPort: 9}},
		"{static: [{addr: a, name: n, weight: 2.5, priority: 1, labels: {v: '1'}}]}": discovery.Static{
			{Addr: "a", Name: "n", Weight: 2.5, Priority: 1, Labels: map[string]string{"v": "1"}},
		},
	}
	o := config.Options{Base: transport.Config{Resolvers: map[string]transport.ResolverFunc{
		"own": func(u *url.URL) (discovery.Resolver, error) {
			return discovery.Static{{Addr: "own-" + u.Host}}, nil
		},
	}}}
	for text, want := range tests {
		r, err := config.Parse("tulle.yaml", []byte("refuseAddrs: [10.0.0.0/8]\nservices: {s: {target: "+text+"}}"), o)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := r.Transport.Services["s"].Resolver; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

// A file target means the same in all its forms, and its content may be YAML.
func TestFileTargets(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "sets/a.yaml", "- 127.0.0.1:1\n- {addr: 127.0.0.1:2, zone: b}\n", "b.json", `["127.0.0.1:3", {"addr": "127.0.0.1:4"}]`)
	write(t, dir, "tulle.yaml", `
services:
  relative: {target: {file: sets/a.yaml}}
  url: {target: "file://`+dir+`/sets/a.yaml"}
  json: {target: {file: b.json, interval: 10ms}}
  few: {target: "file://`+dir+`/sets/a.yaml?subset=1"}
  both: {target: {merge: [{file: b.json}, "file://`+dir+`/sets/a.yaml"]}}
`)
	tr, _, err := config.Open(dir+"/tulle.yaml", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if err := tr.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"relative": 2, "url": 2, "json": 2, "few": 1, "both": 4}
	for _, s := range tr.Snapshot().Services {
		if len(s.Endpoints) != want[s.Name] || s.DiscoveryError != "" {
			t.Errorf("%s: got %+v and %q, want %d endpoints", s.Name, s.Endpoints, s.DiscoveryError, want[s.Name])
		}
	}
}

func TestEndpoints(t *testing.T) {
	got, err := config.Endpoints([]byte("- a:1\n- {addr: b, weight: 2}\n- 'x${HOME}y'"))
	if err == nil {
		t.Errorf("got %v, want references without a meaning", got)
	}
	got, err = config.Endpoints([]byte("- a:1\n- {addr: b, weight: 2}\n"))
	want := []tulle.Endpoint{{Addr: "a:1"}, {Addr: "b", Weight: 2}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := config.Endpoints([]byte("[]")); err != nil || len(got) != 0 {
		t.Errorf("[]: got %v, %v, want none", got, err)
	}
	for text, want := range map[string]string{
		"":                              "the file is empty",
		"- a\n---\n- b":                 "2 documents",
		"a: b":                          "1:1: a mapping: want a list of endpoints",
		"- a\n- a":                      "2:3: [1]: \"a\": want each address once, and it is already on line 1",
		"- {addr: a, weigth: }":         `did you mean weight?`,
		"- {addr: a, grpc_port: 70000}": "want 1 to 65535",
	} {
		if _, err := config.Endpoints([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// The file is put over what the program says; functions of the program stay.
func TestBase(t *testing.T) {
	condition := func(*tulle.Call) tulle.Repetition { return 0 }
	key := func(*http.Request) string { return "k" }
	classify := func(tulle.HTTPFacts) tulle.Outcome { return tulle.Outcome{} }
	base := transport.Config{
		Defaults: transport.Policy{
			Timeout: time.Minute, AttemptTimeout: time.Second,
			Retry: &retry.Config{Attempts: 2, Condition: condition}, Limit: &limit.Config{Rate: 5, Key: key},
		},
		Services: map[string]transport.Service{
			"Users.": {Resolver: discovery.Static{{Addr: "a"}}, Classify: classify, Host: "h", Policy: transport.Policy{Timeout: time.Hour}},
			"other":  {Target: "dns://other"},
		},
		RefuseAddrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Unknown:     transport.Refuse,
	}
	r, err := config.Parse("tulle.yaml", []byte(`
defaults: {attemptTimeout: 2s}
refuseAddrs: [192.168.0.0/16]
services:
  users: {retry: {attempts: 5}, limit: {maxWait: 1s}}
  orders: {target: "dns://orders", timeout: 30s}
`), config.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Transport
	if got.Defaults.Timeout != time.Minute || got.Defaults.AttemptTimeout != 2*time.Second || got.Defaults.Retry != base.Defaults.Retry {
		t.Errorf("defaults: got %+v", got.Defaults)
	}
	if len(got.Services) != 3 || len(got.RefuseAddrs) != 2 || got.Unknown != transport.Refuse {
		t.Errorf("got %d services, %v, %v, want those of both", len(got.Services), got.RefuseAddrs, got.Unknown)
	}
	users := got.Services["users"]
	if users.Resolver == nil || users.Classify == nil || users.Host != "h" || users.Policy.Timeout != time.Hour {
		t.Errorf("users: got %+v, want what the program says", users)
	}
	if re := users.Policy.Retry; re == nil || re.Attempts != 5 || re.Condition == nil {
		t.Errorf("users: got retry %+v, want the file's with the program's function", re)
	}
	if l := users.Policy.Limit; l == nil || l.Rate != 0 || l.MaxWait != time.Second || l.Key == nil {
		t.Errorf("users: got limit %+v, want the file's with the program's function", l)
	}
	if len(base.RefuseAddrs) != 1 || len(base.Services) != 2 {
		t.Error("the base was changed")
	}
}

// A later key wins over one that is merged in, at all depths.
func TestMergeKeys(t *testing.T) {
	r := mustParse(t, `
x-policies:
  slow: &slow {timeout: 30s, retry: &once {attempts: 1}}
  more: &more {attemptTimeout: 3s, timeout: 9s}
services:
  a: {target: "static://a", <<: *slow, timeout: 10s}
  b: {<<: [*slow, *more], target: "static://a", retry: {<<: *once, replay: 5}}
  c: {target: "static://a", retry: *once}
`)
	a, b, c := r.Transport.Services["a"].Policy, r.Transport.Services["b"].Policy, r.Transport.Services["c"].Policy
	if a.Timeout != 10*time.Second || a.Retry.Attempts != 1 {
		t.Errorf("a: got %+v", a)
	}
	if b.Timeout != 30*time.Second || b.AttemptTimeout != 3*time.Second || b.Retry.Attempts != 1 || b.Retry.Replay != 5 {
		t.Errorf("b: got %+v with %+v", b, b.Retry)
	}
	if c.Retry.Attempts != 1 {
		t.Errorf("c: got %+v", c.Retry)
	}
}

func TestWarnings(t *testing.T) {
	r := mustParse(t, `
defaults:
  retry: {attempts: 5, idempotent: [PUT]}
services:
  a: {target: static://a}
  b: {target: static://b, attemptTimeout: none, retry: {attempts: 2}}
  c: {target: static://c, attemptTimeout: 1s, limit: {maxWait: 1s}}
  d: {target: static://d, attemptTimeout: 1s, limit: {}}
  e: {target: static://e, attemptTimeout: 1s, tls: {insecureSkipVerify: true}}
`)
	want := []string{
		"tulle.yaml:5:3: services.a: attemptTimeout is not set",
		"tulle.yaml:6:49: services.b.retry: it takes the place of defaults.retry as a whole: idempotent on line 3 does not hold here",
		"tulle.yaml:7:47: services.c.limit: rate is not set: nothing is limited",
		"tulle.yaml:9:53: services.e.tls.insecureSkipVerify: any certificate is accepted",
	}
	if len(r.Warnings) != len(want) {
		t.Fatalf("got %q, want %d", r.Warnings, len(want))
	}
	for i, w := range r.Warnings {
		if !strings.HasPrefix(w.Error(), want[i]) {
			t.Errorf("got  %v\nwant %v", w, want[i])
		}
	}
}
