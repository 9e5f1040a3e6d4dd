package sim_test

import (
	"errors"
	"flag"
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
