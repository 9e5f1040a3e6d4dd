package balancertest_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/balancer/balancertest"
)

// The suite must not forbid what the contract allows. These policies are sound
// and do things in a way that none of ours does.

// silent is a Picker that describes nothing.
type silent struct{ balancer.Picker }

// rounded tells its costs to two digits.
type rounded struct{ *first }

func (p rounded) Describe(i int, now time.Duration) balancer.Stat {
	s := p.first.Describe(i, now)
	if s.Cost > 0 {
		unit := math.Pow(10, math.Floor(math.Log10(s.Cost))-2)
		s.Cost = math.Round(s.Cost/unit) * unit
	}
	return s
}

// value is a Node that is no pointer and has no state.
type value struct{ zone int }

func (value) Begin(time.Duration)                         {}
func (value) Answer(_, _ time.Duration, _ tulle.Sampling) {}
func (value) Judge(_ time.Duration, _ balancer.Judgement) {}

// stateless picks at random and has one Node for all.
type stateless struct{ n int }

func (p stateless) Node(int) balancer.Node { return value{1} }

func (p stateless) Pick(q balancer.Query) int {
	if q.Among == nil && q.Avoid == nil {
		return rand.IntN(p.n)
	}
	for _, avoid := range []balancer.Set{q.Avoid, nil} {
		count, chosen := 0, -1
		for i := range p.n {
			q.Avoid = avoid
			if q.Allows(i) {
				if count++; rand.IntN(count) == 0 {
					chosen = i
				}
			}
		}
		if chosen >= 0 {
			return chosen
		}
	}
	return -1
}

// patient leaves endpoints that join later alone for a while, if others can do.
type patient struct {
	*first
	since  map[string]time.Duration
	joined []time.Duration
}

func newPatient(m balancer.Members) balancer.Picker {
	p := patient{buildFirst(m), map[string]time.Duration{}, make([]time.Duration, len(m.Endpoints))}
	prev, later := m.Prev.(patient)
	for i := range m.Endpoints {
		addr := m.Endpoints[i].Addr
		switch at, known := prev.since[addr]; {
		case known:
			p.joined[i] = at
		case later:
			p.joined[i] = m.Now
		default:
			p.joined[i] = -time.Hour
		}
		p.since[addr] = p.joined[i]
	}
	return p
}

func (p patient) Pick(q balancer.Query) int {
	i := p.first.Pick(q)
	for try := 0; try < 8 && i >= 0 && q.Now-p.joined[i] < 10*time.Second; try++ {
		i = p.first.Pick(q)
	}
	return i
}

func (p patient) Describe(i int, now time.Duration) balancer.Stat {
	s := p.first.Describe(i, now)
	if now-p.joined[i] < 10*time.Second {
		s.Cost = 1000 * (s.Cost + 1)
	}
	return s
}

func TestSound(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy balancer.PolicyFunc
	}{
		{"plain", newFirst},
		{"describes nothing", func(m balancer.Members) balancer.Picker { return silent{buildFirst(m)} }},
		{"rounds", func(m balancer.Members) balancer.Picker { return rounded{buildFirst(m)} }},
		{"has one Node for all", func(m balancer.Members) balancer.Picker { return stateless{len(m.Endpoints)} }},
		{"keeps newcomers waiting", newPatient},
	} {
		t.Run(c.name, func(t *testing.T) {
			balancertest.Run(t, balancertest.Config{Policy: c.policy, IgnoresWeights: true})
		})
	}
}
