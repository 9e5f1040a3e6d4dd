package cluster_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/retry"
)

// fleet is endpoints in groups "zone/priority*count-out", such as "a/0*10-2": ten
// endpoints in zone a of priority 0 of which two are left out. A zone may be "".
func fleet(spec string) (members []tulle.Endpoint, out balancer.Set) {
	var down []int
	for g, part := range strings.Fields(spec) {
		zone, rest, _ := strings.Cut(part, "/")
		var priority, n, bad int
		if k, _ := fmt.Sscanf(rest, "%d*%d-%d", &priority, &n, &bad); k < 2 {
			panic("bad fleet " + spec)
		}
		for i := range n {
			if i < bad {
				down = append(down, len(members))
			}
			members = append(members, tulle.Endpoint{Addr: fmt.Sprintf("10.0.%d.%d:80", g, i), Zone: zone, Priority: priority})
		}
	}
	out = balancer.NewSet(len(members))
	for _, i := range down {
		out.Add(i)
	}
	return members, out
}

// percents are the shares, rounded.
func percents(groups []cluster.GroupStatus) []int {
	var list []int
	for _, g := range groups {
		list = append(list, int(math.Round(100*g.Share)))
	}
	return list
}

// The examples of Envoy's documentation on priority levels, with 100 endpoints
// in each. Envoy counts in whole percents, so one percent may be elsewhere.
func TestPriorityShares(t *testing.T) {
	for _, test := range []struct{ healthy, want []int }{
		{[]int{100, 100}, []int{100, 0}},
		{[]int{72, 100}, []int{100, 0}},
		{[]int{71, 100}, []int{99, 1}},
		{[]int{50, 100}, []int{70, 30}},
		{[]int{25, 100}, []int{35, 65}},
		{[]int{0, 100}, []int{0, 100}},
		{[]int{72, 72}, []int{100, 0}},
		{[]int{71, 71}, []int{99, 1}},
		{[]int{50, 50}, []int{70, 30}},
		{[]int{25, 25}, []int{50, 50}},
		{[]int{100, 100, 100}, []int{100, 0, 0}},
		{[]int{72, 72, 100}, []int{100, 0, 0}},
		{[]int{71, 71, 100}, []int{99, 1, 0}},
		{[]int{50, 50, 100}, []int{70, 30, 0}},
		{[]int{25, 100, 100}, []int{35, 65, 0}},
		{[]int{25, 25, 100}, []int{35, 35, 30}},
		{[]int{25, 25, 20}, []int{36, 36, 28}},
		{[]int{0, 0}, []int{0, 0}},
	} {
		var spec []string
		for p, h := range test.healthy {
			spec = append(spec, fmt.Sprintf("/%d*100-%d", p, 100-h))
		}
		members, out := fleet(strings.Join(spec, " "))
		got := percents(cluster.Shares(members, "", cluster.Locality{}, out, 1))
		if len(got) != len(test.want) {
			t.Fatalf("%v: got %v, want %v", test.healthy, got, test.want)
		}
		for i := range got {
			if d := got[i] - test.want[i]; d < -1 || d > 1 {
				t.Errorf("%v: got %v, want %v within 1", test.healthy, got, test.want)
			}
		}
	}
}

// What stays in the caller's zone, a, and what goes to the others.
func TestZoneShares(t *testing.T) {
	for _, test := range []struct {
		fleet, why string
		lean       float64
		cfg        cluster.Locality
		want       []int // nil: zones do not matter
	}{
		{"a/0*10 b/0*10 c/0*10", "all but 1 % to explore", 1, cluster.Locality{}, []int{99, 1}},
		{"a/0*10-2 b/0*10", "80 % usable are enough", 1, cluster.Locality{}, []int{99, 1}},
		{"a/0*100-28 b/0*100", "Envoy's 72 %", 1, cluster.Locality{}, []int{99, 1}},
		{"a/0*10-5 b/0*10 c/0*10", "half of it serves 70 %", 1, cluster.Locality{}, []int{70, 30}},
		{"a/0*4-3 b/0*4", "a quarter serves 35 %", 1, cluster.Locality{}, []int{35, 65}},
		{"a/0*10-10 b/0*10", "nobody there", 1, cluster.Locality{}, []int{0, 100}},
		{"a/0*10 b/0*10-10", "nobody elsewhere", 1, cluster.Locality{}, []int{100, 0}},
		{"a/0*10-10 b/0*10-10", "nobody at all", 1, cluster.Locality{}, []int{0, 0}},
		{"a/0*10-5 b/0*10-9", "too few everywhere: 70 and 14 parts", 1, cluster.Locality{}, []int{83, 17}},
		{"a/0*2 b/0*10 c/0*9", "2 where 7 are fair serve 40 % of a zone's callers", 1, cluster.Locality{}, []int{40, 60}},
		{"a/0*9 b/0*1", "callers may be like the endpoints", 1, cluster.Locality{}, []int{99, 1}},
		{"a/0*9-4 b/0*1", "and then 5 of 9 serve 78 %", 1, cluster.Locality{}, []int{78, 22}},
		{"a/0*1 b/0*9", "one is no choice", 1, cluster.Locality{}, nil},
		{"a/0*1 b/0*1", "unless that is wanted", 1, cluster.Locality{Least: 1}, []int{99, 1}},
		{"a/0*3 b/0*3", "more is wanted", 1, cluster.Locality{Least: 4}, nil},
		{"b/0*3 c/0*3", "none in the zone", 1, cluster.Locality{}, nil},
		{"a/0*3", "all in the zone", 1, cluster.Locality{}, nil},
		{"/0*9", "no zones", 1, cluster.Locality{}, nil},
		{"a/0*9 b/0*9", "off", 1, cluster.Locality{Off: true}, nil},
		{"a/0*9 b/0*9", "no exploring", 1, cluster.Locality{Explore: -1}, []int{100, 0}},
		{"a/0*9 b/0*9", "more of it", 1, cluster.Locality{Explore: 0.2}, []int{80, 20}},
		{"a/0*10-5 b/0*10", "no reserve", 1, cluster.Locality{Overprovision: 1}, []int{50, 50}},
		{"a/0*10 b/0*10", "slow", 0.5, cluster.Locality{}, []int{50, 50}},
		{"a/0*10 b/0*10", "slow, and no exploring", 0.5, cluster.Locality{Explore: -1}, []int{50, 50}},
		{"a/0*10 b/0*10-10", "slow, but nobody elsewhere", 0.5, cluster.Locality{}, []int{100, 0}},
		{"a/0*10-5 b/0*10", "slow and half gone", 0.5, cluster.Locality{}, []int{35, 65}},
		// Zones within priorities.
		{"a/0*10 b/0*10 a/1*10 b/1*10", "the first level has all", 1, cluster.Locality{}, []int{99, 1, 0, 0}},
		{"a/0*10-10 b/0*10 a/1*10", "the level has 70 %", 1, cluster.Locality{}, []int{0, 70, 30}},
		{"a/0*10-10 b/0*10-10 a/1*5 b/1*5", "the next level has zones too", 1, cluster.Locality{}, []int{0, 0, 99, 1}},
		{"b/0*10-5 a/1*5 b/1*5", "the first level has none in the zone", 1, cluster.Locality{}, []int{70, 30, 0}},
	} {
		members, out := fleet(test.fleet)
		got := percents(cluster.Shares(members, "a", test.cfg, out, test.lean))
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s (%s): got %v, want %v", test.fleet, test.why, got, test.want)
		}
	}
}

// A weight is capacity.
func TestWeightedShares(t *testing.T) {
	members := set("a:1", "b:1", "c:1")
	members[0].Weight, members[2].Priority = 9, 1
	out := balancer.NewSet(3)
	out.Add(1)
	if got := percents(cluster.Shares(members, "", cluster.Locality{}, out, 1)); fmt.Sprint(got) != "[100 0]" {
		t.Errorf("without a tenth: got %v, want [100 0]", got)
	}
	out.Remove(1)
	out.Add(0)
	if got := percents(cluster.Shares(members, "", cluster.Locality{}, out, 1)); fmt.Sprint(got) != "[14 86]" {
		t.Errorf("with a tenth: got %v, want [14 86]", got)
	}
}

// oracle is the rule in words of one endpoint each: by tokens of a fine grain that
// are given out one after the other.
func oracle(members []tulle.Endpoint, zone string, out balancer.Set) map[[2]any]float64 {
	type tally struct{ all, usable float64 }
	levels, sides, zones := map[int]tally{}, map[[2]any]tally{}, map[int]map[string]bool{}
	for i, e := range members {
		near := e.Zone == zone
		l, s, ok := levels[e.Priority], sides[[2]any{e.Priority, near}], !out.Has(i)
		l.all, s.all = l.all+1, s.all+1
		if ok {
			l.usable, s.usable = l.usable+1, s.usable+1
		}
		levels[e.Priority], sides[[2]any{e.Priority, near}] = l, s
		if zones[e.Priority] == nil {
			zones[e.Priority] = map[string]bool{}
		}
		zones[e.Priority][e.Zone] = true
	}
	total := 0.0
	for _, l := range levels {
		total += math.Min(1, 1.4*l.usable/l.all)
	}
	got, rest := map[[2]any]float64{}, 1.0
	for p := range 10 {
		l, there := levels[p]
		if !there || total == 0 {
			continue
		}
		share := math.Min(rest, math.Min(1, 1.4*l.usable/l.all)/math.Min(total, 1))
		rest -= share
		near, far := sides[[2]any{p, true}], sides[[2]any{p, false}]
		if near.all < 2 || far.all == 0 {
			got[[2]any{p, false}] += share
			continue
		}
		fair := math.Max(near.all, l.all/float64(len(zones[p])))
		can, others := math.Min(1, 1.4*near.usable/fair), math.Min(1, 1.4*far.usable/far.all)
		stay := 0.0
		switch {
		case far.usable == 0 && near.usable > 0:
			stay = 1
		case near.usable > 0:
			stay = math.Min(can/math.Min(1, can+others), 0.99)
		}
		got[[2]any{p, true}], got[[2]any{p, false}] = share*stay, share*(1-stay)
	}
	return got
}

// The shares are those of the plain rule; they sum to 1 while anybody is usable;
// and nobody gets calls who has none to serve them.
func TestSharesAgainstOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		var spec []string
		for p := range 1 + rnd.IntN(3) {
			for z := range 1 + rnd.IntN(4) {
				n := rnd.IntN(8)
				bad := 0
				if rnd.IntN(2) == 0 && n > 0 {
					bad = rnd.IntN(n + 1)
				}
				spec = append(spec, fmt.Sprintf("%c/%d*%d-%d", 'a'+z, p, n, bad))
			}
		}
		members, out := fleet(strings.Join(spec, " "))
		groups := cluster.Shares(members, "a", cluster.Locality{}, out, 1)
		if groups == nil {
			continue
		}
		want, sum, usable := oracle(members, "a", out), 0.0, 0
		for _, g := range groups {
			if w := want[[2]any{g.Priority, g.Zone == "a"}]; math.Abs(g.Share-w) > 1e-9 {
				t.Fatalf("%v: %+v: want %v", spec, g, w)
			}
			if g.Usable == 0 && g.Share != 0 {
				t.Fatalf("%v: %+v: want nothing for nobody", spec, g)
			}
			sum, usable = sum+g.Share, usable+g.Usable
		}
		if want := math.Min(1, float64(usable)); math.Abs(sum-want) > 1e-9 {
			t.Fatalf("%v: got %v in all, want %v", spec, sum, want)
		}
	}
}

// zoned is a Cluster of a fleet for a caller in zone a.
func zoned(tb testing.TB, spec string, p balancer.Policy, cfg cluster.Locality) (*cluster.Cluster, []tulle.Endpoint) {
	tb.Helper()
	r, err := retry.New(retry.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	c := cluster.New(cluster.Config{Policy: p, Retrier: r, Zone: "a", Locality: cfg})
	members, _ := fleet(spec)
	update(tb, c, members)
	return c, members
}

// where counts the endpoints that first attempts of n calls go to, by zone and
// priority.
func where(t *testing.T, c *cluster.Cluster, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		var a cluster.Attempt
		call := &tulle.Call{}
		call.Begin()
		now := c.Now()
		if err := c.Begin(&a, call, now); err != nil {
			t.Fatal(err)
		}
		e := a.Endpoint()
		got[fmt.Sprintf("%s%d", e.Zone, e.Priority)]++
		o := tulle.Outcome{Class: tulle.Answered, Elapsed: time.Millisecond}
		a.Answer(call, o, now+time.Millisecond)
		a.End(o, now+time.Millisecond)
	}
	return got
}

// near fails unless got is want of n, as far as chance allows.
func near(t *testing.T, what string, got, n int, want float64) {
	t.Helper()
	if sd := math.Sqrt(want * (1 - want) * float64(n)); math.Abs(float64(got)-want*float64(n)) > 5*sd+1e-9 {
		t.Errorf("%s: got %d of %d, want about %.0f", what, got, n, want*float64(n))
	}
}

// Picks follow the shares in force, as endpoints die and come back.
func TestPicksFollowShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 4000
		c, members := zoned(t, "a/0*4 b/0*4 c/0*4 a/1*2 b/1*2", balancer.RoundRobin{}, cluster.Locality{})
		got := where(t, c, n)
		near(t, "all well: other zones", got["b0"]+got["c0"], n, 0.01)
		if got["a1"]+got["b1"] != 0 {
			t.Errorf("all well: got %v, want nothing at priority 1", got)
		}
		for _, e := range members[:2] {
			c.Unreachable(e.Addr, nil)
		}
		got = where(t, c, n)
		near(t, "half of the zone is dead: in it", got["a0"], n, 0.7)
		near(t, "half of the zone is dead: elsewhere", got["b0"]+got["c0"], n, 0.3)
		for _, e := range members[:10] {
			c.Unreachable(e.Addr, nil)
		}
		got = where(t, c, n)
		near(t, "two of twelve are left", got["c0"], n, 1.4*2/12)
		near(t, "the next priority", got["a1"], n, (1-1.4*2/12)*0.99)
		near(t, "its other zone", got["b1"], n, (1-1.4*2/12)*0.01)
		for _, g := range c.Status().Groups[:2] {
			if g.Endpoints != map[string]int{"a": 4, "": 8}[g.Zone] || g.Usable != map[string]int{"a": 0, "": 2}[g.Zone] {
				t.Errorf("got %+v in Status", g)
			}
		}
		time.Sleep(2 * time.Second) // each is tried again, and then led into its share
		where(t, c, 100)
		time.Sleep(11 * time.Second)
		got = where(t, c, n)
		near(t, "all well again: in the zone", got["a0"], n, 0.99)
	})
}

// A repeat stays in the priority of the first attempt while there is somebody
// else, but leaves the zone.
func TestRepeatsLeaveTheZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no dead endpoint is due for another try meanwhile
		for range 50 {
			c, members := zoned(t, "a/0*2 b/0*2 a/1*1", balancer.Random{}, cluster.Locality{Explore: -1})
			zoneOf := map[string]string{}
			for _, e := range members {
				zoneOf[e.Addr] = fmt.Sprint(e.Zone, e.Priority)
			}
			call, got := &tulle.Call{}, ""
			for range len(members) {
				got += zoneOf[attempt(t, c, call, 0, tulle.Unsent)] + " "
			}
			if got != "a0 b0 a0 b0 a1 " {
				t.Fatalf("got %q, want the zones in turn and then the next priority", got)
			}
		}
	})
}

// Who connects beforehand picks among those that it has connected to: in the
// group that was drawn, or else wherever somebody is in reach.
func TestSharesWithinReach(t *testing.T) {
	c, members := zoned(t, "a/0*2 b/0*2 b/1*2", balancer.RoundRobin{}, cluster.Locality{})
	for _, test := range []struct {
		reach []int
		want  string
	}{
		{[]int{0, 2, 3, 4, 5}, "a0 b0"}, {[]int{2, 4}, "b0"}, {[]int{4, 5}, "b1"}, {[]int{1}, "a0"},
	} {
		among := cluster.Reachable{View: c.View(), Set: balancer.NewSet(len(members))}
		for _, i := range test.reach {
			among.Set.Add(i)
		}
		got := map[string]bool{}
		for range 2000 {
			var a cluster.Attempt
			call := &tulle.Call{}
			call.Begin()
			if err := c.BeginAmong(&a, call, c.Now(), among); err != nil {
				t.Fatal(err)
			}
			if !among.Set.Has(a.Place()) {
				t.Fatalf("reach %v: got %d", test.reach, a.Place())
			}
			got[fmt.Sprint(a.Endpoint().Zone, a.Endpoint().Priority)] = true
			o := tulle.Outcome{Class: tulle.Answered, Elapsed: time.Millisecond}
			a.Answer(call, o, c.Now())
			a.End(o, c.Now())
		}
		if len(got) != len(strings.Fields(test.want)) {
			t.Errorf("reach %v: got %v, want %s", test.reach, got, test.want)
		}
		for _, g := range strings.Fields(test.want) {
			if !got[g] {
				t.Errorf("reach %v: got %v, want %s", test.reach, got, test.want)
			}
		}
	}
	among := cluster.Reachable{View: c.View(), Set: balancer.NewSet(len(members))}
	call := &tulle.Call{}
	call.Begin()
	if err := c.BeginAmong(new(cluster.Attempt), call, c.Now(), among); err == nil {
		t.Error("nobody in reach: got an attempt, want an error")
	}
}

// A changed zone or setting takes effect at once and keeps what is known.
func TestReconfigureLocality(t *testing.T) {
	c, _ := zoned(t, "a/0*2 b/0*2", balancer.RoundRobin{}, cluster.Locality{})
	where(t, c, 100)
	cfg := cluster.Config{Policy: balancer.RoundRobin{}, Retrier: c.Retrier(), Zone: "b", Locality: cluster.Locality{Explore: -1}}
	c.Reconfigure(cfg, false)
	if got := where(t, c, 500); got["b0"] != 500 {
		t.Errorf("after the move to b: got %v, want all there", got)
	}
	if got := status(t, c, "10.0.0.0:80").Attempts + status(t, c, "10.0.0.1:80").Attempts; got < 80 {
		t.Errorf("got %d attempts remembered, want those before", got)
	}
	cfg.Zone = ""
	c.Reconfigure(cfg, false)
	if got := where(t, c, 500); got["a0"] != 250 || c.Status().Groups != nil {
		t.Errorf("without a zone: got %v and %v, want turns and no groups", got, c.Status().Groups)
	}
}

// BenchmarkAttemptShared is BenchmarkAttempt where calls are shared out: by zones,
// by priorities, and with a part of the endpoints left out.
func BenchmarkAttemptShared(b *testing.B) {
	for _, n := range []int{12, 1200, 12000} {
		for name, spec := range map[string]string{
			"zones": fmt.Sprintf("a/0*%d b/0*%d c/0*%d", n/3, n/3, n/3), "priorities": fmt.Sprintf("/0*%d /1*%d", n/2, n/2),
			"ill": fmt.Sprintf("a/0*%d-%d b/0*%d c/0*%d", n/3, n/6, n/3, n/3),
		} {
			b.Run(fmt.Sprintf("%s/endpoints=%d", name, n), func(b *testing.B) {
				c, members := zoned(b, spec, balancer.ShortestExpectedDelay{Introduction: -1}, cluster.Locality{})
				if name == "ill" {
					_, out := fleet(spec)
					for i := out.Next(0); i >= 0; i = out.Next(i + 1) {
						c.Unreachable(members[i].Addr, nil)
					}
				}
				b.ReportAllocs()
				var a cluster.Attempt
				var call tulle.Call
				for b.Loop() {
					call = tulle.Call{}
					call.Begin()
					now := time.Duration(0)
					if err := c.Begin(&a, &call, now); err != nil {
						b.Fatal(err)
					}
					o := tulle.Outcome{Class: tulle.Answered, Elapsed: time.Millisecond}
					a.Answer(&call, o, now+time.Millisecond)
					a.End(o, now+time.Millisecond)
				}
			})
		}
	}
}
