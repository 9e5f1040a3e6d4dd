package main

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"
	"time"
)

//go:embed templates
var templates embed.FS

// write writes what the options ask for.
func (b *bench) write(out io.Writer) error {
	r := &b.report
	text, err := r.text()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	if b.opt.save != "" {
		if err := save(b.opt.save, r); err != nil {
			return err
		}
	}
	if b.opt.md != "" {
		doc, err := r.render("benchmarks.md.tmpl")
		if err == nil {
			err = os.WriteFile(b.opt.md, []byte(doc), 0o644)
		}
		if err != nil {
			return err
		}
	}
	if b.opt.readme != "" {
		return r.rewrite(b.opt.readme)
	}
	return nil
}

// save keeps a report in a file.
func save(file string, r *Report) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// loadReport takes a report from a file.
func loadReport(file string) (Report, error) {
	var r Report
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("bench: -from: %w", err)
	}
	return r, nil
}

// The lines between which the README has its table.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// errMarks means that a file has no place for the table.
var errMarks = errors.New("want one line " + beginMark + " and after it one " + endMark)

// rewrite replaces what stands between the marks in a file.
func (r *Report) rewrite(file string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	section, err := r.render("readme.md.tmpl")
	if err != nil {
		return err
	}
	text, err := between(string(old), section)
	if err != nil {
		return fmt.Errorf("bench: %s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// between puts the section between the marks.
func between(text, section string) (string, error) {
	head, rest, begins := strings.Cut(text, beginMark+"\n")
	old, tail, ends := strings.Cut(rest, endMark+"\n")
	others := head + old + tail
	if !begins || !ends || strings.Contains(others, beginMark) || strings.Contains(others, endMark) {
		return "", errMarks
	}
	return head + beginMark + "\n" + section + endMark + "\n" + tail, nil
}

// render fills a template.
func (r *Report) render(name string) (string, error) {
	funcs := template.FuncMap{
		"stub":    r.stubTable,
		"bodies":  r.bodyTable,
		"wire":    func() *table { return wireTable(r.HTTP) },
		"grpc":    func() *table { return wireTable(r.GRPC) },
		"sidecar": r.sidecarTable,
		"callers": func() []int { return sidecarCallers },
		"scale":   r.scaleTable,
		"goals":   r.goalTable,
		"short":   r.shortTable,
		"proxies": r.proxyTable,
		"md":      func(t *table) string { return t.markdown() },
		"rows":    func(t *table) int { return len(t.rows) },
		"round":   func(d time.Duration) string { return d.Round(time.Second).String() },
	}
	t, err := template.New(name).Funcs(funcs).ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, r)
	return b.String(), err
}

// text is the report for a terminal.
func (r *Report) text() (string, error) {
	var b strings.Builder
	f := &r.Facts
	fmt.Fprintf(&b, "%s, %s, %d CPUs, GOMAXPROCS %d, Linux %s, %s\nload before %s, after %s; other programs used %.2f CPUs; %d blocks of %v; took %v\n",
		f.Date, f.Machine, f.CPUs, f.Procs, f.Kernel, f.Go, f.LoadBefore, f.LoadAfter, f.Others, f.Rounds, f.Block, f.Took.Round(time.Second))
	for _, v := range f.Versions {
		fmt.Fprintf(&b, "%s %s\n", v.Name, v.Version)
	}
	add := func(title string, t *table) error {
		if len(t.rows) == 0 {
			return nil
		}
		text, err := t.text()
		fmt.Fprintf(&b, "\n%s\n%s", title, text)
		return err
	}
	err := errors.Join(
		add("HTTP over a stub: beyond the bare transport", r.stubTable()),
		add("HTTP over a stub, POST: allocations and bytes beyond the bare transport", r.bodyTable()),
		add("HTTP over loopback: base is the bare transport round the same addresses", wireTable(r.HTTP)),
		add("gRPC over loopback: base is round_robin", wireTable(r.GRPC)),
	)
	for i, n := range sidecarCallers {
		if len(r.Sidecar) > 0 {
			err = errors.Join(err, add(fmt.Sprintf("beside a proxy on the same machine, %d at a time", n), r.sidecarTable(i)))
		}
	}
	err = errors.Join(err, add("many endpoints", r.scaleTable()), add("goals", r.goalTable()))
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "\nNOT MEASURED: %s\n", m)
	}
	return b.String(), err
}

// shortTable is the README's: what a call costs more.
func (r *Report) shortTable() *table {
	t := &table{head: []string{"client", "allocations", "CPU over a stub", "CPU over loopback", "p50 over loopback"}}
	for i, row := range r.HTTP {
		if i == 0 || row.Stub == nil || row.Wire == nil {
			continue
		}
		t.add(row.Name, "+"+count(row.Stub.Allocs), more(row.Stub.Serial.CPUAdded.Median),
			ratio(row.Wire.Serial.CPURatio.Median), ratio(row.Wire.Serial.P50Ratio.Median))
	}
	return t
}

// proxyTable is the README's: what stands between a client and an instance.
func (r *Report) proxyTable() *table {
	t := &table{head: []string{"way"}}
	for _, n := range sidecarCallers {
		t.head = append(t.head, fmt.Sprintf("p50, %d at a time", n), "CPU")
	}
	for i, row := range r.Sidecar {
		if i == 0 {
			continue
		}
		cells := []string{row.Name}
		for _, m := range row.At {
			cells = append(cells, more(m.P50Added.Median), ratio(m.CPURatio.Median))
		}
		t.add(cells...)
	}
	return t
}
