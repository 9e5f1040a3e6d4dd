package cluster

import (
	"math"
	"sync/atomic"
	"time"
)

// The comparison of the caller's zone with the others. Only answers show how well
// a zone copes with its callers, whose number nobody here knows.
const (
	compareEvery = time.Second
	zoneMemory   = 10 * time.Second // mean lifetime of an answer in the comparison
	zoneSamples  = 50               // the most answers that are remembered, the latest second's excepted
	zonePrior    = 5                // answers like the mean of both that each side starts with
	zoneWorst    = 0.001            // floor of the chance of success
	leanDown     = 0.5              // the most that the share falls by in a second, as a factor
	leanUp       = 0.05             // the most that it rises by in a second
	leanLeast    = 0.05             // what is left at least, so that the zone is seen to recover
)

// zones compares the caller's zone with the others.
type zones struct {
	near, far zoneStats
	lean      float64       // guarded by Cluster.mu: the part of its share that the zone gets, up to 1
	stepped   time.Duration // guarded by Cluster.mu: when it was changed last
}

// zoneStats are the answers of one side. Attempts add to the counters, the
// comparison takes them over into sums that fade.
type zoneStats struct {
	successes, nanos, failures atomic.Uint64

	n, seconds, failed float64 // guarded by Cluster.mu
}

// observe counts what endpoint i came to, if it is in a zone that is compared.
func (v *View) observe(i int, elapsed time.Duration, ok bool) {
	l := v.layout
	if l == nil || l.compared < 0 {
		return
	}
	lv := &l.levels[l.compared]
	s := &v.cluster.zones.near
	switch int(l.home[i]) {
	case lv.near:
	case lv.far:
		s = &v.cluster.zones.far
	default:
		return
	}
	if !ok {
		s.failures.Add(1)
		return
	}
	s.successes.Add(1)
	s.nanos.Add(uint64(max(elapsed, 0)))
}

// collect takes the counters over. A side that answers much has a short memory: it
// must show at once what became of another share of the calls.
func (s *zoneStats) collect(fade float64) {
	n, failed := float64(s.successes.Swap(0)), float64(s.failures.Swap(0))
	if old := (s.n + s.failed) * fade; old > 0 {
		fade *= min(1, max(0, zoneSamples-n-failed)/old)
	}
	s.fade(fade)
	s.n, s.failed = s.n+n, s.failed+failed
	s.seconds += float64(s.nanos.Swap(0)) / 1e9
}

// fade lets what is remembered count for less.
func (s *zoneStats) fade(by float64) {
	s.n, s.seconds, s.failed = s.n*by, s.seconds*by, s.failed*by
}

// cost is what a call to the side costs, as the balancer counts: the expected
// time divided by the third power of the chance of success. Where answers are
// few, it is close to that of both sides together, of which mean and success are.
func (s *zoneStats) cost(mean, success float64) float64 {
	expected := (s.seconds + zonePrior*mean) / (s.n + zonePrior)
	chance := max(zoneWorst, (s.n+zonePrior*success)/(s.n+s.failed+zonePrior))
	return expected / (chance * chance * chance)
}

// ratio is how much dearer the caller's zone is, 1 where nothing is known.
func (z *zones) ratio() float64 {
	n := z.near.n + z.far.n
	if n == 0 {
		return 1
	}
	mean := (z.near.seconds + z.far.seconds) / n
	success := n / (n + z.near.failed + z.far.failed)
	if far := z.far.cost(mean, success); far > 0 {
		return z.near.cost(mean, success) / far
	}
	return 1
}

// stepLocked moves lean towards where the caller's zone is tolerance times as dear
// as the others, or to 1 where it is cheaper, and says whether it did: down as fast
// as it is too dear, up the slower the closer it is. Callers that wait are not seen
// before they are answered, so a fast way up would swing.
func (z *zones) stepLocked(now time.Duration, tolerance float64) bool {
	dt := max(now-z.stepped, 0)
	z.stepped = now
	fade := math.Exp(-float64(dt) / float64(zoneMemory))
	z.near.collect(fade)
	z.far.collect(fade)
	was, ratio := z.lean, z.ratio()
	switch {
	case tolerance < 0:
		z.lean = 1
	case ratio > tolerance:
		z.lean = max(leanLeast, z.lean*max(leanDown, tolerance/ratio))
		// What was seen under a larger share says little of a smaller one.
		z.near.fade(z.lean / was)
	default:
		room := min(1, 2*(tolerance-ratio)/(tolerance-1))
		z.lean = min(1, z.lean+leanUp*room*dt.Seconds())
	}
	return z.lean != was
}

// compare compares the zones again, once a second. Whoever finds the engine busy
// leaves it to the next call.
func (c *Cluster) compare(v *View, now time.Duration) {
	if !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	if int64(now) < v.retune.Load() {
		return
	}
	v.retune.Store(int64(now + compareEvery))
	if c.view.Load() == v && c.zones.stepLocked(now, c.cfg.Load().Locality.Tolerance) {
		c.planLocked(v)
	}
}
