package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/tullemesh/tulle"
)

// Subset is the set of another Resolver cut down to Size endpoints of each
// priority, for services of so many instances that not every client should have
// connections to all of them. It is a Resolver. Each client takes other ones, so
// that many clients together load all instances as evenly as without it, with no
// need to know of each other. Do not use it where there are few clients: each
// reaches only its part, and a lone client leaves the other instances idle.
//
// The endpoints are chosen by rendezvous hashing (highest random weight; Thaler
// and Ravishankar, 1998, and gRFC A68): each gets a number from the seed and its
// Addr, and the best numbers stay. When an endpoint comes or goes, or its Weight
// changes, at most one place of the subset changes. The order of the source is
// kept.
//
// An endpoint of twice the Weight is twice as likely to be chosen, as far as Size
// allows. Among the chosen that must not count once more, so where weights differ
// their weights are made even to that extent: w becomes w ÷ (1 - e^(-wτ)), with
// τ the number of the best that was left out (Cohen and Kaplan, 2007, rank
// conditioning), scaled to keep the mean. Thus over all clients each instance
// gets what its Weight says. Sets of equal weights keep them as they are.
type Subset struct {
	// Resolver is where the endpoints come from. Required.
	Resolver Resolver

	// Size is the number of endpoints to keep of each priority. A priority that
	// has no more keeps all. Required. Range: 1 to 1e6. Below about 20 the load
	// of single instances varies visibly (gRFC A68 advises 20), and one bad
	// endpoint is a large part of what a client has.
	Size int

	// Seed makes one client choose otherwise than another. Default (0): a random
	// one for each watch. A watch goes on while its source fails, and in package
	// transport also through changes of the configuration that leave this Subset
	// as it is, so a process keeps its subset; after a restart it takes another
	// one. Set it where the choice should survive restarts, to a number that no
	// other client has.
	Seed uint64

	// ByZone takes from each zone the part of Size that its number of endpoints
	// is of all, but one at least, so that the caller's zone and all others are
	// there in proportion (divisor method of Webster). What rounding gives to a
	// zone or takes is made up for by the weights. Where a priority has more
	// zones than Size, zones do not matter. Default (false): by chance.
	ByZone bool
}

const maxSubset = 1_000_000

// Validate returns an error that names every field that cannot be used and its
// value, or nil. It does not look into the Resolver.
func (s Subset) Validate() error {
	var errs []error
	if s.Resolver == nil {
		errs = append(errs, errors.New("discovery: subset: Resolver nil: want a resolver"))
	}
	if s.Size < 1 || s.Size > maxSubset {
		errs = append(errs, fmt.Errorf("discovery: subset: Size %d: want 1 to %d", s.Size, maxSubset))
	}
	return errors.Join(errs...)
}

// Watch watches the Resolver, whose watch it starts again as Keep does, and
// reports the subset of its set, if that has changed, and its errors. When
// Validate finds an error, Watch reports and returns that instead.
func (s Subset) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	if err := s.Validate(); err != nil {
		return refuse(report, err)
	}
	c := chooser{size: s.Size, byZone: s.ByZone, seed: s.Seed}
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	var last said
	return Keep(s.Resolver).Watch(ctx, func(u Update) {
		if u.Err != nil {
			last.tellErr(report, u.Err)
			return
		}
		// That nobody is there is news as often as the source says it.
		if set := c.choose(u.Endpoints); len(set) == 0 || last.isNews(set, nil) {
			last.tellSet(report, set)
		}
	}, refresh)
}

// A chooser chooses subsets.
type chooser struct {
	size   int
	byZone bool
	seed   uint64
}

// ranked is an endpoint in the race for a place. The lowest rank wins.
type ranked struct {
	index int
	rank  float64
	hash  uint64 // decides between equal ranks
}

// choose returns the subset of set, which stays as it is.
func (c *chooser) choose(set []tulle.Endpoint) []tulle.Endpoint {
	if len(set) <= c.size {
		return set
	}
	keep := make([]bool, len(set))
	shares := make(map[int]float64) // new weights, by index
	kept := 0
	for _, level := range groupBy(set, everyone(len(set)), func(e *tulle.Endpoint) int { return e.Priority }) {
		kept += c.chooseLevel(set, level, keep, shares)
	}
	chosen := make([]tulle.Endpoint, 0, kept)
	for i, ok := range keep {
		if !ok {
			continue
		}
		chosen = append(chosen, set[i])
		if w, ok := shares[i]; ok {
			chosen[len(chosen)-1].Weight = w
		}
	}
	return chosen
}

// everyone is 0 to n-1.
func everyone(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// groupBy splits the endpoints in members by a key, in the order of the keys.
func groupBy[K cmp.Ordered](set []tulle.Endpoint, members []int, key func(*tulle.Endpoint) K) [][]int {
	same := true
	first := key(&set[members[0]])
	for _, i := range members {
		same = same && key(&set[i]) == first
	}
	if same {
		return [][]int{members}
	}
	by := make(map[K][]int)
	for _, i := range members {
		k := key(&set[i])
		by[k] = append(by[k], i)
	}
	keys := make([]K, 0, len(by))
	for k := range by {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	groups := make([][]int, len(keys))
	for g, k := range keys {
		groups[g] = by[k]
	}
	return groups
}

// chooseLevel chooses among the endpoints of one priority and counts the chosen.
func (c *chooser) chooseLevel(set []tulle.Endpoint, level []int, keep []bool, shares map[int]float64) int {
	size := min(c.size, len(level))
	zones, sizes := [][]int{level}, []int{size}
	if c.byZone && size < len(level) {
		if by := groupBy(set, level, func(e *tulle.Endpoint) string { return e.Zone }); len(by) <= size {
			zones, sizes = by, apportion(by, size)
		}
	}
	scale := float64(size) / float64(len(level))
	for z, members := range zones {
		c.chooseZone(set, members, sizes[z], scale, keep, shares)
	}
	return size
}

// apportion divides size places among groups in proportion to their length, at
// least one for each, by Webster's method: the next place always goes to the
// group with the most members for each odd number, 1, 3, 5, … Unlike the method
// of largest remainders this never moves a place between two groups because a
// third one grew. No group gets more than it has, as size is below the sum.
func apportion(groups [][]int, size int) []int {
	sizes := make([]int, len(groups))
	for g := range groups {
		sizes[g] = 1
	}
	for range size - len(groups) {
		best := 0
		for g := 1; g < len(groups); g++ {
			// a ÷ (2s+1) without dividing.
			if len(groups[g])*(2*sizes[best]+1) > len(groups[best])*(2*sizes[g]+1) {
				best = g
			}
		}
		sizes[best]++
	}
	return sizes
}

// chooseZone marks size of the members, and notes the weights that make up for
// their chances to be chosen where these differ. Scale is the part of the level
// that is chosen.
func (c *chooser) chooseZone(set []tulle.Endpoint, members []int, size int, scale float64, keep []bool, shares map[int]float64) {
	race := make([]ranked, len(members))
	equal, total := true, 0.0
	for k, i := range members {
		w := set[i].Share()
		equal = equal && w == set[members[0]].Share()
		total += w
		h := c.hash(set[i].Addr)
		// An exponential random number divided by the weight: the chance to
		// have the lowest is proportional to the weight.
		race[k] = ranked{i, -math.Log((float64(h>>12)+0.5)/(1<<52)) / w, h}
	}
	border := math.Inf(1)
	if size < len(race) {
		lowest(race, size)
		border = race[size].rank
	}
	sum := 0.0
	for _, r := range race[:size] {
		keep[r.index] = true
		sum += estimate(set[r.index].Share(), border)
	}
	for _, r := range race[:size] {
		w := set[r.index].Share()
		next := w * float64(len(members)) / float64(size) * scale
		if !equal {
			next = estimate(w, border) / sum * total * scale
		}
		if math.Abs(next-w) > 1e-9*w {
			shares[r.index] = min(max(next, math.SmallestNonzeroFloat64), maxShare) // 0 would mean 1
		}
	}
}

// maxShare is the largest weight that an endpoint may have.
const maxShare = 1e6

// estimate is the weight of an endpoint divided by its chance to be ranked below
// border. For small weights that tends to 1/border.
func estimate(w, border float64) float64 {
	chance := -math.Expm1(-w * border)
	if chance < 1e-12 {
		return 1 / border
	}
	return w / chance
}

// hash gives the seed's random bits for an address: FNV-1a, whose bits are then
// mixed with the seed by the finalizer of splitmix64, twice, as neighbouring
// addresses and neighbouring seeds must have nothing in common.
func (c *chooser) hash(addr string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(addr) {
		h = (h ^ uint64(addr[i])) * 1099511628211
	}
	return mix(mix(h) ^ mix(c.seed))
}

// mix is the finalizer of splitmix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// before orders a race.
func (r *ranked) before(o *ranked) bool {
	if r.rank != o.rank {
		return r.rank < o.rank
	}
	if r.hash != o.hash {
		return r.hash > o.hash
	}
	return r.index < o.index
}

// lowest brings the k lowest ranks to the front and the next one to place k, in
// time linear in the length on average (Hoare's selection). The numbers are
// random by themselves, so the middle is as good a pivot as any.
func lowest(race []ranked, k int) {
	low, high := 0, len(race)-1
	for low < high {
		pivot := race[(low+high)/2]
		i, j := low, high
		for i <= j {
			for race[i].before(&pivot) {
				i++
			}
			for pivot.before(&race[j]) {
				j--
			}
			if i <= j {
				race[i], race[j] = race[j], race[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			high = j
		case k >= i:
			low = i
		default:
			return
		}
	}
}
