package transport_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// one is any of the choices.
func one[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

// randomMatch is a Match that some of the calls of askRandom fit.
func randomMatch(r *rand.Rand) route.Match {
	m := route.Match{Path: one(r, route.PathMatch{}, route.PathMatch{Prefix: "/a"}, route.PathMatch{Exact: "/a/b"}, route.PathMatch{Regex: "/[ab]"})}
	m.Method = one(r, "", "", "GET", "POST")
	if r.IntN(3) == 0 {
		m.Headers = []route.ValueMatch{{Name: "x-user", Exact: one(r, "ada", "bob")}}
	}
	if r.IntN(4) == 0 {
		m.Query = []route.ValueMatch{{Name: "q", Regex: "[0-9]"}}
	}
	return m
}

// randomRule is a rule whose decisions do not depend on chance.
func randomRule(r *rand.Rand, name string) route.Rule {
	rule := route.Rule{Name: name, Match: []route.Match{randomMatch(r), randomMatch(r)}[:1+r.IntN(2)]}
	switch r.IntN(8) {
	case 0:
		rule.Fixed = &route.Fixed{Status: 410}
	case 1:
		rule.Redirect = &route.Redirect{Port: 81, Status: 307}
	case 2:
		rule.Fault = &route.Fault{AbortStatus: 418, AbortPercent: ptr(one(r, 0.0, 100))}
	case 3:
		rule.Fault = &route.Fault{Delay: time.Second, AbortCode: "UNAVAILABLE", Only: &route.ValueMatch{Name: "X-User", Exact: "bob"}}
	case 4:
		rule.Backends = []route.Backend{{Service: "b", Weight: ptr(0)}, {Service: one(r, "a", "c"), Weight: ptr(r.IntN(2))}}
	case 5:
		rule.Backends, rule.Key = []route.Backend{{Service: "a"}, {Service: "b"}, {Service: "c"}}, route.SplitKey{Header: "X-User"}
	case 6:
		rule.Backends = []route.Backend{{Service: "b", Environment: one(r, "dev", "staging", "prod")}}
		rule.RequestHeaders = route.Headers{Set: map[string]string{"X-User": "eve"}, Remove: []string{"X-Other"}}
	case 7:
		rule.Rewrite = &route.Rewrite{Host: "elsewhere", Path: route.PathEdit{Full: "/z"}}
	}
	return rule
}

// randomConfig has services a and b in environments, and c in none.
func randomConfig(r *rand.Rand, base http.RoundTripper) transport.Config {
	service := func(name string) transport.Service {
		s := transport.Service{Environments: map[string]transport.Destination{}, OnlyRules: r.IntN(5) == 0}
		for _, env := range []string{"dev", "staging", "prod"} {
			if r.IntN(2) == 0 {
				s.Environments[env] = at(name + "." + env + ":1")
			}
		}
		if len(s.Environments) == 0 {
			s.Environments["prod"] = at(name + ".prod:1")
		}
		for i := range r.IntN(4) {
			s.Rules = append(s.Rules, randomRule(r, fmt.Sprint(name, i)))
		}
		return s
	}
	cfg := transport.Config{
		Base: base, Environment: one(r, "dev", "staging", "prod"),
		Environments: map[string]route.Environment{
			"dev":     {Fallback: []string{"staging", "prod"}, Failover: r.IntN(2) == 0},
			"prod":    {},
			"staging": {Fallback: []string{"prod"}, FallbackWrites: [][]string{nil, {"prod"}}[r.IntN(2)]},
		},
		Services: map[string]transport.Service{"a": service("a"), "b": service("b"), "c": {Resolver: endpoints("c:1")}},
		Override: route.OverridePolicy{Protected: r.IntN(2) == 0, CodeProtected: r.IntN(2) == 0, IgnoreCode: r.IntN(4) == 0},
	}
	if r.IntN(3) > 0 {
		cfg.Override.Services, cfg.Override.Environments = []string{one(r, "*", "a")}, []string{one(r, "*", "staging", "prod")}
	}
	for i := range r.IntN(3) {
		cfg.Rules = append(cfg.Rules, randomRule(r, fmt.Sprint("all", i)))
	}
	return cfg
}

// randomRequest is a call that some of the rules fit, with an override perhaps.
func randomRequest(ctx context.Context, r *rand.Rand) *http.Request {
	service, env := one(r, "a", "b"), one(r, "dev", "staging", "prod", "nowhere")
	if r.IntN(4) == 0 {
		ctx = route.With(ctx, route.Override{Service: service, Environment: env})
	}
	url := "http://" + service + one(r, "/", "/a", "/a/b", "/ab", "/b") + one(r, "", "?q=1", "?q=x")
	req, _ := http.NewRequestWithContext(ctx, one(r, "GET", "POST", "HEAD"), url, nil)
	req.Header.Set("X-User", one(r, "ada", "bob", "eve"))
	switch r.IntN(4) {
	case 0:
		req.Header.Set("Tulle-Route", service+"="+env)
	case 1:
		req.Header.Set("Baggage", "k=v, tulle-route="+service+"%3D"+env)
	}
	return req
}

// Whatever the configuration and the call: what Explain says is what the call then
// meets, and neither changes the request.
func TestExplainIsWhatCallsDo(t *testing.T) {
	var sent, answered, failed int
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
				resp := answer(req, 200, "")
				resp.Header = http.Header{"Addr": {addr}}
				return resp, nil
			})
			rt, err := transport.New(randomConfig(r, base))
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			synctest.Wait() // all endpoints are known
			for range 25 {
				req := randomRequest(t.Context(), r)
				before := req.Clone(t.Context())
				x := rt.Explain(req.Context(), req)
				began := time.Now()
				resp, err := rt.RoundTrip(req)
				if fmt.Sprint(req.Header, req.URL, req.Host) != fmt.Sprint(before.Header, before.URL, before.Host) {
					t.Fatalf("seed %d: the call changed its request from %v to %v", seed, before, req)
				}
				got := outcome(resp, err)
				switch {
				case x.Error != "":
					failed++
					if got != x.Error {
						t.Fatalf("seed %d: %s %s: got %s, explained was %s", seed, req.Method, req.URL, got, x.Error)
					}
				case x.Status != 0:
					answered++
					if got != strconv.Itoa(x.Status) {
						t.Fatalf("seed %d: %s %s: got %s, explained was %d by %+v", seed, req.Method, req.URL, got, x.Status, x.Route)
					}
				default:
					sent++
					if want := "200 " + x.Destination.Endpoints[0].Addr; got != want {
						t.Fatalf("seed %d: %s %s: got %s, explained was %s by %+v", seed, req.Method, req.URL, got, want, x.Route)
					}
				}
				if waited := time.Since(began); (waited > 0) != (x.Route.Delay != "") {
					t.Fatalf("seed %d: %s %s: waited %v, explained was a delay of %q", seed, req.Method, req.URL, waited, x.Route.Delay)
				}
			}
		})
	}
	t.Logf("%d calls sent, %d answered by rules, %d failed", sent, answered, failed)
	if sent < 1000 || answered < 500 || failed < 100 {
		t.Errorf("got %d calls sent, %d answered, %d failed, want enough of each to mean something", sent, answered, failed)
	}
}

// outcome is what became of a call, in words.
func outcome(resp *http.Response, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case resp.Header.Get("Addr") == "":
		return strconv.Itoa(resp.StatusCode)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Addr"))
}
