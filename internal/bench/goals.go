package main

import (
	"fmt"
	"strings"
)

// A goal is a figure that tulle is meant to reach.
type goal struct {
	what string
	want float64
	unit func(float64) string

	// got finds the figure; false if it was not measured.
	got func(*Report) (float64, bool)
}

// goals are those of the design.
func goals() []goal {
	ceil := func(f float64) string { return count(f) }
	return []goal{
		{"over a stub: allocations", 1, ceil, stubFigure("tulle", func(c *Cost) float64 { return c.Allocs })},
		{"over a stub: bytes", 704, amount, stubFigure("tulle", func(c *Cost) float64 { return c.Bytes })},
		{"over a stub: CPU, 10 endpoints", 1000, nanos, stubFigure("tulle", func(c *Cost) float64 { return c.Serial.CPUAdded.Median })},
		{"over a stub: CPU, 10,000 endpoints", 1500, nanos, scaleFigure("tulle", 10000, func(r ScaleRow) float64 { return r.Pick })},
		{"over a stub, timeouts and headers: allocations", 8, ceil, stubFigure("tulle, timeouts", func(c *Cost) float64 { return c.Allocs })},
		{"metrics: allocations beyond", 0, ceil, stubBeyond("tulle, metrics", func(c *Cost) float64 { return c.Allocs })},
		{"metrics: CPU beyond", 350, nanos, stubBeyond("tulle, metrics", func(c *Cost) float64 { return c.Serial.CPUAdded.Median })},
		{"span and metrics: allocations beyond", 9, ceil, stubBeyond("tulle, span and metrics", func(c *Cost) float64 { return c.Allocs })},
		{"span and metrics: CPU", 4000, nanos, stubFigure("tulle, span and metrics", func(c *Cost) float64 { return c.Serial.CPUAdded.Median })},
		{"loopback, 1 goroutine: CPU", 1.05, ratio, wireFigure("tulle", func(c *Cost) float64 { return c.Serial.CPURatio.Median })},
		{"loopback, 64 goroutines: CPU", 1.05, ratio, wireFigure("tulle", func(c *Cost) float64 { return c.Many.CPURatio.Median })},
		{"loopback, span and metrics, 1 goroutine: CPU", 1.20, ratio, wireFigure("tulle, span and metrics", func(c *Cost) float64 { return c.Serial.CPURatio.Median })},
		{"loopback, span and metrics, 64 goroutines: CPU", 1.20, ratio, wireFigure("tulle, span and metrics", func(c *Cost) float64 { return c.Many.CPURatio.Median })},
		{"added p50 to that of haproxy", 0.1, share, sidecarShare("tulle", "haproxy", p50Added)},
		{"added p50 to that of nginx", 0.1, share, sidecarShare("tulle", "nginx", p50Added)},
		{"added CPU to that of haproxy", 0.125, share, sidecarShare("tulle", "haproxy", cpuAdded)},
		{"added CPU to that of nginx", 0.125, share, sidecarShare("tulle", "nginx", cpuAdded)},
		{"span and metrics: added p50 to that of haproxy", 0.25, share, sidecarShare("tulle, span and metrics", "haproxy", p50Added)},
		{"10,000 endpoints at rest: heap each", 1024, amount, scaleFigure("tulle", 10000, func(r ScaleRow) float64 { return r.AtRest.Heap })},
		{"10,000 endpoints at rest: goroutines", 2, ceil, scaleFigure("tulle", 10000, func(r ScaleRow) float64 { return float64(r.AtRest.Goroutines) })},
		{"10,000 endpoints at rest: sockets", 0, ceil, scaleFigure("tulle", 10000, func(r ScaleRow) float64 { return float64(r.AtRest.Sockets) })},
		{"10,000 endpoints: CPU of an update", 100e6, nanos, scaleFigure("tulle", 10000, func(r ScaleRow) float64 { return float64(r.Update) })},
		{"a body of 1 MiB: bytes more than without", 0, amount, bodyFigure("tulle")},
	}
}

// share is a part of a whole.
func share(f float64) string { return fmt.Sprintf("%.3g %%", 100*f) }

func stubFigure(name string, f func(*Cost) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		if c := r.stub(name); c != nil {
			return f(c), true
		}
		return 0, false
	}
}

// stubBeyond is a figure beyond that of tulle alone.
func stubBeyond(name string, f func(*Cost) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		c, plain := r.stub(name), r.stub("tulle")
		if c == nil || plain == nil {
			return 0, false
		}
		return f(c) - f(plain), true
	}
}

func wireFigure(name string, f func(*Cost) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		for _, row := range r.HTTP {
			if row.Name == name && row.Wire != nil {
				return f(row.Wire), true
			}
		}
		return 0, false
	}
}

func p50Added(r SidecarRow) float64 { return r.At[0].P50Added.Median }
func cpuAdded(r SidecarRow) float64 { return r.At[0].CPUAdded.Median }

// sidecarShare is what tulle adds, as a part of what a proxy adds, with one
// goroutine.
func sidecarShare(name, proxy string, f func(SidecarRow) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		own, other := r.sidecar(name), r.sidecar(proxy)
		if own == nil || other == nil {
			return 0, false
		}
		return f(*own) / f(*other), true
	}
}

// sidecar is a row of that table, or nil.
func (r *Report) sidecar(name string) *SidecarRow {
	for i := range r.Sidecar {
		if r.Sidecar[i].Name == name {
			return &r.Sidecar[i]
		}
	}
	return nil
}

func scaleFigure(name string, n int, f func(ScaleRow) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		for _, row := range r.Scale {
			if row.Name == name && row.N == n {
				return f(row), true
			}
		}
		return 0, false
	}
}

// bodyFigure is what the largest body allocates more than none.
func bodyFigure(name string) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		for _, row := range r.Bodies {
			if row.Name == name && len(row.Sizes) > 0 {
				return row.Sizes[len(row.Sizes)-1].Bytes - row.Sizes[0].Bytes, true
			}
		}
		return 0, false
	}
}

// goalTable are the goals and whether they are met. What was not measured is
// left out.
func (r *Report) goalTable() *table {
	t := &table{head: []string{"tulle", "goal", "measured", "met"}}
	for _, g := range goals() {
		got, ok := g.got(r)
		if !ok {
			continue
		}
		met := "yes"
		if got > g.want+g.tolerance() {
			met = "**no**"
		}
		t.add(g.what, "≤ "+g.unit(g.want), g.unit(got), met)
	}
	return t
}

// tolerance is what a count of allocations may be off.
func (g goal) tolerance() float64 {
	switch {
	case strings.Contains(g.what, "bytes"):
		return slackBytes
	case strings.Contains(g.what, "allocations"):
		return slack
	}
	return 0
}
