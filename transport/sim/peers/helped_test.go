package peers_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

// poller builds a Picker that polls.
func poller(t *testing.T, p balancer.Policy, n int) peers.Poller {
	t.Helper()
	polls, ok := p.Build(members(n)).(peers.Poller)
	if !ok {
		t.Fatalf("%T: got a Picker that does not poll", p)
	}
	return polls
}

func TestWeightedRoundRobin(t *testing.T) {
	p := poller(t, peers.WeightedRoundRobin{Rand: rand.New(rand.NewPCG(21, 22)).Uint64}, 4)
	if got := p.Period(); got != 10*sec {
		t.Errorf("got a period of %v, want 10 s", got)
	}
	// Nothing is known: in turn.
	if c := picks(p, 0, 40); c[0] != 10 || c[1] != 10 || c[2] != 10 || c[3] != 10 {
		t.Errorf("nothing known: got %v, want ten each", c)
	}
	// One report is not enough to compare.
	p.Polled(0, 0, tulle.Load{QPS: 100, Application: 0.1}, sec)
	if c := picks(p, sec, 40); c[0] != 10 {
		t.Errorf("one report: got %v, want ten each", c)
	}
	// They could do 1000, 250 and, with an error in four, 100 / (0.25 + 0.25) = 200
	// requests a second; of the fourth nothing is known, so it gets the mean.
	p.Polled(1, 0, tulle.Load{QPS: 100, Application: 0.4}, sec)
	p.Polled(2, 0, tulle.Load{QPS: 100, Application: 0.25, EPS: 25}, sec)
	if c := picks(p, 1500*ms, 40); c[0] != 10 {
		t.Errorf("before a second is over: got %v, want the old weights", c)
	}
	c := picks(p, 2*sec, 2900)
	for i, want := range []float64{1000, 250, 200, 1450 / 3.0} {
		want *= 2900 / (1450 * 4 / 3.0)
		if got := float64(c[i]); math.Abs(got-want) > 2 {
			t.Errorf("endpoint %d: got %v of 2900, want %.0f", i, got, want)
		}
	}
	// The turns are spread, too: of any four hardly more than its share.
	for range 100 {
		if c := picks(p, 2*sec, 4); c[0] > 3 {
			t.Fatalf("got %v, want at most three of four in a row", c)
		}
	}
	// After three minutes all is forgotten.
	if c := picks(p, 4*time.Minute, 400); c[0] < 98 || c[0] > 102 {
		t.Errorf("old reports: got %v, want a quarter each", c)
	}
}

// TestWeightedStarts: clients that begin together do not begin with the same endpoint.
func TestWeightedStarts(t *testing.T) {
	policy := peers.WeightedRoundRobin{Rand: rand.New(rand.NewPCG(23, 24)).Uint64}
	first := map[int]int{}
	for range 200 {
		first[policy.Build(members(4)).Pick(balancer.Query{})]++
	}
	for i := range 4 {
		if first[i] < 25 {
			t.Errorf("got %v, want all four", first)
		}
	}
}

// TestYARP: of a pair the one that has fewer requests by the latest answer, whatever
// has been sent since.
func TestYARP(t *testing.T) {
	p := poller(t, peers.YARP{Rand: rand.New(rand.NewPCG(25, 26)).Uint64}, 3)
	if got := p.Period(); got != 500*ms {
		t.Errorf("got a period of %v, want 500 ms", got)
	}
	p.Polled(0, 5, tulle.Load{}, 0)
	p.Polled(1, 7, tulle.Load{}, 0)
	p.Polled(2, 2, tulle.Load{}, 0)
	for range 9 {
		p.Node(2).Begin(0)
	}
	c := picks(p, sec, 3000)
	if c[1] != 0 || c[2] < 1850 || c[2] > 2150 {
		t.Errorf("got %v, want two thirds for the one with the fewest requests and none for the one with the most", c)
	}
	p.Polled(2, 9, tulle.Load{}, sec)
	if c := picks(p, sec, 300); c[2] != 0 {
		t.Errorf("after another answer: got %v, want none for the third", c)
	}
}

// TestC3Score holds the order of endpoints against the formula.
func TestC3Score(t *testing.T) {
	p := peers.C3{Clients: 2, Rand: rand.New(rand.NewPCG(27, 28)).Uint64}.Build(members(2)).(peers.Listener)
	served := func(i, inFlight int, took, service time.Duration) {
		n := p.Node(i)
		n.Begin(0)
		p.Answered(i, inFlight, service, took)
		n.Answer(0, took, tulle.FullSample)
		n.Judge(took, balancer.Judgement{Verdict: tulle.Success})
	}
	// R − 1/μ, 1/μ and q from nothing, 0.9 of the first sample: 9 + (1 + 1.8)³ × 9
	// = 207 ms, and 45 + (1 + 0.9)³ × 18 = 168 ms.
	served(0, 2, 20*ms, 10*ms)
	served(1, 1, 70*ms, 20*ms)
	if c := picks(p, sec, 20); c[1] != 20 {
		t.Errorf("got %v, want the one with the shorter queue", c)
	}
	// One more waits there, as with both clients: 45 + (1 + 2 + 0.9)³ × 18 = 1113 ms.
	p.Node(1).Begin(sec)
	if c := picks(p, sec, 20); c[0] != 20 {
		t.Errorf("while an attempt waits: got %v, want the other one", c)
	}
	p.Node(1).Answer(sec, sec+20*ms, tulle.FullSample)
	// An attempt that nothing answers counts as wait: 0.9 × 5000 + 0.1 × 9 + … ms.
	attempt(p, 0, sec, 5*sec, tulle.Failure)
	if c := picks(p, 6*sec, 20); c[1] != 20 {
		t.Errorf("after a timeout: got %v, want the other one", c)
	}
}

// TestC3Probing: the formula with the number of requests that a probe has told, among
// those that answered probes.
func TestC3Probing(t *testing.T) {
	p := peers.C3{Clients: 2, Probing: true, Rand: rand.New(rand.NewPCG(33, 34)).Uint64}.Build(members(20)).(interface {
		peers.Listener
		peers.Prober
	})
	for i, service := range []time.Duration{10 * ms, 20 * ms, ms} {
		p.Node(i).Begin(0)
		p.Answered(i, 50, service, 2*service)
		p.Node(i).Answer(0, 2*service, tulle.FullSample)
	}
	probed := func(second int) {
		p.Probed(9, 0, 0, sec) // the oldest, which is dropped when it is its turn
		p.Probed(0, 4, sec, sec)
		p.Probed(1, second, ms, sec)
	}
	// 1/μ is 9 and 18 ms, as is R − 1/μ, whatever latency the probes tell:
	// 9 + (1 + 4)³ × 9 = 1134 ms, and 18 + (1 + 2)³ × 18 = 504 ms. The third one, which
	// is the fastest, has answered no probe.
	probed(2)
	if i := p.Pick(balancer.Query{Now: sec}); i != 1 {
		t.Errorf("got %d, want the one with fewer requests", i)
	}
	// With one more each: 18 + 64 × 18 = 1170 ms.
	p = peers.C3{Clients: 2, Probing: true}.Build(carried(p, 20)).(interface {
		peers.Listener
		peers.Prober
	})
	probed(3)
	if i := p.Pick(balancer.Query{Now: sec}); i != 0 {
		t.Errorf("got %d, want the faster one", i)
	}
}

// carried is a set of n whose endpoints are known from p.
func carried(p balancer.Picker, n int) balancer.Members {
	m := members(n)
	m.Prev = p
	for i := range n {
		m.Nodes = append(m.Nodes, p.Node(i))
	}
	return m
}

// TestC3Unknown: each of those that nothing is known of gets one attempt, in an order
// that chance decides, and then waits for its answer.
func TestC3Unknown(t *testing.T) {
	policy := peers.C3{Rand: rand.New(rand.NewPCG(29, 30)).Uint64}
	p := policy.Build(members(4)).(peers.Listener)
	if c := picks(p, 0, 400); len(c) != 4 {
		t.Errorf("got %v, want all four", c)
	}
	for range 4 {
		p.Node(p.Pick(balancer.Query{})).Begin(0)
	}
	p.Answered(2, 60, 500*ms, sec)
	p.Node(2).Answer(0, sec, tulle.FullSample)
	if c := picks(p, sec, 20); c[2] != 20 {
		t.Errorf("got %v, want the only one that has answered, however slow", c)
	}
}
