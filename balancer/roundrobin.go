package balancer

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/tullemesh/tulle"
)

// RoundRobin gives the endpoints turns, from a random one on. It looks neither at
// load nor at latency, so it is for endpoints that are alike, and calls that all
// take the same time.
//
// Endpoints of unequal weight get turns by the static stride scheduler of gRPC
// (gRFC A58): the endpoints are gone through again and again, and each round
// passes over those that had their share. Where A58 counts weights in 2^-16 of
// the largest this counts in 2^-32, so that weights of 1 and 1e6 keep their
// ratio; and where it goes on until an endpoint takes the turn, this draws one by
// weight after 32, so that a few heavy endpoints do not make picks slow.
//
// When a query rules out the endpoint whose turn it is, the turn goes to the
// others in turns of their own, not to its neighbour, which would get twice its
// share as long as the endpoint is ejected.
//
// Picks take no lock: they share one counter. The zero value is ready to use.
type RoundRobin struct {
	// Rand returns uniform random bits. It is asked for the first turn of each
	// set, so that clients which start together do not go around together.
	// Default (nil): math/rand/v2. It must be safe for concurrent use.
	Rand func() uint64
}

// Build implements Policy.
func (r RoundRobin) Build(m Members) Picker {
	p := &roundPicker{n: len(m.Endpoints)}
	random := r.Rand
	if random == nil {
		random = rand.Uint64
	}
	// 16 bits less, so that the count never wraps.
	p.turn.Store(random() >> 16)
	if !evenShares(m.Endpoints) {
		p.strides = newStrides(m.Endpoints)
		p.lots = newLots(m.Endpoints)
	}
	return p
}

// roundPicker is the Picker of one set.
type roundPicker struct {
	n       int
	strides []uint32 // nil when all shares are equal
	lots    *lots    // what strides falls back to

	// The counters have cache lines of their own: every pick writes to turn,
	// and must not take what is above from the other cores.
	_     [64]byte
	turn  atomic.Uint64
	_     [56]byte
	spare atomic.Uint64 // turns that were ruled out
	_     [56]byte
}

// maxSkips bounds how many endpoints a pick by stride passes over.
const maxSkips = 32

// Pick implements Picker.
func (p *roundPicker) Pick(q Query) int {
	if p.n == 0 {
		return -1
	}
	if p.strides != nil {
		return p.pickByStride(&q)
	}
	if i := int(p.turn.Add(1) % uint64(p.n)); q.Allows(i) {
		return i
	}
	f := newField(&q, p.n)
	if f.count == 0 {
		return -1
	}
	return f.at(int(p.spare.Add(1) % uint64(f.count)))
}

// pickByStride is Pick for unequal shares. Endpoints that are ruled out are
// passed over like those that had their share.
func (p *roundPicker) pickByStride(q *Query) int {
	var turn uint64
	for range maxSkips {
		turn = p.turn.Add(1)
		i := int(turn % uint64(p.n))
		if p.takes(i, turn/uint64(p.n)) && q.Allows(i) {
			return i
		}
	}
	r := splitmix(turn)
	return p.lots.drawAllowed(q, &r)
}

// Node implements Picker.
func (p *roundPicker) Node(int) Node { return unobserved{} }

// phase moves the rounds that endpoints take apart: by the golden ratio, as that
// keeps any number of endpoints of the same share evenly apart.
const phase = 0x9e3779b9

// takes says whether endpoint i takes its turn in a round. Of 2^32 rounds it
// takes as many as its stride says, evenly spread: in any number of rounds the
// count is within one of its share.
func (p *roundPicker) takes(i int, round uint64) bool {
	stride := uint64(p.strides[i]) + 1
	place := uint32(stride*round + uint64(i)*phase)
	_, carry := bits.Add32(place, p.strides[i], 1)
	return carry != 0
}

// newStrides scales the shares so that the largest becomes 2^32, and takes one
// off to make that fit.
func newStrides(endpoints []tulle.Endpoint) []uint32 {
	most := 0.0
	for i := range endpoints {
		most = max(most, endpoints[i].Share())
	}
	strides := make([]uint32, len(endpoints))
	for i := range endpoints {
		scaled := math.Round(endpoints[i].Share() / most * (1 << 32))
		strides[i] = uint32(max(scaled, 1) - 1)
	}
	return strides
}
