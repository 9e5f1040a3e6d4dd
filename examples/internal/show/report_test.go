package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// script is one of every event.
func script() []Phase {
	return []Phase{
		{Name: "all are well"},
		{Name: "one slows to 2s", At: 0.10, Server: 2, Becomes: Slow},
		{Name: "one joins", At: 0.20, Server: Servers, Joins: true},
		{Name: "one answers 503", At: 0.30, Server: 4, Becomes: Unavailable},
		{Name: "one is killed", At: 0.45, Server: 6, Becomes: Killed},
		{Name: "one never answers", At: 0.60, Server: 8, Becomes: Silent},
		{Name: "one leaves", At: 0.75, Server: 1, Becomes: Leaving},
	}
}

func TestJSONShape(t *testing.T) {
	r := &Report{
		writes:          "POSTs",
		plain:           summary{calls: 4, failed: 1, p50: 1500 * time.Microsecond, p99: time.Second},
		tulle:           summary{calls: 4, p50: time.Millisecond, p99: 2 * time.Millisecond},
		attemptsPerCall: 1.25, twice: 3, duplicates: 7, ejections: 5, breakerOpened: 1,
	}
	var b bytes.Buffer
	if err := r.writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	const want = `{"plain":{"calls":4,"success_rate":0.75,"p50_ms":1.5,"p99_ms":1000},` +
		`"tulle":{"calls":4,"success_rate":1,"p50_ms":1,"p99_ms":2,"attempts_per_call":1.25,"posts_executed_twice":3,"ejections":5,"breaker_opened":1}}`
	if got := strings.TrimSpace(b.String()); got != want || !json.Valid(b.Bytes()) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestText(t *testing.T) {
	p := script()
	tests := []struct {
		name string
		r    Report
		want []string
		not  []string
	}{
		{
			"all well",
			Report{writes: "POSTs", tulle: summary{calls: 10}, executed: 5, phases: []outcome{{Phase: p[0]}, {Phase: p[1], share: 0.012}}},
			[]string{"0 of 5", "one slows to 2s s3", "1.20%", "tulle handled all of it."},
			[]string{"NOT HANDLED", "failed:", "came again", "late"},
		},
		{
			"not handled",
			Report{
				writes: "puts", duplicates: 2, late: time.Second, failures: []string{"call 1: no"}, unhandled: []string{"too bad"},
				phases: []outcome{{Phase: p[2], note: "not judged"}},
			},
			[]string{"2 puts came again", "calls began up to 1000.0ms late", "failed:\n  call 1: no\n", "NOT HANDLED:\n  too bad\n", "(not judged)"},
			[]string{"tulle handled"},
		},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		tt.r.writeText(&b)
		for _, want := range tt.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: got %q, want %q in it", tt.name, b.String(), want)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(b.String(), not) {
				t.Errorf("%s: got %q, want no %q in it", tt.name, b.String(), not)
			}
		}
	}
}

func TestFailuresAreFew(t *testing.T) {
	results := make([]result, 2*mostFailures)
	if got := failures(results); len(got) != 0 {
		t.Errorf("got %q, want nothing when nothing failed", got)
	}
	for i := range results {
		results[i].err = errors.New("no")
	}
	if got := failures(results); len(got) != mostFailures+1 {
		t.Errorf("got %d lines, want %d and a last one", len(got), mostFailures)
	}
}

// TestColumns wants each figure under its heading, whatever the words are.
func TestColumns(t *testing.T) {
	for _, writes := range []string{"POSTs", "changes"} {
		r := Report{writes: writes, executed: 5, ejections: 123, phases: []outcome{
			{Phase: Phase{Name: "a"}}, {Phase: Phase{Name: strings.Repeat("b", 30), Becomes: Slow}, share: 0.5},
		}}
		var b bytes.Buffer
		r.writeText(&b)
		lines := strings.Split(b.String(), "\n")
		end := func(line int, of string) int {
			i := strings.Index(lines[line], of)
			if i < 0 {
				t.Fatalf("got line %q, want %q in it", lines[line], of)
			}
			return i + len(of)
		}
		if got, want := end(3, "123"), end(1, "ejections"); got != want {
			t.Errorf("%s: got ejections up to column %d, want %d:\n%s", writes, got, want, b.String())
		}
		if got, want := strings.Index(lines[3], "0 of 5"), strings.Index(lines[1], writes); got != want {
			t.Errorf("%s: got them at column %d, want %d:\n%s", writes, got, want, b.String())
		}
		for _, row := range lines[7:9] {
			if got, want := strings.Index(row, "0ms")+3, end(6, "p99"); got != want {
				t.Errorf("%s: got p99 up to column %d, want %d:\n%s", writes, got, want, b.String())
			}
		}
	}
}

// TestObject wants the keys in their order, escaped as others are, and errors told.
func TestObject(t *testing.T) {
	got, err := json.Marshal(object{{"b", 1}, {"a<", "x"}, {"c", object{}}})
	if want := `{"b":1,"a\u003c":"x","c":{}}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := json.Marshal(object{{"f", func() {}}}); err == nil {
		t.Error("a func: got no error, want one")
	}
}
