package sim

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Result is what the variants of a scenario came to.
type Result struct {
	// Scenario, Seed and Goal are those of the scenario.
	Scenario string
	Seed     uint64
	Goal     time.Duration

	// Rows are the variants, in the order of the scenario.
	Rows []Row
}

// A Row is what one variant came to. Percentiles are over all calls that began
// after the Warmup; a call without a right answer counts as longer than any
// other.
type Row struct {
	// Variant is its name.
	Variant string

	// Calls were counted, Good were answered rightly within the goal, Failed
	// not at all or wrongly. Others were late.
	Calls, Good, Failed uint64

	// P50, P99 and P999 are percentiles, or Never.
	P50, P99, P999 time.Duration

	// Attempts were sent for these calls, Limited of them were refused by a
	// limit.
	Attempts, Limited uint64

	// Ejections and Opened count endpoints that were left out and breakers that
	// opened, of all clients in the whole run.
	Ejections, Opened uint64

	// Deepest is the most requests that one server had at a time, those in
	// work included.
	Deepest int

	// Recovered is how long after the end of the last fault the last second
	// ended in which less than 99 % of the calls were good; 0 if there was
	// none, or no fault that ends, Never if that was within the last 2 s of the
	// run.
	Recovered time.Duration

	// Series is the run second by second, by when the calls began.
	Series []Slice
}

// Success is the share of calls that were good.
func (r Row) Success() float64 {
	if r.Calls == 0 {
		return 0
	}
	return float64(r.Good) / float64(r.Calls)
}

// A Slice is one second of a run.
type Slice struct {
	// Calls began in it, Good of them were answered rightly within the goal.
	Calls, Good uint64

	// P50, P99 and P999 are percentiles of these calls, or Never.
	P50, P99, P999 time.Duration
}

// Run runs the variants of a scenario, as many at a time as there are cores. It
// returns an error that names every field of the scenario that cannot be used,
// or the one that ended a run. The result depends on nothing but the scenario,
// with one exception: where calls wait for a limit, the order of those that are
// let go in the same nanosecond is open.
func Run(ctx context.Context, sc Scenario) (*Result, error) {
	sc, err := sc.complete()
	if err != nil {
		return nil, err
	}
	res := &Result{Scenario: sc.Name, Seed: sc.Seed, Goal: sc.Calls.Goal, Rows: make([]Row, len(sc.Variants))}
	errs := make([]error, len(sc.Variants))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for i, v := range sc.Variants {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			res.Rows[i], errs[i] = runVariant(ctx, &sc, v)
		})
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: variant %q: %w", sc.Name, sc.Variants[i].Name, err)
		}
	}
	return res, nil
}

// runVariant runs one variant.
func runVariant(ctx context.Context, sc *Scenario, v Variant) (Row, error) {
	var row Row
	err := bubble(func() error {
		policy := sc.whole(&v)
		r, err := newRun(ctx, sc, &policy)
		if err != nil {
			return err
		}
		if err := r.loop(); err != nil {
			return err
		}
		row = r.row(v.Name)
		return nil
	})
	return row, err
}

// row reads the recorder.
func (r *run) row(name string) Row {
	c := &r.result
	row := Row{
		Variant: name, Calls: c.calls, Good: c.good, Failed: c.failed,
		P50: c.hist.quantile(0.5, c.failed), P99: c.hist.quantile(0.99, c.failed), P999: c.hist.quantile(0.999, c.failed),
		Attempts: c.attempts, Limited: c.limited, Deepest: c.deepest,
		Series: make([]Slice, len(c.slices)),
	}
	for _, cl := range r.clients {
		row.Ejections += cl.engine.Status().Ejections
		row.Opened += cl.breaker.Stats().Opened
	}
	for i := range c.slices {
		s := &c.slices[i]
		row.Series[i] = Slice{
			Calls: s.calls, Good: s.good,
			P50: s.hist.quantile(0.5, s.failed), P99: s.hist.quantile(0.99, s.failed), P999: s.hist.quantile(0.999, s.failed),
		}
	}
	row.Recovered = recovery(row.Series, lastEnd(r.sc))
	return row
}

// lastEnd is when the last fault ends that does.
func lastEnd(sc *Scenario) time.Duration {
	var last time.Duration
	for _, f := range sc.Faults {
		last = max(last, f.End)
	}
	return last
}

// recovery is Row.Recovered for a fault that ended at from, 0 if none did.
func recovery(series []Slice, from time.Duration) time.Duration {
	if from == 0 {
		return 0
	}
	for i := len(series) - 1; i >= 0; i-- {
		at := time.Duration(i) * sliceLength
		if at+sliceLength <= from {
			break
		}
		if s := series[i]; float64(s.Good) < 0.99*float64(s.Calls) {
			if i >= len(series)-2 {
				return Never
			}
			return at + sliceLength - from
		}
	}
	return 0
}
