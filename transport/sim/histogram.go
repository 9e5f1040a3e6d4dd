package sim

import (
	"math"
	"math/bits"
	"time"
)

// histogram counts times. Its buckets are 1 << fine to each doubling, from 1 µs
// on; within one, times count as evenly spread.
type histogram struct {
	fine   int
	counts []uint32
	total  uint64
}

// octaves is how many doublings of a microsecond are told apart: up to 18 hours.
const octaves = 36

// newHistogram makes an empty one, which takes no memory yet: a run may have
// thousands of seconds.
func newHistogram(fine int) histogram { return histogram{fine: fine} }

// index is the bucket of a time. Below 1 << fine units of 1/2^fine µs the buckets
// have equal sizes.
func (h *histogram) index(ns int64) int {
	x := uint64(max(ns, 0)) << h.fine / 1000
	if x < 1<<h.fine {
		return int(x)
	}
	octave := bits.Len64(x) - 1 - h.fine
	return min((octave+1)<<h.fine+int(x>>octave)&(1<<h.fine-1), (octaves+1)<<h.fine-1)
}

// low is the least time of a bucket in nanoseconds.
func (h *histogram) low(i int) float64 {
	unit := 1000 / float64(int(1)<<h.fine)
	octave, part := i>>h.fine, i&(1<<h.fine-1)
	if octave == 0 {
		return float64(part) * unit
	}
	return math.Ldexp(float64(1<<h.fine+part)*unit, octave-1)
}

// add counts a time.
func (h *histogram) add(ns int64) {
	if h.counts == nil {
		h.counts = make([]uint32, (octaves+1)<<h.fine)
	}
	h.counts[h.index(ns)]++
	h.total++
}

// quantile is the time below which a share q of all lies, where beyond more lie
// above those that are counted. Never: it lies among the latter.
func (h *histogram) quantile(q float64, beyond uint64) time.Duration {
	rank := q * float64(h.total+beyond)
	below := 0.0
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		if below+float64(n) >= rank {
			low, high := h.low(i), h.low(i+1)
			return time.Duration(low + (high-low)*(rank-below)/float64(n))
		}
		below += float64(n)
	}
	return Never
}
