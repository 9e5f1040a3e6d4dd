package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// checkShares compares counts with the shares of the endpoints that are allowed
// by a chi-square test. Seeds are fixed, so the bound may be tight: six standard
// deviations and some more for few endpoints.
func checkShares(t *testing.T, name string, counts []int, m balancer.Members, allowed func(int) bool) {
	t.Helper()
	total, all, k := 0.0, 0, 0
	for i, c := range counts {
		all += c
		if allowed(i) {
			total += m.Endpoints[i].Share()
			k++
		} else if c > 0 {
			t.Fatalf("%s: endpoint %d: got %d picks, want none", name, i, c)
		}
	}
	chi := 0.0
	for i, c := range counts {
		if allowed(i) {
			want := float64(all) * m.Endpoints[i].Share() / total
			chi += (float64(c) - want) * (float64(c) - want) / want
		}
	}
	if bound := float64(k) + 6*math.Sqrt(2*float64(k)) + 10; chi > bound {
		t.Errorf("%s: got chi-square %.0f, want about %d and at most %.0f: %v", name, chi, k-1, bound, counts)
	}
}

func TestRandomShares(t *testing.T) {
	every := func(k int) func(int) bool { return func(i int) bool { return i%k == k-1 } }
	notFirst := func(i int) bool { return i > 0 }
	for _, c := range []struct {
		name    string
		weights []float64
		allowed func(int) bool
	}{
		{"one", []float64{3}, every(1)},
		{"equal", make([]float64, 10), every(1)},
		{"equal, every third", make([]float64, 30), every(3)},
		{"equal, 3 of many", make([]float64, 3000), every(1000)},
		{"two", []float64{1, 9}, every(1)},
		{"0 is 1", []float64{0, 1, 2}, every(1)},
		{"mixed", []float64{0.1, 5, 2, 2, 2, 0.3, 40, 1, 7, 7}, every(1)},
		{"mixed, every second", []float64{0.1, 5, 2, 2, 2, 0.3, 40, 1, 7, 7}, every(2)},
		{"without the heavy one", []float64{1e6, 5, 2, 2, 2, 3}, notFirst},
		{"ascending", ascending(100), every(1)},
		{"ascending, every fifth", ascending(100), every(5)},
		{"ascending, 4 of many", ascending(2000), every(500)},
	} {
		m := weighted(c.weights...)
		p := balancer.Random{Rand: fixedRand(7)}.Build(m)
		among := balancer.NewSet(len(c.weights))
		avoid := balancer.NewSet(len(c.weights))
		for i := range c.weights {
			if c.allowed(i) {
				among.Add(i)
			} else {
				avoid.Add(i)
			}
		}
		calls := 300 * max(among.Len(), 100)
		checkShares(t, c.name+", among", picks(p, len(c.weights), calls, balancer.Query{Among: among}), m, c.allowed)
		checkShares(t, c.name+", avoid", picks(p, len(c.weights), calls, balancer.Query{Avoid: avoid}), m, c.allowed)
	}
}

// ascending is weights from 1 to n.
func ascending(n int) []float64 {
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = float64(i + 1)
	}
	return weights
}

func TestRandomUnlimited(t *testing.T) {
	for _, weights := range [][]float64{make([]float64, 20), ascending(20)} {
		m := weighted(weights...)
		p := balancer.Random{Rand: fixedRand(8)}.Build(m)
		checkShares(t, fmt.Sprint(weights), picks(p, 20, 50_000, balancer.Query{}), m, func(int) bool { return true })
	}
}

func TestRandomOfNone(t *testing.T) {
	for _, weights := range [][]float64{{1, 1}, {1, 2}} {
		p := balancer.Random{}.Build(weighted(weights...))
		if got := p.Pick(balancer.Query{Among: balancer.NewSet(2)}); got != -1 {
			t.Errorf("weights %v, empty Among: got %d, want -1", weights, got)
		}
	}
}

// Picks have no memory: the next one does not depend on the last.
func TestRandomIsIndependent(t *testing.T) {
	const n, calls = 4, 40_000
	p := balancer.Random{Rand: rand.New(rand.NewPCG(9, 9)).Uint64}.Build(weighted(1, 2, 3, 2))
	m := weighted(1, 2, 3, 2, 2, 4, 6, 4, 3, 6, 9, 6, 2, 4, 6, 4) // the products
	counts := make([]int, n*n)
	last := p.Pick(balancer.Query{})
	for range calls {
		i := p.Pick(balancer.Query{})
		counts[last*n+i]++
		last = i
	}
	checkShares(t, "pairs", counts, m, func(int) bool { return true })
}

func ExampleRandom() {
	m := balancer.Members{
		Endpoints: []tulle.Endpoint{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80", Weight: 3}},
		Nodes:     make([]balancer.Node, 2),
	}
	p := balancer.Random{Rand: rand.New(rand.NewPCG(1, 2)).Uint64}.Build(m)

	heavy := 0
	for range 40_000 {
		heavy += p.Pick(balancer.Query{})
	}
	fmt.Printf("%.0f %%\n", float64(heavy)/400)
	// Output: 75 %
}
