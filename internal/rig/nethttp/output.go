package main

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// What a test came to.
const (
	pass    = "pass"
	fail    = "fail"
	skip    = "skip"
	crash   = "crash"   // the process ended, or hung, in this test
	missing = "missing" // a subtest that ran bare only
)

// exitTest is the name under which a process that fails after its tests is
// reported: what it checks then is leaked goroutines.
const exitTest = "(exit)"

// results are what one mode of one suite came to.
type results struct {
	tests    map[string]string // by full name, subtests too
	output   map[string]string // of tests that did not pass
	requests int               // that went through the wrapper
}

// has reports whether a test came to one of the outcomes.
func (r *results) has(outcomes ...string) bool {
	for _, outcome := range r.tests {
		for _, o := range outcomes {
			if outcome == o {
				return true
			}
		}
	}
	return false
}

// marker stands before each line that the testing package, and not a test, has
// written with -test.v=test2json.
const marker = "\x16"

// verdict is the line that says what a test came to.
var verdict = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)

// begun is the line that says which test the next lines are of.
var begun = regexp.MustCompile(`^=== (RUN|PAUSE|CONT|NAME) +(\S+)`)

// read adds what a process prints, until it ends, and calls event each time a
// test begins or ends. Tests that began and did not end are those that the
// process ended in.
func (r *results) read(from io.Reader, event func()) error {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 64<<20) // a test may print a whole message on one line
	running := map[string]bool{}
	texts := map[string]*strings.Builder{}
	current := ""
	for scanner.Scan() {
		text, mark, found := strings.Cut(scanner.Text(), marker)
		if b := texts[current]; b != nil && (text != "" || !found) {
			b.WriteString(text + "\n")
		}
		if !found {
			continue
		}
		event()
		if m := verdict.FindStringSubmatch(mark); m != nil {
			current = m[2]
			r.tests[current] = strings.ToLower(m[1])
			delete(running, current)
		} else if m := begun.FindStringSubmatch(mark); m != nil {
			current = m[2]
			if m[1] == "RUN" {
				running[current], texts[current] = true, &strings.Builder{}
			}
		}
	}
	for name := range running {
		r.tests[name] = crash
	}
	for name, text := range texts {
		if r.tests[name] != pass {
			r.output[name] = shorten(text.String())
		}
	}
	return scanner.Err()
}

// mostLines bounds what is printed of one test.
const mostLines = 30

// shorten keeps the beginning of a test's output, and of the stacks of a whole
// process those of the test's own goroutines.
func shorten(text string) string {
	text, stacks, _ := strings.Cut(text, "SIGQUIT: quit")
	for block := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(block, "created by testing.(*T).Run") && !strings.Contains(block, "testing.(*T).Run(0x") {
			text += "hangs in " + strings.TrimSpace(block) + "\n"
		}
	}
	lines := strings.SplitAfterN(text, "\n", mostLines+1)
	if len(lines) > mostLines {
		lines[mostLines] = "    ...\n"
	}
	return strings.Join(lines, "")
}
