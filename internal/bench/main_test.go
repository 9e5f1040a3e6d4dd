package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/proxy"
	"github.com/tullemesh/tulle/internal/bench/scale"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// There is no look for goroutines that are left: go-zero starts some in every
// program that links it.
func TestMain(m *testing.M) {
	client.Quiet()
	server.Main()
	scale.Main()
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	good := []struct {
		args string
		want options
	}{
		{"", options{rounds: 40, block: 60 * time.Millisecond}},
		{"-quick -rounds 9", options{quick: true, rounds: 2, block: 4 * time.Millisecond}},
		{"-only stub,grpc -md a -readme b", options{rounds: 40, block: 60 * time.Millisecond, only: "stub,grpc", md: "a", readme: "b"}},
		{"-from a -save b -rounds 1 -block 1ms", options{rounds: 1, block: time.Millisecond, from: "a", save: "b"}},
	}
	for _, tt := range good {
		if got, err := parse(strings.Fields(tt.args), &bytes.Buffer{}); err != nil || got != tt.want {
			t.Errorf("%q: got %+v and %v, want %+v", tt.args, got, err, tt.want)
		}
	}
	bad := []struct {
		args string
		want []string
	}{
		{"-rounds 0 -block 1us x", []string{"-rounds 0", "-block 1µs", `"x"`}},
		{"-rounds 10001 -block 11s", []string{"-rounds 10001", "-block 11s"}},
		{"-only stub,all", []string{`"all"`}},
		{"-unknown", []string{"-unknown"}},
	}
	for _, tt := range bad {
		_, err := parse(strings.Fields(tt.args), &bytes.Buffer{})
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v, want it to name %s", tt.args, err, want)
			}
		}
	}
}

// A quick run measures every contender in every table, tulle is within its
// ceilings, and all of it can be written, kept and read again.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about 20 s")
	}
	dir := t.TempDir()
	opt := options{quick: true, rounds: 1, block: 2 * time.Millisecond, save: filepath.Join(dir, "run.json"), md: filepath.Join(dir, "a.md")}
	var out, say bytes.Buffer
	if err := run(opt, &out, &say); err != nil {
		t.Fatalf("%v\n%s", err, say.String())
	}
	r, err := loadReport(opt.save)
	if err != nil {
		t.Fatal(err)
	}
	complete(t, &r)
	again := opt
	again.from, again.save, again.md = opt.save, "", filepath.Join(dir, "b.md")
	if err := run(again, &bytes.Buffer{}, &say); err != nil {
		t.Fatal(err)
	}
	a, b := read(t, opt.md), read(t, again.md)
	if a != b || !strings.Contains(a, "quick run") {
		t.Errorf("got another document from kept figures:\n%s\nwant:\n%s", b, a)
	}
	if text := out.String(); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("got figures that are none:\n%s", text)
	}
}

// complete wants all contenders to be in the report, with figures.
func complete(t *testing.T, r *Report) {
	t.Helper()
	for _, c := range append([]client.Contender{client.Bare()}, client.HTTP()...) {
		i := slices.IndexFunc(r.HTTP, func(o Overhead) bool { return o.Name == c.Name })
		if i < 0 {
			t.Errorf("%s: it is not in the report", c.Name)
			continue
		}
		if s := r.HTTP[i].Stub; c.OnStub && (s == nil || s.Serial.Calls == 0 || s.Many.Calls == 0 || s.Cold.P50 == 0) {
			t.Errorf("%s: got %+v over the stub, want figures", c.Name, s)
		}
		if w := r.HTTP[i].Wire; c.OnWire && (w == nil || w.Allocs < 10 || w.Serial.P99 == 0 || w.Many.P99 == 0) {
			t.Errorf("%s: got %+v over loopback, want figures", c.Name, w)
		}
	}
	if got, want := len(r.GRPC), len(client.GRPC())+1; got != want {
		t.Errorf("got %d rows of gRPC, want %d", got, want)
	}
	if got, want := len(r.Scale), 2*len(scale.Libraries()); got != want {
		t.Errorf("got %d rows of many endpoints, want %d: %v", got, want, r.Missing)
	}
	for _, k := range proxy.Kinds() {
		_, err := k.Version()
		row := r.sidecar(k.Name)
		if (row == nil) != errors.Is(err, proxy.ErrMissing) {
			t.Errorf("%s: got the row %+v, though asking for its version says %v", k.Name, row, err)
		}
		if row != nil && (len(row.At) != len(sidecarCallers) || row.At[0].Helpers == 0) {
			t.Errorf("%s: got %+v, want figures of the proxy itself", k.Name, row)
		}
	}
	f := r.Facts
	if f.Machine == "" || f.Go == "" || f.CPUs == 0 || f.LoadBefore == "" || f.Took == 0 || len(f.Versions) < len(compared) {
		t.Errorf("got the facts %+v, want all", f)
	}
}

// read is the text of a file.
func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sample is a report with one of each.
func sample() *Report {
	result := func(ratio float64) *measure.Result {
		s := func(f float64) measure.Spread { return measure.Spread{Median: f, Low: f * 0.9, High: f * 1.1, N: 3} }
		return &measure.Result{Name: "x", Calls: 100, CPU: s(50_000 * ratio), CPURatio: s(ratio), CPUAdded: s(50_000 * (ratio - 1)),
			P50: 70_000 * ratio, P99: 150_000 * ratio, P50Ratio: s(ratio), P50Added: s(70_000 * (ratio - 1)), P99Ratio: ratio, P99Added: 150_000 * (ratio - 1)}
	}
	cost := func(allocs, bytes, ratio float64) *Cost {
		return &Cost{Allocs: allocs, Bytes: bytes, Serial: result(ratio), Many: result(ratio), Cold: result(ratio)}
	}
	proxied := *result(1.8)
	proxied.Helpers = 40_000
	at := func(r measure.Result) []measure.Result { return []measure.Result{r, r, r} }
	return &Report{
		Facts: Facts{Date: "2030-01-02", Machine: "A Processor", CPUs: 2, Procs: 2, Kernel: "6.1", Go: "go1.99 linux/amd64",
			LoadBefore: "0.10 0.20 0.30", LoadAfter: "1.10 1.20 1.30", Others: 0.25, Rounds: 3, Block: time.Millisecond,
			Took: 90 * time.Second, Versions: []Version{{"example.com/peer", "v1.2.3"}}},
		HTTP: []Overhead{
			{Name: "bare", Note: "the baseline", Stub: cost(0, 0, 1), Wire: cost(40, 2800, 1)},
			{Name: "tulle", Note: "ours", Stub: cost(1, 704, 1.25), Wire: cost(41, 3500, 1.04)},
			{Name: client.FloorCopy, Note: "nothing else", Stub: cost(1, 512, 1.1)},
			{Name: "wire only", Note: "a peer", Wire: cost(60, 6000, 1.5)},
		},
		Bodies:  []BodyRow{{Name: "bare"}, {Name: "tulle", Sizes: []BodyCost{{0, 1, 704}, {1 << 10, 1, 704}, {64 << 10, 1, 704}, {1 << 20, 1, 704}}}},
		GRPC:    []Overhead{{Name: "round_robin", Note: "the baseline", Wire: cost(86, 5000, 1)}, {Name: "tulle", Note: "ours", Wire: cost(89, 5800, 1.2)}},
		Sidecar: []SidecarRow{{Name: "direct", Note: "d", At: at(*result(1))}, {Name: "tulle", Note: "t", At: at(*result(1.05))}, {Name: "haproxy", Note: "h", At: at(proxied)}},
		Scale: []ScaleRow{
			{Name: "tulle", N: 10000, Figures: scale.Figures{Ready: time.Millisecond, Settle: 8 * time.Millisecond, Update: 4 * time.Millisecond, Pick: 900, AtRest: scale.Footprint{Heap: 500, Goroutines: 1}}},
			{Name: "peer", N: 10000, Figures: scale.Figures{Ready: time.Second, Settle: 20 * time.Second, Unsettled: true}},
		},
		Missing: []string{"a part that was not there"},
	}
}

func TestDocument(t *testing.T) {
	doc, err := sample().render("benchmarks.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| date | 2030-01-02, took 1m30s |",
		"| machine | A Processor, 2 CPUs, GOMAXPROCS 2, Linux 6.1 |",
		"| load average (1, 5, 15 min) | 0.10 0.20 0.30 before, 1.10 1.20 1.30 after; the bench is part of it |",
		"| example.com/peer | v1.2.3 |",
		"**Not measured:** a part that was not there",
		"| tulle | +1 | +704 B | +12.5 µs | ×1.25 (1.12–1.38) |",
		"| tulle | 41 | 3500 B | 52.0 µs | ×1.04 (0.94–1.14) | ×1.04 | ×1.04 |",
		"| haproxy | 126 µs | +56.0 µs | 270 µs | +120 µs | 90.0 µs | +40.0 µs | ×1.80 (1.62–1.98) | 40.0 µs |",
		"| peer | 10000 | 1.0 s | > 20.0 s | 0 B | 0 | 0 | – | – | – | – | – |",
		"| loopback, 1 goroutine: CPU | ≤ ×1.05 | ×1.04 | – | yes |",
		"| over a stub: CPU, 10 endpoints | ≤ 1.0 µs | 12.5 µs | 5.0 µs | **no** |",
		"| gRPC: allocations beyond round_robin | ≤ 8 | 3 | – | yes |",
		"| gRPC, 1 goroutine: CPU to round_robin | ≤ ×1.10 | ×1.20 | – | **no** |",
		"- **wire only**: a peer.",
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("got a document without %q", want)
		}
	}
	if strings.Contains(doc, "quick run") || strings.Contains(doc, "\n\n\n") || !strings.HasSuffix(doc, ".\n") {
		t.Errorf("got a document with something that does not belong there:\n%s", doc)
	}
	wellFormed(t, doc)
}

// wellFormed wants the rows of each table to have as many cells.
func wellFormed(t *testing.T, doc string) {
	t.Helper()
	cells := 0
	for i, line := range strings.Split(doc, "\n") {
		n := strings.Count(line, "|")
		if n > 0 && cells > 0 && n != cells {
			t.Errorf("line %d: got %d bars, want %d: %s", i+1, n, cells, line)
		}
		cells = n
	}
}

// A report of one part shows that part, and none shows none.
func TestDocumentOfParts(t *testing.T) {
	whole := sample()
	for name, r := range map[string]*Report{
		"nothing": {Facts: whole.Facts},
		"grpc":    {Facts: whole.Facts, GRPC: whole.GRPC},
		"scale":   {Facts: whole.Facts, Scale: whole.Scale},
		"sidecar": {Facts: whole.Facts, Sidecar: whole.Sidecar},
	} {
		for _, file := range []string{"benchmarks.md.tmpl", "readme.md.tmpl"} {
			doc, err := r.render(file)
			if err != nil {
				t.Errorf("%s: %s: %v", name, file, err)
			}
			wellFormed(t, doc)
			if strings.Contains(doc, "over a stub\n") {
				t.Errorf("%s: got a table that was not measured", name)
			}
		}
		if _, err := r.text(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestText(t *testing.T) {
	text, err := sample().text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A Processor", "other programs used 0.25 CPUs", "example.com/peer v1.2.3", "wire only", "round_robin", "haproxy", "> 20.0 s", "NOT MEASURED: a part"} {
		if !strings.Contains(text, want) {
			t.Errorf("got a text without %q:\n%s", want, text)
		}
	}
}

func TestBetween(t *testing.T) {
	const a, z = beginMark + "\n", endMark + "\n"
	tests := []struct{ text, want string }{
		{"x\n" + a + "old\n" + z + "y\n", "x\n" + a + "new\n" + z + "y\n"},
		{a + z, a + "new\n" + z},
		{"x\n", ""},
		{a + "x", ""},
		{z + "x\n" + a, ""},
		{z + a + z, ""},
		{a + a + z, ""},
		{a + z + a + z, ""},
	}
	for _, tt := range tests {
		got, err := between(tt.text, "new\n")
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, errMarks) {
			t.Errorf("%q: got %q and %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

func FuzzBetween(f *testing.F) {
	f.Add("x\n"+beginMark+"\nold\n"+endMark+"\ny\n", "new\n")
	f.Add(endMark+"\n"+beginMark+"\n", "")
	f.Fuzz(func(t *testing.T, text, section string) {
		got, err := between(text, section)
		if err != nil || strings.Contains(section, "bench:") {
			return
		}
		back, err := between(got, section)
		if err != nil || back != got {
			t.Errorf("got %q and %v from doing it again, want %q", back, err, got)
		}
	})
}

// The README keeps all that is not between the marks.
func TestREADME(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("# x\n\n"+beginMark+"\nold\n"+endMark+"\n\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sample()
	for range 2 {
		if err := r.rewrite(file); err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, file)
	if !strings.HasPrefix(got, "# x\n\n"+beginMark+"\n") || !strings.HasSuffix(got, endMark+"\n\nend\n") || strings.Contains(got, "old") {
		t.Errorf("got\n%s", got)
	}
	for _, want := range []string{"| tulle | +1 | +12.5 µs | ×1.04 | ×1.04 |", "| haproxy | +56.0 µs | ×1.80 |", "Measured 2030-01-02 on 2 CPUs"} {
		if !strings.Contains(got, want) {
			t.Errorf("got a section without %q:\n%s", want, got)
		}
	}
	wellFormed(t, got)
	if err := os.WriteFile(file, []byte("no marks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.rewrite(file); !errors.Is(err, errMarks) || read(t, file) != "no marks\n" {
		t.Errorf("got %v, want that the marks are missing and the file is as it was", err)
	}
}

// The judge fails on each kind of too much, and only on tulle.
func TestJudge(t *testing.T) {
	if err := sample().judge(); err != nil {
		t.Errorf("the sample: got %v", err)
	}
	tests := map[string]func(*Report){
		"2.0 allocations": func(r *Report) { r.HTTP[1].Stub.Allocs = 2 },
		"800 bytes":       func(r *Report) { r.HTTP[1].Stub.Bytes = 800 },
		"1048576 bytes":   func(r *Report) { r.Bodies[1].Sizes[3].Bytes = 1 << 20 },
	}
	for want, spoil := range tests {
		r := sample()
		spoil(r)
		if err := r.judge(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "tulle") {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	r := sample()
	r.HTTP[0].Stub.Allocs = 100
	if err := r.judge(); err != nil {
		t.Errorf("a peer: got %v, want no judgement", err)
	}
}

func TestLoadReport(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "run.json")
	if err := save(file, sample()); err != nil {
		t.Fatal(err)
	}
	if got, err := loadReport(file); err != nil || len(got.HTTP) != 4 || got.HTTP[1].Stub.Serial.CPURatio.Median != 1.25 || !got.Scale[1].Unsettled {
		t.Errorf("got %+v and %v, want what was saved", got, err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(dir, "none")} {
		if _, err := loadReport(name); err == nil || !strings.Contains(err.Error(), "-from") {
			t.Errorf("%s: got %v, want an error that names the flag", name, err)
		}
	}
}

func TestFigures(t *testing.T) {
	tests := []struct{ got, want string }{
		{nanos(12.4), "12 ns"}, {nanos(1500), "1.5 µs"}, {nanos(123_456), "123 µs"},
		{more(-1500), "−1.5 µs"}, {more(0), "+0 ns"},
		{millis(1500 * time.Microsecond), "1.5 ms"}, {millis(250 * time.Millisecond), "250 ms"}, {millis(1500 * time.Millisecond), "1.5 s"},
		{amount(704), "704 B"}, {amount(138_000), "138.0 kB"}, {amount(2.2e7), "22.0 MB"},
		{amount2(0), "empty"}, {amount2(1 << 10), "1 KiB"}, {amount2(1 << 20), "1 MiB"},
		{count(0.6), "1"}, {count(-0.1), "0"}, {share(0.125), "12.5 %"}, {ratio(0), none}, {ratio(1.046), "×1.05"},
		{times(measure.Spread{}), none},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
