package archtest_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A rule is something that the source does not do. Rules see the syntax only,
// so each is one that the syntax can decide.
type rule struct {
	name string
	why  string

	// find returns where a file breaks the rule. The package is for rules
	// that must look further than the file.
	find func(p *srcPkg, f *srcFile) []token.Pos

	// allow lists the exceptions: a path from the root, of a file or of a
	// tree ("x/..."), and the reason.
	allow map[string]string
}

var rules = []rule{
	{
		name: "after",
		why: "time.After and time.Tick cannot be stopped: use time.NewTimer with Stop, or a context. " +
			"In tests a guessed limit makes flaky tests: use synctest, and leave hangs to go test -timeout",
		find: func(p *srcPkg, f *srcFile) []token.Pos {
			return outsideBubbles(p, f, uses(f, "time", "After", "Tick"))
		},
	},
	{
		name: "sleep",
		why:  "code waits for a timer and a context at once, tests wait in a synctest bubble",
		find: func(p *srcPkg, f *srcFile) []token.Pos {
			if p.program() && !f.test {
				return nil // a program may play a slow server
			}
			return outsideBubbles(p, f, uses(f, "time", "Sleep"))
		},
		allow: map[string]string{
			"internal/leak/...":       "it polls the runtime for goroutines that are about to end; nothing tells it when",
			"transport/sim/bubble.go": "a sleep is what moves virtual time on (docs/adr/0013-simulated-time.md)",
		},
	},
	{
		name: "init",
		why:  "importing a package has no effects: no registries, and the order of work is that of main",
		find: findInit,
		allow: map[string]string{
			"transport/tullegrpc/balancer.go": "gRPC finds balancers in a registry that can be written to in init only (docs/adr/0012-grpc.md)",
		},
	},
	{
		name: "panic",
		why:  "a library must not bring its host down: return an error that names the field and the value",
		find: func(_ *srcPkg, f *srcFile) []token.Pos { return unlessTest(f, builtins(f, "panic")) },
	},
	{
		name: "exit",
		why:  "only main decides that the process ends",
		find: func(p *srcPkg, f *srcFile) []token.Pos {
			if p.program() && !f.test {
				return nil
			}
			return append(uses(f, "os", "Exit"), uses(f, "log", "Fatal", "Fatalf", "Fatalln")...)
		},
		allow: map[string]string{"internal/leak/...": "it ends the test program on behalf of TestMain"},
	},
	{
		name: "print",
		why:  "a library does not write to its host's output: return an error, or give the caller a record",
		find: findPrints,
		allow: map[string]string{
			"internal/leak/...": "its report goes to the output of go test",
		},
	},
	{
		name: "global-client",
		why:  "http.DefaultClient has no timeout and anyone may change it: make an http.Client",
		find: func(_ *srcPkg, f *srcFile) []token.Pos {
			return uses(f, "net/http", "DefaultClient", "Get", "Head", "Post", "PostForm")
		},
	},
	{
		name: "global-mux",
		why:  "http.DefaultServeMux is a registry that any import may write to: make an http.ServeMux",
		find: func(_ *srcPkg, f *srcFile) []token.Pos {
			return uses(f, "net/http", "DefaultServeMux", "Handle", "HandleFunc")
		},
	},
	{
		name: "todo-context",
		why:  "take a context as an argument; where there is none, context.Background says so",
		find: func(_ *srcPkg, f *srcFile) []token.Pos { return uses(f, "context", "TODO") },
	},
	{
		name: "clock",
		why:  "algorithms take the time as an argument, so that a simulator can drive them",
		find: func(p *srcPkg, f *srcFile) []token.Pos {
			if p.path != "" && p.path != "balancer" {
				return nil
			}
			return unlessTest(f, uses(f, "time", "Now", "Since", "Until", "NewTimer", "NewTicker", "AfterFunc"))
		},
	},
	{
		name: "error-compare",
		why:  "a wrapped error is not equal to its cause: use errors.Is",
		find: findErrorCompare,
	},
	{
		name: "error-text",
		why:  "the text of an error is for people and changes: use errors.Is or errors.As",
		find: func(_ *srcPkg, f *srcFile) []token.Pos { return unlessTest(f, findErrorText(f)) },
	},
	{
		name: "global-state",
		why:  "two Transports in one program share nothing: state lives in values that the user makes",
		find: func(_ *srcPkg, f *srcFile) []token.Pos { return unlessTest(f, findGlobals(f)) },
	},
	{
		name: "import",
		why:  "see bannedImports in internal/archtest/calls_test.go",
		find: findImports,
		allow: map[string]string{
			"transport/tullegrpc/balancer.go": "gRPC asks servers for their health only if its package for that is linked",
			"transport/tullegrpc/load.go":     "gRPC reads load reports only if its package for that is linked",
			"transport/sim/bubble.go":         "testing/synctest is the clock of a simulation (docs/adr/0013-simulated-time.md)",
		},
	},
	{
		name: "todo",
		why:  "what is left to do is an issue: write TODO(#123), or do it",
		find: findTodo,
	},
}

// bannedImports are packages of the standard library that the import table
// would let through, each with its reason.
var bannedImports = map[string]struct {
	why      string
	tests    bool // also in tests
	programs bool // also in programs
}{
	"math/rand":      {"it has a seedable global source behind a lock: use math/rand/v2", true, true},
	"unsafe":         {"nothing here is worth it", true, true},
	"log":            {"it writes to its host's output", false, false},
	"flag":           {"it registers in a global set", false, false},
	"testing":        {"it adds flags and weight to the user's program; test kits are exempt", false, true},
	"expvar":         {"its init registers a handler", true, true},
	"net/http/pprof": {"its init registers handlers", true, true},
}

// exempt says whether the rule has an exception for the file.
func (r *rule) exempt(name string) bool {
	for pattern := range r.allow {
		if under(name, pattern) {
			return true
		}
	}
	return false
}

func TestCalls(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			for i := range rules {
				r := &rules[i]
				if r.exempt(f.path) {
					continue
				}
				for _, pos := range r.find(p, f) {
					t.Errorf("%s: rule %s: %s. (Exceptions: the rule's allow list in internal/archtest/calls_test.go.)", f.at(pos), r.name, r.why)
				}
			}
		}
	}
}

// TestCallsExceptionsAreUsed keeps the allow lists short: an exception that
// excuses nothing must go.
func TestCallsExceptionsAreUsed(t *testing.T) {
	for i := range rules {
		for pattern := range rules[i].allow {
			used := false
			for _, p := range packages(t) {
				for _, f := range p.files {
					used = used || under(f.path, pattern) && len(rules[i].find(p, f)) > 0
				}
			}
			if !used {
				t.Errorf("rule %s: nothing needs the exception for %s any more", rules[i].name, pattern)
			}
		}
	}
}

// want is the mark on a line of testdata/calls that must break rules.
var want = regexp.MustCompile(`// want ([a-z -]+)$`)

// TestCallsFire runs all rules on the files in testdata/calls. The first line
// of each says which path it pretends to have; each line that must break rules
// names them, and no other line may break one.
func TestCallsFire(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "calls", "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("got %d inputs (%v), want some", len(names), err)
	}
	fired := map[string]bool{}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(src), "\n")
		path, ok := strings.CutPrefix(head, "// path: ")
		if !ok {
			t.Fatalf("%s: got first line %q, want // path: ...", name, head)
		}
		p := onePkg(t, path, string(src))
		got := map[int][]string{}
		for _, r := range rules {
			for _, pos := range r.find(p, p.files[0]) {
				got[p.files[0].line(pos)] = append(got[p.files[0].line(pos)], r.name)
				fired[r.name] = true
			}
		}
		for i, line := range strings.Split(string(src), "\n") {
			var wanted []string
			if m := want.FindStringSubmatch(line); m != nil {
				wanted = strings.Fields(m[1])
			}
			slices.Sort(got[i+1])
			if fmt.Sprint(slices.Compact(got[i+1])) != fmt.Sprint(wanted) {
				t.Errorf("%s:%d: got rules %v, want %v: %s", name, i+1, got[i+1], wanted, strings.TrimSpace(line))
			}
		}
	}
	for _, r := range rules {
		if !fired[r.name] {
			t.Errorf("rule %s: no line of testdata/calls breaks it, so nothing shows that it works", r.name)
		}
	}
}

// unlessTest drops what was found in a test file.
func unlessTest(f *srcFile, found []token.Pos) []token.Pos {
	if f.test {
		return nil
	}
	return found
}

// findInit finds init functions.
func findInit(_ *srcPkg, f *srcFile) []token.Pos {
	var found []token.Pos
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, fn.Pos())
		}
	}
	return found
}
