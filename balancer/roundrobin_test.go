package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// fixedRand is a source of random numbers that says the same in each test run.
// It is for one goroutine.
func fixedRand(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, seed)).Uint64 }

// picks counts that many picks by endpoint.
func picks(p balancer.Picker, n, picks int, q balancer.Query) []int {
	counts := make([]int, n)
	for range picks {
		counts[p.Pick(q)]++
	}
	return counts
}

func TestRoundRobinTurns(t *testing.T) {
	const n = 7
	p := balancer.RoundRobin{}.Build(alike(n))
	last := p.Pick(balancer.Query{})
	for range 5 * n {
		i := p.Pick(balancer.Query{})
		if i != (last+1)%n {
			t.Fatalf("after %d: got %d, want %d", last, i, (last+1)%n)
		}
		last = i
	}
}

func TestRoundRobinStartsAtRandom(t *testing.T) {
	const n = 5
	counts := make([]int, n)
	random := fixedRand(2)
	for range 1000 {
		counts[balancer.RoundRobin{Rand: random}.Build(alike(n)).Pick(balancer.Query{})]++
	}
	for i, c := range counts {
		if c < 150 || c > 250 {
			t.Errorf("first turn at %d: got %d of 1000 times, want about 200", i, c)
		}
	}
}

// Turns are exact when many take them at once.
func TestRoundRobinConcurrent(t *testing.T) {
	const n, callers, rounds = 6, 4, 300
	p := balancer.RoundRobin{}.Build(alike(n))
	var counts [n]atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range n * rounds {
				counts[p.Pick(balancer.Query{})].Add(1)
			}
		})
	}
	wg.Wait()
	for i := range counts {
		if got := counts[i].Load(); got != callers*rounds {
			t.Errorf("endpoint %d: got %d picks, want %d", i, got, callers*rounds)
		}
	}
}

// The turns of an endpoint that is ruled out go to all others alike: over a
// cycle of n(n-1) picks exactly, with its neighbour getting no more.
func TestRoundRobinWithoutOne(t *testing.T) {
	const n = 10
	p := balancer.RoundRobin{}.Build(alike(n))
	avoid := balancer.NewSet(n)
	avoid.Add(3)
	counts := picks(p, n, n*(n-1), balancer.Query{Avoid: avoid})
	for i, c := range counts {
		if want := n; i != 3 && c != want || i == 3 && c != 0 {
			t.Errorf("endpoint %d: got %d of %d picks, want %d, and none for 3: %v", i, c, n*(n-1), want, counts)
		}
	}
}

func TestRoundRobinOfFew(t *testing.T) {
	const n = 10_000
	p := balancer.RoundRobin{}.Build(alike(n))
	among := balancer.NewSet(n)
	for _, i := range []int{5, 6, 9000} {
		among.Add(i)
	}
	counts := picks(p, n, 300, balancer.Query{Among: among})
	for i, c := range counts {
		if among.Has(i) && (c < 99 || c > 101) {
			t.Errorf("3 of %d: endpoint %d: got %d of 300 picks, want 100 but for a direct hit", n, i, c)
		}
	}
	if got := p.Pick(balancer.Query{Among: balancer.NewSet(n)}); got != -1 {
		t.Errorf("none: got %d, want -1", got)
	}
}

// Over a full cycle, each endpoint has exactly its share, wherever it starts.
func TestRoundRobinFullCycle(t *testing.T) {
	for _, weights := range [][]float64{{1, 2}, {1, 1, 2, 4}, {8, 1, 0.5, 2, 2, 0}, {1, 64}} {
		total, least := 0.0, 1.0
		for _, w := range weights {
			if w == 0 {
				w = 1
			}
			total += w
			least = min(least, w)
		}
		cycle := int(total / least)
		for seed := range uint64(50) {
			p := balancer.RoundRobin{Rand: fixedRand(seed)}.Build(weighted(weights...))
			for range 3 {
				counts := picks(p, len(weights), cycle, balancer.Query{})
				for i, w := range weights {
					if w == 0 {
						w = 1
					}
					if got, want := counts[i], int(w/least); got != want {
						t.Fatalf("weights %v, seed %d: endpoint %d: got %d of %d picks, want %d", weights, seed, i, got, cycle, want)
					}
				}
			}
		}
	}
}

// With any weights, and over any stretch, the count is off by a few at most: the
// turns are spread, not bunched.
func TestRoundRobinIsSmooth(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 30 {
		weights := make([]float64, 2+rng.IntN(12))
		total := 0.0
		for i := range weights {
			weights[i] = math.Exp(4 * rng.Float64())
			total += weights[i]
		}
		p := balancer.RoundRobin{Rand: rng.Uint64}.Build(weighted(weights...))
		counts := make([]int, len(weights))
		for k := range 5000 {
			counts[p.Pick(balancer.Query{})]++
			for i, w := range weights {
				part := w / total
				off := float64(counts[i]) - part*float64(k+1)
				if bound := 2 + float64(len(weights))*part; math.Abs(off) > bound {
					t.Fatalf("weights %.2f: endpoint %d after %d picks: got %d, off by %.1f, want at most %.1f", weights, i, k+1, counts[i], off, bound)
				}
			}
		}
	}
}

// 1:1e6 keeps its ratio, and picks stay quick: the light ones of a set with one
// heavy endpoint are passed over 32 times at most.
func TestRoundRobinExtremeWeights(t *testing.T) {
	p := balancer.RoundRobin{Rand: fixedRand(4)}.Build(weighted(1, 1e6))
	counts := picks(p, 2, 3_000_003, balancer.Query{})
	if counts[0] != 3 {
		t.Errorf("weights 1 and 1e6: got %v, want 3 and 3,000,000", counts)
	}
	weights := make([]float64, 1001)
	weights[500] = 1000
	p = balancer.RoundRobin{Rand: fixedRand(5)}.Build(weighted(weights...))
	counts = picks(p, len(weights), 100_000, balancer.Query{})
	if got := counts[500]; got < 49_000 || got > 51_000 {
		t.Errorf("one of 1000 among 1000 of 1: got %d of 100,000 picks, want about 50,000", got)
	}
	if counts[500] = 50; slices.Min(counts) < 15 || slices.Max(counts) > 100 {
		t.Errorf("the light ones: got %d to %d of 100,000 picks, want about 50 each", slices.Min(counts), slices.Max(counts))
	}
}

// What a query leaves is shared by weight too.
func TestRoundRobinWeightsAmong(t *testing.T) {
	p := balancer.RoundRobin{Rand: fixedRand(6)}.Build(weighted(100, 1, 2, 50, 3, 100))
	among := balancer.NewSet(6)
	for _, i := range []int{1, 2, 4} {
		among.Add(i)
	}
	counts := picks(p, 6, 6000, balancer.Query{Among: among})
	for i, want := range []int{0, 1000, 2000, 0, 3000, 0} {
		if got := counts[i]; got < want*85/100 || got > want*115/100 {
			t.Errorf("endpoint %d: got %d of 6000 picks, want about %d", i, got, want)
		}
	}
}

func ExampleRoundRobin() {
	m := balancer.Members{
		Endpoints: []tulle.Endpoint{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80", Weight: 3}},
		Nodes:     make([]balancer.Node, 2),
	}
	p := balancer.RoundRobin{}.Build(m)

	counts := map[string]int{}
	for range 400 {
		counts[m.Endpoints[p.Pick(balancer.Query{})].Addr]++
	}
	fmt.Println(counts["10.0.0.1:80"] >= 99, counts["10.0.0.1:80"] <= 101)
	// Output: true true
}
