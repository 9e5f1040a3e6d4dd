package main

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport/sim"
)

func TestMain(m *testing.M) { leak.Main(m) }

// mine is a scenario as a user writes it.
const mine = `# Eight replicas, one of which fails for a while
name: mine
duration: 3s
servers:
  - {count: 8, workers: 4, work: {kind: exponential, mean: 10ms}}
load: {rate: 0.5, capacity: true}
faults:
  - {kind: erring, count: 1, start: 1s, end: 2s, status: 503}
policy: &defaults
  attemptTimeout: 250ms
variants:
  - name: default
  - name: turns
    policy: {balancer: round_robin, retry: {attempts: 1}}
`

// write writes a file and returns its name.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// exec runs the command.
func exec(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestFile(t *testing.T) {
	file := write(t, "mine.yaml", mine)
	svg, table := filepath.Join(t.TempDir(), "x.svg"), filepath.Join(t.TempDir(), "x.csv")
	// Flags may come before and after the file.
	code, out, errs := exec(t, "-seed", "5", file, "-svg", svg, "-csv", table)
	if code != good || errs != "" {
		t.Fatalf("got %d and %q, want 0 and nothing", code, errs)
	}
	for _, want := range []string{"mine, seed 5", "variant", "default", "turns", "attempts in"} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %q in it", out, want)
		}
	}
	plot, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(plot, new(any)); err != nil || !bytes.Contains(plot, []byte("turns")) {
		t.Errorf("got a plot of %d bytes (%v), want one with both variants", len(plot), err)
	}
	data, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if records, err := csv.NewReader(bytes.NewReader(data)).ReadAll(); err != nil || len(records) != 1+2*3 {
		t.Errorf("got %d records (%v), want a head and 3 seconds of 2 variants", len(records), err)
	}
}

func TestJSONFile(t *testing.T) {
	file := write(t, "mine.json", `{"name": "mine", "duration": "1s", "load": {"rate": 10}, "servers": [{"work": {"mean": "1ms"}}]}`)
	if code, out, errs := exec(t, file, "-policies", "random,kratos"); code != good || !strings.Contains(out, "kratos") {
		t.Errorf("got %d, %q and %q, want a table with kratos", code, out, errs)
	}
}

func TestNamed(t *testing.T) {
	if code, out, errs := exec(t, "-scenario", "linkerd2016", "-policies", "random"); code != good || !strings.Contains(out, "random") {
		t.Errorf("got %d, %q and %q, want a table with random", code, out, errs)
	}
	code, out, _ := exec(t, "-list")
	for _, name := range append(sim.Names(), sim.Balancers()...) {
		if !strings.Contains(out, name) {
			t.Errorf("-list: got %d and\n%s\nwant %s in it", code, out, name)
		}
	}
}

func TestScore(t *testing.T) {
	code, out, errs := exec(t, "-score", "c1,h2", "-policies", "random,shortest_expected_delay")
	if code != good || !strings.Contains(out, "c1-fast-503, seed 1") || !strings.Contains(out, "h2-equal-pareto, seed 1") {
		t.Fatalf("got %d, %q and %q, want both scenarios", code, out, errs)
	}
	_, scores, found := strings.Cut(out, "against the best of 2 scenarios")
	if !found || strings.Index(scores, "shortest_expected_delay") > strings.Index(scores, "random") {
		t.Errorf("got\n%s\nwant the default before random", out)
	}
}

// TestGroups: a letter alone takes the scenarios in which balancers are compared, and
// no other that begins so.
func TestGroups(t *testing.T) {
	tests := []struct {
		list string
		want int
	}{{"a,b,c,d,e,f,g,h", 30}, {"c", 8}, {"c,cl", 9}, {"deploy", 1}, {"meta", 3}, {"m", 0}, {"", len(sim.Names())}}
	for _, tt := range tests {
		got := 0
		for _, name := range sim.Names() {
			if begins(name, strings.Split(tt.list, ",")) {
				got++
			}
		}
		if got != tt.want {
			t.Errorf("%q: got %d scenarios, want %d", tt.list, got, tt.want)
		}
	}
}

func TestMisuse(t *testing.T) {
	tests := []struct {
		args []string
		code int
		want string
	}{
		{nil, misused, "want one of a file"},
		{[]string{"-list", "-scenario", "x"}, misused, "want one of a file"},
		{[]string{"a.yaml", "b.yaml"}, misused, `argument "b.yaml"`},
		{[]string{"-what"}, misused, "-what"},
		{[]string{"-score", "c1", "-svg", "x"}, misused, "-score: want no -svg"},
		{[]string{"-h"}, good, "usage: tulle-sim"},
		{[]string{"-scenario", "x"}, failed, `scenario "x": want one of`},
		{[]string{"-score", "zz"}, failed, `-score "zz"`},
		{[]string{"-scenario", "linkerd2016", "-policies", "p2c"}, failed, `balancer "p2c"`},
		{[]string{filepath.Join("no", "such", "file.yaml")}, failed, "no such file"},
		{[]string{"-scenario", "h2-equal-pareto", "-svg", filepath.Join("no", "such", "x.svg")}, failed, "x.svg"},
	}
	for _, tt := range tests {
		code, _, errs := exec(t, tt.args...)
		if code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("%q: got %d and %q, want %d and %q", tt.args, code, errs, tt.code, tt.want)
		}
	}
}

// TestPositions: each error says where, in the order of the file.
func TestPositions(t *testing.T) {
	file := write(t, "bad.yaml", `name: bad
duration: 30
clients: &c 0x10
servers:
  - count: 8
    workers: -4
    work: {kind: exponentail, mean: 10ms}
laod: {rate: 1}
load: {rate: .inf}
policy:
  balancer: p2c
  retry: {attempts: 22}
`)
	code, _, errs := exec(t, file)
	if code != failed {
		t.Errorf("got %d, want %d", code, failed)
	}
	at := 0
	for _, want := range []string{
		":2:1: sim: duration: got 30", `:3:1: sim: clients: got "0x10"`, ":6:5: sim: servers[0].workers: -4", ":7:12: sim: servers[0].work.kind",
		":8:1: sim: laod: unknown key", `:9:8: sim: load.rate: got ".inf"`, `:11:3: sim: policy.balancer: got "p2c"`, ":12:3: sim: policy.retry: retry: Attempts 22",
	} {
		i := strings.Index(errs, want)
		if i < at {
			t.Errorf("got\n%s\nwant %q in it, after the line before", errs, want)
		}
		at = max(at, i)
	}
}

func TestYAML(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	tests := []struct{ name, in, want string }{
		{"empty", "", "the file is empty"},
		{"comment only", "# nothing\n", ""},
		{"two documents", mine + "---\n" + mine, "more than one document"},
		{"no YAML", "a: [", ""},
		{"deep", "name: " + deep, ""},
		{"key that is no text", "{[a]: b}", "a key that is no text"},
		{"repeated key", "name: a\nname: b\n", ""},
		{"too long", strings.Repeat("#", maxFile+1), "want at most"},
		{"aliases without end", "a: &a [*a]\n", ""},
		{"laughs", "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n" +
			"d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*d, *d]\n", "more than 100000 values"},
	}
	for _, tt := range tests {
		_, err := readScenario("x.yaml", []byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.yaml") {
			t.Errorf("%s: got %v, want an error of x.yaml with %q", tt.name, err, tt.want)
		}
	}
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte(mine))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("name: !!float x\nseed: 1_000\nduration: ~\n? [a]\n: b\n"))
	f.Add([]byte("{\"name\": \"\\ud83d\\ude00\", \"faults\": [{\"kind\": \"slow\"}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := readScenario("x.yaml", data)
		if err != nil && !strings.HasPrefix(err.Error(), "x.yaml") {
			t.Errorf("got %v, want the name of the file first", err)
		}
	})
}

// TestManual: the scenario of the manual is one.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(manual), "```yaml\n")
	example, _, closed := strings.Cut(example, "```\n")
	if !found || !closed {
		t.Fatal("got no YAML in docs/simulator.md")
	}
	sc, err := readScenario("simulator.md", []byte(example))
	if err != nil || len(sc.Faults) != 2 || len(sc.Variants) != 2 {
		t.Errorf("got %d faults and %d variants (%v), want 2 and 2", len(sc.Faults), len(sc.Variants), err)
	}
}
