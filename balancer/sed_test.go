package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

const ms = time.Millisecond

// sedSet builds a Picker for n endpoints.
func sedSet(n int, p balancer.ShortestExpectedDelay, prev balancer.Picker, now time.Duration) balancer.Picker {
	m := balancer.Members{Endpoints: make([]tulle.Endpoint, n), Nodes: make([]balancer.Node, n), Prev: prev, Now: now}
	for i := range m.Endpoints {
		m.Endpoints[i].Addr = fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)
	}
	if prev != nil {
		for i := range n {
			func() {
				defer func() { _ = recover() }() // prev may be smaller
				m.Nodes[i] = prev.Node(i)
			}()
		}
	}
	return p.Build(m)
}

// sedModel is the rule written down as it is told: lists, float64s, no caching,
// no packing.
type sedModel struct {
	pool   *sedModelPool
	w, s   float64
	u, v   float64
	at     time.Duration
	starts []time.Duration
	until  time.Duration
}

type sedModelPool struct {
	n, sum, sq float64
	at         time.Duration
	waiting    int
	size       int
}

func decayed(from, to time.Duration) float64 {
	return math.Exp(-max(0, to-from).Seconds() / 10)
}

func (p *sedModelPool) mean() (m, s float64) {
	if p.n == 0 {
		return 0, 0
	}
	m = p.sum / p.n
	return m, math.Sqrt(max(0, p.sq/p.n-m*m))
}

func (p *sedModelPool) add(x float64, now time.Duration) {
	d := decayed(p.at, now)
	p.n, p.sum, p.sq, p.at = p.n*d, p.sum*d, p.sq*d, now
	if p.n+1 > 200 {
		f := 199 / p.n
		p.n, p.sum, p.sq = 199, p.sum*f, p.sq*f
	}
	p.n, p.sum, p.sq = p.n+1, p.sum+x, p.sq+x*x
}

func (n *sedModel) roll(now time.Duration) {
	d := decayed(n.at, now)
	n.w, n.s, n.u, n.v, n.at = n.w*d, n.s*d, n.u*d, n.v*d, now
}

func (n *sedModel) expected(now time.Duration) float64 {
	m, dev := n.pool.mean()
	d := decayed(n.at, now)
	w, s := n.w*d, n.s*d
	e := (s + 2*m) / (w + 2)
	b := min(1, float64(n.pool.waiting)/float64(n.pool.size)) * dev / math.Sqrt(w+2)
	if e < m {
		return min(m, e+b)
	}
	return max(m, e-b)
}

func (n *sedModel) cost(now time.Duration) float64 {
	d := decayed(n.at, now)
	r := max(0.001, (n.v*d+1)/(n.u*d+1))
	l := max(n.expected(now), 1e-6)
	if k := len(n.starts); k > 0 {
		age := 0.0
		for _, s := range n.starts {
			age += (now - s).Seconds()
		}
		l = max(l, age/float64(k))
	}
	c := l * (float64(len(n.starts)) + 1.5) / (r * r * r) // all weights are equal here
	if now < n.until {
		c *= 8
	}
	return c
}

func (n *sedModel) answer(start, now time.Duration, sampling tulle.Sampling) {
	for i, s := range n.starts {
		if s == start {
			n.starts = append(n.starts[:i], n.starts[i+1:]...)
			break
		}
	}
	n.pool.waiting--
	x := (now - start).Seconds()
	if sampling == tulle.NoSample || sampling == tulle.CensoredSample && x <= n.expected(now) {
		return
	}
	e := n.expected(now)
	n.roll(now)
	if m, _ := n.pool.mean(); sampling == tulle.CensoredSample && n.w > 0 && x > e {
		x = min(x, max(e, 20*m*20/n.w))
	}
	if n.w+1 > 20 {
		n.w, n.s = 19, n.s*19/n.w
	}
	n.w, n.s = n.w+1, n.s+x
	n.pool.add(x, now)
}

func (n *sedModel) judge(now time.Duration, v tulle.Verdict) {
	if v == tulle.Neither {
		return
	}
	n.roll(now)
	if n.u+1 > 10 {
		n.u, n.v = 9, n.v*9/n.u
	}
	n.u++
	if v == tulle.Success {
		n.v++
	}
}

// sedPair is the fast form and the slow one of the rule, side by side.
type sedPair struct {
	r      *rand.Rand
	picker balancer.Picker
	pool   *sedModelPool
	model  []*sedModel
	open   []sedRunning
}

type sedRunning struct {
	i     int
	start time.Duration
}

// begin begins an attempt in both.
func (p *sedPair) begin(i int, now time.Duration) {
	p.picker.Node(i).Begin(now)
	p.model[i].starts = append(p.model[i].starts, now)
	p.pool.waiting++
	p.open = append(p.open, sedRunning{i, now})
}

// end ends one of the running attempts in both, somehow.
func (p *sedPair) end(now time.Duration) {
	k := p.r.IntN(len(p.open))
	a := p.open[k]
	p.open = append(p.open[:k], p.open[k+1:]...)
	sampling, verdict := tulle.Sampling(p.r.IntN(3)), tulle.Verdict(p.r.IntN(3))
	p.picker.Node(a.i).Answer(a.start, now, sampling)
	p.model[a.i].answer(a.start, now, sampling)
	j := balancer.Judgement{Verdict: verdict}
	if p.r.IntN(20) == 0 {
		j.Throttled, j.Until = true, now+time.Duration(1+p.r.IntN(3000))*ms
		p.model[a.i].until = max(p.model[a.i].until, j.Until)
	}
	p.picker.Node(a.i).Judge(now, j)
	p.model[a.i].judge(now, verdict)
}

// The fast form of the rule gives the costs of the slow one, whatever happens in
// whatever order. The share guard is left out by spreading the attempts.
func TestSEDAgainstTheRule(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		n := 8 + r.IntN(25)
		p := &sedPair{r: r, picker: sedSet(n, balancer.ShortestExpectedDelay{}, nil, 0), pool: &sedModelPool{size: n}}
		for range n {
			p.model = append(p.model, &sedModel{pool: p.pool})
		}
		now := time.Second
		for step := range 4000 {
			now += time.Duration(r.IntN(4000)) * time.Microsecond
			if r.IntN(200) == 0 {
				now += time.Duration(r.IntN(20)) * time.Second
			}
			if len(p.open) == 0 || r.IntN(2) == 0 && len(p.open) < 3*n {
				p.begin(step%n, now)
			} else {
				p.end(now)
			}
			if step%50 != 0 {
				continue
			}
			now += 51 * ms // past the age at which a pick computes anew
			for i := range p.model {
				got := p.picker.(balancer.Describer).Describe(i, now).Cost
				want := p.model[i].cost(now)
				if math.Abs(got-want) > 2e-3*want {
					t.Fatalf("seed %d, step %d, endpoint %d: got cost %v, want %v", seed, step, i, got, want)
				}
			}
		}
	}
}

// drive keeps so many attempts in flight, each answered after what latency says,
// and returns how often each endpoint was picked.
func drive(p balancer.Picker, width, picks, n int, now *time.Duration, each func(i int) (time.Duration, tulle.Class)) []int {
	type flying struct {
		i          int
		start, end time.Duration
		class      tulle.Class
	}
	var open []flying
	land := func() {
		first := 0
		for k := range open {
			if open[k].end < open[first].end {
				first = k
			}
		}
		f := open[first]
		open = append(open[:first], open[first+1:]...)
		*now = max(*now, f.end)
		p.Node(f.i).Answer(f.start, *now, f.class.Sampling())
		p.Node(f.i).Judge(*now, balancer.Judgement{Verdict: f.class.Endpoint()})
	}
	got := make([]int, n)
	for range picks {
		for len(open) >= width {
			land()
		}
		i := p.Pick(balancer.Query{Now: *now})
		got[i]++
		p.Node(i).Begin(*now)
		took, class := each(i)
		open = append(open, flying{i, *now, *now + took, class})
	}
	for len(open) > 0 {
		land()
	}
	return got
}

// An endpoint that fails fast does not look fast.
func TestSEDAvoidsFastFailures(t *testing.T) {
	now := time.Duration(0)
	p := sedSet(10, balancer.ShortestExpectedDelay{}, nil, now)
	got := drive(p, 2, 2000, 10, &now, func(i int) (time.Duration, tulle.Class) {
		if i == 3 {
			return 100 * time.Microsecond, tulle.Unavailable
		}
		return 5 * ms, tulle.Answered
	})
	if got[3] > 20 {
		t.Errorf("the failing endpoint got %d of 2000 picks, want at most 20: %v", got[3], got)
	}
}

// An endpoint that does not answer shows by the age of what waits there, before
// any answer comes.
func TestSEDSeesStuckEndpoint(t *testing.T) {
	now := time.Duration(0)
	p := sedSet(5, balancer.ShortestExpectedDelay{}, nil, now)
	drive(p, 2, 500, 5, &now, func(int) (time.Duration, tulle.Class) { return 5 * ms, tulle.Answered })
	stuck := 0
	for i := range 1000 {
		k := p.Pick(balancer.Query{Now: now})
		p.Node(k).Begin(now)
		if k == 2 {
			stuck++ // and never answered
		} else {
			p.Node(k).Answer(now, now+5*ms, tulle.FullSample)
			p.Node(k).Judge(now+5*ms, balancer.Judgement{Verdict: tulle.Success})
		}
		now += 2 * ms
		if i == 0 && k == 2 {
			continue
		}
	}
	if stuck > 3 {
		t.Errorf("the stuck endpoint got %d of 1000 picks in 2 s, want at most 3", stuck)
	}
}

// An endpoint that answers quickly and wrongly does not draw all traffic: no
// client can see that it is wrong, but it can bound the damage.
func TestSEDBoundsTheShare(t *testing.T) {
	now := time.Duration(0)
	p := sedSet(20, balancer.ShortestExpectedDelay{}, nil, now)
	got := drive(p, 1, 10000, 20, &now, func(i int) (time.Duration, tulle.Class) {
		if i == 7 {
			return 100 * time.Microsecond, tulle.Answered
		}
		return 20 * ms, tulle.Answered
	})
	if share := float64(got[7]) / 10000; share > 0.135 || share < 0.11 {
		t.Errorf("the fastest endpoint got %.1f %% of the picks, want about 12.5 %%", 100*share)
	}
}

// A server that paused, as for a garbage collection, gets its calls back soon: one
// timeout, of a hundred times the usual latency, is no more than a fifth of what
// twenty good answers said. One that never answered stays behind.
func TestSEDForgivesAPause(t *testing.T) {
	p := sedSet(3, balancer.ShortestExpectedDelay{}, nil, 0)
	now := time.Duration(0)
	attempt := func(i int, took time.Duration, c tulle.Sampling) {
		p.Node(i).Begin(now)
		p.Node(i).Answer(now, now+took, c)
	}
	for range 30 {
		attempt(0, 10*ms, tulle.FullSample)
		attempt(1, 10*ms, tulle.FullSample)
		now += 20 * ms
	}
	attempt(0, time.Second, tulle.CensoredSample)
	attempt(2, time.Second, tulle.CensoredSample)
	d, ok := p.(balancer.Describer)
	if !ok {
		t.Fatal("got a Picker that does not describe")
	}
	now += time.Second
	if got := d.Describe(0, now).Latency; got < 12*ms || got > 26*ms {
		t.Errorf("after a pause: got an estimate of %v, want about 20ms (58ms without the bound)", got)
	}
	if got := d.Describe(2, now).Latency; got < 250*ms {
		t.Errorf("never answered: got an estimate of %v, want more than 250ms", got)
	}
}

// A newcomer is left alone at first, and then gets its share.
func TestSEDIntroducesNewcomers(t *testing.T) {
	even := func(int) (time.Duration, tulle.Class) { return 5 * ms, tulle.Answered }
	for _, test := range []struct {
		name    string
		policy  balancer.ShortestExpectedDelay
		atFirst bool
	}{
		{"default", balancer.ShortestExpectedDelay{Rand: func() uint64 { return math.MaxUint64 >> 1 }}, false},
		{"at once", balancer.ShortestExpectedDelay{Introduction: -1}, true},
	} {
		now := time.Second
		p := sedSet(4, test.policy, nil, now)
		drive(p, 4, 400, 4, &now, even)
		p = sedSet(5, test.policy, p, now)
		begun := now
		got := drive(p, 4, 2000, 5, &now, even) // 2.5 s; the draw above is 5 s
		if (got[4] > 0) != test.atFirst {
			t.Errorf("%s: the newcomer got %d picks in the first %v", test.name, got[4], now-begun)
		}
		now = begun + 11*time.Second
		if got := drive(p, 5, 2000, 5, &now, func(int) (time.Duration, tulle.Class) {
			return time.Duration(4+rand.IntN(3)) * ms, tulle.Answered
		}); got[4] < 200 {
			t.Errorf("%s: after its introduction the newcomer got %d of 2000 picks", test.name, got[4])
		}
	}
}

// An endpoint that asked for less gets less until the time it named.
func TestSEDHonoursThrottling(t *testing.T) {
	now := time.Second
	p := sedSet(4, balancer.ShortestExpectedDelay{}, nil, now)
	even := func(int) (time.Duration, tulle.Class) { return time.Duration(4+rand.IntN(3)) * ms, tulle.Answered }
	drive(p, 4, 400, 4, &now, even)
	p.Node(1).Begin(now)
	p.Node(1).Answer(now, now, tulle.NoSample)
	p.Node(1).Judge(now, balancer.Judgement{Throttled: true, Until: now + 2*time.Second})
	begun := now
	got := drive(p, 4, 1000, 4, &now, even)
	if now-begun > 2*time.Second {
		t.Fatalf("the test took too long: %v", now-begun)
	}
	if got[1] > 60 {
		t.Errorf("while throttled it got %d of 1000 picks", got[1])
	}
	now = begun + 3*time.Second
	if got := drive(p, 4, 2000, 4, &now, even); got[1] < 200 {
		t.Errorf("after that it got %d of 2000 picks", got[1])
	}
}

// Weights are shares of the traffic, whether queues are empty or long, and a light
// endpoint is never left out.
func TestSEDWeights(t *testing.T) {
	for _, width := range []int{1, 12, 100} {
		m := balancer.Members{Endpoints: make([]tulle.Endpoint, 12), Nodes: make([]balancer.Node, 12)}
		sum := 0.0
		for i := range m.Endpoints {
			m.Endpoints[i] = tulle.Endpoint{Addr: fmt.Sprintf("%d:1", i), Weight: float64(1 + i%2*3)}
			sum += m.Endpoints[i].Weight
		}
		m.Endpoints[0].Weight = 0.1
		sum -= 0.9
		now := time.Duration(0)
		const picks = 60000
		got := drive(balancer.ShortestExpectedDelay{}.Build(m), width, picks, 12, &now, func(int) (time.Duration, tulle.Class) {
			return time.Duration(4000+rand.IntN(2000)) * time.Microsecond, tulle.Answered
		})
		for i, n := range got {
			want := m.Endpoints[i].Weight / sum * picks
			most := 2.0
			if i == 0 {
				most = 8 // it is idle when all others are busy, and then counts for more
			}
			if f := float64(n) / want; f < 0.5 || f > most {
				t.Errorf("%d in flight: weight %v got %d of %d picks, want about %.0f", width, m.Endpoints[i].Weight, n, picks, want)
			}
		}
	}
}

// BenchmarkSEDChoices is the price of looking at more candidates.
func BenchmarkSEDChoices(b *testing.B) {
	for _, n := range []int{10, 32, 1000, 10000} {
		for _, choices := range []int{2, 4, 8, 32} {
			b.Run(fmt.Sprintf("endpoints=%d/choices=%d", n, choices), func(b *testing.B) {
				p := sedSet(n, balancer.ShortestExpectedDelay{Choices: choices}, nil, 0)
				now := time.Second
				for i := range n {
					p.Node(i).Begin(now)
					p.Node(i).Answer(now, now+5*ms, tulle.FullSample)
					p.Node(i).Judge(now+5*ms, balancer.Judgement{Verdict: tulle.Success})
				}
				b.ReportAllocs()
				for b.Loop() {
					now += time.Microsecond
					if p.Pick(balancer.Query{Now: now}) < 0 {
						b.Fatal("no pick")
					}
				}
			})
		}
	}
}
