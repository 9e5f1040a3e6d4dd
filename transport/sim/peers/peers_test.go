package peers_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// all are the policies, seeded.
func all() map[string]balancer.Policy {
	random := rand.New(rand.NewPCG(1, 2)).Uint64
	return map[string]balancer.Policy{
		"finagle": peers.Finagle{Rand: random}, "linkerd": peers.Linkerd{Rand: random},
		"linkerd biased": peers.Linkerd{Biased: true, Rand: random}, "go-zero": peers.GoZero{Rand: random},
		"kratos": peers.Kratos{Rand: random}, "grpc": peers.GRPCLeastRequest{Rand: random},
		"least loaded": peers.LeastLoaded{Rand: random}, "prequal": peers.Prequal{Rand: random},
		"weighted": peers.WeightedRoundRobin{Rand: random}, "yarp": peers.YARP{Rand: random}, "c3": peers.C3{Rand: random},
		"c3 probing": peers.C3{Probing: true, Rand: random}, "linear": peers.Linear{Rand: random},
	}
}

// members is a set of n.
func members(n int) balancer.Members {
	m := balancer.Members{Now: 0}
	for i := range n {
		m.Endpoints = append(m.Endpoints, tulle.Endpoint{Addr: fmt.Sprintf("10.0.0.%d:80", i+1)})
	}
	return m
}

// attempt is one attempt at an endpoint from start on, which took so long.
func attempt(p balancer.Picker, i int, start, took time.Duration, v tulle.Verdict) {
	n := p.Node(i)
	n.Begin(start)
	n.Answer(start, start+took, tulle.FullSample)
	n.Judge(start+took, balancer.Judgement{Verdict: v})
}

// picks counts n picks at a time.
func picks(p balancer.Picker, now time.Duration, n int) map[int]int {
	count := map[int]int{}
	for range n {
		count[p.Pick(balancer.Query{Now: now})]++
	}
	return count
}

// TestPicker holds all policies to what the engine relies on.
func TestPicker(t *testing.T) {
	for name, policy := range all() {
		t.Run(name, func(t *testing.T) {
			p := policy.Build(members(5))
			among := balancer.NewSet(5)
			among.Add(1)
			among.Add(3)
			avoid := balancer.NewSet(5)
			avoid.Add(3)
			for range 200 {
				if i := p.Pick(balancer.Query{}); i < 0 || i > 4 {
					t.Fatalf("got %d, want one of 5", i)
				}
				if i := p.Pick(balancer.Query{Among: among}); i != 1 && i != 3 {
					t.Fatalf("among 1 and 3: got %d", i)
				}
				if i := p.Pick(balancer.Query{Among: among, Avoid: avoid}); i != 1 {
					t.Fatalf("among 1 and 3, not 3: got %d", i)
				}
				if i := p.Pick(balancer.Query{Among: avoid, Avoid: avoid}); i != 3 {
					t.Fatalf("only what is to be avoided: got %d, want it all the same", i)
				}
				if i := p.Pick(balancer.Query{Among: balancer.NewSet(5)}); i != -1 {
					t.Fatalf("among none: got %d, want -1", i)
				}
			}
			if one := policy.Build(members(1)); one.Pick(balancer.Query{}) != 0 {
				t.Error("a set of one: got another")
			}
		})
	}
}

// TestCarry: what is known of an endpoint survives a change of the set, wherever it
// stands then; a node of another policy is none.
func TestCarry(t *testing.T) {
	for name, policy := range all() {
		if name == "prequal" || name == "linear" {
			continue // they keep nothing
		}
		p := policy.Build(members(2))
		m := members(3)
		m.Prev, m.Nodes = p, []balancer.Node{p.Node(1), nil, balancer.Random{}.Build(members(1)).Node(0)}
		next := policy.Build(m)
		if next.Node(0) != p.Node(1) || next.Node(1) == p.Node(0) || next.Node(2) == m.Nodes[2] {
			t.Errorf("%s: got other nodes than those that are known", name)
		}
	}
}

func TestFinagle(t *testing.T) {
	p := peers.Finagle{Rand: rand.New(rand.NewPCG(3, 4)).Uint64}.Build(members(2))
	attempt(p, 0, 0, 10*ms, tulle.Success)
	attempt(p, 1, 0, 30*ms, tulle.Success)
	if c := picks(p, 40*ms, 50); c[0] != 50 {
		t.Errorf("got %v, want the faster one", c)
	}
	// A peak counts at once, and is forgotten with time.
	attempt(p, 0, 50*ms, 500*ms, tulle.Success)
	if c := picks(p, 560*ms, 50); c[1] != 50 {
		t.Errorf("after a peak: got %v, want the other one", c)
	}
	for at := sec; at < 60*sec; at += 100 * ms {
		attempt(p, 1, at, 30*ms, tulle.Success)
		p.Pick(balancer.Query{Now: at})
	}
	if c := picks(p, 60*sec, 50); c[0] != 50 {
		t.Errorf("a minute later: got %v, want the one whose peak is forgotten", c)
	}
	// A failure that comes quickly looks like a quick answer: the trap.
	for at := 61 * sec; at < 120*sec; at += 100 * ms {
		attempt(p, 0, at, ms, tulle.Failure)
		attempt(p, 1, at, 20*ms, tulle.Success)
	}
	if c := picks(p, 120*sec, 50); c[0] != 50 {
		t.Errorf("got %v, want the one that fails fast", c)
	}
}

// TestFinagleNewcomer: it gets one attempt, and then waits for the answer.
func TestFinagleNewcomer(t *testing.T) {
	p := peers.Finagle{Rand: rand.New(rand.NewPCG(3, 4)).Uint64}.Build(members(2))
	attempt(p, 0, 0, 10*ms, tulle.Success)
	if c := picks(p, 20*ms, 20); c[1] != 20 {
		t.Errorf("got %v, want the one that nothing is known of", c)
	}
	p.Node(1).Begin(20 * ms)
	if c := picks(p, 21*ms, 20); c[0] != 20 {
		t.Errorf("while it is tried: got %v, want the other one", c)
	}
}

func TestLinkerd(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6)).Uint64
	for _, biased := range []bool{false, true} {
		p := peers.Linkerd{Biased: biased, Rand: random}.Build(members(2))
		for at := time.Duration(0); at < 40*sec; at += 50 * ms {
			attempt(p, 0, at, 20*ms, tulle.Success)
			attempt(p, 1, at, ms, tulle.Failure)
		}
		want := 1 // it fails fast
		if biased {
			want = 0
		}
		if c := picks(p, 40*sec, 50); c[want] != 50 {
			t.Errorf("biased %v: got %v, want only %d", biased, c, want)
		}
	}
	// A plea for less counts as long as the time that it named.
	p := peers.Linkerd{Biased: true, Rand: random}.Build(members(2))
	for i := range 2 {
		attempt(p, i, 0, 20*ms, tulle.Success)
	}
	p.Node(0).Judge(sec, balancer.Judgement{Throttled: true, Until: 5 * sec})
	p.Node(1).Judge(sec, balancer.Judgement{Throttled: true, Until: 20 * sec})
	if c := picks(p, 2*sec, 50); c[0] != 50 {
		t.Errorf("got %v, want the one with the shorter hint", c)
	}
}

// TestGoZero: latency counts by its root, so twice the queue outweighs thrice the
// latency; who fails more often than not is left out; who was not taken for a
// second is.
func TestGoZero(t *testing.T) {
	p := peers.GoZero{Rand: rand.New(rand.NewPCG(7, 8)).Uint64}.Build(members(2))
	attempt(p, 0, 0, 10*ms, tulle.Success)
	attempt(p, 1, 0, 30*ms, tulle.Success)
	if i := p.Pick(balancer.Query{Now: 40 * ms}); i != 0 {
		t.Errorf("got %d, want the faster one", i)
	}
	p.Node(0).Begin(40 * ms)
	if i := p.Pick(balancer.Query{Now: 41 * ms}); i != 1 {
		t.Errorf("got %d, want the one without a queue", i)
	}
	p.Node(0).Answer(40*ms, 50*ms, tulle.FullSample)
	p.Node(0).Judge(50*ms, balancer.Judgement{Verdict: tulle.Success})
	for at := 50 * ms; at < 900*ms; at += 10 * ms {
		if i := p.Pick(balancer.Query{Now: at}); i != 0 {
			t.Fatalf("at %v: got %d, want the faster one", at, i)
		}
	}
	if i := p.Pick(balancer.Query{Now: 1100 * ms}); i != 1 {
		t.Errorf("after a second: got %d, want the one that was not taken", i)
	}
}

func TestGoZeroHealth(t *testing.T) {
	p := peers.GoZero{Rand: rand.New(rand.NewPCG(7, 8)).Uint64}.Build(members(3))
	for at := time.Duration(0); at < 30*sec; at += 20 * ms {
		attempt(p, 0, at, ms, tulle.Failure)
		attempt(p, 1, at, 20*ms, tulle.Success)
		attempt(p, 2, at, 20*ms, tulle.Success)
	}
	sick := 0
	for k := range 3000 {
		if p.Pick(balancer.Query{Now: 30*sec + time.Duration(k)*time.Microsecond}) == 0 {
			sick++
		}
	}
	// It is in two of three pairs, and three are drawn before one is taken.
	if share := float64(sick) / 3000; share < 0.24 || share > 0.36 {
		t.Errorf("got a share of %.3f for the one that fails, want about (2/3)³ = 0.30", share)
	}
}

func TestKratos(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10)).Uint64
	p := peers.Kratos{Rand: random}.Build(members(2))
	if c := picks(p, 0, 40); c[0] == 0 || c[1] == 0 {
		t.Errorf("nothing known: got %v, want both", c)
	}
	attempt(p, 0, 0, 20*ms, tulle.Success)
	if c := picks(p, 30*ms, 40); c[0] != 40 {
		t.Errorf("got %v, want the known one, as the other is 20 times as dear", c)
	}
	attempt(p, 1, 30*ms, 20*ms, tulle.Success)
	// An attempt that waits for longer than the latency counts before its answer.
	p.Node(0).Begin(60 * ms)
	p.Node(1).Begin(60 * ms)
	p.Node(1).Begin(60 * ms) // a longer queue,
	p.Node(1).Answer(60*ms, 80*ms, tulle.FullSample)
	p.Node(1).Answer(60*ms, 80*ms, tulle.FullSample) // that is done
	if i := p.Pick(balancer.Query{Now: 500 * ms}); i != 1 {
		t.Errorf("got %d, want the one that does not hang", i)
	}
	if i := p.Pick(balancer.Query{Now: 4 * sec}); i != 0 {
		t.Errorf("after 3 s: got %d, want the one that was not taken", i)
	}
}

// TestKratosSuccess: the cost is divided by the share of successes.
func TestKratosSuccess(t *testing.T) {
	p := peers.Kratos{Rand: rand.New(rand.NewPCG(9, 10)).Uint64}.Build(members(2))
	for at := time.Duration(0); at < 2*sec; at += 20 * ms {
		attempt(p, 0, at, 5*ms, tulle.Failure)
		attempt(p, 1, at, 20*ms, tulle.Success)
		p.Pick(balancer.Query{Now: at})
	}
	if c := picks(p, 2*sec, 40); c[1] < 39 {
		t.Errorf("got %v, want the one that works", c)
	}
}

func TestLeast(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12)).Uint64
	p := peers.LeastLoaded{Rand: random}.Build(members(4))
	for i, n := range []int{2, 1, 3, 1} {
		for range n {
			p.Node(i).Begin(0)
		}
	}
	if c := picks(p, 0, 400); c[1]+c[3] != 400 || c[1] < 100 || c[3] < 100 {
		t.Errorf("got %v, want the two least loaded, both", c)
	}
	g := peers.GRPCLeastRequest{Rand: random}.Build(members(2))
	g.Node(0).Begin(0)
	// One may be drawn twice: the worse of two gets a quarter.
	if c := picks(g, 0, 4000); c[0] < 850 || c[0] > 1150 {
		t.Errorf("got %v, want a quarter for the busy one", c)
	}
	g = peers.GRPCLeastRequest{Choices: 5, Rand: random}.Build(members(2))
	g.Node(0).Begin(0)
	if c := picks(g, 0, 4000); c[0] < 60 || c[0] > 200 {
		t.Errorf("five draws: got %v, want 1/32 for the busy one", c)
	}
}

// TestPrequal: of the cold ones the fastest, and when all are hot the one with the
// least to do.
func TestPrequal(t *testing.T) {
	build := func() peers.Prober {
		p, ok := peers.Prequal{Rand: rand.New(rand.NewPCG(13, 14)).Uint64}.Build(members(3)).(peers.Prober)
		if !ok {
			t.Fatal("got a Picker that does not probe")
		}
		return p
	}
	p := build()
	// What was seen of late: mostly 2 requests, so 2 is cold and 9 is hot.
	for range 30 {
		p.Probed(2, 2, 50*ms, 0)
	}
	p.Probed(0, 9, ms, 10*ms)
	p.Probed(1, 2, 20*ms, 10*ms)
	if i := p.Pick(balancer.Query{Now: 11 * ms}); i != 1 {
		t.Errorf("got %d, want the fastest cold one", i)
	}
	// Answers older than a second are forgotten; then it is chance.
	count := map[int]int{}
	for range 300 {
		count[p.Pick(balancer.Query{Now: 2 * sec})]++
	}
	if len(count) != 3 {
		t.Errorf("without answers: got %v, want all three", count)
	}
	p = build()
	for range 20 {
		p.Probed(2, 1, ms, 0)
	}
	p.Probed(0, 7, ms, 1500*ms) // the cold ones are too old by now
	p.Probed(1, 5, 90*ms, 1500*ms)
	p.Probed(1, 5, 90*ms, 1500*ms)
	if i := p.Pick(balancer.Query{Now: 1600 * ms}); i != 1 {
		t.Errorf("all hot: got %d, want the one with the fewest requests", i)
	}
}

// TestLinear: the lowest half of latency and 75 ms for each request, or another sum.
func TestLinear(t *testing.T) {
	for _, tt := range []struct {
		policy peers.Linear
		want   int
	}{
		{peers.Linear{}, 1},                               // 225 and 190 ms
		{peers.Linear{Weight: 0.1}, 0},                    // 105 and 146 ms
		{peers.Linear{Weight: 0.5, Request: ms}, 0},       // 47.5 and 77 ms
		{peers.Linear{Weight: 0.1, Request: 300 * ms}, 1}, // 201 and 191 ms
	} {
		tt.policy.Rand = rand.New(rand.NewPCG(31, 32)).Uint64
		p := tt.policy.Build(members(16)).(peers.Prober)
		p.Probed(9, 1, ms, 0) // the oldest, which is dropped
		p.Probed(0, 5, 75*ms+15*ms, 0)
		p.Probed(1, 3, 155*ms, 0)
		if i := p.Pick(balancer.Query{}); i != tt.want {
			t.Errorf("%+v: got %d, want %d", tt.policy, i, tt.want)
		}
	}
}

func TestPrequalProbes(t *testing.T) {
	p := peers.Prequal{Pool: 4, Rand: rand.New(rand.NewPCG(15, 16)).Uint64}.Build(members(10)).(peers.Prober)
	for range 100 {
		targets := p.Probe(0)
		if len(targets) != 3 || targets[0] == targets[1] || targets[1] == targets[2] || targets[0] == targets[2] {
			t.Fatalf("got %v, want three different ones", targets)
		}
	}
	small := peers.Prequal{}.Build(members(2)).(peers.Prober)
	if targets := small.Probe(0); len(targets) != 2 {
		t.Errorf("got %v, want both of two", targets)
	}
}

// TestPrequalReuse: among few servers the pool never runs dry, and an answer serves
// one attempt. To use it up to 16 times sent herds after each answer.
func TestPrequalReuse(t *testing.T) {
	p := peers.Prequal{Rand: rand.New(rand.NewPCG(17, 18)).Uint64}.Build(members(16)).(peers.Prober)
	for range 3 {
		p.Probed(9, 50, sec, 0) // so that nobody else is hot
	}
	for _, i := range []int{1, 2, 3, 5} {
		p.Probed(i, 1, 20*ms, 0)
	}
	p.Probed(4, 1, ms, 0)
	if i := p.Pick(balancer.Query{}); i != 4 {
		t.Fatalf("got %d, want the fastest one", i)
	}
	if i := p.Pick(balancer.Query{}); i == 4 {
		t.Error("got the fastest one again, want another: its answer is used up")
	}
}
