package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// drain returns all candidates of a draw.
func drain(q Query, n, want int, seed uint64) []int {
	var all []int
	c := newCandidates(q, n, want, seed)
	for i := c.next(); i >= 0; i = c.next() {
		all = append(all, i)
	}
	return all
}

// setOf makes a set with room for n.
func setOf(n int, members ...int) Set {
	s := NewSet(n)
	for _, i := range members {
		s.Add(i)
	}
	return s
}

// randomSet draws a set of n indices, each in it with probability p.
func randomSet(rng *rand.Rand, n int, p float64) Set {
	s := NewSet(n)
	for i := range n {
		if rng.Float64() < p {
			s.Add(i)
		}
	}
	return s
}

// naiveAllowed lists what a query allows, by its definition.
func naiveAllowed(q Query, n int) []int {
	var fresh, all []int
	for i := range n {
		if q.Among == nil || q.Among.Has(i) {
			all = append(all, i)
			if !q.Avoid.Has(i) {
				fresh = append(fresh, i)
			}
		}
	}
	if len(fresh) > 0 {
		return fresh
	}
	return all
}

func TestCandidatesAreAllowedAndDistinct(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	sets := func(n int) []Set {
		return []Set{nil, {}, NewSet(n), setOf(n, n-1), randomSet(rng, n, 0.003), randomSet(rng, n, 0.3),
			randomSet(rng, n, 0.97), randomSet(rng, n, 1), randomSet(rng, n/2+1, 0.5)}
	}
	for _, n := range []int{1, 2, 3, 10, 63, 64, 65, 100, 129, 1000, 10_000} {
		for _, want := range []int{1, 2, 3, 32, 33, 1024} {
			for _, among := range sets(n) {
				for _, avoid := range sets(n) {
					q := Query{Among: among, Avoid: avoid}
					allowed := naiveAllowed(q, n)
					got := drain(q, n, want, rng.Uint64())
					name := fmt.Sprintf("n %d, want %d, among %d of %d words, avoid %d", n, want, among.Len(), len(among), avoid.Len())
					checkDraw(t, name, got, allowed, want)
				}
			}
		}
	}
}

// checkDraw checks one draw against the list of what is allowed.
func checkDraw(t *testing.T, name string, got, allowed []int, want int) {
	t.Helper()
	if len(got) != min(want, len(allowed)) {
		t.Fatalf("%s: got %d candidates, want %d", name, len(got), min(want, len(allowed)))
	}
	sorted := slices.Sorted(slices.Values(got))
	if len(slices.Compact(sorted)) != len(got) {
		t.Fatalf("%s: got %v, want no index twice", name, got)
	}
	for _, i := range got {
		if _, ok := slices.BinarySearch(allowed, i); !ok {
			t.Fatalf("%s: got %d, which is not allowed", name, i)
		}
	}
}

func TestCandidatesOfNothing(t *testing.T) {
	for _, want := range []int{1, 2, 32, 33} {
		if got := drain(Query{}, 0, want, 7); len(got) != 0 {
			t.Errorf("no endpoints, %d wanted: got %v, want none", want, got)
		}
	}
	if a, b := drawPair(&Query{}, 0, 7); a != -1 || b != -1 {
		t.Errorf("pair of none: got %d, %d, want -1, -1", a, b)
	}
	if a, b := drawPair(&Query{}, 1, 7); a != 0 || b != -1 {
		t.Errorf("pair of one: got %d, %d, want 0, -1", a, b)
	}
}

// A set may hold more than there are endpoints; what is past the end does not
// exist.
func TestCandidatesStayBelowN(t *testing.T) {
	q := Query{Among: setOf(512, 3, 9, 70, 300, 511)}
	for n, want := range map[int][]int{5: {3}, 64: {3, 9}, 71: {3, 9, 70}, 512: {3, 9, 70, 300, 511}} {
		for _, wanted := range []int{5, 40} {
			got := slices.Sorted(slices.Values(drain(q, n, wanted, 3)))
			if !slices.Equal(got, want) {
				t.Errorf("n %d: got %v, want %v", n, got, want)
			}
		}
	}
}

// chiSquare is the statistic of counts that should be equal. Its mean is
// len(counts)-1.
func chiSquare(counts []int) float64 {
	total := 0
	for _, c := range counts {
		total += c
	}
	want, sum := float64(total)/float64(len(counts)), 0.0
	for _, c := range counts {
		sum += (float64(c) - want) * (float64(c) - want) / want
	}
	return sum
}

// tooFar is a bound for chiSquare of k equal shares: six standard deviations
// above its mean, and some more where k is small. The seeds are fixed, so a fair
// draw that passes once passes always.
func tooFar(k int) float64 { return float64(k) + 6*math.Sqrt(2*float64(k)) + 10 }

// uniformCases are draws of every kind.
var uniformCases = []struct {
	name    string
	n, want int
	among   []int // of each 100 indices; nil: all
	avoid   []int
}{
	{"pair", 10, 2, nil, nil},
	{"pair of many", 200, 2, nil, nil},
	{"word, few of many", 40, 3, nil, nil},
	{"word, all", 10, 32, nil, nil},
	{"word, dense", 50, 5, []int{0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 41, 42, 43, 44}, []int{2, 43}},
	{"word, sparse", 60, 3, []int{7, 8, 9, 55, 59}, nil},
	{"sampled, many", 100, 32, nil, nil},
	{"sampled, half", 200, 4, []int{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 50, 51, 52, 53, 54, 55, 99}, nil},
	{"sampled, then strata", 300, 3, []int{11}, nil},
	{"sampled, then strata, avoiding", 1000, 8, []int{5, 6, 7, 90}, []int{7}},
	{"strata", 100, 40, nil, nil},
	{"strata, uneven", 90, 35, []int{1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
		60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89}, nil},
}

// spread repeats a pattern of 100 indices up to n.
func spread(n int, pattern []int) Set {
	if pattern == nil {
		return nil
	}
	s := NewSet(n)
	for i := range n {
		if slices.Contains(pattern, i%100) {
			s.Add(i)
		}
	}
	return s
}

func TestCandidatesAreUniform(t *testing.T) {
	for _, c := range uniformCases {
		q := Query{Among: spread(c.n, c.among), Avoid: spread(c.n, c.avoid)}
		allowed := naiveAllowed(q, c.n)
		rank := map[int]int{}
		for r, i := range allowed {
			rank[i] = r
		}
		first, any := make([]int, len(allowed)), make([]int, len(allowed))
		rng := rand.New(rand.NewPCG(2, uint64(c.n)))
		for range 500 * len(allowed) {
			for k, i := range drain(q, c.n, c.want, rng.Uint64()) {
				if k == 0 {
					first[rank[i]]++
				}
				any[rank[i]]++
			}
		}
		if got := chiSquare(first); got > tooFar(len(allowed)) {
			t.Errorf("%s: first candidates: got chi-square %.0f, want about %d: %v", c.name, got, len(allowed)-1, first)
		}
		if got := chiSquare(any); got > tooFar(len(allowed)) {
			t.Errorf("%s: candidates: got chi-square %.0f, want about %d: %v", c.name, got, len(allowed)-1, any)
		}
	}
}

// Short of all and of strata, every ordered pair is as likely as every other.
func TestPairsAreUniform(t *testing.T) {
	for _, c := range uniformCases[:7] {
		if c.name == "word, all" {
			continue
		}
		q := Query{Among: spread(c.n, c.among), Avoid: spread(c.n, c.avoid)}
		allowed := naiveAllowed(q, c.n)
		counts := map[[2]int]int{}
		rng := rand.New(rand.NewPCG(3, uint64(c.n)))
		pairs := len(allowed) * (len(allowed) - 1)
		for range 30 * pairs {
			if c.want == 2 {
				a, b := drawPair(&q, c.n, rng.Uint64())
				counts[[2]int{a, b}]++
				continue
			}
			all := drain(q, c.n, c.want, rng.Uint64())
			counts[[2]int{all[0], all[1]}]++
		}
		list := make([]int, 0, pairs)
		for _, a := range allowed {
			for _, b := range allowed {
				if a != b {
					list = append(list, counts[[2]int{a, b}])
				}
			}
		}
		if got := chiSquare(list); got > tooFar(pairs) {
			t.Errorf("%s: pairs: got chi-square %.0f, want about %d", c.name, got, pairs-1)
		}
	}
}

func TestChiSquareFindsBias(t *testing.T) {
	fair, biased := make([]int, 20), make([]int, 20)
	rng := rand.New(rand.NewPCG(4, 4))
	for range 10_000 {
		fair[rng.IntN(20)]++
		biased[min(rng.IntN(20), rng.IntN(21))]++
	}
	if got := chiSquare(fair); got > tooFar(20) {
		t.Errorf("fair: got %.0f, want below %.0f", got, tooFar(20))
	}
	if got := chiSquare(biased); got < tooFar(20) {
		t.Errorf("biased: got %.0f, want above %.0f", got, tooFar(20))
	}
}

func TestSplitmixBelow(t *testing.T) {
	r := splitmix(0)
	// The first number of the reference implementation for seed 0.
	if got, want := r.next(), uint64(0xe220a8397b1dcdaf); got != want {
		t.Errorf("first number: got %#x, want %#x", got, want)
	}
	counts := make([]int, 7)
	for range 70_000 {
		i := r.below(7)
		if i < 0 || i >= 7 {
			t.Fatalf("below(7): got %d", i)
		}
		counts[i]++
	}
	if got := chiSquare(counts); got > tooFar(7) {
		t.Errorf("below(7): got chi-square %.0f, want about 6: %v", got, counts)
	}
}

func TestFieldWalks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{1, 64, 65, 700} {
		for range 20 {
			q := Query{Among: randomSet(rng, n, rng.Float64()), Avoid: randomSet(rng, n, 0.2)}
			allowed := naiveAllowed(q, n)
			f := newField(&q, n)
			if f.count != len(allowed) {
				t.Fatalf("n %d: got %d members, want %d", n, f.count, len(allowed))
			}
			if got := slices.Collect(f.all); !slices.Equal(got, allowed) {
				t.Fatalf("n %d: got %v, want %v", n, got, allowed)
			}
			for range 50 {
				if f.count == 0 {
					break
				}
				// Up and down, as the walk remembers where it was.
				r := rng.IntN(f.count)
				if got := f.at(r); got != allowed[r] {
					t.Fatalf("n %d: member of rank %d: got %d, want %d", n, r, got, allowed[r])
				}
			}
		}
	}
}

func BenchmarkCandidates(b *testing.B) {
	for _, n := range []int{10, 32, 1000, 10_000} {
		dense, sparse := NewSet(n), setOf(n, 0, n/3, n-1)
		for i := range n {
			if i%10 != 3 {
				dense.Add(i)
			}
		}
		for _, k := range []struct {
			name string
			q    Query
		}{{"all", Query{}}, {"most", Query{Among: dense}}, {"3", Query{Among: sparse}}, {"most, 3 avoided", Query{Among: dense, Avoid: sparse}}} {
			for _, want := range []int{2, 4, 32} {
				b.Run(fmt.Sprintf("n=%d/among=%s/want=%d", n, k.name, want), func(b *testing.B) {
					seed, sum := uint64(0), 0
					for b.Loop() {
						seed++
						if want == 2 {
							first, second := drawPair(&k.q, n, seed)
							sum += first + second
							continue
						}
						c := newCandidates(k.q, n, want, seed)
						for i := c.next(); i >= 0; i = c.next() {
							sum += i
						}
					}
					if sum < 0 {
						b.Fatal("got no candidates")
					}
				})
			}
		}
	}
}
