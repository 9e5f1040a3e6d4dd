package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
)

// none stands where nothing was measured.
const none = "–"

// times is a ratio, with the quartiles.
func times(s measure.Spread) string {
	if s.N == 0 {
		return none
	}
	return fmt.Sprintf("×%.2f (%.2f–%.2f)", s.Median, s.Low, s.High)
}

// ratio is a ratio.
func ratio(f float64) string {
	if f == 0 {
		return none
	}
	return fmt.Sprintf("×%.2f", f)
}

// nanos is a time in nanoseconds, to two digits or so.
func nanos(ns float64) string {
	switch {
	case math.Abs(ns) < 1000:
		return fmt.Sprintf("%.0f ns", ns)
	case math.Abs(ns) < 100_000:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	case math.Abs(ns) < 10_000_000:
		return fmt.Sprintf("%.0f µs", ns/1e3)
	}
	return fmt.Sprintf("%.1f ms", ns/1e6)
}

// more is a difference, with its sign.
func more(ns float64) string {
	if ns < 0 {
		return "−" + nanos(-ns)
	}
	return "+" + nanos(ns)
}

// millis is a longer time.
func millis(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// amount is a number of bytes.
func amount(b float64) string {
	switch {
	case math.Abs(b) < 10_000:
		return fmt.Sprintf("%.0f B", b)
	case math.Abs(b) < 10_000_000:
		return fmt.Sprintf("%.1f kB", b/1e3)
	}
	return fmt.Sprintf("%.1f MB", b/1e6)
}

// count is a number of allocations, which over a network is not always whole.
func count(f float64) string { return strconv.FormatFloat(math.Round(f)+0, 'f', -1, 64) }

// stubTable is what a call costs over a stub.
func (r *Report) stubTable() *table {
	t := &table{head: []string{"client", "allocations", "bytes", "CPU, 1 goroutine", "× bare", "CPU, 64 goroutines", "× bare", "cold caches"}}
	for i, row := range r.HTTP {
		c := row.Stub
		if c == nil {
			continue
		}
		if i == 0 {
			t.add(row.Name, "0", "0 B", nanos(c.Serial.CPU.Median), times(c.Serial.CPURatio), nanos(c.Many.CPU.Median), times(c.Many.CPURatio), nanos(c.Cold.P50))
			continue
		}
		t.add(row.Name, "+"+count(c.Allocs), "+"+amount(c.Bytes),
			more(c.Serial.CPUAdded.Median), times(c.Serial.CPURatio),
			more(c.Many.CPUAdded.Median), times(c.Many.CPURatio),
			more(c.Cold.P50Added.Median))
	}
	return t
}

// bodyTable is what requests with a body allocate.
func (r *Report) bodyTable() *table {
	t := &table{head: []string{"client"}}
	for _, s := range bodySizes {
		t.head = append(t.head, amount2(s))
	}
	for i, row := range r.Bodies {
		if i == 0 {
			continue
		}
		cells := []string{row.Name}
		for _, s := range row.Sizes {
			cells = append(cells, fmt.Sprintf("+%s, +%s", count(s.Allocs), amount(s.Bytes)))
		}
		t.add(cells...)
	}
	return t
}

// amount2 is a size in powers of two.
func amount2(n int) string {
	switch {
	case n == 0:
		return "empty"
	case n < 1<<20:
		return strconv.Itoa(n>>10) + " KiB"
	}
	return strconv.Itoa(n>>20) + " MiB"
}

// wireTable is what a call costs over loopback.
func wireTable(rows []Overhead) *table {
	t := &table{head: []string{"client", "allocations", "bytes",
		"CPU, 1 goroutine", "× base", "p50", "p99",
		"CPU, 64 goroutines", "× base", "p50", "p99"}}
	for _, row := range rows {
		c := row.Wire
		if c == nil {
			continue
		}
		cells := []string{row.Name, count(c.Allocs), amount(c.Bytes)}
		for _, m := range []*measure.Result{c.Serial, c.Many} {
			cells = append(cells, nanos(m.CPU.Median), times(m.CPURatio), ratio(m.P50Ratio.Median), ratio(m.P99Ratio))
		}
		t.add(cells...)
	}
	return t
}

// sidecarTable is what stands between a client and an instance.
func (r *Report) sidecarTable(at int) *table {
	t := &table{head: []string{"way", "p50", "added", "p99", "added", "CPU", "added", "× direct", "of it the proxy"}}
	for i, row := range r.Sidecar {
		m := row.At[at]
		proxy := none
		if m.Helpers > 0 {
			proxy = nanos(m.Helpers)
		}
		if i == 0 {
			t.add(row.Name, nanos(m.P50), none, nanos(m.P99), none, nanos(m.CPU.Median), none, times(m.CPURatio), proxy)
			continue
		}
		t.add(row.Name, nanos(m.P50), more(m.P50Added.Median), nanos(m.P99), more(m.P99Added),
			nanos(m.CPU.Median), more(m.CPUAdded.Median), times(m.CPURatio), proxy)
	}
	return t
}

// scaleTable is what endpoints cost.
func (r *Report) scaleTable() *table {
	t := &table{head: []string{"client", "endpoints", "first answer", "CPU to settle", "heap each", "goroutines", "sockets",
		"CPU of an update", "a call beyond the stub", "heap each, used", "goroutines, used", "sockets, used"}}
	for _, row := range r.Scale {
		f := row.Figures
		cells := []string{row.Name, strconv.Itoa(row.N), millis(f.Ready), millis(f.Settle), amount(f.AtRest.Heap),
			strconv.Itoa(f.AtRest.Goroutines), strconv.Itoa(f.AtRest.Sockets)}
		if f.Unsettled {
			cells[3] = "> " + cells[3]
			cells = append(cells, none, none, none, none, none)
		} else {
			pick := none
			if f.Pick > 0 {
				pick = nanos(f.Pick)
			}
			cells = append(cells, millis(f.Update), pick, amount(f.Used.Heap), strconv.Itoa(f.Used.Goroutines), strconv.Itoa(f.Used.Sockets))
		}
		t.add(cells...)
	}
	return t
}
