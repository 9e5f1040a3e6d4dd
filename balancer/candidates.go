package balancer

import "math/bits"

// A splitmix is a small random generator (Steele, Lea and Flood, 2014). A pick
// asks the policy's Rand once and takes all further numbers from here, so that
// a pick is cheap and can be repeated from one number.
type splitmix uint64

// next returns 64 uniform bits.
func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a uniform number from 0 to n-1. Multiplying in place of dividing
// favours some by n/2^64, which no run is long enough to show.
func (s *splitmix) below(n int) int {
	hi, _ := bits.Mul64(s.next(), uint64(n))
	return int(hi)
}

// drawPair draws two distinct indices below n that q allows, in random order.
// Each is -1 when there is none: both, or the second alone.
func drawPair(q *Query, n int, seed uint64) (first, second int) {
	if q.Among == nil && q.Avoid == nil && n > 1 {
		r := splitmix(seed)
		first, second = r.below(n), r.below(n-1)
		if second >= first {
			second++
		}
		return first, second
	}
	c := newCandidates(*q, n, 2, seed)
	first = c.next()
	return first, c.next()
}

// maxSampled is the largest number of candidates that are drawn one by one. Each
// is compared with those before it, so more are too dear.
const maxSampled = 32

// candidates gives distinct indices below n that q.Among allows and q.Avoid
// does not, all with the same probability. When q.Avoid leaves none it is
// ignored. It allocates nothing and its time is bounded whatever the sets are.
//
// There are three ways to draw, as none is good at all sizes:
//
//   - From a set that fits into a word, what was drawn is removed. Where all are
//     wanted they come in order, from a random one on, and the order wraps.
//   - From a larger one, few candidates are drawn at random and dropped when
//     they are not allowed or were drawn before. Most sets allow most indices.
//   - When that does not succeed soon (3 of 10,000 are allowed), or many
//     candidates are wanted, the allowed ones are counted and one is drawn from
//     each of as many equal parts as candidates are wanted, from a random place
//     on: that needs no memory of what was drawn. Neighbours are then never
//     drawn together; nobody can tell, as the order of a set means nothing.
//
// Short of all, the first two give uniform subsets in uniform order. In all three
// the first candidate is uniform, so a rule that breaks ties for the first one
// spreads them evenly.
type candidates struct {
	allowed field
	rng     splitmix
	draw    drawing
	want    int // candidates asked for
	left    int // candidates still to give

	rest   uint64 // from a word: what is not drawn yet
	behind uint64 // from a word, all in order: what comes after rest

	tries  int               // sampling: how many more draws to make
	given  int               // sampling: how many were drawn,
	drawn  [maxSampled]int32 // which,
	filter [4]uint64         // and a bit for each, by its low 8 bits

	stratum  int // strata: the next part
	rotation int // strata: rank at which the first part begins
}

// drawing is the way that candidates are drawn.
type drawing uint8

const (
	fromWord drawing = iota
	inOrder
	sampling
	strata
)

// newCandidates returns up to want candidates, drawn by what seed determines.
func newCandidates(q Query, n, want int, seed uint64) (c candidates) {
	c.start(&q, n, want, seed)
	return c
}

// start chooses the way to draw.
func (c *candidates) start(q *Query, n, want int, seed uint64) {
	c.allowed.among, c.allowed.avoid, c.allowed.n = q.Among, q.Avoid, n
	c.want, c.left, c.rng = want, want, splitmix(seed)
	switch {
	case n <= 64:
		c.startWord()
	case want <= maxSampled:
		c.draw = sampling
		c.tries = 16 + 4*want
	default:
		c.startStrata()
	}
}

// next returns the next candidate, or -1 when there is none or all that were
// wanted are given.
func (c *candidates) next() int {
	if c.left == 0 {
		return -1
	}
	c.left--
	switch c.draw {
	case fromWord:
		return c.fromWord()
	case inOrder:
		return c.inOrder()
	case sampling:
		return c.sample()
	}
	return c.fromStratum()
}

// startWord takes what is allowed of a set of up to 64.
func (c *candidates) startWord() {
	if c.allowed.n == 0 {
		c.left = 0
		return
	}
	c.rest = c.allowed.word(0)
	if c.rest == 0 {
		c.allowed.avoid = nil
		c.rest = c.allowed.word(0)
	}
	count := bits.OnesCount64(c.rest)
	if c.want < count || count == 0 {
		c.left = min(c.left, count)
		return
	}
	c.draw, c.left = inOrder, count
	before := uint64(1)<<nth(c.rest, c.rng.below(count)) - 1
	c.behind = c.rest & before
	c.rest &^= before
}

// inOrder gives the next of rest, then of behind.
func (c *candidates) inOrder() int {
	if c.rest == 0 {
		c.rest = c.behind
	}
	i := bits.TrailingZeros64(c.rest)
	c.rest &= c.rest - 1
	return i
}

// fromWord removes a random member of rest. While there are many, guessing is
// quicker than to count up to one; four guesses are the mean at worst.
func (c *candidates) fromWord() int {
	i := 0
	if count := bits.OnesCount64(c.rest); 4*count < c.allowed.n {
		i = nth(c.rest, c.rng.below(count))
	} else {
		for i = c.rng.below(c.allowed.n); c.rest>>i&1 == 0; {
			i = c.rng.below(c.allowed.n)
		}
	}
	c.rest &^= 1 << i
	return i
}

// sample draws until it finds an allowed index that is new.
func (c *candidates) sample() int {
	for ; c.tries > 0; c.tries-- {
		i := c.rng.below(c.allowed.n)
		if c.allowed.has(i) && !c.repeated(i) {
			c.drawn[c.given] = int32(i)
			c.filter[i>>6&3] |= 1 << (i & 63)
			c.given++
			return i
		}
	}
	c.startStrata()
	return c.fromStratum()
}

// repeated says whether i was drawn before. The filter answers most often.
func (c *candidates) repeated(i int) bool {
	if c.filter[i>>6&3]&(1<<(i&63)) == 0 {
		return false
	}
	for _, d := range c.drawn[:c.given] {
		if int(d) == i {
			return true
		}
	}
	return false
}

// startStrata counts what is allowed. Candidates that sampling gave before it
// gave up stay given; the parts are as many as if it had not, so that enough
// remain when those are drawn again.
func (c *candidates) startStrata() {
	c.draw = strata
	c.allowed.measure()
	c.want = min(c.want, c.allowed.count)
	if c.want > 0 {
		c.rotation = c.rng.below(c.allowed.count)
	}
}

// fromStratum draws one index from the next part.
func (c *candidates) fromStratum() int {
	for c.stratum < c.want {
		// The parts are k/want to (k+1)/want of the ranks. The rotation keeps
		// the chances equal where the sizes of the parts are not.
		low := c.stratum * c.allowed.count / c.want
		c.stratum++
		high := c.stratum * c.allowed.count / c.want
		rank := c.rotation + low + c.rng.below(high-low)
		if rank >= c.allowed.count {
			rank -= c.allowed.count
		}
		if i := c.allowed.at(rank); !c.repeated(i) {
			return i
		}
	}
	return -1
}

// nth returns the member of a word that has rank members before it.
func nth(members uint64, rank int) int {
	for ; rank > 0; rank-- {
		members &= members - 1
	}
	return bits.TrailingZeros64(members)
}

// A field is the set of indices that a query leaves to choose from, in order.
type field struct {
	among, avoid Set
	n            int // all indices are below it
	count        int // size of the set

	// Where at stopped: the members that are left of a word, the rank of the
	// first of them, and the next word.
	rest uint64
	rank int
	w    int
}

// newField counts what q allows of the indices below n.
func newField(q *Query, n int) (f field) {
	f.among, f.avoid, f.n = q.Among, q.Avoid, n
	f.measure()
	return f
}

// measure counts the members. When avoid leaves none it is dropped.
func (f *field) measure() {
	f.count = f.size()
	if f.count == 0 && f.avoid != nil {
		f.avoid = nil
		f.count = f.size()
	}
}

// has says whether i is a member.
func (f *field) has(i int) bool {
	return (f.among == nil || f.among.Has(i)) && !f.avoid.Has(i)
}

// word returns the members from 64w to 64w+63, which must not all be past n.
func (f *field) word(w int) uint64 {
	members := ^uint64(0)
	if f.among != nil {
		if w >= len(f.among) {
			return 0
		}
		members = f.among[w]
	}
	if w < len(f.avoid) {
		members &^= f.avoid[w]
	}
	if rest := f.n - w<<6; rest < 64 {
		members &= 1<<rest - 1
	}
	return members
}

// size counts the members.
func (f *field) size() int {
	count := 0
	for w := 0; w<<6 < f.n; w++ {
		count += bits.OnesCount64(f.word(w))
	}
	return count
}

// all goes through the members in order. It is to be ranged over.
func (f *field) all(yield func(i int) bool) {
	for w := 0; w<<6 < f.n; w++ {
		for members := f.word(w); members != 0; members &= members - 1 {
			if !yield(w<<6 + bits.TrailingZeros64(members)) {
				return
			}
		}
	}
}

// at returns the member that has rank members before it; rank must be below
// count. A walk through ascending ranks is linear in all.
func (f *field) at(rank int) int {
	if rank < f.rank {
		f.rest, f.rank, f.w = 0, 0, 0
	}
	for {
		here := bits.OnesCount64(f.rest)
		if rank < f.rank+here {
			break
		}
		f.rank += here
		f.rest = f.word(f.w)
		f.w++
	}
	for ; f.rank < rank; f.rank++ {
		f.rest &= f.rest - 1
	}
	return (f.w-1)<<6 + bits.TrailingZeros64(f.rest)
}

// carry returns the node of each endpoint of m: the one that it has, where that
// is of type *T and keep agrees (nil: always), else the next of one slab for
// all others, which it returns too.
func carry[T any](m Members, keep func(*T) bool) (nodes []*T, slab []T) {
	nodes = make([]*T, len(m.Endpoints))
	fresh := 0
	for i := range nodes {
		// Through any, as a type parameter cannot be told to implement Node.
		n, ok := any(known(m, i)).(*T)
		if ok && n != nil && (keep == nil || keep(n)) {
			nodes[i] = n
		} else {
			fresh++
		}
	}
	slab = make([]T, fresh)
	for i, next := 0, 0; next < fresh; i++ {
		if nodes[i] == nil {
			nodes[i] = &slab[next]
			next++
		}
	}
	return nodes, slab
}
