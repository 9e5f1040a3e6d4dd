package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/config"
)

// What is accepted passes transport.Config.Validate as well, can be explained,
// and fits the schema where that can tell; what is refused says so within
// bounds. Nothing panics.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		whole, service("timeout: 1s"), version(1), "defaults: &d {timeout: 1s, <<: *d}", "services: {a: {target: &t {merge: [*t]}}}",
		`{"services": {"a": {"target": "static://a", "retry": {"attempts": 3}}}}`, "{\"a\": \"\\ud83d\"}", "a: \x00", "--- {}\n--- {}",
		"services: {a: {target: {static: [{addr: '${A}', labels: {x: '$${A}'}}]}}}", "? [a]\n: b", "refuseAddrs: [non_public, ::/0]",
		"services: {a: {target: {prefer: [dns://a, {file: /x}]}, tls: {caFile: x, minVersion: 1.3}}}", "%YAML 1.1\n---\nunknown: pass",
		"unknown: !!str pass", "x-a: [*b]", "services: {a: {target: static://[::1]:80, host: ':', protocol: h2c}}", "defaults: {balancer: {<<: {name: random}}}",
		"services: {users: {target: static://a}, orders: {target: static://b}}\n---" + fmt.Sprintf(httpRoute, "x", "2026-01-02T00:00:00Z"),
		"environment: local\nenvironments: {local: {fallback: [prod]}}\nservices: {a: {environments: {prod: {target: static://a}}, rules: [{match: [{path: {regex: /a}}]}]}}",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, json bool) {
		name := "tulle.yaml"
		if json {
			name = "tulle.json"
		}
		r, err := config.Parse(name, data, config.Options{LookupEnv: variables("A", "hunter2:1")})
		if err != nil {
			if r != nil {
				t.Error("got a result beside an error")
			}
			if n := len(err.Error()); n > 200_000 || n == 0 {
				t.Errorf("got an error of %d bytes", n)
			}
			if strings.Contains(err.Error(), "hunter2") && !strings.Contains(string(data), "hunter2") {
				t.Errorf("the secret is in the error: %v", err)
			}
			return
		}
		if err := r.Transport.Validate(); err != nil {
			t.Errorf("accepted, and refused by Validate: %v", err)
		}
		for service := range r.Transport.Services {
			for env := range r.Transport.Services[service].Environments {
				if len(r.Settings(service, env)) == 0 {
					t.Errorf("service %q in %q cannot be explained", service, env)
				}
			}
			if len(r.Settings(service, "")) == 0 || r.Service(service) == "" {
				t.Errorf("service %q cannot be explained", service)
			}
		}
	})
}

// Files of endpoints come from others; no content may do more than be refused.
func FuzzEndpoints(f *testing.F) {
	for _, text := range []string{
		"[]", "- a:1\n- {addr: b, weight: 2, priority: 1, labels: {x: y}, grpc_port: 9}", `["a", {"addr": "b"}]`, "- &a {addr: a}\n- *a", "a: b", "- ${HOME}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := config.Endpoints(data)
		if err != nil && len(err.Error()) > 200_000 {
			t.Errorf("got an error of %d bytes", len(err.Error()))
		}
		seen := map[string]bool{}
		for i := range set {
			if err := set[i].Validate(); err != nil || seen[set[i].Addr] {
				t.Errorf("got endpoint %+v, %v", set[i], err)
			}
			seen[set[i].Addr] = true
		}
	})
}
