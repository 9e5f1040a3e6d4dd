package measure_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
)

const stat = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 4 0 99 100 200"

func TestStatCPU(t *testing.T) {
	tests := []struct {
		name, stat string
		want       time.Duration
	}{
		{"a name with brackets", stat, 1750 * time.Millisecond},
		{"empty", "", 0},
		{"cut", "4711 (a) S 1 2 3", 0},
		{"no numbers", strings.ReplaceAll(stat, "150", "x"), 250 * time.Millisecond},
	}
	for _, tt := range tests {
		if got := measure.StatCPU(tt.stat); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestStatBusy(t *testing.T) {
	tests := []struct {
		name, stat string
		want       time.Duration
	}{
		{"user, nice, system, irq, softirq, steal", "cpu  1 2 4 1000 1000 8 16 32 1000 1000\ncpu0 9 9 9\n", 630 * time.Millisecond},
		{"empty", "", 0},
		{"old kernel", "cpu 1 2 4 1000\n", 70 * time.Millisecond},
	}
	for _, tt := range tests {
		if got := measure.StatBusy(tt.stat); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add(stat)
	f.Add("cpu  1 2 4 1000 1000 8 16 32 1000 1000\n")
	f.Add(")")
	f.Fuzz(func(t *testing.T, text string) {
		whole := measure.StatBusy(text)
		if first, _, _ := strings.Cut(text, "\n"); measure.StatBusy(first) != whole {
			t.Errorf("got another time for the first line of %q alone", text)
		}
		if !strings.Contains(text, ")") && len(strings.Fields(text)) < 13 && measure.StatCPU(text) != 0 {
			t.Errorf("got %v from too few fields: %q", measure.StatCPU(text), text)
		}
	})
}

func TestSchedCPU(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for name, text := range map[string]string{"a": "1500 20 3\n", "b": "500 1 1\n", "c": "none"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if got := measure.SchedCPU(append(files, filepath.Join(dir, "gone"))); got != 2000 {
		t.Errorf("got %v, want 2µs", got)
	}
}

// burn keeps a processor busy for so many rounds.
func burn(rounds int) (sum int) {
	for i := range rounds * 1000 {
		sum += i ^ sum
	}
	return sum
}

var sink int

// Two ways to ask for the processor time of this process agree, and it grows
// with work.
func TestCPU(t *testing.T) {
	own, asked, machine := measure.CPU(), measure.ProcessCPU(os.Getpid()), measure.MachineBusy()
	for measure.CPU() < own+100*time.Millisecond {
		sink += burn(100)
	}
	own, asked, machine = measure.CPU()-own, measure.ProcessCPU(os.Getpid())-asked, measure.MachineBusy()-machine
	if asked < own/2 || asked > 2*own {
		t.Errorf("got %v by asking for the process and %v by asking for oneself", asked, own)
	}
	if machine < own/2 {
		t.Errorf("got %v for the machine, want at least about %v", machine, own)
	}
	if got := measure.ProcessCPU(1 << 30); got != 0 {
		t.Errorf("no such process: got %v, want 0", got)
	}
}

func TestChildren(t *testing.T) {
	if got := measure.Children(os.Getppid()); !slices.Contains(got, os.Getpid()) {
		t.Errorf("got %v as children of the parent, want %d among them", got, os.Getpid())
	}
	if got := measure.Children(1 << 30); got != nil {
		t.Errorf("no such process: got %v, want none", got)
	}
}
