package sim_test

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/sim"
)

// TestBubbleTime: a day passes at once, to the nanosecond.
func TestBubbleTime(t *testing.T) {
	var took time.Duration
	began := time.Now()
	if err := sim.Bubble(func() error {
		start := time.Now()
		for range 24 * 60 {
			timer := time.NewTimer(time.Minute)
			<-timer.C
		}
		took = time.Since(start)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if took != 24*time.Hour {
		t.Errorf("got %v of virtual time, want 24h", took)
	}
	if real := time.Since(began); real > time.Hour {
		t.Errorf("got %v of real time, want hardly any", real)
	}
}

// TestBubbleFailures: whatever goes wrong in a bubble is an error and no end of the
// program, and leaves flags and further bubbles alone.
func TestBubbleFailures(t *testing.T) {
	flags := 0
	count := func() (n int) {
		flag.VisitAll(func(*flag.Flag) { n++ })
		return n
	}
	flags = count()
	own := errors.New("own")
	tests := []struct {
		name string
		f    func() error
		want string
	}{
		{"error", func() error { return own }, "own"},
		{"panic", func() error { panic("boom") }, "sim: boom"},
		{"nothing", func() error { return nil }, ""},
		{"bubble in a bubble", func() error { return sim.Bubble(func() error { return nil }) }, "bubble"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := sim.Bubble(tt.f)
			if got := text(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("got error %q, want %q", got, tt.want)
			}
		})
	}
	if got := count(); got != flags {
		t.Errorf("got %d flags afterwards, want the %d of before", got, flags)
	}
}

// stuckBubble tells TestStuck which bubble to run.
const stuckBubble = "TULLE_SIM_STUCK"

// stuck are the bubbles that do not end by themselves.
func stuck() map[string]func() error {
	return map[string]func() error{
		"deadlock": func() error {
			<-make(chan int)
			return nil
		},
		"goroutine that waits": func() error {
			never := make(chan int)
			go func() { <-never }()
			return nil
		},
		"goroutine with a timer": func() error {
			timer := time.NewTimer(time.Hour)
			go func() { <-timer.C }()
			return nil
		},
	}
}

// TestStuck runs one of these in a process of its own, as the goroutines of it are
// there until the end. It fails, with what came back.
func TestStuck(t *testing.T) {
	if f := stuck()[os.Getenv(stuckBubble)]; f != nil {
		err := sim.Bubble(f)
		next := sim.Bubble(func() error { return errors.New("runs") })
		t.Fatalf("came back: %v; the next bubble: %v", err, next)
	}
}

// TestBubbleStuck: what nothing ends is an error and no hang, and later bubbles are
// none the worse.
func TestBubbleStuck(t *testing.T) {
	for name, want := range map[string]string{
		"deadlock":               "came back: sim: deadlock: all goroutines in bubble are blocked; the next bubble: runs",
		"goroutine that waits":   "came back: sim: deadlock: main bubble goroutine has exited but blocked goroutines remain; the next bubble: runs",
		"goroutine with a timer": "came back: sim: deadlock: main bubble goroutine has exited but blocked goroutines remain; the next bubble: runs",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStuck$")
			cmd.Env = append(os.Environ(), stuckBubble+"="+name)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(string(out), want) {
				t.Errorf("got %v and\n%s\nwant a failure with %q", err, out, want)
			}
		})
	}
}

// TestRunInsideABubble: a user's own synctest cannot hold another bubble, and is
// told so.
func TestRunInsideABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := sim.Run(t.Context(), small())
		if !strings.Contains(text(err), "bubble") {
			t.Errorf("got %v, want an error about bubbles", err)
		}
	})
}

// text is an error's, "" for nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
