package sim

import "time"

// Never is the time of what does not happen: a percentile that lies among calls
// without an answer, an outage that does not end.
const Never = time.Duration(-1)

// recorder collects what calls come to.
type recorder struct {
	warmup, goal int64
	slice        int64
	hist         histogram
	slices       []slot

	calls, good, failed, attempts, limited uint64
	deepest                                int // backlog of a server
}

// slot is a part of the run.
type slot struct {
	calls, good, failed uint64
	hist                histogram
}

// sliceLength is the resolution of a series.
const sliceLength = time.Second

// newRecorder makes one for a scenario.
func newRecorder(sc *Scenario) recorder {
	r := recorder{
		warmup: int64(sc.Warmup), goal: int64(sc.Calls.Goal), slice: int64(sliceLength),
		hist: newHistogram(7),
	}
	n := (int64(sc.Duration) + r.slice - 1) / r.slice
	r.slices = make([]slot, n)
	for i := range r.slices {
		r.slices[i].hist = newHistogram(4)
	}
	return r
}

// end takes in a call that began and ended at these times. Ok says that it was
// answered, and rightly.
func (r *recorder) end(began, now int64, ok bool) {
	s := &r.slices[min(began/r.slice, int64(len(r.slices)-1))]
	took := now - began
	good := ok && took <= r.goal
	count(&s.calls, &s.good, &s.failed, &s.hist, took, ok, good)
	if began >= r.warmup {
		count(&r.calls, &r.good, &r.failed, &r.hist, took, ok, good)
	}
}

// count adds a call to a set of counters.
func count(calls, goods, failed *uint64, h *histogram, took int64, ok, good bool) {
	*calls++
	if good {
		*goods++
	}
	if ok {
		h.add(took)
	} else {
		*failed++
	}
}
