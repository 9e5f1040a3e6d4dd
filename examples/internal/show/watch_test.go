package show

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
)

func TestShare(t *testing.T) {
	const s = time.Second
	rec := attempts(50, 20, 0, 100)
	tests := []struct {
		name     string
		from, to time.Duration
		want     float64
	}{
		{"s1", 0, s, 0.5},
		{"s1", 0, 2 * s, 0.35},
		{"s2", s, 2 * s, 0.8},
		{"s1", 2 * s, 3 * s, 0},
		{"s1", 2500 * time.Millisecond, 3900 * time.Millisecond, 0}, // between samples: the ones before
		{"s1", 3 * s, forever, 1},
		{"s3", 0, forever, 0},
		{"s1", 2 * s, 2 * s, 0},
		{"s1", -s, s, 0.5},
	}
	for _, tt := range tests {
		if got := rec.share(tt.name, tt.from, tt.to); got != tt.want {
			t.Errorf("%s from %v to %v: got %v, want %v", tt.name, tt.from, tt.to, got, tt.want)
		}
	}
	if got := (record)(nil).share("s1", 0, s); got != 0 {
		t.Errorf("no record: got %v, want 0", got)
	}
}

func TestState(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		want             string
		attempts         uint64
		expected, median time.Duration
		chance, success  float64
	}{
		{"ok", 9, 5 * ms, 5 * ms, 1, 1},
		{"ok", 9, 5 * ms, 0, -1, -1}, // nothing is known
		{"new", 0, 5 * ms, 5 * ms, 1, -1},
		{"slow", 9, 26 * ms, 5 * ms, 1, 1},
		{"slow", 9, 26 * ms, 5 * ms, 0.1, 0.1},
		{"failing", 9, 5 * ms, 5 * ms, 0.5, 0.9},
		{"failing", 9, 5 * ms, 5 * ms, 0.9, 0.5},
	}
	for _, tt := range tests {
		e := transport.EndpointSnapshot{Attempts: tt.attempts, Expected: tt.expected, Chance: tt.chance, Success: tt.success}
		if got := state(&e, &transport.ServiceSnapshot{Median: tt.median}); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt, got, tt.want)
		}
	}
}

// view is a watch of a stage in which the first event has happened, and what it
// sees.
func view() (*watch, transport.ServiceSnapshot) {
	s := &Stage{show: &Show{Script: script()}, users: &group{servers: []*Server{{name: "s1"}, {name: "s2"}}}}
	s.users.servers[1].mode.Store(int32(Slow))
	w := newWatch(s, nil, time.Now(), &client{name: "plain"}, &client{name: "tulle"})
	w.begun(1)
	w.record = attempts(75)
	return w, transport.ServiceSnapshot{Endpoints: []transport.EndpointSnapshot{
		{Endpoint: tulle.Endpoint{Name: "s1"}, Attempts: 75, Expected: 5 * time.Millisecond, Chance: 1, Success: 1},
		{Endpoint: tulle.Endpoint{Name: "s2"}, Attempts: 25, Expected: 5 * time.Millisecond, Waiting: 2, Streaming: 1},
	}}
}

func TestLine(t *testing.T) {
	w, s := view()
	var b bytes.Buffer
	w.line(&b, s)
	if got := b.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("got %q, want one plain line", got)
	}
	for _, want := range []string{"one slows to 2s s3", "tulle: 0 calls", "| s1 ok 75% 5.0ms 0 |", "| s2 failing 25% 5.0ms 3\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got %q, want %q in it", b.String(), want)
		}
	}
}

// TestBlock wants each view to go back by as many lines as the one before had.
func TestBlock(t *testing.T) {
	w, s := view()
	var b bytes.Buffer
	w.block(&b, s)
	first := b.String()
	if strings.Contains(first, "\x1b") || !strings.Contains(first, "answers after 2s") {
		t.Errorf("got first %q, want the truth about s2, and nothing to go back over", first)
	}
	b.Reset()
	w.block(&b, s)
	if want := "\x1b[6A\r\x1b[J"; !strings.HasPrefix(b.String(), want) || strings.Count(first, "\n") != 6 {
		t.Errorf("got %q after %q, want %q at its beginning", b.String(), first, want)
	}
}

func TestIsTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isTerminal(f) || isTerminal(new(bytes.Buffer)) {
		t.Error("got a terminal, want a file and a buffer to be none")
	}
}
