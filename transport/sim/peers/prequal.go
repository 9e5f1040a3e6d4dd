package peers

import (
	"cmp"
	"slices"
	"time"

	"github.com/tullemesh/tulle/balancer"
)

// Prequal is the rule of Google's Prequal (Wydrowski et al., Load is not what you
// should balance, NSDI 2024, arXiv 2312.10172), for servers that take part: they
// answer probes. An answer is hot when its number of requests is above the 0.84
// quantile of those seen; the attempt goes to the cold one of the lowest latency, or
// to the hot one with the fewest requests. Failures are not seen. Probes and their
// pool are described there as well: three are sent for each attempt, answers live for
// 1 s in a pool of 16, and one is dropped for each attempt, the oldest and the worst
// in turn.
type Prequal struct {
	// Pool is the most answers that are kept. Default (0): 16.
	Pool int

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// The constants of Prequal's rule.
const (
	prequalHot  = 0.84
	prequalSeen = 128
)

// Build implements balancer.Policy. The pool begins anew with each set.
func (q Prequal) Build(m balancer.Members) balancer.Picker {
	var seen heat
	p := newPool(m, q.Pool, q.Rand)
	p.heard = func(o *probe) { seen.add(o.inFlight) }
	p.order = func() func(a, b *probe) float64 {
		limit := seen.limit()
		return func(a, b *probe) float64 { return hotCold(a, b, limit) }
	}
	return p
}

// hotCold is the lexicographic order of hot and cold.
func hotCold(a, b *probe, limit int) float64 {
	hot, other := a.inFlight > limit, b.inFlight > limit
	switch {
	case hot && !other:
		return 1
	case other && !hot:
		return -1
	case hot:
		return float64(a.inFlight - b.inFlight)
	}
	return float64(a.latency - b.latency)
}

// heat is the numbers of requests that were seen of late.
type heat struct {
	seen []int
	at   int
}

// add takes in one.
func (h *heat) add(inFlight int) {
	if len(h.seen) < prequalSeen {
		h.seen = append(h.seen, inFlight)
		return
	}
	h.seen[h.at%prequalSeen] = inFlight
	h.at++
}

// limit is the number of requests above which an endpoint is hot.
func (h *heat) limit() int {
	if len(h.seen) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(h.seen))
	return sorted[int(prequalHot*float64(len(sorted)-1))]
}

// Linear is the rule that Prequal's paper sets against it: the lowest weighted sum of
// latency and requests, with Prequal's probes and pool.
type Linear struct {
	// Weight is that of the requests, and the latency has what it leaves of 1.
	// Default (0): 0.5.
	Weight float64

	// Request is the time that a request counts as. Default (0): the paper's 75 ms,
	// which is the median latency of its servers at one request.
	Request time.Duration

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// Build implements balancer.Policy.
func (l Linear) Build(m balancer.Members) balancer.Picker {
	weight, request := cmp.Or(l.Weight, 0.5), float64(cmp.Or(l.Request, 75*time.Millisecond))
	score := func(o *probe) float64 {
		return (1-weight)*float64(o.latency) + weight*request*float64(o.inFlight)
	}
	p := newPool(m, 0, l.Rand)
	p.order = func() func(a, b *probe) float64 {
		return func(a, b *probe) float64 { return score(a) - score(b) }
	}
	return p
}
