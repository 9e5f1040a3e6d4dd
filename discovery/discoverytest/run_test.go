package discoverytest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/discovery/discoverytest"
)

// brokenRun names the environment variable that turns TestRunOfBroken into a
// test that fails.
const brokenRun = "DISCOVERYTEST_BROKEN_RUN"

// TestRunOfBroken fails on purpose, in a process of its own that TestRunFails
// starts.
func TestRunOfBroken(t *testing.T) {
	name := os.Getenv(brokenRun)
	for _, b := range broken {
		if b.name == name {
			h, end := harness(b.of)
			h.Within = 300 * time.Millisecond
			defer end()
			discoverytest.Run(t, h)
		}
	}
	if name == "no New" {
		discoverytest.Run(t, discoverytest.Harness{})
	}
}

// TestRunFails: Run itself fails, in the subtest that bears the name of the
// rule, and passes the others.
func TestRunFails(t *testing.T) {
	for _, c := range []struct {
		name         string
		want, unwant []string
	}{
		{
			"empties on errors",
			[]string{"--- FAIL: TestRunOfBroken/failure ", "--- FAIL: TestRunOfBroken/failure_at_start", "want an error alone"},
			[]string{"--- FAIL: TestRunOfBroken/first_update", "--- FAIL: TestRunOfBroken/goroutines"},
		},
		{
			"leaves a goroutine",
			[]string{"--- FAIL: TestRunOfBroken/goroutines", "1 goroutines of the watch are left"},
			[]string{"--- FAIL: TestRunOfBroken/failure", "--- FAIL: TestRunOfBroken/changes"},
		},
		{"no New", []string{"--- FAIL: TestRunOfBroken", "Harness.New is nil"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRunOfBroken$", "-test.v")
			cmd.Env = append(os.Environ(), brokenRun+"="+c.name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("got success, want a failure:\n%s", out)
			}
			for _, text := range c.want {
				if !strings.Contains(string(out), text) {
					t.Errorf("output: got no %q, want it in\n%s", text, out)
				}
			}
			for _, text := range c.unwant {
				if strings.Contains(string(out), text) {
					t.Errorf("output: got %q, want that check to pass:\n%s", text, out)
				}
			}
		})
	}
}

// A source that cannot be changed needs no more than New.
func TestRunWithNewOnly(t *testing.T) {
	discoverytest.Run(t, discoverytest.Harness{
		New: func(*testing.T) discovery.Resolver { return discovery.Static{{Addr: "a:80"}} },
	})
}
