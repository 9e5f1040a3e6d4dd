package balancer

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

// An alias table is exact: the parts of the columns that are an endpoint's add up
// to its share.
func TestLotsAreExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	for _, n := range []int{1, 2, 3, 10, 1000} {
		for round := range 20 {
			eps, total := make([]tulle.Endpoint, n), 0.0
			for i := range eps {
				eps[i].Weight = math.Exp(float64(round) * (rng.Float64() - 0.5))
				total += eps[i].Weight
			}
			l := newLots(eps)
			parts := make([]float64, n)
			for i, c := range l.columns {
				own := math.Ldexp(float64(c.cut), -64)
				parts[i] += own / float64(n)
				parts[c.other] += (1 - own) / float64(n)
			}
			for i := range eps {
				want := eps[i].Weight / total
				if math.Abs(parts[i]-want) > 1e-12 {
					t.Fatalf("n %d: endpoint %d: got a probability of %v, want %v", n, i, parts[i], want)
				}
			}
		}
	}
}

// The ends of the columns: the lowest and highest of 64 bits fall on endpoints.
func TestLotsEnds(t *testing.T) {
	l := newLots([]tulle.Endpoint{{Weight: 1}, {Weight: 2}, {Weight: 3}})
	for _, x := range []uint64{0, 1, math.MaxUint64, math.MaxUint64 / 3, math.MaxUint64/3 + 1} {
		if got := l.draw(x); got < 0 || got > 2 {
			t.Errorf("draw(%#x): got %d, want 0 to 2", x, got)
		}
	}
}

func TestStrides(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		want    []uint32 // one less than the stride
	}{
		{[]float64{1, 1}, []uint32{math.MaxUint32, math.MaxUint32}},
		{[]float64{0, 2, 4}, []uint32{1<<30 - 1, 1<<31 - 1, math.MaxUint32}},
		{[]float64{1, 1e6}, []uint32{4294, math.MaxUint32}},
		{[]float64{1e-9, 1e6}, []uint32{0, math.MaxUint32}},
	} {
		eps := make([]tulle.Endpoint, len(c.weights))
		for i, w := range c.weights {
			eps[i].Weight = w
		}
		for i, got := range newStrides(eps) {
			if got != c.want[i] {
				t.Errorf("weights %v: endpoint %d: got %d, want %d", c.weights, i, got, c.want[i])
			}
		}
	}
}

func TestCarry(t *testing.T) {
	known, refused := new(leastNode), new(leastNode)
	refused.waiting.Store(-1)
	m := Members{
		Endpoints: make([]tulle.Endpoint, 7),
		// Shorter than the set: what is missing is not known.
		Nodes: []Node{known, nil, (*leastNode)(nil), refused, new(peakNode), unobserved{}},
	}
	nodes, slab := carry(m, func(n *leastNode) bool { return n.waiting.Load() == 0 })
	if nodes[0] != known {
		t.Errorf("a node of the type: got %p, want %p", nodes[0], known)
	}
	if len(slab) != 6 {
		t.Fatalf("got a slab of %d, want 6", len(slab))
	}
	for i := range slab {
		if nodes[i+1] != &slab[i] {
			t.Errorf("node %d: got %p, want the next of the slab, %p", i+1, nodes[i+1], &slab[i])
		}
	}
	if nodes, slab := carry[leastNode](Members{}, nil); len(nodes) != 0 || len(slab) != 0 {
		t.Errorf("no endpoints: got %d nodes and a slab of %d, want none", len(nodes), len(slab))
	}
}

// The engine never builds an empty set. If a caller does, nothing is picked.
func TestEmptySet(t *testing.T) {
	for _, p := range []Policy{PeakEWMA{}, LeastRequest{}, LeastRequest{Choices: 3}, RoundRobin{}, Random{}} {
		if got := p.Build(Members{}).Pick(Query{}); got != -1 {
			t.Errorf("%T: got %d, want -1", p, got)
		}
	}
}

// Nodes fill a cache line each, so that cores do not share lines.
func TestNodeSizes(t *testing.T) {
	if got := reflect.TypeFor[peakNode]().Size(); got != 64 {
		t.Errorf("peakNode: got %d bytes, want 64", got)
	}
	if got := reflect.TypeFor[leastNode]().Size(); got != 64 {
		t.Errorf("leastNode: got %d bytes, want 64", got)
	}
}

// A pick that is taken at an older time than the one before does not move the
// time of the last look back.
func TestPeakSeeGoesForward(t *testing.T) {
	n := new(peakNode)
	n.see(int64(5 * time.Second))
	n.see(int64(3 * time.Second))
	if got := time.Duration(n.seen.Load()); got != 5*time.Second {
		t.Errorf("got %v, want 5s", got)
	}
}
