package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

func TestService(t *testing.T) {
	r := mustParse(t, `
services:
  Users: {target: static://a}
  users:8443: {target: static://b}
  "[::1]": {target: static://c}
`)
	for host, want := range map[string]string{
		"users": "Users", "USERS.": "Users", "users:80": "Users", "users:8443": "users:8443", "[::1]:80": "[::1]", "[::1]": "[::1]",
		"orders": "", "orders:80": "", "": "",
	} {
		if got := r.Service(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	base := transport.Config{
		Defaults: transport.Policy{AttemptTimeout: time.Second, Ejection: &breaker.OutlierConfig{Consecutive: 7}},
		Services: map[string]transport.Service{"code": {Resolver: discovery.Static{{Addr: "a"}}, Host: "h"}},
	}
	r, err := config.Parse("tulle.yaml", []byte(`
defaults:
  timeout: 2s
  retry: {attempts: 4, budget: {ratio: 0}}
services:
  users:
    target: {dns: "${HOST}:80"}
    host: x-${HOST}
    timeout: none
    balancer: {name: least_request, choices: 3}
    breaker: {off: true}
`), config.Options{Base: base, LookupEnv: variables("HOST", "secret-host")})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range r.Settings("users", "") {
		if strings.Contains(s.Value, "secret") {
			t.Errorf("%s: the value of a reference is shown: %s", s.Key, s.Value)
		}
		got[s.Key] = s.Value + " | " + s.From
	}
	want := map[string]string{
		"target":             "${HOST}:80 | tulle.yaml:7",
		"host":               "x-${HOST} | tulle.yaml:8",
		"timeout":            "none | tulle.yaml:9",
		"attemptTimeout":     "1s | program",
		"balancer":           "least_request {choices: 3} | tulle.yaml:10",
		"breaker.off":        "true | tulle.yaml:11",
		"breaker.window":     "10s | default",
		"retry.attempts":     "4 | tulle.yaml:4",
		"retry.budget.ratio": "0 | tulle.yaml:4",
		"retry.minBackoff":   "25ms | default",
		"ejection":           "{consecutive: 7} | program",
		"limit":              "no limit | default",
		"protocol":           "auto | default",
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: got %q, want %q", key, got[key], value)
		}
	}
	code := fmt.Sprint(r.Settings("code", ""))
	for _, want := range []string{"{target a discovery.Static program}", "{host h program}", "{timeout 2s tulle.yaml:3}"} {
		if !strings.Contains(code, want) {
			t.Errorf("got %s, want %s in it", code, want)
		}
	}
	if got := r.Settings("nobody", ""); got != nil {
		t.Errorf("got %v for a name that is no service", got)
	}
}

// What a destination says is nearer than what its service says.
func TestSettingsOfAnEnvironment(t *testing.T) {
	r := mustParse(t, `
defaults: {timeout: 9s, attemptTimeout: 1s}
environment: local
services:
  users:
    timeout: 8s
    balancer: random
    environments:
      local:
        target: static://l
        timeout: 7s
      staging: {target: static://s, retry: {attempts: 2}}
`)
	for _, tt := range []struct{ environment, want string }{
		{"local", "target=static://l|tulle.yaml:10 timeout=7s|tulle.yaml:11 attemptTimeout=1s|tulle.yaml:2 balancer=random {}|tulle.yaml:7"},
		{"staging", "target=static://s|tulle.yaml:12 timeout=8s|tulle.yaml:6 attemptTimeout=1s|tulle.yaml:2 balancer=random {}|tulle.yaml:7 retry.attempts=2|tulle.yaml:12"},
		{"", "timeout=8s|tulle.yaml:6 attemptTimeout=1s|tulle.yaml:2 balancer=random {}|tulle.yaml:7"},
	} {
		var got []string
		for _, s := range r.Settings("users", tt.environment) {
			if s.From != "default" {
				got = append(got, s.Key+"="+s.Value+"|"+s.From)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q: got %s, want %s", tt.environment, strings.Join(got, " "), tt.want)
		}
	}
}
