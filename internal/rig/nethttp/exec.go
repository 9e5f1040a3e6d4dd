package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

// A process that begins and ends no test for this long counts as hanging. The
// longest test takes a second; one that is known to hang is given less.
const (
	stall      = 20 * time.Second
	knownStall = 4 * time.Second
)

// maxCrashes bounds how often the rest is run after a test that ended the
// process.
const maxCrashes = 10

// binary is the compiled tests of a suite.
type binary struct {
	dir, path string
	functions []string // in the order of the source
}

// A job is a set of tests to run in one mode.
type job struct {
	mode  string
	run   []string // functions, or subtests by full name
	skip  []string // by full name
	stall time.Duration
}

// build compiles the tests of a suite.
func (s *suite) build(ctx context.Context, root string, race bool) (*binary, error) {
	b := &binary{dir: filepath.Join(root, genDir, s.name), path: filepath.Join(root, genDir, s.name+".test")}
	args := []string{"test", "-c", "-vet=off", "-o", b.path}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+filepath.Join(genDir, s.name))...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go test -c: %w", err)
	}
	// The binary knows best which tests it has, and in which order.
	list := exec.CommandContext(ctx, b.path, "-test.list=.")
	list.Dir, list.Stderr = b.dir, os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests: %w", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "Test") {
			b.functions = append(b.functions, name)
		}
	}
	return b, nil
}

// run does a job. After a test that ends the process, the rest runs in another.
func (b *binary) run(ctx context.Context, j job) (*results, error) {
	res := &results{tests: map[string]string{}, output: map[string]string{}}
	left := slices.Clone(j.run)
	for range maxCrashes {
		j.run = left
		failed, err := b.process(ctx, j, res)
		if err != nil {
			return nil, err
		}
		left = slices.DeleteFunc(slices.Clone(left), func(name string) bool { return res.tests[name] != "" })
		if len(left) == 0 {
			if failed && !res.has(fail, crash) {
				res.tests[exitTest] = fail
			}
			return res, nil
		}
		if len(left) == len(j.run) {
			return nil, fmt.Errorf("mode %s: none of %d tests ran, the first is %s", j.mode, len(left), left[0])
		}
	}
	return nil, fmt.Errorf("mode %s: %d tests ended their process", j.mode, maxCrashes)
}

// process runs one process, adds what it says to res, and reports whether it
// failed.
func (b *binary) process(ctx context.Context, j job, res *results) (failed bool, err error) {
	counts, err := os.CreateTemp(filepath.Dir(b.path), "count")
	if err != nil {
		return false, err
	}
	defer os.Remove(counts.Name())
	defer counts.Close()
	cmd := exec.CommandContext(ctx, b.path, "-test.v=test2json", "-test.run="+pattern(j.run), "-test.skip="+pattern(j.skip))
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), shim.ModeEnv+"="+j.mode, shim.CountEnv+"="+counts.Name())
	failed, err = watch(cmd, j.stall, res)
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(counts.Name())
	if err != nil || len(text) == 0 {
		return failed, err // empty when a test ended the process
	}
	n, err := strconv.Atoi(string(text))
	res.requests += n
	return failed, err
}

// watch runs a process of tests and ends it when it hangs.
func watch(cmd *exec.Cmd, stall time.Duration, res *results) (failed bool, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer out.Close()
	// Both streams share a pipe, so that what a test prints stays between the
	// lines that say which test it is.
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close() // the process has its own
	if err != nil {
		return false, err
	}
	// The stacks that SIGQUIT prints show where the test hangs.
	hang := time.AfterFunc(stall, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	readErr := res.read(out, func() { hang.Reset(stall) })
	hang.Stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, err
	}
	return err != nil, readErr
}

// pattern is the argument of -test.run or -test.skip that matches exactly these
// tests, each given by its full name.
func pattern(names []string) string {
	patterns := make([]string, len(names))
	for i, name := range names {
		levels := strings.Split(name, "/")
		for k, level := range levels {
			levels[k] = "^" + regexp.QuoteMeta(level) + "$"
		}
		patterns[i] = strings.Join(levels, "/")
	}
	return strings.Join(patterns, "|")
}
