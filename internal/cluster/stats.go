package cluster

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
)

// sliceLength is the resolution of the statistics. A reading over the last 10 s
// is the present slice and the part of the one before that lies within them.
const sliceLength = 10 * time.Second

// poolSlices is how many slices the pool remembers: a minute and the present one.
const poolSlices = 7

// The latency histogram has four buckets to each doubling, from 2^13 ns (8 µs)
// on: a bucket is 19 % wide, and the last one begins above two minutes.
const (
	histBuckets = 96
	histBits    = 13
)

// epochOf numbers slices from 1, so that the zero slice is an old one.
func epochOf(now time.Duration) uint32 { return uint32(max(now, 0)/sliceLength) + 1 }

// elapsedShare is how much of the present slice has passed, 0 to 1.
func elapsedShare(now time.Duration) float64 {
	return float64(max(now, 0)%sliceLength) / float64(sliceLength)
}

// bucketOf finds the bucket of a latency: the doubling that it lies in, and the
// two bits after the first.
func bucketOf(d time.Duration) int {
	x := uint64(max(d, 0))
	if x < 1<<histBits {
		return 0
	}
	octave := bits.Len64(x) - 1 - histBits
	quarter := x >> (octave + histBits - 2) & 3
	return min(octave*4+int(quarter), histBuckets-1)
}

// bucketMid is the middle of a bucket.
func bucketMid(i int) time.Duration {
	octave, quarter := i/4, i%4
	low := time.Duration(1) << (octave + histBits)
	return low + low*time.Duration(quarter)/4 + low/8
}

// poolStats are the recent outcomes of a destination. A success costs one atomic
// addition.
type poolStats struct {
	mu     sync.Mutex // held to begin a slice
	slices [poolSlices]poolSlice
}

// poolSlice is one slice.
type poolSlice struct {
	epoch    atomic.Uint32
	failures atomic.Uint32
	hist     [histBuckets]atomic.Uint32
}

// at returns the slice of now, cleared if it was an old one.
func (p *poolStats) at(now time.Duration) *poolSlice {
	epoch := epochOf(now)
	s := &p.slices[epoch%poolSlices]
	if s.epoch.Load() == epoch {
		return s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.epoch.Load() < epoch {
		for i := range s.hist {
			s.hist[i].Store(0)
		}
		s.failures.Store(0)
		s.epoch.Store(epoch)
	}
	return s
}

// sample counts a success and how long it took.
func (p *poolStats) sample(d, now time.Duration) { p.at(now).hist[bucketOf(d)].Add(1) }

// fail counts a failure.
func (p *poolStats) fail(now time.Duration) { p.at(now).failures.Add(1) }

// tally is a reading of the statistics. Its numbers are fractions where a slice
// counts in part.
type tally struct {
	successes, failures float64
	seconds             float64 // sum of the latencies
	hist                *[histBuckets]float64
}

// mean is the mean latency, 0 without one.
func (t *tally) mean() time.Duration {
	if t.successes <= 0 {
		return 0
	}
	return time.Duration(t.seconds / t.successes * float64(time.Second))
}

// quantile is the latency below which the share q of the successes lies, 0
// without any.
func (t *tally) quantile(q float64) time.Duration {
	below := 0.0
	for i, n := range t.hist {
		if below += n; n > 0 && below >= q*t.successes {
			return bucketMid(i)
		}
	}
	return 0
}

// recent reads the last 10 s.
func (p *poolStats) recent(now time.Duration) tally { return p.read(now, 1) }

// minute reads the last minute.
func (p *poolStats) minute(now time.Duration) tally { return p.read(now, poolSlices-1) }

// read sums the present slice and n before it, the earliest in part.
func (p *poolStats) read(now time.Duration, n uint32) tally {
	t := tally{hist: new([histBuckets]float64)}
	epoch := epochOf(now)
	for i := range p.slices {
		s := &p.slices[i]
		age := epoch - s.epoch.Load()
		if age > n {
			continue
		}
		weight := 1.0
		if age == n {
			weight = 1 - elapsedShare(now)
		}
		t.failures += weight * float64(s.failures.Load())
		for b := range s.hist {
			if k := float64(s.hist[b].Load()) * weight; k > 0 {
				t.hist[b] += k
				t.successes += k
				t.seconds += k * bucketMid(b).Seconds()
			}
		}
	}
	return t
}

// window are the recent outcomes of one endpoint: the present slice and three
// before it, so that half a minute can be read.
type window struct{ slots [windowSlots]windowSlot }

const windowSlots = 4

// windowSlot is one slice. The word holds a number of successes (20 bits) and
// the sum of their latencies in microseconds.
type windowSlot struct {
	epoch atomic.Uint32
	fails atomic.Uint32
	word  atomic.Uint64
}

const (
	countBits = 20
	countMask = 1<<countBits - 1
)

// at returns the slice of now, cleared if it was an old one. A recording that
// races with the clearing may be lost.
func (w *window) at(now time.Duration) *windowSlot {
	epoch := epochOf(now)
	s := &w.slots[epoch%windowSlots]
	if old := s.epoch.Load(); old < epoch && s.epoch.CompareAndSwap(old, epoch) {
		s.word.Store(0)
		s.fails.Store(0)
	}
	return s
}

// sample counts a success and how long it took.
func (w *window) sample(d, now time.Duration) {
	s := w.at(now)
	if s.word.Load()&countMask == countMask {
		return
	}
	s.word.Add(uint64(max(d, 0)/time.Microsecond)<<countBits | 1)
}

// fail counts a failure.
func (w *window) fail(now time.Duration) { w.at(now).fails.Add(1) }

// read sums the last 10 s.
func (w *window) read(now time.Duration) tally { return w.sum(now, 1) }

// half sums the last 30 s.
func (w *window) half(now time.Duration) tally { return w.sum(now, windowSlots-1) }

// sum adds up the present slice and n before it, the earliest in part.
func (w *window) sum(now time.Duration, n uint32) tally {
	var t tally
	epoch := epochOf(now)
	for i := range w.slots {
		s := &w.slots[i]
		age := epoch - s.epoch.Load()
		if age > n {
			continue
		}
		weight := 1.0
		if age == n {
			weight = 1 - elapsedShare(now)
		}
		word := s.word.Load()
		t.successes += weight * float64(word&countMask)
		t.seconds += weight * float64(word>>countBits) * 1e-6
		t.failures += weight * float64(s.fails.Load())
	}
	return t
}

// What the endpoints that did not fail must show to be given more work.
const (
	othersOutcomes = 20
	othersSuccess  = 0.9
	othersSlowdown = 1.5
)

// judgeOthers tells how the pool of n endpoints is without the one whose recent
// outcomes are in self.
func judgeOthers(n int, recent, minute *tally, self tally) tulle.Health {
	if n < 2 {
		return tulle.Alone
	}
	others := tally{
		successes: max(0, recent.successes-self.successes),
		failures:  max(0, recent.failures-self.failures),
		seconds:   max(0, recent.seconds-self.seconds),
	}
	outcomes := others.successes + others.failures
	if outcomes < othersOutcomes {
		return tulle.Unknown
	}
	if others.successes < othersSuccess*outcomes ||
		float64(others.mean()) > othersSlowdown*float64(minute.mean()) {
		return tulle.Unhealthy
	}
	return tulle.Healthy
}
