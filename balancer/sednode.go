package balancer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
)

// sedNode is what ShortestExpectedDelay knows of one endpoint. A pick reads the
// atomics and never locks; mu only orders those that record.
//
// Two words each hold two numbers that belong together: load is the number of
// waiting attempts (20 bits) and the sum of their start times in microseconds,
// modulo 2^44; cost is the expected time in seconds and the factor for success,
// as float32s. So one atomic operation counts an attempt in or out,
// and one read gives a consistent price.
type sedNode struct {
	pool  *sedPool
	load  atomic.Uint64
	cost  atomic.Uint64
	fresh atomic.Int64  // when cost was computed
	held  atomic.Int64  // until when the node is held back << 1 | 1 if as a newcomer
	picks atomic.Uint64 // epoch << 32 | picks in the epoch before << 16 | picks in it

	latency  atomic.Uint64 // float32s: number and sum (seconds) of samples
	verdicts atomic.Uint64 // float32s: number of verdicts and of successes
	decayed  atomic.Int64  // to when latency and verdicts are decayed
	share    atomic.Uint64 // float32s: weight over the mean of the set, and bound of the share of picks

	mu sync.Mutex // held to change latency, verdicts and decayed
}

const (
	waitingBits = 20
	waitingMask = 1<<waitingBits - 1
	startBits   = 64 - waitingBits
	startMask   = 1<<startBits - 1
)

// micros is the resolution of start times: at one nanosecond the sum of many
// old attempts would wrap too soon.
func micros(t time.Duration) uint64 { return uint64(t/time.Microsecond) & startMask }

// Begin implements Node.
func (n *sedNode) Begin(now time.Duration) {
	n.load.Add(micros(now)<<waitingBits | 1)
	epoch := n.pool.begin()
	old := n.picks.Load()
	next := old + 1
	switch epoch - uint32(old>>32) {
	case 0:
		if old&0xffff == 0xffff {
			return
		}
	case 1:
		next = uint64(epoch)<<32 | (old&0xffff)<<16 | 1
	default:
		next = uint64(epoch)<<32 | 1
	}
	// A race that is lost costs one count of a hundred.
	n.picks.CompareAndSwap(old, next)
}

// Answer implements Node.
func (n *sedNode) Answer(start, now time.Duration, sampling tulle.Sampling) {
	n.load.Add(-(micros(start)<<waitingBits | 1))
	n.pool.answer()
	elapsed := max(now-start, 0).Seconds()
	if sampling == tulle.NoSample {
		return
	}
	expected := 0.0
	if sampling == tulle.CensoredSample {
		if expected, _ = n.estimate(now); elapsed <= expected {
			return
		}
	}
	n.mu.Lock()
	n.decay(now)
	w, s := unpack(n.latency.Load())
	if sampling == tulle.CensoredSample && w > 0 {
		// What answered all the time and once did not has paused; of what never
		// answered the timeout is all that is known.
		mean, _ := n.pool.mean()
		elapsed = min(elapsed, max(expected, mean*sedTimeout*sedWindow/w))
	}
	n.latency.Store(pack(slide(w, s, elapsed, sedWindow)))
	n.mu.Unlock()
	n.pool.sample(elapsed, now)
	n.refresh(now)
}

// Judge implements Node.
func (n *sedNode) Judge(now time.Duration, v Judgement) {
	if v.Throttled {
		n.throttle(now, v.Until)
	}
	if v.Back {
		n.mu.Lock()
		n.verdicts.Store(0)
		n.mu.Unlock()
		n.refresh(now)
	}
	if v.Verdict == tulle.Neither {
		return
	}
	success := 0.0
	if v.Verdict == tulle.Success {
		success = 1
	}
	n.mu.Lock()
	n.decay(now)
	u, s := unpack(n.verdicts.Load())
	n.verdicts.Store(pack(slide(u, s, success, sedVerdicts)))
	n.mu.Unlock()
	n.refresh(now)
}

// slide adds x to a window of at most limit samples, given as number and sum. A
// full window forgets evenly to make room.
func slide(number, sum, x float64, limit float64) (float64, float64) {
	if number+1 > limit {
		sum *= (limit - 1) / number
		number = limit - 1
	}
	return number + 1, sum + x
}

// decay brings both windows to now. Callers hold mu.
func (n *sedNode) decay(now time.Duration) {
	last := time.Duration(n.decayed.Load())
	if now-last < sedInstant {
		return
	}
	d := math.Exp(-float64(now-last) / float64(sedTau))
	for _, word := range [...]*atomic.Uint64{&n.latency, &n.verdicts} {
		number, sum := unpack(word.Load())
		word.Store(pack(number*d, sum*d))
	}
	n.decayed.Store(int64(now))
}

// estimate is the expected time in seconds and the chance of success. It reads
// three words one after the other; a recording in between shifts the result by
// less than one sample does.
func (n *sedNode) estimate(now time.Duration) (expected, success float64) {
	mean, spread := n.pool.mean()
	w, s := unpack(n.latency.Load())
	u, v := unpack(n.verdicts.Load())
	if idle := now - time.Duration(n.decayed.Load()); idle >= sedInstant && w+u > 0 {
		d := math.Exp(-float64(idle) / float64(sedTau))
		w, s, u, v = w*d, s*d, u*d, v*d
	}
	expected = (s + sedPrior*mean) / (w + sedPrior)

	// With many attempts of our own in flight the queues are the better
	// signal; then a difference within the noise of the samples is none.
	noise := n.pool.busy() * spread / math.Sqrt(w+sedPrior)
	expected += min(max(mean-expected, -noise), noise)

	success = max(sedWorst, (v+sedVerdictPrior)/(u+sedVerdictPrior))
	return expected, success
}

// refresh computes what picks read.
func (n *sedNode) refresh(now time.Duration) uint64 {
	expected, success := n.estimate(now)
	cost := pack(max(expected, sedFloor.Seconds()), 1/(success*success*success))
	n.cost.Store(cost)
	n.fresh.Store(int64(now))
	return cost
}

// price is the node's cost for the next attempt. Epoch and window are those of
// the pool's shares.
func (n *sedNode) price(now time.Duration, epoch, window uint32) float64 {
	cost := n.cost.Load()
	if now-time.Duration(n.fresh.Load()) > sedRefresh {
		cost = n.refresh(now)
	}
	delay, factor := unpack(cost)
	load := n.load.Load()
	waiting := load & waitingMask
	queue := float64(waiting)
	if waiting > 0 {
		// Both the product and the sum wrap alike, so the difference is the
		// total age; its top bit tells that a start lies ahead of now.
		age := (micros(now)*waiting - load>>waitingBits) & startMask
		if age < 1<<(startBits-1) {
			delay = max(delay, float64(age)/queue*1e-6)
		}
		weight, _ := unpack(n.share.Load())
		queue /= weight
	}
	price := delay * (queue + sedOffset) * factor
	if picks := n.recent(epoch); float64(picks) > sedShare*sedSharePicks {
		if _, bound := unpack(n.share.Load()); picks > uint32(bound*float64(window)) {
			price *= overusedFactor
		}
	}
	if held := n.held.Load(); held != 0 && int64(now) < held>>1 {
		if held&1 == 1 {
			price *= introducingFactor
		} else {
			price *= throttledFactor
		}
	}
	return price
}

// recent counts the picks of the node in this epoch and the one before.
func (n *sedNode) recent(epoch uint32) uint32 {
	word := n.picks.Load()
	switch epoch - uint32(word>>32) {
	case 0:
		return uint32(word&0xffff) + uint32(word>>16&0xffff)
	case 1:
		return uint32(word & 0xffff)
	}
	return 0
}

// introduce holds a newcomer back until t.
func (n *sedNode) introduce(t time.Duration) { n.held.Store(int64(t)<<1 | 1) }

// throttle holds the node back, until the time it named. It does not shorten a
// time that it named before, nor the wait of a newcomer.
func (n *sedNode) throttle(now, until time.Duration) {
	if until <= now {
		until = now + sedThrottle
	}
	if held := n.held.Load(); held>>1 < int64(until) && (held&1 == 0 || held>>1 <= int64(now)) {
		n.held.Store(int64(until) << 1)
	}
}

// pack puts two numbers into one word.
func pack(a, b float64) uint64 {
	return uint64(math.Float32bits(float32(a)))<<32 | uint64(math.Float32bits(float32(b)))
}

// unpack is the reverse of pack.
func unpack(w uint64) (a, b float64) {
	return float64(math.Float32frombits(uint32(w >> 32))), float64(math.Float32frombits(uint32(w)))
}
