// Package leak fails a package's tests when goroutines remain after them. It
// is for TestMain only.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// settle is how long goroutines that are about to end may take to do so.
const settle = 5 * time.Second

// Main runs the tests and exits. It fails when goroutines other than those of
// the runtime and the testing package are left some seconds later.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := wait(settle); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "leak: %d goroutines left after the tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// wait polls until no stray goroutine is left or the time is up.
func wait(limit time.Duration) []string {
	for deadline := time.Now().Add(limit); ; {
		left := strays()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// strays are the stacks of goroutines that nobody in the runtime or the test
// framework started.
func strays() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for i, g := range strings.Split(string(buf), "\n\n") {
		if i > 0 && !strings.Contains(g, "created by testing.") && !strings.Contains(g, "os/signal.") &&
			!strings.Contains(g, "created by runtime") {
			left = append(left, strings.TrimSpace(g))
		}
	}
	return left
}
