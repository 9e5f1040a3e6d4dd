package main

import (
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestParseList(t *testing.T) {
	list, err := parseList("# note\n\npass client TestA/h1 two words\nany proxy TestB flaky: now and then\nresolve client TestC hangs: no cancel\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []listed{
		{difference: difference{"pass", "client", "TestA/h1"}, line: 3, reason: "two words"},
		{difference: difference{"any", "proxy", "TestB"}, line: 4, reason: "flaky: now and then", flaky: true},
		{difference: difference{"resolve", "client", "TestC"}, line: 5, reason: "hangs: no cancel", hangs: true},
	}
	if len(list) != len(want) {
		t.Fatalf("got %d entries, want %d", len(list), len(want))
	}
	for i, w := range want {
		g := list[i]
		if g.difference != w.difference || g.line != w.line || g.reason != w.reason || g.flaky != w.flaky || g.hangs != w.hangs {
			t.Errorf("entry %d: got %+v, want %+v", i, *g, w)
		}
	}
}

func TestParseListRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"pass client TestA":                             `line 1: "pass client TestA": want mode, suite, test and reason`,
		"bare client TestA x":                           `line 1: mode "bare": want any or one of identity, pass, resolve, breaker, limit`,
		"# a\npass client TestA x\npass client TestA y": "line 3: pass client TestA: is on line 2 too",
	} {
		if _, err := parseList(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// The list that is checked in must be readable without running anything.
func TestCheckedInList(t *testing.T) {
	list, err := parseList(differencesText)
	if err != nil {
		t.Fatalf("differences.txt: %v", err)
	}
	names := map[string]bool{}
	for _, s := range suites() {
		names[s.name] = true
	}
	for _, l := range list {
		if !names[l.suite] {
			t.Errorf("differences.txt:%d: there is no suite %q", l.line, l.suite)
		}
	}
}

func TestEntriesFor(t *testing.T) {
	list, err := parseList("any a T1 x\npass a T2 x\npass b T3 x\nresolve a T4 x\n")
	if err != nil {
		t.Fatal(err)
	}
	entries := entriesFor(list, "pass", "a")
	if len(entries) != 2 || !contains(entries, "T1") || !contains(entries, "T2") || contains(entries, "T3") {
		t.Errorf("got %d entries, want T1 and T2", len(entries))
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("# note\npass client TestA/h1 reason\n")
	f.Add("any client TestA flaky: x\nany client TestA x")
	f.Add("pass a")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseList(text)
		if err != nil {
			if list != nil || !strings.HasPrefix(err.Error(), "line ") {
				t.Fatalf("got %v and error %v, want a line and no list", list, err)
			}
			return
		}
		for _, l := range list {
			if l.mode == "" || l.suite == "" || l.test == "" || l.reason == "" {
				t.Fatalf("entry %+v: has an empty column", *l)
			}
		}
	})
}
