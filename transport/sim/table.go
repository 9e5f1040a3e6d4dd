package sim

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes the result as text: a line for each variant. Percentiles that
// lie among calls without a right answer are "-".
func (res *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "variant\tgood %%\tp50 ms\tp99 ms\tp99.9 ms\tattempts/call\tejections\topened\tdeepest\trecovered\t\n")
	for i := range res.Rows {
		r := &res.Rows[i]
		fmt.Fprintf(t, "%s\t%.3f\t%s\t%s\t%s\t%.3f\t%d\t%d\t%d\t%s\t\n", r.Variant, 100*r.Success(),
			millis(r.P50), millis(r.P99), millis(r.P999), float64(r.Attempts)/float64(max(r.Calls, 1)),
			r.Ejections, r.Opened, r.Deepest, since(r.Recovered))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("sim: writing the table: %w", err)
	}
	return nil
}

// millis is a time in milliseconds with three digits that count.
func millis(d time.Duration) string {
	if d == Never {
		return "-"
	}
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms >= 100:
		return strconv.FormatFloat(ms, 'f', 0, 64)
	case ms >= 10:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 2, 64)
}

// since is a time or "never".
func since(d time.Duration) string {
	if d == Never {
		return "never"
	}
	return d.String()
}

// WriteCSV writes the series of all variants: a line for each second of each.
// Times are in milliseconds, and empty where they are Never.
func (res *Result) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"scenario", "seed", "variant", "second", "calls", "good", "p50_ms", "p99_ms", "p999_ms"}) // Flush tells
	for i := range res.Rows {
		for at, s := range res.Rows[i].Series {
			_ = c.Write([]string{ // Flush tells
				res.Scenario, strconv.FormatUint(res.Seed, 10), res.Rows[i].Variant, strconv.Itoa(at),
				strconv.FormatUint(s.Calls, 10), strconv.FormatUint(s.Good, 10),
				number(s.P50), number(s.P99), number(s.P999),
			})
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("sim: writing CSV: %w", err)
	}
	return nil
}

// number is a time for CSV.
func number(d time.Duration) string { return strings.TrimPrefix(millis(d), "-") }
