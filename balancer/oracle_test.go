package balancer

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

// The oracles do what the policies do in the plainest way: state behind a mutex,
// the rule word by word. Both get the same random numbers and the same events,
// and must pick the same. What is drawn is tested elsewhere, so the oracles use
// the same draws.

// naivePeak is Finagle's metric of one endpoint: reading changes it.
type naivePeak struct {
	mu      sync.Mutex
	tau     time.Duration
	cost    float64
	stamp   time.Duration
	pending int
	sampled bool
}

// observe takes in a latency. The time of a late caller is that of the stamp.
func (p *naivePeak) observe(latency float64, now time.Duration) {
	now = max(now, p.stamp)
	w := math.Exp(-float64(now-p.stamp) / float64(p.tau))
	if latency > p.cost {
		p.cost = latency
	} else {
		p.cost = p.cost*w + latency*(1-w)
	}
	p.stamp = now
}

func (p *naivePeak) load(now time.Duration, share float64) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observe(0, now)
	if p.cost == 0 && p.pending != 0 {
		return (math.MaxInt64>>16 + float64(p.pending)) / share
	}
	return p.cost * float64(p.pending+1) / share
}

// faint says that the cost has gone below what a float64 holds exactly, about
// 700 tau after the last sample. There the two ways to decay differ: a product
// of many factors may get stuck at the smallest float instead of reaching 0.
func (p *naivePeak) faint() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sampled && p.cost < 1e-300
}

func (p *naivePeak) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending++
}

func (p *naivePeak) answer(start, now time.Duration, s tulle.Sampling) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending--
	latency := float64(max(now-start, 0))
	if s == tulle.FullSample || s == tulle.CensoredSample && latency > p.cost {
		p.observe(latency, now)
		p.sampled = p.sampled || latency > 0
	}
}

// oracle is what a policy is compared with. Nodes are named by address.
type oracle interface {
	// pick picks among endpoints as the policy does with that seed. Either is
	// right when the loads are equal but for rounding; else they are the same.
	pick(eps []tulle.Endpoint, q Query, seed uint64) (best, either int)
	begin(addr string)
	answer(addr string, start, now time.Duration, s tulle.Sampling)
}

// peakOracle is PeakEWMA, naively.
type peakOracle struct {
	tau   time.Duration
	nodes map[string]*naivePeak
}

func (o *peakOracle) node(addr string, now time.Duration) *naivePeak {
	if o.nodes[addr] == nil {
		o.nodes[addr] = &naivePeak{tau: o.tau, stamp: now}
	}
	return o.nodes[addr]
}

func (o *peakOracle) pick(eps []tulle.Endpoint, q Query, seed uint64) (best, either int) {
	i, j := drawPair(&q, len(eps), seed)
	if j < 0 {
		return i, i
	}
	first, second := o.node(eps[i].Addr, q.Now), o.node(eps[j].Addr, q.Now)
	a, b := first.load(q.Now, eps[i].Share()), second.load(q.Now, eps[j].Share())
	if a != b && math.Abs(a-b) <= 1e-6*max(a, b) || first.faint() || second.faint() {
		return i, j
	}
	if b < a {
		return j, j
	}
	return i, i
}

func (o *peakOracle) begin(addr string) { o.node(addr, 0).begin() }

func (o *peakOracle) answer(addr string, start, now time.Duration, s tulle.Sampling) {
	o.node(addr, now).answer(start, now, s)
}

// leastOracle is LeastRequest, naively.
type leastOracle struct {
	choices int
	mu      sync.Mutex
	waiting map[string]int
}

func (o *leastOracle) pick(eps []tulle.Endpoint, q Query, seed uint64) (best, either int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var drawn []int
	if o.choices == 2 {
		i, j := drawPair(&q, len(eps), seed)
		drawn = []int{i, j}
	} else {
		drawn = drain(q, len(eps), o.choices, seed)
	}
	best = -1
	// Rational numbers, so that equal costs are equal.
	var lowest *big.Rat
	for _, i := range drawn {
		if i < 0 {
			continue
		}
		share := new(big.Rat).SetFloat64(eps[i].Share())
		cost := new(big.Rat).Quo(big.NewRat(int64(o.waiting[eps[i].Addr]+1), 1), share)
		if best < 0 || cost.Cmp(lowest) < 0 {
			best, lowest = i, cost
		}
	}
	return best, best
}

func (o *leastOracle) begin(addr string) { o.waiting[addr]++ }

func (o *leastOracle) answer(addr string, _, _ time.Duration, _ tulle.Sampling) { o.waiting[addr]-- }

// drive runs a policy and its oracle through the same random events and reports
// how many picks were compared, and in how many rounding left both answers open.
type drive struct {
	rng    *rand.Rand
	policy Policy
	oracle oracle
	seed   uint64 // what Rand returned last

	now     time.Duration
	eps     []tulle.Endpoint
	picker  Picker
	nodes   map[string]Node
	running []running
	names   int

	picks, open int
}

// running is an attempt that runs.
type running struct {
	addr  string
	node  Node
	start time.Duration
}

// rand is the policy's source of random numbers.
func (d *drive) rand() uint64 {
	d.seed = d.rng.Uint64()
	return d.seed
}

// change makes a new set of n: some of the old, some new, in any order.
func (d *drive) change(n int) {
	old := d.eps
	d.eps = make([]tulle.Endpoint, 0, n)
	for _, i := range d.rng.Perm(len(old)) {
		if len(d.eps) < n && d.rng.IntN(5) > 0 {
			d.eps = append(d.eps, old[i])
		}
	}
	for len(d.eps) < n {
		d.names++
		e := tulle.Endpoint{Addr: fmt.Sprintf("h%d:80", d.names)}
		if d.rng.IntN(2) == 0 {
			e.Weight = []float64{0.3, 1, 2, 7, 49}[d.rng.IntN(5)]
		}
		d.eps = append(d.eps, e)
	}
	m := Members{Endpoints: d.eps, Nodes: make([]Node, n), Prev: d.picker, Now: d.now}
	for i := range d.eps {
		m.Nodes[i] = d.nodes[d.eps[i].Addr]
	}
	d.picker = d.policy.Build(m)
	for i := range d.eps {
		d.nodes[d.eps[i].Addr] = d.picker.Node(i)
	}
}

// pause moves the time on: by nothing, a little, or so long that much is
// forgotten.
func (d *drive) pause() {
	steps := []time.Duration{0, time.Microsecond, time.Millisecond, 20 * time.Millisecond, time.Second}
	step := steps[d.rng.IntN(len(steps))]
	if d.rng.IntN(400) == 0 {
		step = 5 * time.Minute
	}
	d.now += time.Duration(float64(step) * d.rng.ExpFloat64())
}

// pick compares one pick, and begins an attempt there most often.
func (d *drive) pick(t *testing.T) {
	n := len(d.eps)
	q := Query{Now: d.now}
	if d.rng.IntN(3) == 0 {
		q.Among = randomSet(d.rng, n, d.rng.Float64())
	}
	if d.rng.IntN(3) == 0 {
		q.Avoid = randomSet(d.rng, n, d.rng.Float64()/2)
	}
	got := d.picker.Pick(q)
	best, either := d.oracle.pick(d.eps, q, d.seed)
	d.picks++
	if best != either {
		d.open++
	}
	if got != best && got != either {
		t.Fatalf("pick %d of %d endpoints at %v: got %d, want %d", d.picks, n, d.now, got, best)
	}
	if got >= 0 && d.rng.IntN(4) > 0 {
		addr := d.eps[got].Addr
		d.picker.Node(got).Begin(d.now)
		d.oracle.begin(addr)
		d.running = append(d.running, running{addr, d.picker.Node(got), d.now})
	}
}

// answer ends a running attempt, now or, like a late goroutine, a moment ago.
func (d *drive) answer() {
	if len(d.running) == 0 {
		return
	}
	k := d.rng.IntN(len(d.running))
	a := d.running[k]
	d.running[k] = d.running[len(d.running)-1]
	d.running = d.running[:len(d.running)-1]
	now, s := d.now, tulle.FullSample
	switch d.rng.IntN(6) {
	case 0:
		s = tulle.NoSample
	case 1:
		s = tulle.CensoredSample
	case 2:
		now -= time.Duration(d.rng.IntN(int(10 * time.Microsecond)))
	}
	a.node.Answer(a.start, now, s)
	a.node.Judge(now, Judgement{Verdict: tulle.Verdict(d.rng.IntN(3))})
	d.oracle.answer(a.addr, a.start, now, s)
}

// run makes that many random events with sets of about n.
func (d *drive) run(t *testing.T, n, events int) {
	d.change(n)
	for range events {
		d.pause()
		switch k := d.rng.IntN(200); {
		case k == 0:
			d.change(1 + d.rng.IntN(2*n))
		case k < 110:
			d.pick(t)
		default:
			d.answer()
		}
	}
}

func TestPeakEWMAOracle(t *testing.T) {
	picks, open := 0, 0
	for _, tau := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
		for _, n := range []int{1, 2, 3, 10, 80} {
			for seed := range uint64(4) {
				want := tau
				if tau == 0 {
					want = 10 * time.Second
				}
				d := &drive{rng: rand.New(rand.NewPCG(seed, uint64(n))), nodes: map[string]Node{}, now: time.Hour}
				d.oracle = &peakOracle{want, map[string]*naivePeak{}}
				d.policy = PeakEWMA{Tau: tau, Rand: d.rand}
				d.run(t, n, 4000)
				picks, open = picks+d.picks, open+d.open
			}
		}
	}
	if picks < 100_000 || open > picks/100 {
		t.Errorf("got %d picks, %d of them open, want 100,000 and at most 1 %%", picks, open)
	}
}

func TestLeastRequestOracle(t *testing.T) {
	for given, choices := range map[int]int{-3: 2, 0: 2, 2: 2, 3: 3, 5: 5, 32: 32, 1000: 32} {
		for _, n := range []int{1, 2, 3, 10, 80} {
			d := &drive{rng: rand.New(rand.NewPCG(9, uint64(n))), nodes: map[string]Node{}}
			d.oracle = &leastOracle{choices: choices, waiting: map[string]int{}}
			d.policy = LeastRequest{Choices: given, Rand: d.rand}
			d.run(t, n, 4000)
			if d.picks < 1000 {
				t.Errorf("choices %d, n %d: got %d picks, want thousands", given, n, d.picks)
			}
		}
	}
}

// strideOracle says whether an endpoint takes its turn in a round, by the
// definition: the whole part of its share of all rounds so far grows.
func strideOracle(share, most float64, i int, round uint64) bool {
	size := new(big.Int).Lsh(big.NewInt(1), 32)
	stride, _ := big.NewFloat(math.Round(share / most * (1 << 32))).Int(nil)
	if stride.Sign() == 0 {
		stride.SetInt64(1)
	}
	turns := func(round uint64) *big.Int {
		at := new(big.Int).Mul(stride, new(big.Int).SetUint64(round))
		at.Add(at, new(big.Int).Mul(big.NewInt(int64(i)), big.NewInt(phase)))
		return at.Div(at, size)
	}
	return turns(round+1).Cmp(turns(round)) > 0
}

func TestRoundRobinStrideOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	for range 20 {
		eps := make([]tulle.Endpoint, 2+rng.IntN(20))
		most := 0.0
		for i := range eps {
			eps[i].Weight = 1 + 9*rng.Float64()
			most = max(most, eps[i].Weight)
		}
		start := rng.Uint64()
		p := RoundRobin{Rand: func() uint64 { return start }}.Build(Members{Endpoints: eps})
		turn, n := start>>16, uint64(len(eps))
		for k := range 500 {
			turn++
			for !strideOracle(eps[turn%n].Share(), most, int(turn%n), turn/n) {
				turn++
			}
			if got, want := p.Pick(Query{}), int(turn%n); got != want {
				t.Fatalf("%d endpoints, pick %d: got %d, want %d", n, k, got, want)
			}
		}
	}
}
