package sim_test

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/sim"
)

// result is one that was not run.
func result() *sim.Result {
	series := []sim.Slice{
		{Calls: 100, Good: 100, P50: 5 * ms, P99: 40 * ms, P999: 70 * ms},
		{Calls: 100, Good: 60, P50: 15 * ms, P99: sim.Never, P999: sim.Never},
		{},
		{Calls: 50, Good: 50, P50: 6 * ms, P99: 1500 * ms, P999: 2 * time.Second},
	}
	return &sim.Result{Scenario: "a <b> & \"c\"", Seed: 3, Goal: time.Second, Rows: []sim.Row{
		{Variant: "first, <1>", Calls: 250, Good: 210, Failed: 40, P50: 6 * ms, P99: sim.Never, P999: sim.Never,
			Attempts: 300, Ejections: 2, Opened: 1, Deepest: 9, Recovered: sim.Never, Series: series},
		{Variant: "second", Calls: 250, Good: 250, P50: 1234567 * time.Nanosecond, P99: 45670 * time.Microsecond, P999: 1234 * ms,
			Attempts: 250, Recovered: 2 * time.Second, Series: series[:1]},
	}}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := result().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	want := [][]string{
		{"variant", "good", "%", "p50", "ms", "p99", "ms", "p99.9", "ms", "attempts/call", "ejections", "opened", "deepest", "recovered"},
		{"first,", "<1>", "84.000", "6.00", "-", "-", "1.200", "2", "1", "9", "never"},
		{"second", "100.000", "1.23", "45.7", "1234", "1.000", "0", "0", "0", "2s"},
	}
	if len(lines) != len(want) {
		t.Fatalf("got\n%s\nwant %d lines", b.String(), len(want))
	}
	for i := range want {
		if got := strings.Fields(lines[i]); strings.Join(got, " ") != strings.Join(want[i], " ") {
			t.Errorf("line %d: got %q, want %q", i, got, want[i])
		}
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if err := result().WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 6 {
		t.Fatalf("got %d records, want a head and 5", len(records))
	}
	want := `a <b> & "c"|3|first, <1>|1|100|60|15.0||`
	if got := strings.Join(records[2], "|"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// svg draws a plot, and reads it: how many lines it has, and its texts.
func svg(t *testing.T, res *sim.Result) (lines int, texts string) {
	t.Helper()
	var b bytes.Buffer
	if err := res.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return lines, texts
		}
		if err != nil {
			t.Fatal(err)
		}
		switch v := token.(type) {
		case xml.StartElement:
			for _, a := range v.Attr {
				if a.Name.Local == "class" && a.Value == "line" {
					lines++
				}
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || strings.Contains(a.Value, "%!") {
					t.Errorf("got %s=%q, want a number", a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			texts += string(v) + "\n"
		}
	}
}

// TestSVG: the plot is well-formed, has a line for each variant in each diagram,
// and nothing lies outside it.
func TestSVG(t *testing.T) {
	lines, texts := svg(t, result())
	if lines != 8 {
		t.Errorf("got %d lines, want one for each of 2 variants in 4 diagrams", lines)
	}
	for _, want := range []string{`a <b> & "c", seed 3`, "first, <1>", "second", "good calls (within 1s)", "99.9th percentile", "100 %", "10ms"} {
		if !strings.Contains(texts, want) {
			t.Errorf("got texts\n%s\nwant %q among them", texts, want)
		}
	}
}

// TestSVGScale: latencies have a scale from just below the least to just above the
// most, with round marks.
func TestSVGScale(t *testing.T) {
	tests := []struct {
		least, most time.Duration
		want        string
	}{
		{168 * ms, 2007 * ms, "100ms 200ms 500ms 1s 2s 5s"},
		{168 * ms, 180 * ms, "100ms 200ms 500ms 1s"},
		{200 * ms, 2 * time.Second, "200ms 500ms 1s 2s"},
		{ms, 10 * ms, "1ms 2ms 5ms 10ms"},
		{3 * ms, 4 * time.Second, "10ms 100ms 1s"},
		{time.Nanosecond, 3 * time.Nanosecond, "1ns 2ns 5ns 10ns"},
		{70 * time.Microsecond, 100 * time.Hour, "100µs 1ms 10ms 100ms 1s 10s 1m40s 16m40s 2h46m40s 27h46m40s"},
	}
	for _, tt := range tests {
		res := &sim.Result{Goal: time.Second, Rows: []sim.Row{{Variant: "v", Series: []sim.Slice{
			{Calls: 1, Good: 1, P50: tt.least, P99: tt.most, P999: tt.most},
		}}}}
		_, plot := svg(t, res)
		_, plot, _ = strings.Cut(plot, "median")
		plot, _, _ = strings.Cut(plot, "99th")
		var got []string
		for _, text := range strings.Split(plot, "\n")[1:] {
			if text != "" && !strings.HasSuffix(text, " s") {
				got = append(got, text)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v to %v: got marks %q, want %q", tt.least, tt.most, got, tt.want)
		}
	}
}

// TestSVGOfMany: colours come back with dashes, long names get fewer columns, and a
// lone second shows.
func TestSVGOfMany(t *testing.T) {
	res := &sim.Result{Goal: time.Second}
	for i := range 9 {
		res.Rows = append(res.Rows, sim.Row{Variant: strings.Repeat("x", 50) + string(rune('a'+i)), Series: []sim.Slice{{}, {Calls: 1, Good: 1, P50: ms, P99: ms, P999: ms}, {}}})
	}
	var b strings.Builder
	if err := res.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	plot := b.String()
	if got := strings.Count(plot, "stroke-dasharray"); got != 5 {
		t.Errorf("got %d dashed lines, want those of the ninth variant, in the legend and 4 diagrams", got)
	}
	if got := strings.Count(plot, "h0\""); got != 4*9 {
		t.Errorf("got %d dots, want one for each of 9 variants in 4 diagrams", got)
	}
	if got := strings.Count(plot, `<path d="M80 `) - strings.Count(plot, `stroke="#ddd"`); got != 5 {
		t.Errorf("got %d lines in the legend, want 9 names in 2 columns", got)
	}
}

// TestSVGOfNothing: no call, no line, and no nonsense.
func TestSVGOfNothing(t *testing.T) {
	for _, res := range []*sim.Result{{Scenario: "x"}, {Scenario: "x", Rows: []sim.Row{{Variant: "v", Series: make([]sim.Slice, 3)}}}} {
		var b strings.Builder
		if err := res.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		if s := b.String(); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || !strings.HasSuffix(s, "</svg>\n") {
			t.Errorf("got %s, want a plot without lines", s)
		}
	}
}

// broken is a Writer that is full.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("full")

func TestWriteErrors(t *testing.T) {
	for name, err := range map[string]error{
		"table": result().WriteTable(broken{}), "CSV": result().WriteCSV(broken{}), "SVG": result().WriteSVG(broken{}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: got %v, want %v", name, err, errFull)
		}
	}
}

func TestScores(t *testing.T) {
	rows := func(p99 ...time.Duration) (rows []sim.Row) {
		for i, d := range p99 {
			rows = append(rows, sim.Row{Variant: string(rune('a' + i)), Calls: 10_000, Good: 10_000 - uint64(i)*9, P99: d, P999: d})
		}
		return rows
	}
	results := []*sim.Result{
		{Goal: time.Second, Rows: rows(10*ms, 40*ms, sim.Never)},
		{Goal: time.Second, Rows: rows(20*ms, 20*ms)},
	}
	got := sim.Scores(results)
	if len(got) != 2 || got[0].Variant != "a" || got[1].Variant != "b" {
		t.Fatalf("got %+v, want a and b, which are in both", got)
	}
	if got[0].Tail != 1 || got[0].Failure != 1 {
		t.Errorf("got %+v, want 1 and 1 for the best everywhere", got[0])
	}
	// 4 times and as good; 10 ten-thousandths against 1, twice.
	if math.Abs(got[1].Tail-2) > 1e-9 || math.Abs(got[1].Failure-10) > 1e-6 {
		t.Errorf("got %+v, want tail 2 and failure 10", got[1])
	}
	// Never counts as the goal.
	only := sim.Scores(results[:1])
	if last := only[2]; last.Variant != "c" || math.Abs(last.Tail-100) > 1e-6 {
		t.Errorf("got %+v, want c with a tail of 1 s over 10 ms", last)
	}
	if got := sim.Scores(nil); len(got) != 0 {
		t.Errorf("of nothing: got %+v, want nothing", got)
	}
}
