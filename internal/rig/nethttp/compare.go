package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// differences are the tests that pass bare and not in the other mode. A test
// that failed because of a subtest is not one itself, nor is a subtest that is
// missing because the test around it did not pass.
func differences(bare, other map[string]string) []string {
	var names []string
	for name, outcome := range other {
		passedBare := bare[name] == pass || name == exitTest && bare[name] == ""
		if outcome != pass && passedBare && !failsBelow(other, name) {
			names = append(names, name)
		}
	}
	for name, outcome := range bare {
		if outcome == pass && other[name] == "" && !failsAbove(other, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// tells reports whether a test says anything by its outcome in another mode: one
// that fails bare, as some do on a machine under load, does not.
func tells(bare map[string]string, name string) bool {
	return bare[name] != fail && bare[name] != crash && !failsAbove(bare, name)
}

// failsBelow reports whether a subtest of name fails.
func failsBelow(outcomes map[string]string, name string) bool {
	for other, outcome := range outcomes {
		if (outcome == fail || outcome == crash) && strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

// failsAbove reports whether a test that name is a subtest of does not pass.
func failsAbove(outcomes map[string]string, name string) bool {
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
		if outcome := outcomes[name]; outcome != "" && outcome != pass {
			return true
		}
	}
}

// function is the test function that a test belongs to.
func function(test string) string {
	name, _, _ := strings.Cut(test, "/")
	return name
}

// A row is a line of the table at the end.
type row struct {
	suite, mode             string
	run, pass, skip, fail   int
	listed, unsteady, fresh int
	requests                int
	seconds                 float64
}

// count fills in what the results of a mode hold.
func (r *row) count(res *results) {
	r.run, r.requests = len(res.tests), res.requests
	for _, outcome := range res.tests {
		switch outcome {
		case pass:
			r.pass++
		case skip:
			r.skip++
		default:
			r.fail++
		}
	}
}

// printTable prints the rows in columns. Tests count with their subtests.
func printTable(w io.Writer, rows []*row) {
	fmt.Fprintf(w, "%-13s %-9s %5s %5s %5s %5s %7s %9s %5s %9s %6s\n",
		"suite", "mode", "run", "pass", "skip", "fail", "listed", "unsteady", "new", "requests", "s")
	slices.SortStableFunc(rows, func(a, b *row) int { return cmp.Compare(a.suite, b.suite) })
	for _, r := range rows {
		fmt.Fprintf(w, "%-13s %-9s %5d %5d %5d %5d %7d %9d %5d %9d %6.1f\n",
			r.suite, r.mode, r.run, r.pass, r.skip, r.fail, r.listed, r.unsteady, r.fresh, r.requests, r.seconds)
	}
}
