package balancer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// sedPool is what ShortestExpectedDelay knows of a destination as a whole. It
// is passed from Picker to Picker.
type sedPool struct {
	load atomic.Uint64 // picks << 20 | attempts waiting
	size atomic.Int64  // endpoints
	stat atomic.Uint64 // float32s: mean and standard deviation in seconds

	mu                   sync.Mutex // guards the window
	number, sum, squares float64
	decayed              time.Duration
}

// begin counts a pick in and returns the epoch in which it falls.
func (p *sedPool) begin() uint32 {
	picks := p.load.Add(1<<waitingBits|1) >> waitingBits
	return uint32(picks / sedSharePicks)
}

// answer counts an attempt out.
func (p *sedPool) answer() { p.load.Add(^uint64(0)) }

// busy is the number of waiting attempts per endpoint, at most 1.
func (p *sedPool) busy() float64 {
	return min(1, float64(p.load.Load()&waitingMask)/float64(max(1, p.size.Load())))
}

// shares returns the present epoch of the window in which shares of picks are
// counted, and how many picks that window holds.
func (p *sedPool) shares() (epoch, window uint32) {
	picks := p.load.Load() >> waitingBits
	return uint32(picks / sedSharePicks), uint32(sedSharePicks + picks%sedSharePicks)
}

// mean returns the mean latency of the pool and its standard deviation, in
// seconds; zeros before the first sample.
func (p *sedPool) mean() (mean, spread float64) { return unpack(p.stat.Load()) }

// sample adds a latency to the pool's window. When two arrive at once one of
// them is dropped: there are plenty, and waiting here would make all callers of
// a destination wait for each other.
func (p *sedPool) sample(seconds float64, now time.Duration) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if now-p.decayed >= sedInstant {
		d := math.Exp(-float64(now-p.decayed) / float64(sedTau))
		p.number, p.sum, p.squares = p.number*d, p.sum*d, p.squares*d
		p.decayed = now
	}
	_, p.squares = slide(p.number, p.squares, seconds*seconds, sedPoolWindow)
	p.number, p.sum = slide(p.number, p.sum, seconds, sedPoolWindow)
	mean := p.sum / p.number
	p.stat.Store(pack(mean, math.Sqrt(max(0, p.squares/p.number-mean*mean))))
}
