package balancer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

var benchPolicies = []struct {
	name    string
	policy  balancer.Policy
	weights bool // endpoints have weights 1 to 4 in place of 1
}{
	{"ShortestExpectedDelay", balancer.ShortestExpectedDelay{}, false},
	{"PeakEWMA", balancer.PeakEWMA{}, false},
	{"LeastRequest", balancer.LeastRequest{}, false},
	{"LeastRequest of 32", balancer.LeastRequest{Choices: 32}, false},
	{"RoundRobin", balancer.RoundRobin{}, false},
	{"RoundRobin by weight", balancer.RoundRobin{}, true},
	{"Random", balancer.Random{}, false},
	{"Random by weight", balancer.Random{}, true},
}

// benchEach runs f for every policy and size, with a Picker that has seen some
// answers of each endpoint.
func benchEach(b *testing.B, f func(b *testing.B, p balancer.Picker, n int)) {
	for _, c := range benchPolicies {
		for _, n := range []int{10, 32, 1000, 10_000} {
			m := alike(n)
			for i := range m.Endpoints {
				if c.weights {
					m.Endpoints[i].Weight = float64(1 + i%4)
				}
			}
			p := c.policy.Build(m)
			for i := range n {
				call(p, i, 0, time.Duration(5+rand.IntN(5))*time.Millisecond, tulle.FullSample)
			}
			b.Run(fmt.Sprintf("%s/n=%d", c.name, n), func(b *testing.B) {
				b.ReportAllocs()
				f(b, p, n)
			})
		}
	}
}

// oneCall is what a call of 5 ms costs the balancer from start to end.
func oneCall(p balancer.Picker, now time.Duration) {
	n := p.Node(p.Pick(balancer.Query{Now: now}))
	n.Begin(now)
	end := now + 5*time.Millisecond
	n.Answer(now, end, tulle.FullSample)
	n.Judge(end, balancer.Judgement{Verdict: tulle.Success})
}

func BenchmarkPick(b *testing.B) {
	benchEach(b, func(b *testing.B, p balancer.Picker, _ int) {
		now := time.Second
		for b.Loop() {
			now += time.Microsecond
			p.Pick(balancer.Query{Now: now})
		}
	})
}

func BenchmarkPickParallel(b *testing.B) {
	benchEach(b, func(b *testing.B, p balancer.Picker, _ int) {
		b.RunParallel(func(pb *testing.PB) {
			// Each has a clock of its own: a shared one would be measured too.
			for now := time.Second; pb.Next(); now += time.Microsecond {
				p.Pick(balancer.Query{Now: now})
			}
		})
	})
}

// One in ten is ejected, and the call has tried one.
func BenchmarkPickAmong(b *testing.B) {
	benchEach(b, func(b *testing.B, p balancer.Picker, n int) {
		among, avoid := balancer.NewSet(n), balancer.NewSet(n)
		avoid.Add(n / 2)
		for i := range n {
			if i%10 != 3 {
				among.Add(i)
			}
		}
		now := time.Second
		for b.Loop() {
			now += time.Microsecond
			p.Pick(balancer.Query{Now: now, Among: among, Avoid: avoid})
		}
	})
}

func BenchmarkCall(b *testing.B) {
	benchEach(b, func(b *testing.B, p balancer.Picker, _ int) {
		now := time.Second
		for b.Loop() {
			now += time.Microsecond
			oneCall(p, now)
		}
	})
}

func BenchmarkCallParallel(b *testing.B) {
	benchEach(b, func(b *testing.B, p balancer.Picker, _ int) {
		b.RunParallel(func(pb *testing.PB) {
			for now := time.Second; pb.Next(); now += time.Microsecond {
				oneCall(p, now)
			}
		})
	})
}

// One of the set is replaced by another.
func BenchmarkBuild(b *testing.B) {
	for _, c := range benchPolicies {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			const n = 10_000
			m := weighted(ascending(n)...)
			p := c.policy.Build(m)
			m = again(m, p)
			for i := 0; b.Loop(); i = (i + 1) % n {
				m.Nodes[i] = nil
				p = c.policy.Build(m)
				m.Nodes[i], m.Prev = p.Node(i), p
			}
		})
	}
}
