package show

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	rate       = 500 // calls per second
	writeShare = 0.2 // of the calls
)

// An arrival is one call of the schedule.
type arrival struct {
	at    time.Duration // from the start
	write bool
}

// schedule draws when calls begin: a Poisson process, as of many users who do
// not know of each other. It is made before the start and does not wait for
// answers: a client that stalls gets its calls all the same, which a loop that
// sends the next call after the last answer would hide.
func schedule(seed uint64, perSecond float64, d time.Duration) []arrival {
	r := rand.New(rand.NewPCG(seed, 0)) // a source of its own: the same calls in every run
	var all []arrival
	for at := 0.0; ; {
		at += r.ExpFloat64() / perSecond
		if at >= d.Seconds() {
			return all
		}
		all = append(all, arrival{time.Duration(at * float64(time.Second)), r.Float64() < writeShare})
	}
}

// A Send makes the call with a number, a read or a write, and returns nil if the
// answer was good. A write has the number in its key, as it may be sent again.
// It is called by many goroutines at once.
type Send func(ctx context.Context, number int, write bool) error

// A client makes the calls of a schedule and keeps what became of each.
type client struct {
	name string
	send Send

	// results are by the number of the call. Each is written by the goroutine
	// of its call and must not be read before drive has returned; until then
	// there are the counts.
	results      []result
	done, failed atomic.Int64
}

// A result is what became of a call. The time that it took counts from the
// moment for which it was scheduled: a call that begins late has kept its user
// waiting. One that failed counts as if it had taken all of its deadline, or
// failing fast would look good.
type result struct {
	at   time.Duration // of the schedule
	late time.Duration // from then to its begin
	took time.Duration
	err  error
}

// drive has all clients make the calls of one schedule, each at its time and in
// a goroutine of its own, and waits for them.
func drive(ctx context.Context, start time.Time, calls []arrival, clients ...*client) {
	for _, c := range clients {
		c.results = make([]result, len(calls))
	}
	var running sync.WaitGroup
	defer running.Wait()
	for i, a := range calls {
		// The moment is counted from the start, so that what is late once does
		// not delay all that follows.
		if !wait(ctx, time.Until(start.Add(a.at))) {
			return
		}
		for _, c := range clients {
			running.Go(func() { c.call(ctx, start, i, a) })
		}
	}
}

// call makes call number i.
func (c *client) call(ctx context.Context, start time.Time, i int, a arrival) {
	due := start.Add(a.at)
	r := result{at: a.at, late: time.Since(due)}
	r.err = c.send(ctx, i, a.write)
	r.took = time.Since(due)
	if r.err != nil {
		r.took = Deadline
		c.failed.Add(1)
	}
	c.results[i] = r
	c.done.Add(1)
}

// A summary is how a client came through a number of calls.
type summary struct {
	calls, failed int
	p50, p99      time.Duration
}

// summarize sums up the calls that were scheduled at a time from (included) to
// (excluded).
func summarize(results []result, from, to time.Duration) summary {
	var s summary
	var took []time.Duration
	for _, r := range results {
		if r.at < from || r.at >= to {
			continue
		}
		s.calls++
		if r.err != nil {
			s.failed++
		}
		took = append(took, r.took)
	}
	slices.Sort(took)
	s.p50, s.p99 = percentile(took, 0.50), percentile(took, 0.99)
	return s
}

// success is the share of calls that did not fail, 1 of none.
func (s summary) success() float64 {
	if s.calls == 0 {
		return 1
	}
	return 1 - float64(s.failed)/float64(s.calls)
}

// percentile is the smallest value that a share q of all does not exceed: no
// value between two measured ones is made up. It is 0 of none.
func percentile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
