package balancertest_test

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/balancer/balancertest"
)

// picking is first with another Pick.
type picking struct {
	*first
	pick func(f *first, q balancer.Query) int
}

func (p picking) Pick(q balancer.Query) int { return p.pick(p.first, q) }

// badPick makes a policy with that Pick.
func badPick(pick func(f *first, q balancer.Query) int) balancer.Policy {
	return balancer.PolicyFunc(func(m balancer.Members) balancer.Picker { return picking{buildFirst(m), pick} })
}

// noding is first with another Node.
type noding struct {
	*first
	node func(f *first, i int) balancer.Node
}

func (p noding) Node(i int) balancer.Node { return p.node(p.first, i) }

// badNode makes a policy with that Node.
func badNode(node func(f *first, i int) balancer.Node) balancer.Policy {
	return balancer.PolicyFunc(func(m balancer.Members) balancer.Picker { return noding{buildFirst(m), node} })
}

// badBuild makes a policy that gets other Members than there are.
func badBuild(change func(m *balancer.Members)) balancer.Policy {
	return balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		m.Nodes = append([]balancer.Node(nil), m.Nodes...)
		change(&m)
		return buildFirst(m)
	})
}

// describing is first with another Describe.
type describing struct {
	*first
	stat balancer.Stat
}

func (p describing) Describe(int, time.Duration) balancer.Stat { return p.stat }

// badStat makes a policy that describes all endpoints in that way.
func badStat(s balancer.Stat) balancer.Policy {
	return balancer.PolicyFunc(func(m balancer.Members) balancer.Picker { return describing{buildFirst(m), s} })
}

// odd is a Node around a counter that does something else.
type odd struct {
	*counter
	answer func(c *counter, start, now time.Duration, s tulle.Sampling)
}

func (o *odd) Answer(start, now time.Duration, s tulle.Sampling) { o.answer(o.counter, start, now, s) }

// badAnswer makes a policy whose Nodes do that. They are kept like those of
// first, by a map in the Picker.
func badAnswer(answer func(c *counter, start, now time.Duration, s tulle.Sampling)) balancer.Policy {
	return balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		odds := make([]*odd, len(m.Endpoints))
		f := &first{nodes: make([]*counter, len(odds)), start: new(atomic.Uint64)}
		for i := range odds {
			if n, ok := m.Nodes[i].(*odd); ok {
				odds[i] = n
			} else {
				odds[i] = &odd{new(counter), answer}
			}
			f.nodes[i] = odds[i].counter
		}
		return noding{f, func(_ *first, i int) balancer.Node { return odds[i] }}
	})
}

// pointers keeps what must escape.
var pointers atomic.Pointer[balancer.Query]

// brokenPolicy is a policy with one fault, the check that must find it, and what
// that must say.
type brokenPolicy struct {
	name, check, says string
	policy            balancer.Policy
}

var broken = []brokenPolicy{
	{"picks one too far", "range", "got index 1, want 0 to 0", badPick(func(f *first, q balancer.Query) int {
		return f.Pick(q) + 1
	})},
	{"picks none", "range", "got index -1", badPick(func(f *first, q balancer.Query) int { return -1 })},
	{"ignores Among", "among", "not in Among", badPick(func(f *first, q balancer.Query) int {
		if q.Among != nil && q.Among.Len() > 0 {
			q.Among = nil
		}
		return f.Pick(q)
	})},
	{"needs one", "among", "Among empty: got 0, want -1", badPick(func(f *first, q balancer.Query) int {
		return max(0, f.Pick(q))
	})},
	{"forgets that sets shrink", "range", "got index", badPick(func(f *first, _ balancer.Query) int {
		return int(f.start.Add(1) % uint64((len(f.nodes)+1)/2*2))
	})},
	{"reads the first word only", "among", "got -1, want one of them", badPick(func(f *first, q balancer.Query) int {
		if len(q.Among) > 1 {
			q.Among = q.Among[:1]
		}
		return f.Pick(q)
	})},
	{"takes Among for advice", "among", "want -1", badPick(func(f *first, q balancer.Query) int {
		if i := f.Pick(q); i >= 0 {
			return i
		}
		return f.Pick(balancer.Query{})
	})},
	{"takes the next allowed", "among", "is not in Among", badPick(func(f *first, q balancer.Query) int {
		if i := f.Pick(q); i < 0 || q.Allows(i) {
			return i
		}
		return int(f.start.Add(1) % uint64(len(f.nodes)))
	})},
	{"gives up on sparse sets", "among", "got -1, want one of them", badPick(func(f *first, q balancer.Query) int {
		if q.Among != nil && q.Among.Len() < 5 {
			return -1
		}
		return f.Pick(q)
	})},
	{"prefers the first allowed", "among", "of them used in 300 picks", badPick(func(f *first, q balancer.Query) int {
		if q.Among != nil && q.Avoid == nil {
			return q.Among.Next(0)
		}
		return f.Pick(q)
	})},
	{"lets Avoid overrule Among", "among", "not in Among", badPick(func(f *first, q balancer.Query) int {
		if i := f.Pick(q); i < 0 || !q.Avoid.Has(i) {
			return i
		}
		return f.Pick(balancer.Query{Avoid: q.Avoid})
	})},
	{"ignores Avoid", "avoid", "in Avoid", badPick(func(f *first, q balancer.Query) int {
		q.Avoid = nil
		return f.Pick(q)
	})},
	{"obeys Avoid always", "avoid", "all in Avoid: got -1", badPick(func(f *first, q balancer.Query) int {
		if i := f.Pick(q); i >= 0 && !q.Avoid.Has(i) {
			return i
		}
		return -1
	})},
	{"overrules Avoid under load", "avoid", "all but", badPick(func(f *first, q balancer.Query) int {
		i := f.Pick(q)
		if i >= 0 && f.nodes[i].waiting.Load() >= 40 && q.Avoid.Len() == len(f.nodes)-1 {
			return f.Pick(balancer.Query{Among: q.Among})
		}
		return i
	})},
	{"starves one", "use", "got none of", badPick(func(f *first, q balancer.Query) int {
		if n := len(f.nodes); n > 2 && q.Among == nil && q.Avoid == nil {
			q.Avoid = balancer.NewSet(n)
			q.Avoid.Add(n - 1)
		}
		return f.Pick(q)
	})},
	{"uses the first half", "use", "got none of", badPick(func(f *first, q balancer.Query) int {
		return f.Pick(q) / 2
	})},
	{"uses few of many", "use", "1000 endpoints: endpoint", badPick(func(f *first, q balancer.Query) int {
		return f.Pick(q) % 100
	})},
	{"counts picks", "given up", "cost of", badPick(func(f *first, q balancer.Query) int {
		i := f.Pick(q)
		if i >= 0 {
			f.nodes[i].Begin(q.Now)
		}
		return i
	})},
	{"has no nodes", "node", "got nil", badNode(func(f *first, i int) balancer.Node {
		if i == 33 {
			return nil
		}
		return f.nodes[i]
	})},
	{"makes nodes anew", "node", "another one the second time", badNode(func(f *first, i int) balancer.Node {
		return &odd{f.nodes[i], (*counter).Answer}
	})},
	{"forgets nodes", "carried nodes", "want it carried on", badBuild(func(m *balancer.Members) { clear(m.Nodes) })},
	{"keeps nodes by index", "carried nodes", "want it carried on", badBuild(func(m *balancer.Members) {
		if p, ok := m.Prev.(*first); ok {
			for i := range min(len(m.Nodes), len(p.nodes)) {
				m.Nodes[i] = p.nodes[i]
			}
		}
	})},
	{"mixes up statistics", "statistics", "after a change of order", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		f := buildFirst(m)
		stats := &first{nodes: append([]*counter(nil), f.nodes...), start: f.start}
		if p, ok := m.Prev.(splitStat); ok && len(p.stats.nodes) == len(f.nodes) {
			stats = p.stats
		}
		return splitStat{f, stats}
	})},
	{"forgets what runs", "running", "want", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		f := buildFirst(m)
		for _, n := range f.nodes {
			n.waiting.Store(0)
		}
		return f
	})},
	{"counts anew", "running", "with attempts waiting: got 0", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		f := buildFirst(m)
		if m.Prev == nil {
			return f
		}
		old := f.nodes
		f.nodes = make([]*counter, len(old))
		for i := range old {
			f.nodes[i] = new(counter)
		}
		return noding{f, func(_ *first, i int) balancer.Node { return old[i] }}
	})},
	{"counts out twice", "running", "not counted out", badAnswer(func(c *counter, start, now time.Duration, s tulle.Sampling) {
		c.Answer(start, now, s)
		if s == tulle.NoSample {
			c.waiting.Add(-1)
		}
	})},
	{"does not count out failures", "running", "not counted out", badAnswer(func(c *counter, start, now time.Duration, s tulle.Sampling) {
		if s != tulle.NoSample {
			c.Answer(start, now, s)
		}
	})},
	{"adopts nodes of others", "foreign nodes", "want one of the policy's own", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		f := buildFirst(m)
		nodes := append([]balancer.Node(nil), m.Nodes...)
		return noding{f, func(f *first, i int) balancer.Node {
			if nodes[i] != nil {
				return nodes[i]
			}
			return f.nodes[i]
		}}
	})},
	{"uses nodes of others", "foreign nodes", "was used", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		for _, n := range m.Nodes {
			if n != nil {
				n.Judge(m.Now, balancer.Judgement{})
			}
		}
		return buildFirst(m)
	})},
	{"keeps the slice", "foreign nodes", "got", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		f := buildFirst(m)
		return noding{f, func(f *first, i int) balancer.Node {
			if i < len(m.Nodes) && m.Nodes[i] != nil {
				return m.Nodes[i]
			}
			return f.nodes[i]
		}}
	})},
	{"changes the slice", "foreign nodes", "was changed by Build", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		f := buildFirst(m)
		for i := range m.Nodes {
			m.Nodes[i] = f.nodes[i]
		}
		return f
	})},
	{"has a cost that is none", "odd input", "want a number", badStat(balancer.Stat{Cost: math.NaN(), Success: -1})},
	{"has an endless cost", "odd input", "want a number", badStat(balancer.Stat{Cost: math.Inf(1), Success: -1})},
	{"has a cost below zero", "odd input", "want a number, 0 or more", badStat(balancer.Stat{Cost: -1, Success: -1})},
	{"has a negative latency", "odd input", "latency of", badStat(balancer.Stat{Latency: -1, Success: -1})},
	{"has more than all success", "odd input", "success of", badStat(balancer.Stat{Success: 1.5})},
	{"never forgives", "odd input", "after odd input and an hour", badAnswer(func(c *counter, start, now time.Duration, s tulle.Sampling) {
		c.Answer(start, now, s)
		if now-start > time.Hour {
			c.waiting.Add(1 << 40)
		}
	})},
	{"allocates when it picks", "allocations", "Pick: got 1 allocations", badPick(func(f *first, q balancer.Query) int {
		pointers.Store(&q)
		return f.Pick(q)
	})},
	{"allocates for Among", "allocations", "3 of Among: got", badPick(func(f *first, q balancer.Query) int {
		if q.Among != nil && q.Among.Len() == 3 {
			pointers.Store(&balancer.Query{})
		}
		return f.Pick(q)
	})},
	{"allocates when it counts", "allocations", "Begin, Answer, Judge: got 1 allocations", badAnswer(func(c *counter, start, now time.Duration, s tulle.Sampling) {
		pointers.Store(new(balancer.Query))
		c.Answer(start, now, s)
	})},
	{"makes up statistics", "concurrency", "success of", badStat(balancer.Stat{Success: math.NaN()})},
	{"loses every hundredth end", "concurrency", "not counted out", badAnswer(func(c *counter, start, now time.Duration, s tulle.Sampling) {
		if c.waited.Add(1)%100 != 0 {
			c.Answer(start, now, s)
		}
	})},
	{"does not look at weights", "weights", "endpoint of weight", balancer.PolicyFunc(newFirst)},
	{"keeps old weights", "weights", "endpoint of weight", oldWeights()},
	{"takes no weight for none", "weights", "endpoint of weight 0", balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		m.Endpoints = slices.Clone(m.Endpoints)
		for i := range m.Endpoints {
			m.Endpoints[i].Weight = max(m.Endpoints[i].Weight, 0.01)
		}
		return balancer.Random{}.Build(m)
	})},
	{"is out of range after a while", "concurrency", "concurrent picks: got index", badPick(func(f *first, q balancer.Query) int {
		if len(f.nodes) == 20 && f.start.Load()%50 == 7 {
			return len(f.nodes)
		}
		return f.Pick(q)
	})},
}

// oldWeights makes a policy that shares by the weights that endpoints had first.
func oldWeights() balancer.Policy {
	weights := map[string]float64{}
	return balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		m.Endpoints = slices.Clone(m.Endpoints)
		for i := range m.Endpoints {
			e := &m.Endpoints[i]
			if w, ok := weights[e.Addr]; ok {
				e.Weight = w
			}
			weights[e.Addr] = e.Weight
		}
		return balancer.Random{}.Build(m)
	})
}

// splitStat picks by one set of nodes and describes by another.
type splitStat struct {
	*first
	stats *first
}

func (p splitStat) Describe(i int, now time.Duration) balancer.Stat { return p.stats.Describe(i, now) }

// TestBroken proves that each check can fail, and says what is wrong.
func TestBroken(t *testing.T) {
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			err := balancertest.CheckOne(b.check, balancertest.Config{Policy: b.policy})
			if err == nil || !strings.Contains(err.Error(), b.says) {
				t.Errorf("%s: got %v, want it to say %q", b.check, err, b.says)
			}
		})
	}
}

// TestEachCheckCanFail keeps the table of broken policies complete.
func TestEachCheckCanFail(t *testing.T) {
	for _, name := range balancertest.Names() {
		found := slices.ContainsFunc(broken, func(b brokenPolicy) bool { return b.check == name })
		if !found {
			t.Errorf("check %q: got no broken policy that it must find", name)
		}
	}
}

// A policy without Nodes cannot be checked any further.
func TestVitalCheck(t *testing.T) {
	none := badNode(func(*first, int) balancer.Node { return nil })
	err := balancertest.Check(balancertest.Config{Policy: none})
	if want := "node: 10000 endpoints: Node(0): got nil"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q and nothing else", err, want)
	}
}
