package balancer_test

import (
	"fmt"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

func TestLeastRequestTakesTheLeast(t *testing.T) {
	for _, choices := range []int{3, 10, 32} {
		const n = 10
		p := balancer.LeastRequest{Choices: choices}.Build(alike(n))
		worst := 0
		for k := range 2000 {
			i := p.Pick(balancer.Query{})
			p.Node(i).Begin(0)
			lo, hi := 1e9, 0.0
			for j := range n {
				lo, hi = min(lo, cost(p, j, 0)), max(hi, cost(p, j, 0))
			}
			worst = max(worst, int(hi-lo))
			if choices >= n && hi-lo > 1 {
				t.Fatalf("of %d, pick %d: got costs from %v to %v, want at most 1 apart", choices, k, lo, hi)
			}
		}
		if worst > 6 {
			t.Errorf("of %d: got counts up to %d apart, want at most 6", choices, worst)
		}
	}
}

func TestLeastRequestCost(t *testing.T) {
	p := balancer.LeastRequest{}.Build(weighted(0, 1, 2, 0.5))
	for i := range 4 {
		p.Node(i).Begin(0)
		p.Node(i).Begin(0)
		p.Node(i).Begin(0)
	}
	for i, want := range []float64{4, 4, 2, 8} {
		if got := cost(p, i, 0); got != want {
			t.Errorf("endpoint %d, 3 waiting: got cost %v, want %v", i, got, want)
		}
	}
	s := p.(balancer.Describer).Describe(0, 0)
	if s.Latency != 0 || s.Success != -1 {
		t.Errorf("Describe: got latency %v and success %v, want 0 and -1 as it knows neither", s.Latency, s.Success)
	}
}

// What an attempt came to does not matter, only that it waits no more.
func TestLeastRequestCountsWaiting(t *testing.T) {
	p := balancer.LeastRequest{}.Build(alike(1))
	for _, s := range []tulle.Sampling{tulle.NoSample, tulle.FullSample, tulle.CensoredSample, 77} {
		p.Node(0).Begin(0)
		if got := cost(p, 0, 0); got != 2 {
			t.Errorf("waiting: got cost %v, want 2", got)
		}
		p.Node(0).Answer(0, 1, s)
		if got := cost(p, 0, 1); got != 1 {
			t.Errorf("answered, sampling %d: got cost %v, want 1", s, got)
		}
		p.Node(0).Judge(1, balancer.Judgement{Verdict: tulle.Failure, Throttled: true, Until: 99})
		if got := cost(p, 0, 1); got != 1 {
			t.Errorf("judged: got cost %v, want 1", got)
		}
	}
}

// Ties are broken by chance, so idle endpoints share evenly.
func TestLeastRequestTies(t *testing.T) {
	for _, choices := range []int{2, 3, 32} {
		const n, picks = 5, 5000
		p := balancer.LeastRequest{Choices: choices, Rand: fixedRand(1)}.Build(alike(n))
		counts := make([]int, n)
		for range picks {
			counts[p.Pick(balancer.Query{})]++
		}
		for i, c := range counts {
			if c < picks/n*8/10 || c > picks/n*12/10 {
				t.Errorf("of %d: endpoint %d: got %d of %d picks, want about %d", choices, i, c, picks, picks/n)
			}
		}
	}
}

func ExampleLeastRequest() {
	m := balancer.Members{
		Endpoints: []tulle.Endpoint{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80", Weight: 3}},
		Nodes:     make([]balancer.Node, 2),
	}
	p := balancer.LeastRequest{Choices: 2}.Build(m)

	// Attempts that are not answered add up by weight.
	counts := map[string]int{}
	for range 8 {
		i := p.Pick(balancer.Query{})
		p.Node(i).Begin(0)
		counts[m.Endpoints[i].Addr]++
	}
	fmt.Println(counts)
	// Output: map[10.0.0.1:80:2 10.0.0.2:80:6]
}
