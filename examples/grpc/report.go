package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// A report is what came of a run.
type report struct {
	plain, tulle    summary
	attemptsPerCall float64
	executed, twice int // writes with an effect through tulle, and with more than one
	duplicates      int // deliveries of a write after its effect
	ejections       uint64
	breakerOpened   uint64
	phases          []outcome
	late            time.Duration // by how much the latest call began too late
	failures        []string      // of tulle's calls, why
	unhandled       []string      // a sentence each
}

// newReport sums a run up and judges it.
func newReport(s *stage, rec record, plain, tulle []result) *report {
	l := limitsFor(s.options)
	r := &report{
		plain:    summarize(plain, 0, s.duration),
		tulle:    summarize(tulle, 0, s.duration),
		phases:   outcomes(s.phases, s.options, l, rec, plain, tulle),
		failures: failures(tulle),
	}
	r.executed, r.twice, r.duplicates = s.users.ledger.count()
	r.attemptsPerCall = float64(rec.before(forever).total()) / float64(max(1, r.tulle.calls))
	for _, res := range tulle {
		r.late = max(r.late, res.late)
	}
	r.unhandled = r.judge(l)
	return r
}

// busy is how late a call may begin before the report mentions it.
const busy = 50 * time.Millisecond

// mostFailures is how many failed calls are listed.
const mostFailures = 20

// failures tells why calls failed, the first ones.
func failures(results []result) []string {
	var all []string
	for i, r := range results {
		if r.err == nil {
			continue
		}
		if len(all) == mostFailures {
			return append(all, "and others")
		}
		all = append(all, fmt.Sprintf("%6.3fs  call %d: %v", r.at.Seconds(), i, r.err))
	}
	return all
}

// writeText writes the report for people.
func (r *report) writeText(w io.Writer) {
	var b strings.Builder
	b.WriteString("\n         calls  failed   success       p50       p99  attempts/call  writes executed twice  ejections  breaker opened\n")
	for _, c := range []struct {
		name string
		summary
	}{{"plain", r.plain}, {"tulle", r.tulle}} {
		fmt.Fprintf(&b, "%-6s %7d %7d %8.3f%% %9s %9s", c.name, c.calls, c.failed,
			100*c.success(), milliseconds(c.p50), milliseconds(c.p99))
		if c.name == "tulle" {
			twice := fmt.Sprintf("%d of %d", r.twice, r.executed)
			fmt.Fprintf(&b, " %14.4f  %-20s %10d %15d", r.attemptsPerCall, twice, r.ejections, r.breakerOpened)
		}
		b.WriteByte('\n')
	}
	if r.duplicates != r.twice {
		fmt.Fprintf(&b, "\n%d writes came again after they had been executed; the servers knew their keys.\n", r.duplicates)
	}
	b.WriteString("\n                          plain          tulle\n")
	b.WriteString("what happened             failed    p99  failed    p99  share of attempts\n")
	for i := range r.phases {
		r.phases[i].write(&b)
	}
	if r.late > busy {
		fmt.Fprintf(&b, "\nThis machine was busy: calls began up to %s late. That counts against both clients,\n"+
			"and while nothing runs, healthy servers seem to be slow.\n", milliseconds(r.late))
	}
	list(&b, "Calls through tulle that failed:", r.failures)
	list(&b, "NOT HANDLED:", r.unhandled)
	if len(r.unhandled) == 0 {
		b.WriteString("\ntulle handled all of it.\n")
	}
	_, _ = io.WriteString(w, b.String()) // the exit code says the same
}

// write writes the row of a phase.
func (o *outcome) write(b *strings.Builder) {
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	fmt.Fprintf(b, "%-18s %-5s %7d %4dms %7d %4dms", o.name, o.who(),
		o.plain.failed, ms(o.plain.p99), o.tulle.failed, ms(o.tulle.p99))
	if o.event != nil {
		fmt.Fprintf(b, " %6.2f%%", 100*o.share)
	}
	if o.note != "" {
		fmt.Fprintf(b, "  (%s)", o.note)
	}
	b.WriteByte('\n')
}

// list writes a list with a title, unless it is empty.
func list(b *strings.Builder, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, item := range items {
		fmt.Fprintf(b, "  %s\n", item)
	}
}

// clientJSON is what programs are told of both clients, tulleJSON of tulle.
type clientJSON struct {
	Calls       int     `json:"calls"`
	SuccessRate float64 `json:"success_rate"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
}

type tulleJSON struct {
	clientJSON
	AttemptsPerCall float64 `json:"attempts_per_call"`
	ExecutedTwice   int     `json:"writes_executed_twice"`
	Ejections       uint64  `json:"ejections"`
	BreakerOpened   uint64  `json:"breaker_opened"`
}

// writeJSON writes the report for programs: one object.
func (r *report) writeJSON(w io.Writer) error {
	of := func(s summary) clientJSON {
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		return clientJSON{s.calls, s.success(), ms(s.p50), ms(s.p99)}
	}
	return json.NewEncoder(w).Encode(struct {
		Plain clientJSON `json:"plain"`
		Tulle tulleJSON  `json:"tulle"`
	}{of(r.plain), tulleJSON{of(r.tulle), r.attemptsPerCall, r.twice, r.ejections, r.breakerOpened}})
}
