package discovery_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// subsetOf is what a Subset makes of a set.
func subsetOf(tb testing.TB, s discovery.Subset, set []tulle.Endpoint) []tulle.Endpoint {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []tulle.Endpoint
	s.Resolver = discovery.Static(set)
	_ = s.Watch(ctx, func(u discovery.Update) {
		if u.Err != nil {
			tb.Errorf("got the error %v", u.Err)
		}
		got = u.Endpoints
		cancel()
	}, nil)
	return got
}

// many are n endpoints that f makes.
func many(n int, f func(i int, e *tulle.Endpoint)) []tulle.Endpoint {
	set := make([]tulle.Endpoint, n)
	for i := range set {
		set[i].Addr = fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255)
		if f != nil {
			f(i, &set[i])
		}
	}
	return set
}

func TestSubsetValidate(t *testing.T) {
	for _, c := range []struct {
		subset discovery.Subset
		want   []string
	}{
		{discovery.Subset{}, []string{"Resolver nil: want a resolver", "Size 0: want 1 to 1000000"}},
		{discovery.Subset{Resolver: discovery.Static{}, Size: -1}, []string{"discovery: subset: Size -1"}},
		{discovery.Subset{Resolver: discovery.Static{}, Size: 1_000_001}, []string{"discovery: subset: Size 1000001"}},
		{discovery.Subset{Resolver: discovery.Static{}, Size: 1_000_000}, nil},
	} {
		err := c.subset.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%+v: got %v, want %v", c.subset, err, c.want)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want it to say %q", c.subset, err, want)
			}
		}
		if err == nil {
			continue
		}
		var said error
		got := c.subset.Watch(context.Background(), func(u discovery.Update) { said = u.Err }, nil)
		if got == nil || said == nil || got.Error() != err.Error() || said.Error() != err.Error() {
			t.Errorf("%+v: Watch reported %v and returned %v, want both %v", c.subset, said, got, err)
		}
	}
}

// A changed configuration keeps a watch whose Subset says the same.
func TestSubsetIsComparedByContent(t *testing.T) {
	parse := func(target string) discovery.Resolver {
		r, err := discovery.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if a, b := parse("dns://a:80?subset=20"), parse("dns://a:80?subset=20"); !reflect.DeepEqual(a, b) {
		t.Errorf("got %#v and %#v different, want them equal", a, b)
	}
	if a, b := parse("dns://a:80?subset=20"), parse("dns://a:80?subset=21"); reflect.DeepEqual(a, b) {
		t.Error("got two sizes equal, want them different")
	}
}

// The watch keeps its random choice, and changes outside of it are no news.
func TestSubsetWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := many(50, nil)
		m := newMemory()
		m.say(discovery.Update{Endpoints: all})
		w := watch(t, discovery.Subset{Resolver: m, Size: 5})
		first := brief(w.next().Endpoints)
		if len(first) != 5 {
			t.Fatalf("got %v, want 5 of 50", first)
		}
		without := func(drop string) discovery.Update {
			return discovery.Update{Endpoints: slices.DeleteFunc(slices.Clone(all), func(e tulle.Endpoint) bool { return e.Addr == drop })}
		}
		for _, e := range all {
			if !slices.Contains(first, e.Addr) {
				m.say(without(e.Addr))
				w.quiet(time.Second)
				break
			}
		}
		m.say(without(first[0]))
		second := brief(w.next().Endpoints)
		if n := places(first, second); n != 1 || slices.Contains(second, first[0]) {
			t.Errorf("got %v after %v without its first, want one place changed", second, first)
		}
		m.fail(errDown)
		w.wantErr(errDown.Error())
		m.say(discovery.Update{Endpoints: all})
		w.want(first...)
		m.say(discovery.Update{Endpoints: all[:3]})
		w.want(brief(all[:3])...)
		m.set()
		w.want()
		m.set()
		w.want() // the receiver counts
		if w.hint(); m.count(&m.watches, 0) != 1 {
			t.Error("got another watch, want one")
		}
	})
}

// Each client takes other endpoints, and so does each watch unless it has a seed.
func TestSubsetSeeds(t *testing.T) {
	all := many(1000, nil)
	for _, seeds := range [][2]uint64{{1, 2}, {0, 0}, {1 << 63, 1<<63 + 1}} {
		a := brief(subsetOf(t, discovery.Subset{Size: 20, Seed: seeds[0]}, all))
		b := brief(subsetOf(t, discovery.Subset{Size: 20, Seed: seeds[1]}, all))
		if common := 20 - places(a, b); len(a) != 20 || common > 6 { // 0.4 are expected; more than 6 come once in 10^8
			t.Errorf("seeds %v: got %d of %d endpoints in common, want hardly any", seeds, common, len(a))
		}
	}
	a, b := subsetOf(t, discovery.Subset{Size: 20, Seed: 7}, all), subsetOf(t, discovery.Subset{Size: 20, Seed: 7}, all)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got %v and %v for one seed, want the same", a, b)
	}
}

// What is not more than Size passes as it is, so a lone client can have all.
func TestSubsetPassesAll(t *testing.T) {
	all := many(20, func(i int, e *tulle.Endpoint) {
		e.Weight, e.Priority, e.Zone = float64(i+1), i%3, string(rune('a'+i%2))
	})
	for _, size := range []int{7, 20, 1000} { // 7, as no priority has more
		for _, byZone := range []bool{false, true} {
			if got := subsetOf(t, discovery.Subset{Size: size, ByZone: byZone}, all); !reflect.DeepEqual(got, all) {
				t.Errorf("Size %d, ByZone %v: got %v, want all as they are", size, byZone, got)
			}
		}
	}
}

// places counts how many of a are not in b.
func places(a, b []string) int {
	n := 0
	for _, x := range a {
		if !slices.Contains(b, x) {
			n++
		}
	}
	return n
}

// naive is the rule in its plain form: in each priority, and each zone if zones
// count, the endpoints with the lowest -ln(u)/w, where u is what a Subset of one
// shows by its choice between two.
func naive(t *testing.T, s discovery.Subset, set []tulle.Endpoint) []string {
	t.Helper()
	groups := map[string][]tulle.Endpoint{}
	for _, e := range set {
		key := fmt.Sprint(e.Priority)
		groups[key] = append(groups[key], e)
	}
	var kept []string
	for _, g := range groups {
		slices.SortFunc(g, func(a, b tulle.Endpoint) int {
			pair := []tulle.Endpoint{a, b}
			if a.Addr == b.Addr {
				return 0
			}
			if subsetOf(t, discovery.Subset{Size: 1, Seed: s.Seed}, pair)[0].Addr == a.Addr {
				return -1
			}
			return 1
		})
		for _, e := range g[:min(s.Size, len(g))] {
			kept = append(kept, e.Addr)
		}
	}
	return kept
}

// The subset is the best of a total order, in each priority, in the order of the
// source.
func TestSubsetAgainstNaive(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		all := many(1+rnd.IntN(40), func(_ int, e *tulle.Endpoint) {
			e.Weight, e.Priority = float64(1+rnd.IntN(4)), rnd.IntN(2)
		})
		s := discovery.Subset{Size: 1 + rnd.IntN(12), Seed: 1 + rnd.Uint64()}
		got := subsetOf(t, s, all)
		want := naive(t, s, all)
		var addrs []string
		for _, e := range got {
			addrs = append(addrs, e.Addr)
		}
		if len(addrs) != len(want) || places(addrs, want) != 0 {
			t.Fatalf("%d of %d: got %v, want %v", s.Size, len(all), addrs, want)
		}
		if !slices.IsSortedFunc(got, func(a, b tulle.Endpoint) int { return indexAddr(all, a.Addr) - indexAddr(all, b.Addr) }) {
			t.Fatalf("got %v, want the order of the source", addrs)
		}
	}
}

func indexAddr(set []tulle.Endpoint, addr string) int {
	return slices.IndexFunc(set, func(e tulle.Endpoint) bool { return e.Addr == addr })
}

// One endpoint that comes, goes or changes its weight changes one place at most,
// with and without zones.
func TestSubsetChurn(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 3000 {
		zones := 1 + rnd.IntN(4)
		all := many(5+rnd.IntN(60), func(_ int, e *tulle.Endpoint) {
			e.Zone = string(rune('a' + min(rnd.IntN(zones), rnd.IntN(zones))))
			if round%2 == 0 {
				e.Weight = float64(1 + rnd.IntN(5))
			}
		})
		s := discovery.Subset{Size: zones + 1 + rnd.IntN(20), Seed: 1 + rnd.Uint64(), ByZone: round%3 != 0}
		before := brief(subsetOf(t, s, all))
		less := slices.Clone(all)
		i := rnd.IntN(len(all))
		if round%5 == 0 {
			less[i].Weight = 7
		} else {
			less = slices.Delete(less, i, i+1)
		}
		after := brief(subsetOf(t, s, less))
		if out, in := places(before, after), places(after, before); out > 1 || in > 1 {
			t.Fatalf("round %d: %d of %d by zone %v: got %d out and %d in without %v, want at most 1", round, s.Size, len(all), s.ByZone, out, in, all[i])
		}
	}
}

// Over many clients each instance gets the part of the calls that its weight
// says: a client shares its calls out by the weights in its subset.
func TestSubsetLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		n, k int
		zone bool
		f    func(i int, e *tulle.Endpoint)
		off  float64 // how far from its part an instance may be
	}{
		{"equal", 200, 20, false, nil, 0.1},
		{"few of many", 200, 3, false, nil, 0.2},
		{"weights 1 to 4", 200, 20, false, func(i int, e *tulle.Endpoint) { e.Weight = float64(1 + i%4) }, 0.15},
		{"one of 100", 200, 20, false, func(i int, e *tulle.Endpoint) { e.Weight = 1; e.Weight += float64(99 * (1 - min(i, 1))) }, 0.2},
		{"uneven zones", 200, 20, true, func(i int, e *tulle.Endpoint) { e.Zone = string(rune('a' + min(i/120, 1) + min(i/199, 1))) }, 0.15},
		{"zones and weights", 150, 20, true, func(i int, e *tulle.Endpoint) {
			e.Weight, e.Zone = float64(1+i%3), string(rune('a'+i%7/3))
		}, 0.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			const clients = 4000
			all := many(c.n, c.f)
			load, total := map[string]float64{}, 0.0
			for i := range all {
				total += all[i].Share()
			}
			for seed := range clients {
				set := subsetOf(t, discovery.Subset{Size: c.k, Seed: uint64(seed) + 1, ByZone: c.zone}, all)
				sum := 0.0
				for i := range set {
					sum += set[i].Share()
				}
				for i := range set {
					load[set[i].Addr] += set[i].Share() / sum / clients
				}
			}
			for i := range all {
				// Beside the bias allowed, chance has its part.
				want := all[i].Share() / total
				if got := load[all[i].Addr]; math.Abs(got/want-1) > c.off+4/math.Sqrt(clients*float64(c.k)/float64(c.n)) {
					t.Errorf("%v: got %.2f of what its weight says", all[i], got/want)
				}
			}
		})
	}
}

// Zones keep their part of the places, and none is left out.
func TestSubsetZones(t *testing.T) {
	for _, c := range []struct {
		zones []int
		size  int
		want  []int
	}{
		{[]int{100, 100, 100}, 30, []int{10, 10, 10}},
		{[]int{100, 100, 100}, 20, []int{7, 7, 6}},
		{[]int{150, 100, 50}, 30, []int{15, 10, 5}},
		{[]int{99, 1}, 10, []int{9, 1}},
		{[]int{900, 1, 1, 1, 1, 1}, 7, []int{2, 1, 1, 1, 1, 1}},
		{[]int{3, 3}, 5, []int{3, 2}},
		{[]int{1, 9}, 9, []int{1, 8}},
	} {
		var all []tulle.Endpoint
		for z, n := range c.zones {
			for _, e := range many(n, func(_ int, e *tulle.Endpoint) { e.Zone = string(rune('a' + z)) }) {
				e.Addr = fmt.Sprint(z) + e.Addr
				all = append(all, e)
			}
		}
		got := make([]int, len(c.zones))
		for _, e := range subsetOf(t, discovery.Subset{Size: c.size, Seed: 5, ByZone: true}, all) {
			got[e.Zone[0]-'a']++
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d of %v: got %v, want %v", c.size, c.zones, got, c.want)
		}
	}
}

// FuzzSubset: whatever the set, the subset is valid, of the right size, and made
// of members whose other fields are untouched.
func FuzzSubset(f *testing.F) {
	f.Add(uint64(1), uint16(3), true, []byte("some endpoints of some weights, priorities and zones"))
	f.Add(uint64(9), uint16(1), false, []byte{0, 0, 0, 0, 255, 255, 255, 255, 1, 2, 3, 4})
	f.Add(uint64(1<<63), uint16(40), true, slices.Repeat([]byte{7, 0, 1, 2}, 60))
	f.Fuzz(func(t *testing.T, seed uint64, size uint16, byZone bool, data []byte) {
		all := many(min(len(data)/4, 300), func(i int, e *tulle.Endpoint) {
			d := data[4*i:]
			e.Weight = math.Float64frombits(uint64(binary.LittleEndian.Uint16(d)) << 48)
			if e.Weight = math.Abs(e.Weight); e.Validate() != nil {
				e.Weight = 0
			}
			e.Priority, e.Zone = int(d[2]%3), strings.Repeat("z", int(d[3]%5))
		})
		s := discovery.Subset{Size: int(size) + 1, Seed: seed, ByZone: byZone}
		got := subsetOf(t, s, all)
		levels := map[int]int{}
		for i := range all {
			levels[all[i].Priority]++
		}
		for i := range got {
			levels[got[i].Priority] -= 1_000_000
			e := all[indexAddr(all, got[i].Addr)]
			if e.Weight = got[i].Weight; e.Validate() != nil || !e.Equal(&got[i]) {
				t.Fatalf("got %+v, want a valid member of the set", got[i])
			}
		}
		for p, n := range levels {
			was := (n%1_000_000 + 1_000_000) % 1_000_000
			if kept := (was - n) / 1_000_000; kept != min(was, s.Size) {
				t.Fatalf("priority %d: got %d of %d, want %d", p, kept, was, min(was, s.Size))
			}
		}
	})
}

func BenchmarkSubset(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		for _, kind := range []string{"equal", "weights", "zones"} {
			b.Run(fmt.Sprintf("%s/endpoints=%d", kind, n), func(b *testing.B) {
				all := many(n, func(i int, e *tulle.Endpoint) {
					switch kind {
					case "weights":
						e.Weight = float64(1 + i%5)
					case "zones":
						e.Zone = string(rune('a' + i%3))
					}
				})
				choose := discovery.Chooser(discovery.Subset{Size: 20, Seed: 1, ByZone: kind == "zones"})
				b.ReportAllocs()
				for b.Loop() {
					if len(choose(all)) != 20 {
						b.Fatal("not 20")
					}
				}
			})
		}
	}
}
