package peers

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// The constants of Prequal's pool.
const (
	poolSize   = 16
	poolProbes = 3
	poolAge    = time.Second
)

// probe is an answer in the pool.
type probe struct {
	i, inFlight int
	latency, at time.Duration
	uses        int // that are left
}

// A pool is the Picker of one set whose endpoints answer probes (Wydrowski et al.,
// Load is not what you should balance, NSDI 2024, section 4): three are sent for each
// attempt, answers live for 1 s in a pool of 16, and one is dropped for each attempt,
// the oldest and the worst in turn. The rules that it compares differ in which answer
// is better.
type pool struct {
	size, n int
	reuse   float64
	random  func() uint64
	answers []probe // in the order in which they came
	worst   bool    // whom to drop next
	targets []int

	// order is a comparison, for a moment, in which the better one is the lower.
	order func() func(a, b *probe) float64

	// heard is told of each answer, if it is not nil.
	heard func(*probe)
}

// newPool makes the pool of a set, with no answers yet.
func newPool(m balancer.Members, size int, random func() uint64) *pool {
	p := &pool{size: size, n: len(m.Endpoints), random: random, reuse: 1}
	if p.size <= 0 {
		p.size = poolSize
	}
	if p.random == nil {
		p.random = rand.Uint64
	}
	// Each answer may serve b attempts, so that the pool does not run dry (with the
	// paper's delta of 1). With few endpoints the formula gives nothing; the pool is
	// full then without reuse.
	if d := (1-float64(p.size)/float64(p.n))*poolProbes - 1; d > 0 {
		p.reuse = min(max(1, 2/d), float64(p.size))
	}
	return p
}

// Node implements balancer.Picker.
func (p *pool) Node(int) balancer.Node { return unobserved{} }

// Pick implements balancer.Picker.
func (p *pool) Pick(q balancer.Query) int {
	p.answers = slices.DeleteFunc(p.answers, func(o probe) bool { return q.Now-o.at > poolAge })
	p.trim()
	compare := p.order()
	best, usable := -1, 0
	for k := range p.answers {
		if q.Allows(p.answers[k].i) {
			usable++
			if best < 0 || compare(&p.answers[k], &p.answers[best]) < 0 {
				best = k
			}
		}
	}
	if usable < 2 {
		return p.any(&q)
	}
	i := p.answers[best].i
	p.answers[best].inFlight++
	if p.answers[best].uses--; p.answers[best].uses <= 0 {
		p.answers = slices.Delete(p.answers, best, best+1)
	}
	return i
}

// any is a random one.
func (p *pool) any(q *balancer.Query) int {
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

// trim drops one answer, the oldest and the worst in turn.
func (p *pool) trim() {
	if len(p.answers) == 0 {
		return
	}
	drop := 0 // the oldest, as they stand in their order
	if p.worst {
		compare := p.order()
		for k := range p.answers {
			if compare(&p.answers[k], &p.answers[drop]) > 0 {
				drop = k
			}
		}
	}
	p.worst = !p.worst
	p.answers = slices.Delete(p.answers, drop, drop+1)
}

// Probe implements Prober.
func (p *pool) Probe(time.Duration) []int {
	p.targets = p.targets[:0]
	for len(p.targets) < min(poolProbes, p.n) {
		if i := int(p.random() % uint64(p.n)); !slices.Contains(p.targets, i) {
			p.targets = append(p.targets, i)
		}
	}
	return p.targets
}

// Probed implements Prober.
func (p *pool) Probed(i, inFlight int, latency, now time.Duration) {
	if len(p.answers) >= p.size {
		p.answers = slices.Delete(p.answers, 0, 1)
	}
	uses := int(p.reuse)
	if float64(p.random()>>11)/(1<<53) < p.reuse-float64(uses) {
		uses++ // rounded by chance, so that the mean is the formula's
	}
	p.answers = append(p.answers, probe{i: i, inFlight: inFlight, latency: latency, at: now, uses: uses})
	if p.heard != nil {
		p.heard(&p.answers[len(p.answers)-1])
	}
}

// unobserved is the Node of a policy that learns nothing from attempts.
type unobserved struct{}

func (unobserved) Begin(time.Duration)                         {}
func (unobserved) Answer(_, _ time.Duration, _ tulle.Sampling) {}
func (unobserved) Judge(_ time.Duration, _ balancer.Judgement) {}
