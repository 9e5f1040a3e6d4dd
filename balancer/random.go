package balancer

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/tullemesh/tulle"
)

// Random picks each endpoint with the probability that its weight says. It
// looks at nothing else and so is the measure for all other policies, and the
// answer where many clients must not act alike.
//
// A pick takes the same short time for any number of endpoints, unless a query
// rules out most of the weight; then it takes time linear in what is left. The
// zero value is ready to use.
type Random struct {
	// Rand returns uniform random bits. Default (nil): math/rand/v2. It must
	// be safe for concurrent use.
	Rand func() uint64
}

// Build implements Policy.
func (r Random) Build(m Members) Picker {
	p := &randomPicker{n: len(m.Endpoints), rand: r.Rand}
	if p.rand == nil {
		p.rand = rand.Uint64
	}
	if !evenShares(m.Endpoints) {
		p.lots = newLots(m.Endpoints)
	}
	return p
}

// randomPicker is the Picker of one set.
type randomPicker struct {
	n    int
	lots *lots // nil when all shares are equal
	rand func() uint64
}

// Pick implements Picker.
func (p *randomPicker) Pick(q Query) int {
	r := splitmix(p.rand())
	if p.lots == nil {
		return drawOne(&q, p.n, &r)
	}
	return p.lots.drawAllowed(&q, &r)
}

// Node implements Picker.
func (p *randomPicker) Node(int) Node { return unobserved{} }

// unobserved is the Node of policies that learn nothing.
type unobserved struct{}

// Begin implements Node.
func (unobserved) Begin(time.Duration) {}

// Answer implements Node.
func (unobserved) Answer(_, _ time.Duration, _ tulle.Sampling) {}

// Judge implements Node.
func (unobserved) Judge(time.Duration, Judgement) {}

// evenShares says that all endpoints have the same share.
func evenShares(endpoints []tulle.Endpoint) bool {
	for i := range endpoints {
		if endpoints[i].Share() != endpoints[0].Share() {
			return false
		}
	}
	return true
}

// drawOne draws one index below n that q allows, or -1.
func drawOne(q *Query, n int, r *splitmix) int {
	if q.Among == nil && q.Avoid == nil && n > 0 {
		return r.below(n)
	}
	c := newCandidates(*q, n, 1, r.next())
	return c.next()
}

// lots is an alias table (Walker 1977, Vose 1991): a column for each endpoint,
// all of the same probability, each cut once between its own endpoint and
// another. So a draw by share takes one random number and one look.
type lots struct {
	columns []lot
	shares  []float64
}

// lot is one column.
type lot struct {
	cut   uint64 // its own part, in 2^-64
	other int    // whose the rest is
}

// maxRedraws is how many lots a pick draws before it adds up what is allowed.
const maxRedraws = 32

// draw returns the endpoint that 64 random bits fall on.
func (l *lots) draw(x uint64) int {
	i, part := bits.Mul64(x, uint64(len(l.columns)))
	if part < l.columns[i].cut {
		return int(i)
	}
	return l.columns[i].other
}

// drawAllowed draws one of the endpoints that q allows, by their shares. -1:
// none is allowed.
func (l *lots) drawAllowed(q *Query, r *splitmix) int {
	for range maxRedraws {
		if i := l.draw(r.next()); q.Allows(i) {
			return i
		}
	}
	f := newField(q, len(l.shares))
	total := 0.0
	for i := range f.all {
		total += l.shares[i]
	}
	rest, last := total*unit(r.next()), -1
	for i := range f.all {
		last = i
		if rest -= l.shares[i]; rest < 0 {
			break
		}
	}
	// Rounding may leave a rest behind the last one; it is his.
	return last
}

// newLots cuts the columns by Vose's way: each share below the mean fills its
// column up from one that is above.
func newLots(endpoints []tulle.Endpoint) *lots {
	l := &lots{columns: make([]lot, len(endpoints)), shares: make([]float64, len(endpoints))}
	total := 0.0
	for i := range endpoints {
		l.shares[i] = endpoints[i].Share()
		total += l.shares[i]
	}
	parts := make([]float64, len(endpoints))
	poor, rich := make([]int, 0, len(parts)), make([]int, 0, len(parts))
	for i, share := range l.shares {
		l.columns[i] = lot{cut: math.MaxUint64, other: i}
		parts[i] = share / total * float64(len(parts))
		if parts[i] < 1 {
			poor = append(poor, i)
		} else {
			rich = append(rich, i)
		}
	}
	for len(poor) > 0 && len(rich) > 0 {
		p, r := poor[len(poor)-1], rich[len(rich)-1]
		poor = poor[:len(poor)-1]
		l.columns[p] = lot{cut: uint64(math.Ldexp(parts[p], 64)), other: r}
		if parts[r] -= 1 - parts[p]; parts[r] < 1 {
			rich = rich[:len(rich)-1]
			poor = append(poor, r)
		}
	}
	// What is left is a whole column but for rounding.
	return l
}
