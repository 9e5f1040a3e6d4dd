package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

type options struct {
	modes         []string
	race, verbose bool
}

// comparison is one run over all suites and modes.
type comparison struct {
	options
	root, goroot string
	list         []*listed
	rows         []*row
	found        int // findings, any of which makes the run fail
}

// runAll returns the number of findings.
func runAll(ctx context.Context, o options) (int, error) {
	if o.modes[0] != shim.Bare {
		return 0, fmt.Errorf("-modes=%s: the first must be bare", strings.Join(o.modes, ","))
	}
	// Another version is no error by itself: most edits fit for years, and
	// those that do not fail with the same names.
	if !strings.HasPrefix(runtime.Version(), goVersion) {
		fmt.Printf("this is %s; the edits were written for %s, so they may not fit\n", runtime.Version(), goVersion)
	}
	root, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	goroot, err := goRoot(ctx)
	if err != nil {
		return 0, err
	}
	list, err := parseList(differencesText)
	if err != nil {
		return 0, fmt.Errorf("differences.txt: %w", err)
	}
	c := &comparison{options: o, root: root, goroot: goroot, list: list}
	for _, s := range suites() {
		if err := c.suite(ctx, &s); err != nil {
			return 0, fmt.Errorf("suite %s: %w", s.name, err)
		}
	}
	c.checkList()
	printTable(os.Stdout, c.rows)
	return c.found, nil
}

// suite generates, builds and runs one suite.
func (c *comparison) suite(ctx context.Context, s *suite) error {
	rep, err := s.generate(ctx, c.root, c.goroot)
	if err != nil {
		return err
	}
	fmt.Printf("suite %s: %d test functions, %d places wrapped, %d declarations pruned\n",
		s.name, rep.tests, rep.wrapped, len(rep.pruned))
	if c.verbose {
		fmt.Println("  pruned:", strings.Join(rep.pruned, " "))
	}
	if rep.tests < s.atLeast {
		return fmt.Errorf("%d test functions are left, want %d: the edits are for %s and do not fit %s; see nethttp/suite.go",
			rep.tests, s.atLeast, goVersion, runtime.Version())
	}
	b, err := s.build(ctx, c.root, c.race)
	if err != nil {
		return err
	}
	// The first mode is bare, which the others are compared with.
	var bare *results
	for _, mode := range c.modes {
		res, err := c.mode(ctx, s, b, mode, bare)
		if err != nil {
			return err
		}
		if bare == nil {
			bare = res
		}
	}
	return nil
}

// mode runs one suite in one mode and compares it with bare, which is nil when
// this is bare itself.
func (c *comparison) mode(ctx context.Context, s *suite, b *binary, mode string, bare *results) (*results, error) {
	began := time.Now()
	entries := entriesFor(c.list, mode, s.name)
	if bare == nil {
		entries = nil
	}
	res, err := runMode(ctx, b, mode, entries)
	if err != nil {
		return nil, err
	}
	r := &row{suite: s.name, mode: mode}
	r.count(res)
	c.rows = append(c.rows, r)
	if bare == nil {
		reportBare(s, res)
	} else if err := c.compare(ctx, s, b, r, bare, res); err != nil {
		return nil, err
	}
	r.seconds = time.Since(began).Seconds()
	return res, nil
}

// runMode runs all tests in one mode: those that are known to hang in processes
// of their own, at the same time, and without them the rest.
func runMode(ctx context.Context, b *binary, mode string, entries []*listed) (*results, error) {
	var hanging []string
	for _, l := range entries {
		if l.hangs {
			hanging = append(hanging, l.test)
		}
	}
	// Each goroutine writes its own elements; Wait orders that before the reads.
	alone := make([]*results, len(hanging))
	errs := make([]error, len(hanging))
	var wg sync.WaitGroup
	for i, test := range hanging {
		wg.Go(func() {
			alone[i] = &results{tests: map[string]string{}, output: map[string]string{}}
			_, errs[i] = b.process(ctx, job{mode: mode, run: []string{test}, stall: knownStall}, alone[i])
		})
	}
	res, err := b.run(ctx, job{mode: mode, run: b.functions, skip: hanging, stall: stall})
	wg.Wait()
	if err != nil {
		return nil, err
	}
	for i, test := range hanging {
		if errs[i] != nil {
			return nil, errs[i]
		}
		res.tests[test] = alone[i].tests[test]
	}
	return res, nil
}

// reportBare names the tests that fail by themselves; they are not compared.
func reportBare(s *suite, res *results) {
	for name, outcome := range res.tests {
		if outcome == fail || outcome == crash {
			fmt.Printf("  %s %s fails bare, so it is not compared\n%s", s.name, name, res.output[name])
		}
	}
}

// compare finds the differences of one mode.
func (c *comparison) compare(ctx context.Context, s *suite, b *binary, r *row, bare, res *results) error {
	// A process that crashed has not written its count, and the crash is a
	// finding anyway.
	if r.requests < s.requests && !res.has(crash) {
		c.find("suite %s, mode %s: %d requests went through the wrapper, want %d", s.name, r.mode, r.requests, s.requests)
	}
	differing := differences(bare.tests, res.tests)
	entries := entriesFor(c.list, r.mode, s.name)
	for _, test := range differing {
		if contains(entries, test) {
			r.listed++
			continue
		}
		steady, err := isSteady(ctx, b, r.mode, test, res.tests[test])
		if err != nil {
			return err
		}
		outcome := res.tests[test]
		if outcome == "" {
			outcome = missing
		}
		if !steady {
			r.unsteady++
			fmt.Printf("  unsteady: %s %s %s: %s once\n", r.mode, s.name, test, outcome)
			continue
		}
		r.fresh++
		c.find("new difference: %s %s %s: %s\n%s", r.mode, s.name, test, outcome, res.output[test])
	}
	// What every mode has to say about a line is gathered first: a line for any
	// mode is needed as long as it is needed in each.
	for _, l := range entries {
		if !slices.Contains(differing, l.test) && tells(bare.tests, l.test) {
			l.gone = append(l.gone, r.mode)
		}
	}
	return nil
}

// reruns is how often a new difference is tried again, bare and not: a machine
// under load makes tests of timing fail in any mode.
const reruns = 4

// isSteady reports whether a difference shows again while the bare test keeps
// passing. One that ended its process is taken as it is.
func isSteady(ctx context.Context, b *binary, mode, test, outcome string) (bool, error) {
	if test == exitTest || outcome == crash {
		return true, nil
	}
	again := false
	for range reruns {
		bare, err := b.run(ctx, job{mode: shim.Bare, run: []string{function(test)}, stall: stall})
		if err != nil {
			return false, err
		}
		if bare.has(fail, crash) {
			return false, nil
		}
		other, err := b.run(ctx, job{mode: mode, run: []string{function(test)}, stall: stall})
		if err != nil {
			return false, err
		}
		again = again || slices.Contains(differences(bare.tests, other.tests), test)
	}
	return again, nil
}

// checkList finds the lines that are not needed any more.
func (c *comparison) checkList() {
	for _, l := range c.list {
		if !l.flaky && len(l.gone) > 0 {
			c.find("differences.txt:%d: %s %s passes in mode %s: remove the line, or begin its reason with \"flaky:\"",
				l.line, l.suite, l.test, strings.Join(l.gone, ", "))
		}
	}
}

// find prints a finding.
func (c *comparison) find(format string, args ...any) {
	c.found++
	fmt.Println("FINDING:", strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}
