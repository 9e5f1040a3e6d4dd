package main

import (
	"fmt"
	"strings"
	"testing"
)

// newResults are results of nothing yet.
func newResults() *results {
	return &results{tests: map[string]string{}, output: map[string]string{}}
}

func TestRead(t *testing.T) {
	const out = "\x16=== RUN   TestA\n\x16=== RUN   TestA/h1\n    a_test.go:1: note\n" +
		"text without an end\x16--- PASS: TestA/h1 (0.00s)\n\x16--- PASS: TestA (0.01s)\n" +
		"\x16=== RUN   TestB\n    b_test.go:1: wrong\n\x16--- FAIL: TestB (0.00s)\n" +
		"\x16=== RUN   TestC\n    --- PASS: TestC is what a test may print\n    \x16--- SKIP: TestC (0.00s)\n" +
		"\x16=== RUN   TestD\npanic: over\n"
	r := newResults()
	events := 0
	if err := r.read(strings.NewReader(out), func() { events++ }); err != nil {
		t.Fatal(err)
	}
	for test, want := range map[string]string{"TestA": pass, "TestA/h1": pass, "TestB": fail, "TestC": skip, "TestD": crash} {
		if got := r.tests[test]; got != want {
			t.Errorf("%s: got %s, want %s", test, got, want)
		}
	}
	if len(r.tests) != 5 || events != 9 {
		t.Errorf("got %d tests and %d events, want 5 and 9", len(r.tests), events)
	}
	for test, want := range map[string]string{"TestA/h1": "", "TestB": "    b_test.go:1: wrong\n", "TestD": "panic: over\n"} {
		if got := r.output[test]; got != want {
			t.Errorf("%s: got output %q, want %q", test, got, want)
		}
	}
	if !r.has(fail) || !r.has(skip, crash) || r.has(missing) {
		t.Error("has: got a wrong answer")
	}
}

func TestShorten(t *testing.T) {
	var long strings.Builder
	for i := range 100 {
		fmt.Fprintln(&long, i)
	}
	if got := shorten(long.String()); strings.Count(got, "\n") != mostLines+1 || !strings.HasSuffix(got, "29\n    ...\n") {
		t.Errorf("got %q, want %d lines and dots", got, mostLines)
	}
	const stacks = "note\nSIGQUIT: quit\n\ngoroutine 1:\nmain\n\ngoroutine 7:\nwaits\ncreated by testing.(*T).Run in goroutine 1\n"
	if got := shorten(stacks); !strings.HasPrefix(got, "note\nhangs in goroutine 7") || strings.Contains(got, "main") {
		t.Errorf("got %q, want the note and goroutine 7", got)
	}
}

func TestPattern(t *testing.T) {
	if got, want := pattern([]string{"TestA", "TestB/h1/a.b"}), `^TestA$|^TestB$/^h1$/^a\.b$`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := pattern(nil); got != "" {
		t.Errorf("got %q, want nothing, which skips nothing", got)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n")
	f.Add("\x16=== RUN   TestA\nx\x16=== NAME  TestB\n\x16--- FAIL: TestB (0s)")
	f.Fuzz(func(t *testing.T, text string) {
		r := newResults()
		if err := r.read(strings.NewReader(text), func() {}); err != nil {
			t.Fatal(err)
		}
		for test, outcome := range r.tests {
			switch outcome {
			case pass, fail, skip, crash:
			default:
				t.Fatalf("%s: got outcome %q", test, outcome)
			}
		}
	})
}
