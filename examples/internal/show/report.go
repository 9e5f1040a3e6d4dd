package show

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Report is what came of a run.
type Report struct {
	writes          string // Show.Writes
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
func newReport(s *Stage, rec record, plain, tulle []result) *Report {
	l := limitsFor(s.options)
	r := &Report{
		writes:   s.show.Writes,
		plain:    summarize(plain, 0, s.options.duration),
		tulle:    summarize(tulle, 0, s.options.duration),
		phases:   outcomes(s.show.Script, s.options, l, rec, plain, tulle),
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
func (r *Report) writeText(w io.Writer) {
	var b strings.Builder
	twice := r.writes + " executed twice"
	fmt.Fprintf(&b, "\n         calls  failed   success       p50       p99  attempts/call  %s  ejections  breaker opened\n", twice)
	for _, c := range []struct {
		name string
		summary
	}{{"plain", r.plain}, {"tulle", r.tulle}} {
		fmt.Fprintf(&b, "%-6s %7d %7d %8.3f%% %9s %9s", c.name, c.calls, c.failed,
			100*c.success(), milliseconds(c.p50), milliseconds(c.p99))
		if c.name == "tulle" {
			fmt.Fprintf(&b, " %14.4f  %-*s %10d %15d", r.attemptsPerCall,
				len(twice), fmt.Sprintf("%d of %d", r.twice, r.executed), r.ejections, r.breakerOpened)
		}
		b.WriteByte('\n')
	}
	if r.duplicates != r.twice {
		fmt.Fprintf(&b, "\n%d %s came again after they had been executed; the servers knew their keys.\n", r.duplicates, r.writes)
	}
	r.writePhases(&b)
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

// writePhases writes the table of what happened, as wide as its longest name.
func (r *Report) writePhases(b *strings.Builder) {
	wide := len("what happened")
	for i := range r.phases {
		wide = max(wide, len(r.phases[i].Name))
	}
	fmt.Fprintf(b, "\n%*s%-14s %s\n", wide+8, "", "plain", "tulle")
	fmt.Fprintf(b, "%-*s        failed    p99  failed    p99  share of attempts\n", wide, "what happened")
	for i := range r.phases {
		r.phases[i].write(b, wide)
	}
}

// write writes the row of a phase.
func (o *outcome) write(b *strings.Builder, wide int) {
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	fmt.Fprintf(b, "%-*s %-5s %7d %4dms %7d %4dms", wide, o.Name, o.who(),
		o.plain.failed, ms(o.plain.p99), o.tulle.failed, ms(o.tulle.p99))
	if o.happens() {
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

// object is a JSON object whose keys keep their order.
type object []struct {
	key   string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, member := range o {
		if i > 0 {
			b = append(b, ',')
		}
		for _, part := range []any{member.key, member.value} {
			data, err := json.Marshal(part)
			if err != nil {
				return nil, err
			}
			b = append(append(b, data...), ':')
		}
		b = b[:len(b)-1]
	}
	return append(b, '}'), nil
}

// object is what programs are told of either client.
func (s summary) object() object {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return object{{"calls", s.calls}, {"success_rate", s.success()}, {"p50_ms", ms(s.p50)}, {"p99_ms", ms(s.p99)}}
}

// writeJSON writes the report for programs: one object.
func (r *Report) writeJSON(w io.Writer) error {
	tulle := append(r.tulle.object(), object{
		{"attempts_per_call", r.attemptsPerCall},
		{strings.ToLower(r.writes) + "_executed_twice", r.twice},
		{"ejections", r.ejections},
		{"breaker_opened", r.breakerOpened},
	}...)
	return json.NewEncoder(w).Encode(object{{"plain", r.plain.object()}, {"tulle", tulle}})
}
