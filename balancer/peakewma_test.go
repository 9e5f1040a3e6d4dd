package balancer_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// weighted makes one endpoint of each weight.
func weighted(weights ...float64) balancer.Members {
	eps := make([]tulle.Endpoint, len(weights))
	for i, w := range weights {
		eps[i] = tulle.Endpoint{Addr: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Weight: w}
	}
	return balancer.Members{Endpoints: eps, Nodes: make([]balancer.Node, len(eps))}
}

// alike makes n endpoints of the same weight.
func alike(n int) balancer.Members { return weighted(make([]float64, n)...) }

// again is m with the nodes of a Picker made for it.
func again(m balancer.Members, p balancer.Picker) balancer.Members {
	m.Prev = p
	m.Nodes = make([]balancer.Node, len(m.Endpoints))
	for i := range m.Nodes {
		m.Nodes[i] = p.Node(i)
	}
	return m
}

// call makes one attempt at endpoint i from start to end.
func call(p balancer.Picker, i int, start, end time.Duration, s tulle.Sampling) {
	p.Node(i).Begin(start)
	p.Node(i).Answer(start, end, s)
	p.Node(i).Judge(end, balancer.Judgement{})
}

// latency is what the Picker believes endpoint i takes.
func latency(p balancer.Picker, i int, now time.Duration) time.Duration {
	return p.(balancer.Describer).Describe(i, now).Latency
}

// cost is what the Picker compares.
func cost(p balancer.Picker, i int, now time.Duration) float64 {
	return p.(balancer.Describer).Describe(i, now).Cost
}

// near says that two figures are the same but for rounding.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(math.Abs(a), math.Abs(b), 1) }

func TestPeakEWMACost(t *testing.T) {
	const ms = time.Millisecond
	type sample struct {
		start, end time.Duration
		sampling   tulle.Sampling
	}
	full := func(start, end time.Duration) sample { return sample{start, end, tulle.FullSample} }
	e := math.Exp
	for _, c := range []struct {
		name    string
		samples []sample
		at      time.Duration
		want    float64 // ms
	}{
		{"nothing yet", nil, time.Second, 0},
		{"one", []sample{full(0, 20*ms)}, 20 * ms, 20},
		{"decays while nobody looks", []sample{full(0, 20*ms)}, 10*time.Second + 20*ms, 20 * e(-1)},
		{"a higher one replaces it", []sample{full(0, 20*ms), full(20*ms, 100*ms)}, 100 * ms, 80},
		{"a lower one moves it", []sample{full(0, 200*ms), full(5200*ms-20*ms, 5200*ms)}, 5200 * ms, 200*e(-0.5) + 20*(1-e(-0.5))},
		{"of no time", []sample{full(0, 0)}, 0, 0},
		{"of no time after another", []sample{full(0, 20*ms), full(20*ms, 20*ms)}, 20 * ms, 20},
		{"that ends before it starts", []sample{full(0, 20*ms), full(30*ms, 20*ms)}, 20 * ms, 20},
		{"of hours", []sample{full(0, 3*time.Hour)}, 3 * time.Hour, 3 * 3600e3},
		{"a failure tells nothing", []sample{full(0, 20*ms), {20 * ms, 21 * ms, tulle.NoSample}}, 21 * ms, 20 * e(-0.0001)},
		{"a first failure tells nothing", []sample{{0, 5 * ms, tulle.NoSample}}, 5 * ms, 0},
		{"a bound above", []sample{full(0, 20*ms), {20 * ms, 520 * ms, tulle.CensoredSample}}, 520 * ms, 500},
		{"a bound below", []sample{full(0, 20*ms), {20 * ms, 30 * ms, tulle.CensoredSample}}, 30 * ms, 20 * e(-0.001)},
		{"an unknown sampling is a sample", []sample{{0, 20 * ms, 9}}, 20 * ms, 20},
		{"one that comes late", []sample{full(0, 20*ms), full(0, 15*ms)}, 20 * ms, 20},
	} {
		p := balancer.PeakEWMA{}.Build(alike(2))
		for _, s := range c.samples {
			call(p, 0, s.start, s.end, s.sampling)
		}
		if got := cost(p, 0, c.at) / 1e6; !near(got, c.want) {
			t.Errorf("%s: got cost %v ms, want %v ms", c.name, got, c.want)
		}
		if got := float64(latency(p, 0, c.at)) / 1e6; math.Abs(got-c.want) > 1e-3 {
			t.Errorf("%s: got latency %v ms, want %v ms", c.name, got, c.want)
		}
		if got := cost(p, 1, c.at); got != 0 {
			t.Errorf("%s: the other endpoint: got cost %v, want 0", c.name, got)
		}
	}
}

// A new endpoint takes one attempt and then looks worse than any other, until
// its answer comes.
func TestPeakEWMANewEndpoint(t *testing.T) {
	p := balancer.PeakEWMA{}.Build(alike(2))
	call(p, 0, 0, time.Second, tulle.FullSample)
	now := time.Second
	for range 20 {
		if got := p.Pick(balancer.Query{Now: now}); got != 1 {
			t.Fatalf("an idle new endpoint: got %d, want 1", got)
		}
	}
	p.Node(1).Begin(now)
	p.Node(0).Begin(now)
	for range 20 {
		if got := p.Pick(balancer.Query{Now: now}); got != 0 {
			t.Fatalf("a new endpoint with an attempt waiting: got %d, want 0", got)
		}
	}
	p.Node(1).Answer(now, now+time.Millisecond, tulle.FullSample)
	if got := p.Pick(balancer.Query{Now: now + time.Millisecond}); got != 1 {
		t.Errorf("a new endpoint that answered quickly: got %d, want 1", got)
	}
}

// A look counts as a sample of 0: it brings the time of the last look on, so
// the next lower sample weighs less. Describe is no look.
func TestPeakEWMALooks(t *testing.T) {
	const second = time.Second
	seen := func(look func(p balancer.Picker)) float64 {
		p := balancer.PeakEWMA{}.Build(alike(2))
		call(p, 0, 0, second, tulle.FullSample)
		look(p)
		call(p, 0, 11*second-second/10, 11*second, tulle.FullSample)
		return cost(p, 0, 11*second) / 1e9
	}
	decayed := math.Exp(-1)
	if got, want := seen(func(balancer.Picker) {}), decayed+0.1*(1-decayed); !near(got, want) {
		t.Errorf("nobody looked: got %v, want %v", got, want)
	}
	pick := func(p balancer.Picker) { p.Pick(balancer.Query{Now: 10 * second}) }
	if got, want := seen(pick), decayed+0.1*(1-math.Exp(-0.1)); !near(got, want) {
		t.Errorf("a pick after 9 s: got %v, want %v", got, want)
	}
	describe := func(p balancer.Picker) { cost(p, 0, 10*second) }
	if got, want := seen(describe), seen(func(balancer.Picker) {}); got != want {
		t.Errorf("a Describe after 9 s: got %v, want %v as without", got, want)
	}
}

// The goroutines of a program read the clock before they come to look.
func TestPeakEWMATimeDoesNotRunBack(t *testing.T) {
	p := balancer.PeakEWMA{}.Build(alike(2))
	call(p, 0, 0, time.Second, tulle.FullSample)
	call(p, 1, 0, time.Second, tulle.FullSample)
	p.Pick(balancer.Query{Now: 5 * time.Second})
	if got, want := cost(p, 0, 4*time.Second), cost(p, 0, 5*time.Second); got != want {
		t.Errorf("cost a second before the last look: got %v, want %v as at the look", got, want)
	}
}

func TestPeakEWMAWeights(t *testing.T) {
	p := balancer.PeakEWMA{}.Build(weighted(1, 4))
	p.Node(0).Begin(0)
	p.Node(1).Begin(0)
	if got, want := cost(p, 0, 0), 4*cost(p, 1, 0); got != want || got == 0 {
		t.Errorf("new, one waiting each: got cost %v of weight 1, want 4 times that of weight 4 (%v)", got, want)
	}
	call(p, 0, 0, time.Second, tulle.FullSample)
	call(p, 1, 0, time.Second, tulle.FullSample)
	if got, want := cost(p, 0, time.Second), 4*cost(p, 1, time.Second); got != want || got == 0 {
		t.Errorf("after a sample: got cost %v of weight 1, want 4 times that of weight 4 (%v)", got, want)
	}
	m := again(weighted(8, 4), p)
	m.Now = time.Second
	p = balancer.PeakEWMA{}.Build(m)
	if got, want := 2*cost(p, 0, time.Second), cost(p, 1, time.Second); got != want {
		t.Errorf("after a change of weights: got twice %v for weight 8, want %v as for weight 4", got, want)
	}
}

func TestPeakEWMATau(t *testing.T) {
	for _, c := range []struct{ tau, want time.Duration }{
		{0, 10 * time.Second}, {-1, 10 * time.Second}, {1, time.Millisecond},
		{time.Millisecond, time.Millisecond}, {time.Hour, time.Hour},
	} {
		p := balancer.PeakEWMA{Tau: c.tau}.Build(alike(1))
		call(p, 0, 0, time.Second, tulle.FullSample)
		if got, want := cost(p, 0, time.Second+c.want), 1e9/math.E; !near(got, want) {
			t.Errorf("Tau %v: got cost %v after %v, want %v", c.tau, got, c.want, want)
		}
	}
}

// A reload may change Tau: what is known stays known.
func TestPeakEWMATauChanges(t *testing.T) {
	m := alike(3)
	p := balancer.PeakEWMA{}.Build(m)
	call(p, 0, 0, time.Second, tulle.FullSample)
	p.Node(1).Begin(0)
	m = again(m, p)
	m.Now = 11 * time.Second
	q := balancer.PeakEWMA{Tau: time.Second}.Build(m)
	if got, want := cost(q, 0, m.Now), 1e9/math.E; !near(got, want) {
		t.Errorf("at the change: got cost %v, want %v", got, want)
	}
	if got, want := cost(q, 0, m.Now+time.Second), 1e9/math.E/math.E; !near(got, want) {
		t.Errorf("a new Tau later: got cost %v, want %v", got, want)
	}
	if got := cost(q, 1, m.Now); got != 0 {
		t.Errorf("with an attempt of before waiting: got cost %v, want 0, as it is not counted", got)
	}
	p.Node(1).Answer(0, m.Now, tulle.FullSample)
	if got := cost(q, 1, m.Now); got != 0 {
		t.Errorf("after the end of that attempt: got cost %v, want 0", got)
	}
}

// After years of uptime the cost is still exact enough to order endpoints.
func TestPeakEWMAUptime(t *testing.T) {
	const year = 365 * 24 * time.Hour
	p := balancer.PeakEWMA{}.Build(alike(2))
	call(p, 0, 5*year, 5*year+5*time.Millisecond, tulle.FullSample)
	now := 5*year + 10*time.Second
	if got, want := cost(p, 0, now), 5e6*math.Exp(-9.995/10); !near(got, want) {
		t.Errorf("got cost %v, want %v", got, want)
	}
}

func ExamplePeakEWMA() {
	m := balancer.Members{
		Endpoints: []tulle.Endpoint{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80"}},
		Nodes:     make([]balancer.Node, 2),
	}
	p := balancer.PeakEWMA{Tau: 5 * time.Second}.Build(m)

	// One attempt at each: 20 ms and 5 ms.
	for i, took := range []time.Duration{20 * time.Millisecond, 5 * time.Millisecond} {
		n := p.Node(i)
		n.Begin(0)
		n.Answer(0, took, tulle.FullSample)
		n.Judge(took, balancer.Judgement{Verdict: tulle.Success})
	}
	i := p.Pick(balancer.Query{Now: 20 * time.Millisecond})
	fmt.Println(m.Endpoints[i].Addr)
	// Output: 10.0.0.2:80
}
