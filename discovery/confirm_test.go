package discovery_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// nowhere is what a resolver says of a name without addresses.
var nowhere = &net.DNSError{Err: "no such host", Name: "users.test", IsNotFound: true}

// four is a set to take from.
var four = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}

// within checks that the next update is as wanted, and how long it took.
func (w *running) within(least, most time.Duration, addrs ...string) {
	w.t.Helper()
	start := time.Now()
	w.want(addrs...)
	if d := time.Since(start); d < least || d > most {
		w.t.Fatalf("%v: got it after %v, want %v to %v", addrs, d, least, most)
	}
}

// Half a set may go at once, and anything may come.
func TestDNSGrowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: four}
		d := users(n)
		d.Port = ""
		w := watch(t, d)
		w.want(four...)
		for _, next := range [][]string{four[:2], four[:1], four} {
			n.answer(next...)
			w.hint()
			w.within(0, time.Second, next...) // the floor
		}
	})
}

// More than half goes when it is said twice, 5 s apart.
func TestDNSShrinkIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: four}
		d := users(n)
		d.Port = ""
		w := watch(t, d)
		w.want(four...)
		w.quiet(10 * time.Second)
		n.answer(four[0])
		n.times()
		w.hint()
		w.within(5*time.Second, 5*time.Second, four[0])
		if got := len(n.times()); got != 2 {
			t.Errorf("got %d look-ups until then, want 2", got)
		}
	})
}

// Hints bring the second answer early; it does not count until 5 s are over.
func TestDNSShrinkHinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: four}
		d := users(n)
		d.Port = ""
		w := watch(t, d)
		w.want(four...)
		w.quiet(10 * time.Second)
		n.answer(four[0])
		start := time.Now()
		for range 40 {
			w.hint()
			tick := time.NewTimer(100 * time.Millisecond)
			<-tick.C
		}
		w.within(0, time.Second, four[0])
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("got the set after %v, want 5s", d)
		}
	})
}

// A server that comes up with a part of its zone does no harm.
func TestDNSShrinkIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: four}
		w := watch(t, users(n))
		w.want("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.4:8080")
		w.quiet(10 * time.Second)
		n.answer(four[0])
		w.hint()
		w.quiet(4 * time.Second)
		n.answer(four...)
		w.quiet(time.Hour)
		// What was said before that confirms nothing.
		n.answer(four[0])
		w.hint()
		w.within(5*time.Second, 6*time.Second, "10.0.0.1:8080") // 1 s is the floor
	})
}

// A set that is replaced is one that went, and something new: both are there
// until the second answer.
func TestDNSReplaced(t *testing.T) {
	for _, c := range []struct{ old, answer, union []string }{
		{[]string{"10.0.0.1"}, []string{"10.0.1.1"}, []string{"10.0.1.1", "10.0.0.1"}},
		{four, []string{"10.0.1.1", "10.0.1.2", "10.0.0.4", "10.0.1.3"}, []string{"10.0.1.1", "10.0.1.2", "10.0.0.4", "10.0.1.3", "10.0.0.1", "10.0.0.2", "10.0.0.3"}},
		{four[:3], []string{"10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.1.3"}, []string{"10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.0.2", "10.0.0.3"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &names{ips: c.old}
			d := users(n)
			d.Port = ""
			w := watch(t, d)
			w.want(c.old...)
			w.quiet(10 * time.Second)
			n.answer(c.answer...)
			w.hint()
			w.within(0, 0, c.union...)
			w.within(5*time.Second, 5*time.Second, c.answer...)
			w.quiet(time.Hour)
		})
	}
}

// An error between the two answers neither confirms nor denies.
func TestDNSShrinkWithError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: four}
		d := users(n)
		d.Port = ""
		w := watch(t, d)
		w.want(four...)
		w.quiet(10 * time.Second)
		n.answer(four[0])
		w.hint()
		w.quiet(4 * time.Second)
		n.fail(errDown)
		w.wantErr(errDown.Error())
		w.quiet(20 * time.Second)
		n.answer(four[0])
		w.want(four[0])
	})
}

// A server that gives a random part of the set: the answers together are the
// set, are asked for no more often than usual, and what no answer names goes
// after 10 minutes.
func TestDNSRandomParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		all := make([]string, 20)
		for i := range all {
			all[i] = fmt.Sprintf("10.0.0.%d", i)
		}
		n := &names{}
		rotate := func(from []string, d time.Duration) {
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
				part := slices.Clone(from)
				rnd.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
				n.answer(part[:4]...)
			}
		}
		n.answer(all[:4]...)
		w := watch(t, users(n))
		rotate(all, 30*time.Minute)
		if got := len(w.last().Endpoints); got < 15 {
			t.Errorf("20 addresses, 4 in each answer: got %d after 30m, want nearly all", got)
		}
		n.times()
		rotate(all[:10], 30*time.Minute)
		if got := len(n.times()); got > 70 {
			t.Errorf("got %d look-ups in 30m, want about one each 30s", got)
		}
		for _, got := range addrs(w.last()) {
			if !slices.Contains(all[:10], strings.TrimSuffix(got, ":8080")) {
				t.Errorf("got %v in the set, want it gone after 30m", got)
			}
		}
	})
}

// last is the latest update; those before it are dropped.
func (w *running) last() discovery.Update {
	u := w.next()
	for {
		select {
		case u = <-w.updates:
		default:
			return u
		}
	}
}

// That there is nobody is an error until it was said twice, and from then on is
// said again each time: the engine drains what is told to it more than once.
func TestDNSNobodyIsConfirmed(t *testing.T) {
	for _, c := range []struct {
		name string
		says func(*names)
	}{
		{"not found", func(n *names) { n.fail(nowhere) }},
		{"empty answer", func(n *names) { n.answer() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &names{ips: four}
				d := users(n)
				d.Port = ""
				w := watch(t, d)
				w.want(four...)
				w.quiet(10 * time.Second)
				c.says(n)
				w.hint()
				w.wantErr("discovery: dns users.test")
				w.within(5*time.Second, 5*time.Second)
				for range 10 {
					w.within(time.Second, 33*time.Second) // again and again
				}
				n.fail(errDown)
				w.wantErr(errDown.Error())
				c.says(n)
				w.within(0, 33*time.Second) // not forgotten
				n.answer("10.0.0.9")
				w.want("10.0.0.9")
				w.quiet(time.Hour)
			})
		})
	}
}

// One such answer does nothing: it often comes from a server that starts.
func TestDNSNobodyIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: four}
		d := users(n)
		d.Port = ""
		w := watch(t, d)
		w.want(four...)
		w.quiet(10 * time.Second)
		n.fail(nowhere)
		w.hint()
		w.wantErr("no such host")
		n.answer(four...)
		w.want(four...)
		w.quiet(time.Hour)
		n.fail(nowhere)
		w.hint()
		w.wantErr("no such host")
		w.within(5*time.Second, 5*time.Second) // counted from its own first answer
	})
}

// A name that never had an address is a mistake until the contrary is proven.
func TestDNSNeverAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{err: nowhere}
		w := watch(t, users(n))
		w.wantErr("no such host")
		w.quiet(2 * time.Hour)
		n.answer("10.0.0.1")
		w.want("10.0.0.1:8080")
	})
}

// Combinations pass on that nobody is there as often as it is said.
func TestPreferNobodyIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1"}}
		w := watch(t, discovery.Prefer(users(n), discovery.Static{}))
		w.want("10.0.0.1:8080")
		n.fail(nowhere)
		w.wantErr("no such host")
		w.want()
		for range 3 {
			w.within(time.Second, 33*time.Second)
		}
	})
}

// history is the confirmer in the words of its documentation: it keeps all
// answers and works out from them, each time, who has to be there.
type history struct {
	at    []time.Time
	said  [][]string
	force []string
}

func (h *history) take(answer []string, now time.Time) []string {
	var lost []string
	for _, a := range h.force {
		if !slices.Contains(answer, a) {
			lost = append(lost, a)
		}
	}
	h.at, h.said = append(h.at, now), append(h.said, slices.Sorted(slices.Values(answer)))
	if 2*len(lost) <= len(h.force) || h.confirmed() {
		h.at, h.said = nil, nil // what was held back is settled
		h.force = answer
		return h.force
	}
	h.force = slices.Clone(answer)
	for _, a := range lost {
		if now.Sub(h.missed(a)) < 10*time.Minute {
			h.force = append(h.force, a)
		}
	}
	return h.force
}

// confirmed: all answers of the last 5 s or more are the same.
func (h *history) confirmed() bool {
	last := len(h.said) - 1
	for i := last - 1; i >= 0 && slices.Equal(h.said[i], h.said[last]); i-- {
		if h.at[last].Sub(h.at[i]) >= 5*time.Second {
			return true
		}
	}
	return false
}

// missed is the first of the answers up to now that do not name a.
func (h *history) missed(a string) time.Time {
	i := len(h.said) - 1
	for i > 0 && !slices.Contains(h.said[i-1], a) {
		i--
	}
	return h.at[i]
}

// The confirmer does what its history says, whatever comes.
func TestConfirmerAgainstHistory(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var c discovery.Confirmer
		var h history
		now := time.Unix(1e9, 0)
		answer := []string{"a"}
		for step := range 200 {
			now = now.Add(time.Duration(rnd.IntN(12)) * time.Second)
			if rnd.IntN(20) == 0 {
				now = now.Add(time.Duration(rnd.IntN(700)) * time.Second)
			}
			if rnd.IntN(3) > 0 {
				answer = nil
				for i := range 12 {
					if rnd.IntN(3) == 0 || len(answer) == 0 && i == 11 {
						answer = append(answer, string(rune('a'+i)))
					}
				}
			}
			set, again := c.Take(eps(answer...), 30*time.Second, now)
			if want := h.take(answer, now); !slices.Equal(brief(set), want) {
				t.Fatalf("seed %d, step %d, answer %v: got %v, want %v", seed, step, answer, brief(set), want)
			}
			if again < 0 || again > 30*time.Second || again > 0 && again < time.Second {
				t.Fatalf("seed %d, step %d: got the next look in %v, want 1s to 30s, or 0", seed, step, again)
			}
		}
	}
}

// What answers add up to has a bound.
func TestConfirmerBound(t *testing.T) {
	var c discovery.Confirmer
	now := time.Unix(1e9, 0)
	for i := range 50 {
		part := make([]tulle.Endpoint, 1000)
		for k := range part {
			part[k].Addr = fmt.Sprintf("10.%d.%d.%d", i, k/256, k%256)
		}
		now = now.Add(time.Second)
		set, _ := c.Take(part, 30*time.Second, now)
		if len(set) > 10_000 || len(set) < 1000 || set[0].Addr != part[0].Addr {
			t.Fatalf("answer %d of 1,000 others: got %d endpoints, want the answer and at most 10,000", i+1, len(set))
		}
	}
}

// The usual case: the answer is the same.
func BenchmarkConfirmer(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			set := make([]tulle.Endpoint, size)
			for i := range set {
				set[i].Addr = fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)
			}
			var c discovery.Confirmer
			now := time.Unix(1e9, 0)
			b.ReportAllocs()
			for b.Loop() {
				c.Take(set, 30*time.Second, now)
			}
		})
	}
}
