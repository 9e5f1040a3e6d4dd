package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// invoke runs the command in a folder with the file tulle.yaml.
func invoke(t *testing.T, text string, args ...string) (status int, out, errs string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tulle.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	var o, e strings.Builder
	status = run(args, &o, &e)
	return status, o.String(), e.String()
}

const sample = `
defaults: {attemptTimeout: 1s}
environments: {local: {fallback: [staging]}}
environment: local
services:
  users:
    target: {static: [{addr: 127.0.0.1:1, zone: a}, {addr: 127.0.0.1:2, priority: 1, weight: 2, name: n}]}
    timeout: 5s
    rules:
    - name: canary
      match: [{headers: [{name: x-canary, exact: "1"}]}]
      backends: [{service: orders, environment: staging}]
    - {match: [{path: {prefix: /gone}}], fixed: {status: 410}}
  orders:
    environments:
      staging: {target: "static://127.0.0.1:3", timeout: 7s}
`

func TestRun(t *testing.T) {
	const warned = "services: {a: {target: 'static://a'}}"
	tests := []struct {
		name, text string
		args       []string
		status     int
		out, errs  []string
	}{
		{"no command", sample, nil, 2, nil, []string{"tulle-config: no command", "usage:"}},
		{"unknown command", sample, []string{"lint"}, 2, nil, []string{`command "lint": want check, explain or schema`}},
		{"help", sample, []string{"help"}, 0, []string{"usage:"}, nil},
		{"check", sample, []string{"check", "tulle.yaml"}, 0, []string{"tulle.yaml: 2 services, 0 warnings, version "}, nil},
		{"check nothing", sample, []string{"check"}, 2, nil, []string{"check: no file"}},
		{"check with a wrong flag", sample, []string{"check", "-x", "tulle.yaml"}, 2, nil, []string{"-x"}},
		{"check a missing file", sample, []string{"check", "nowhere.yaml"}, 1, nil, []string{"nowhere.yaml"}},
		{"check a wrong file", "a: 1\ndefaults: {timeout: 1}", []string{"check", "tulle.yaml"}, 1, nil,
			[]string{"tulle.yaml:1:1: unknown key", "tulle.yaml:2:21: defaults.timeout: 1 has no unit"}},
		{"check two", warned, []string{"check", "tulle.yaml", "nowhere.yaml"}, 1, []string{"tulle.yaml: 1 services, 1 warnings"}, []string{"nowhere.yaml"}},
		{"check with a warning", warned, []string{"check", "tulle.yaml"}, 0, []string{"1 warnings"},
			[]string{"tulle.yaml:1:12: services.a: attemptTimeout is not set", "(warning)"}},
		{"check strictly", warned, []string{"check", "-strict", "tulle.yaml"}, 1, nil, []string{"(warning)"}},
		{"explain", sample, []string{"explain", "tulle.yaml", "GET", "http://users:80/x"}, 0, []string{
			"call         GET http://users:80/x\n", "service      users\n", "no match     services[\"users\"].rules[0].match[0] (canary) tulle.yaml:10: ",
			"destination  users\n", "timeout         5s", "tulle.yaml:8\n", "attemptTimeout  1s", "tulle.yaml:2\n",
			"endpoints    2\n  127.0.0.1:1  zone a\n  127.0.0.1:2  name n  priority 1  weight 2\n",
		}, nil},
		{"explain a rule", sample, []string{"explain", "-H", "X-Canary: 1", "tulle.yaml", "GET", "http://users/x"}, 0, []string{
			"rule         services[\"users\"].rules[0].match[0] (canary) tulle.yaml:10\n", "destination  orders in staging\n", "7s", "127.0.0.1:3",
		}, nil},
		{"explain with flags at the end", sample, []string{"explain", "tulle.yaml", "GET", "http://users/x", "-H", "X-Canary: 1"}, 0, []string{
			"destination  orders in staging\n",
		}, nil},
		{"explain a fixed answer", sample, []string{"explain", "tulle.yaml", "GET", "http://users/gone/x"}, 0, []string{"rule ", "tulle.yaml:13\n", "action       "}, nil},
		{"explain an unknown host", sample, []string{"explain", "tulle.yaml", "GET", "http://elsewhere/"}, 0,
			[]string{"service      none: the host elsewhere is unknown, the call is passed on as it is\n"}, nil},
		{"explain a refusal", "unknown: refuse", []string{"explain", "tulle.yaml", "GET", "http://elsewhere/"}, 0, []string{"refused      ", "the call is refused"}, nil},
		{"explain what has no endpoints", "services: {a: {target: {file: nowhere}}}", []string{"explain", "-timeout", "5s", "tulle.yaml", "GET", "http://a/"}, 0,
			[]string{"endpoints    0\n", "no such file"}, nil},
		{"explain too little", sample, []string{"explain", "tulle.yaml", "GET"}, 2, nil, []string{"want FILE METHOD URL"}},
		{"explain too much", sample, []string{"explain", "tulle.yaml", "GET", "http://a/", "b"}, 2, nil, []string{"want FILE METHOD URL"}},
		{"explain no URL", sample, []string{"explain", "tulle.yaml", "GET", "users"}, 2, nil, []string{"want a URL such as http://users/path"}},
		{"explain no header", sample, []string{"explain", "-H", "x", "tulle.yaml", "GET", "http://users/"}, 2, nil, []string{`want "Name: value"`}},
		{"explain no timeout", sample, []string{"explain", "-timeout", "-1s", "tulle.yaml", "GET", "http://users/"}, 2, nil, []string{"positive timeout"}},
		{"explain a wrong method", sample, []string{"explain", "tulle.yaml", "G T", "http://users/"}, 2, nil, []string{"G T"}},
		{"explain a wrong file", "a: 1", []string{"explain", "tulle.yaml", "GET", "http://users/"}, 1, nil, []string{"tulle.yaml:1:1: unknown key"}},
		{"schema with arguments", sample, []string{"schema", "x"}, 2, nil, []string{`argument "x": want none`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, out, errs := invoke(t, tt.text, tt.args...)
			if status != tt.status {
				t.Errorf("got status %d, want %d", status, tt.status)
			}
			for _, want := range tt.out {
				if !strings.Contains(out, want) {
					t.Errorf("got output\n%swant %q in it", out, want)
				}
			}
			for _, want := range tt.errs {
				if !strings.Contains(errs, want) {
					t.Errorf("got errors\n%swant %q in them", errs, want)
				}
			}
			if tt.errs == nil && errs != "" {
				t.Errorf("got errors %s", errs)
			}
		})
	}
}

func TestSchema(t *testing.T) {
	status, out, errs := invoke(t, "", "schema")
	if status != 0 || errs != "" || !json.Valid([]byte(out)) {
		t.Errorf("got %d, %q and %.100s, want a JSON Schema", status, errs, out)
	}
}
