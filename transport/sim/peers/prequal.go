package peers

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// Prequal is the rule of Google's Prequal (Wydrowski et al., Load is not what you
// should balance, NSDI 2024, arXiv 2312.10172), for servers that take part: they
// answer probes. Three are sent for each attempt, answers live for 1 s in a pool of
// 16, and one is dropped for each attempt, the oldest and the worst in turn. An
// answer is hot when its number of requests is above the 0.84 quantile of those
// seen; the attempt goes to the cold one of the lowest latency, or to the hot one
// with the fewest requests. Failures are not seen.
type Prequal struct {
	// Pool is the most answers that are kept. Default (0): 16.
	Pool int

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// The constants of Prequal.
const (
	prequalPool   = 16
	prequalProbes = 3
	prequalAge    = time.Second
	prequalHot    = 0.84
	prequalSeen   = 128
)

// Build implements balancer.Policy. The pool begins anew with each set.
func (q Prequal) Build(m balancer.Members) balancer.Picker {
	p := &prequalPicker{size: q.Pool, n: len(m.Endpoints), random: q.Rand}
	if p.size <= 0 {
		p.size = prequalPool
	}
	if p.random == nil {
		p.random = rand.Uint64
	}
	// Reuse: each probe may serve b attempts, so that the pool does not run dry
	// (section 4 of the paper, with its delta of 1). With few endpoints the
	// formula gives nothing; the pool is full then without reuse.
	p.reuse = 1
	if d := (1-float64(p.size)/float64(p.n))*prequalProbes - 1; d > 0 {
		p.reuse = min(max(1, 2/d), float64(p.size))
	}
	return p
}

// prequalPicker is the Picker of one set.
type prequalPicker struct {
	size, n int
	reuse   float64
	random  func() uint64
	pool    []probe
	seen    []int // numbers of requests of late
	at      int
	worst   bool // whom to drop next
	targets []int
}

// probe is an answer in the pool.
type probe struct {
	i, inFlight int
	latency, at time.Duration
	uses        int // that are left
}

// Node implements balancer.Picker.
func (p *prequalPicker) Node(int) balancer.Node { return unobserved{} }

// Pick implements balancer.Picker.
func (p *prequalPicker) Pick(q balancer.Query) int {
	p.pool = slices.DeleteFunc(p.pool, func(o probe) bool { return q.Now-o.at > prequalAge })
	p.trim()
	limit := p.limit()
	best, usable := -1, 0
	for k := range p.pool {
		if q.Allows(p.pool[k].i) {
			usable++
			if best < 0 || p.pool[k].better(&p.pool[best], limit) {
				best = k
			}
		}
	}
	if usable < 2 {
		return p.any(&q)
	}
	i := p.pool[best].i
	p.pool[best].inFlight++
	if p.pool[best].uses--; p.pool[best].uses <= 0 {
		p.pool = slices.Delete(p.pool, best, best+1)
	}
	return i
}

// any is a random one.
func (p *prequalPicker) any(q *balancer.Query) int {
	start := int(p.random() % uint64(p.n))
	for _, strict := range []bool{true, false} {
		for k := range p.n {
			i := (start + k) % p.n
			if q.Allows(i) || !strict && (q.Among == nil || q.Among.Has(i)) {
				return i
			}
		}
	}
	return -1
}

// limit is the number of requests above which an endpoint is hot.
func (p *prequalPicker) limit() int {
	if len(p.seen) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.seen))
	return sorted[int(prequalHot*float64(len(sorted)-1))]
}

// better says that an attempt rather goes to o than to other.
func (o *probe) better(other *probe, limit int) bool {
	hot, otherHot := o.inFlight > limit, other.inFlight > limit
	switch {
	case hot != otherHot:
		return otherHot
	case hot:
		return o.inFlight < other.inFlight
	}
	return o.latency < other.latency
}

// trim drops one answer, the oldest and the worst in turn.
func (p *prequalPicker) trim() {
	if len(p.pool) == 0 {
		return
	}
	drop := 0 // the oldest, as they stand in their order
	if p.worst {
		limit := p.limit()
		for k := range p.pool {
			if p.pool[drop].better(&p.pool[k], limit) {
				drop = k
			}
		}
	}
	p.worst = !p.worst
	p.pool = slices.Delete(p.pool, drop, drop+1)
}

// Probe implements Prober.
func (p *prequalPicker) Probe(time.Duration) []int {
	p.targets = p.targets[:0]
	for len(p.targets) < min(prequalProbes, p.n) {
		if i := int(p.random() % uint64(p.n)); !slices.Contains(p.targets, i) {
			p.targets = append(p.targets, i)
		}
	}
	return p.targets
}

// Probed implements Prober.
func (p *prequalPicker) Probed(i, inFlight int, latency, now time.Duration) {
	if len(p.pool) >= p.size {
		p.pool = slices.Delete(p.pool, 0, 1)
	}
	uses := int(p.reuse)
	if float64(p.random()>>11)/(1<<53) < p.reuse-float64(uses) {
		uses++ // rounded by chance, so that the mean is the formula's
	}
	p.pool = append(p.pool, probe{i: i, inFlight: inFlight, latency: latency, at: now, uses: uses})
	if len(p.seen) < prequalSeen {
		p.seen = append(p.seen, inFlight)
	} else {
		p.seen[p.at%prequalSeen] = inFlight
		p.at++
	}
}

// unobserved is the Node of a policy that learns nothing from attempts.
type unobserved struct{}

func (unobserved) Begin(time.Duration)                         {}
func (unobserved) Answer(_, _ time.Duration, _ tulle.Sampling) {}
func (unobserved) Judge(_ time.Duration, _ balancer.Judgement) {}
