package route_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// TestExplain pins what a person gets to read.
func TestExplain(t *testing.T) {
	cfg := overridable()
	cfg.Environments["test"] = route.Environment{Fallback: []string{"staging", "prod"}, Failover: true}
	users := cfg.Services["users"]
	users.Rules = []route.Rule{
		{Name: "other host", Hosts: []string{"api.example.com"}},
		{Name: "beta", File: "routes.yaml", Line: 7, Match: []route.Match{{Headers: []route.ValueMatch{{Name: "x-beta", Exact: "1"}}}, path("/beta", "", "")}},
		{Name: "search", Match: []route.Match{{Query: []route.ValueMatch{{Name: "q", Present: true}}}}},
	}
	cfg.Services["users"] = users
	cfg.Rules = []route.Rule{
		{Name: "batch", Match: []route.Match{{Caller: map[string]string{"app": "batch"}}}},
		{Name: "posts", Match: []route.Match{{Method: "POST"}}},
		{Name: "all", Mirror: &route.Mirror{Environment: "staging"}, Fault: &route.Fault{Delay: time.Second}},
	}
	tb := table(t, cfg)
	x := tb.Explain(&route.Input{Service: "users", Path: "/beta/1", Header: map[string][]string{"X-Beta": {"secret"}},
		Overrides: tb.Overrides(t.Context(), with("users=prod"), now())})
	data, err := json.MarshalIndent(x, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(data); got != wantExplanation {
		t.Errorf("got\n%s\nwant\n%s", got, wantExplanation)
	}
	if strings.Contains(string(data), "secret") {
		t.Error("the explanation tells the value of a header")
	}
}

const wantExplanation = `{
	"service": "users",
	"environment": "test",
	"action": "send",
	"rule": {
		"path": "rules[2].match[0]",
		"name": "all",
		"why": "matches"
	},
	"considered": [
		{
			"path": "services[\"users\"].rules[0].match[0]",
			"name": "other host",
			"why": "host is \"\""
		},
		{
			"path": "services[\"users\"].rules[1].match[1]",
			"name": "beta",
			"file": "routes.yaml",
			"line": 7,
			"why": "path is \"/beta/1\""
		},
		{
			"path": "services[\"users\"].rules[1].match[0]",
			"name": "beta",
			"file": "routes.yaml",
			"line": 7,
			"why": "header \"X-Beta\" has another value"
		},
		{
			"path": "services[\"users\"].rules[2].match[0]",
			"name": "search",
			"why": "no query parameter \"q\""
		},
		{
			"path": "rules[1].match[0]",
			"name": "posts",
			"why": "method is \"GET\""
		},
		{
			"path": "rules[0].match[0]",
			"name": "batch",
			"why": "caller label \"app\" is \"\", want \"batch\""
		},
		{
			"path": "rules[2].match[0]",
			"name": "all",
			"why": "matches"
		}
	],
	"overrides": "users=prod (header)",
	"refused": "the environment is not one that headers may lead to",
	"destination": "users",
	"chain": [
		{
			"service": "users",
			"environment": "test"
		},
		{
			"service": "users",
			"environment": "staging",
			"fallback": true
		},
		{
			"service": "users",
			"environment": "prod",
			"protected": true,
			"safe_only": true,
			"fallback": true
		}
	],
	"mirror": {
		"service": "users",
		"environment": "staging"
	},
	"delay": "1s"
}`

// TestExplainIsBounded: many rules and long inputs do not make it long.
func TestExplainIsBounded(t *testing.T) {
	var rules []route.Rule
	for i := range 500 {
		rules = append(rules, to("v1", path(fmt.Sprintf("/%d", i), "", "")))
	}
	x := withRules(t, rules...).Explain(&route.Input{Service: "echo", Path: "/" + strings.Repeat("x", 10_000)})
	if len(x.Considered) != 100 || x.More != 400 || len(x.Considered[0].Why) > 300 {
		t.Errorf("got %d considered, %d more, %d bytes, want 100, 400, up to 300", len(x.Considered), x.More, len(x.Considered[0].Why))
	}
}

// TestExplainTellsCodeAndSignature: the sources of overrides are told apart, and
// the signature itself stays out.
func TestExplainTellsCodeAndSignature(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	tb := table(t, signedConfig(key()))
	ctx := route.With(t.Context(), route.Override{Service: "orders", Environment: "test"})
	x := tb.Explain(&route.Input{Handle: tb.Service("users"), Overrides: tb.Overrides(ctx, with(text), now())})
	if want := "orders=test (code); users=staging (header); signed with k1"; x.Overrides != want || !x.Overridden {
		t.Errorf("got %q, %v, want %q, true", x.Overrides, x.Overridden, want)
	}
	x = tb.Explain(&route.Input{Service: "users", Overrides: tb.Overrides(t.Context(), with(text), now().Add(2*time.Hour))})
	if want := "users=staging (header); signed with k1; expired"; x.Overrides != want || x.Refused != "expired" {
		t.Errorf("got %q, %q, want %q", x.Overrides, x.Refused, want)
	}
}
