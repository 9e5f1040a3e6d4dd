package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

// anyMode in the list of differences stands for every mode with a wrapper.
const anyMode = "any"

// A difference is a test that passes bare and does not pass in a mode.
type difference struct {
	mode, suite, test string
}

// A listed difference is one that somebody has looked into.
type listed struct {
	difference
	line   int
	flaky  bool // the test may pass as well
	hangs  bool // the test does not end, so it runs alone
	reason string
	gone   []string // the modes in which it is not needed any more
}

// parseList reads a list of differences: mode, suite, test and reason in
// columns, and # before a comment. A reason that begins with "flaky:" allows
// the test to pass; one with "hangs:" says that it does not end.
func parseList(text string) ([]*listed, error) {
	var list []*listed
	seen := map[difference]int{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return nil, fmt.Errorf("line %d: %q: want mode, suite, test and reason", n, line)
		}
		if !slices.Contains(append(shim.Modes()[1:], anyMode), fields[0]) {
			return nil, fmt.Errorf("line %d: mode %q: want any or one of %s", n, fields[0], strings.Join(shim.Modes()[1:], ", "))
		}
		d := difference{fields[0], fields[1], fields[2]}
		if at, twice := seen[d]; twice {
			return nil, fmt.Errorf("line %d: %s %s %s: is on line %d too", n, d.mode, d.suite, d.test, at)
		}
		seen[d] = n
		reason := strings.Join(fields[3:], " ")
		list = append(list, &listed{
			difference: d, line: n, reason: reason,
			flaky: fields[3] == "flaky:", hangs: fields[3] == "hangs:",
		})
	}
	return list, nil
}

// applies reports whether the entry is about this mode of this suite.
func (l *listed) applies(mode, suite string) bool {
	return l.suite == suite && (l.mode == mode || l.mode == anyMode)
}

// entriesFor returns the entries that are about one mode of one suite.
func entriesFor(list []*listed, mode, suite string) []*listed {
	var entries []*listed
	for _, l := range list {
		if l.applies(mode, suite) {
			entries = append(entries, l)
		}
	}
	return entries
}

// contains reports whether one of the entries is about the test.
func contains(entries []*listed, test string) bool {
	return slices.ContainsFunc(entries, func(l *listed) bool { return l.test == test })
}
