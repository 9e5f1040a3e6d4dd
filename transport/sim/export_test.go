package sim

import (
	"math/rand/v2"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// Over is a Policy with what it leaves out taken from another.
func Over(p, d transport.Policy) transport.Policy { return over(p, d) }

// Bubble runs f in virtual time.
func Bubble(f func() error) error { return bubble(f) }

// Sample draws from a distribution.
func (w *Work) Sample(r *rand.Rand) float64 { return w.sample(r) }

// Expected is its mean by formula.
func (w *Work) Expected() float64 { return w.mean() }

// RateAt reads a load.
func (l *Load) RateAt(at, whole time.Duration) float64 { return l.rate(at, whole) }

// NextAfter draws the next call.
func (l *Load) NextAfter(r *rand.Rand, at int64, whole time.Duration) int64 {
	return l.next(r, at, whole)
}

// A Histogram is a histogram.
type Histogram struct{ h histogram }

// NewHistogram makes one with so many bits to a doubling.
func NewHistogram(fine int) *Histogram { return &Histogram{newHistogram(fine)} }

// Add counts a time.
func (h *Histogram) Add(d time.Duration) { h.h.add(int64(d)) }

// Quantile reads one.
func (h *Histogram) Quantile(q float64, beyond uint64) time.Duration { return h.h.quantile(q, beyond) }

// An Agenda is a heap of times.
type Agenda struct{ g agenda }

// Plan adds an event, which id tells from others.
func (a *Agenda) Plan(at int64, id int32) { a.g.plan(at, arriveEvent, id, 0) }

// Next takes the earliest.
func (a *Agenda) Next() (at int64, id int32, ok bool) {
	e, ok := a.g.next()
	return e.at, e.id, ok
}

// Recovery is Row.Recovered of a series.
func Recovery(series []Slice, from time.Duration) time.Duration { return recovery(series, from) }

// A Standstill is a fault of kind pausing as it hits a server.
type Standstill struct {
	Period, Length, Offset, End time.Duration
}

// Finish is when work is done at a server with these faults. Skipping says whether
// whole periods are left out at a time.
func Finish(now, work time.Duration, skipping bool, faults ...Standstill) time.Duration {
	s := &server{}
	for _, f := range faults {
		s.faults = append(s.faults, &effect{
			Fault: &Fault{Kind: "pausing", Period: f.Period, Length: f.Length}, end: int64(f.End), offset: int64(f.Offset),
		})
	}
	if s.pausing = len(faults); !skipping {
		s.pausing = 2
	}
	return time.Duration(s.finish(int64(now), float64(work)))
}
