package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestJSONShape(t *testing.T) {
	r := &report{
		plain:           summary{calls: 4, failed: 1, p50: 1500 * time.Microsecond, p99: time.Second},
		tulle:           summary{calls: 4, p50: time.Millisecond, p99: 2 * time.Millisecond},
		attemptsPerCall: 1.25, twice: 3, duplicates: 7, ejections: 5, breakerOpened: 1,
	}
	var b bytes.Buffer
	if err := r.writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	const want = `{"plain":{"calls":4,"success_rate":0.75,"p50_ms":1.5,"p99_ms":1000},` +
		`"tulle":{"calls":4,"success_rate":1,"p50_ms":1,"p99_ms":2,"attempts_per_call":1.25,"writes_executed_twice":3,"ejections":5,"breaker_opened":1}}`
	if got := strings.TrimSpace(b.String()); got != want || !json.Valid(b.Bytes()) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestText(t *testing.T) {
	p := script()
	tests := []struct {
		name string
		r    report
		want []string
		not  []string
	}{
		{
			"all well",
			report{tulle: summary{calls: 10}, executed: 5, phases: []outcome{{phase: p[0]}, {phase: p[1], share: 0.012}}},
			[]string{"0 of 5", "one slows to 2s    s3", "1.20%", "tulle handled all of it."},
			[]string{"NOT HANDLED", "failed:", "came again", "late"},
		},
		{
			"not handled",
			report{
				duplicates: 2, late: time.Second, failures: []string{"call 1: no"}, unhandled: []string{"too bad"},
				phases: []outcome{{phase: p[2], note: "not judged"}},
			},
			[]string{"2 writes came again", "calls began up to 1000.0ms late", "failed:\n  call 1: no\n", "NOT HANDLED:\n  too bad\n", "(not judged)"},
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
