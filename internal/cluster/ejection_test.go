package cluster_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/internal/cluster"
)

// world plays n endpoints whose answers are what classes says, in virtual time:
// a call every 10 ms.
type world struct {
	t       *testing.T
	c       *cluster.Cluster
	classes []tulle.Class
}

func newWorld(t *testing.T, classes ...tulle.Class) *world {
	c := newCluster(t, balancer.RoundRobin{})
	eps := make([]tulle.Endpoint, len(classes))
	for i := range eps {
		eps[i].Addr = fmt.Sprintf("%d:1", i)
	}
	update(t, c, eps)
	return &world{t, c, classes}
}

// run makes calls for d and returns how many attempts each endpoint got.
func (w *world) run(d time.Duration) []int {
	w.t.Helper()
	got := make([]int, len(w.classes))
	for end := w.c.Now() + d; w.c.Now() < end; {
		call := &tulle.Call{Safe: true}
		call.Begin()
		var a cluster.Attempt
		now := w.c.Now()
		if err := w.c.Begin(&a, call, now); errors.Is(err, cluster.ErrAllDown) {
			time.Sleep(10 * time.Millisecond)
			continue
		} else if err != nil {
			w.t.Fatalf("Begin: %v", err)
		}
		i := 0
		if _, err := fmt.Sscanf(a.Endpoint().Addr, "%d:1", &i); err != nil {
			w.t.Fatal(err)
		}
		got[i]++
		o := tulle.Outcome{Class: w.classes[i], Elapsed: time.Millisecond, Down: w.classes[i] == tulle.Unsent}
		a.Answer(call, o, now)
		a.End(o, now)
		time.Sleep(10 * time.Millisecond)
	}
	return got
}

// states tells where the endpoints stand.
func (w *world) states() []string {
	var s []string
	for _, e := range w.c.Status().Endpoints {
		s = append(s, e.State)
	}
	return s
}

// inUse counts the endpoints that get a fair part of the calls.
func inUse(got []int) int {
	sum, n := 0, 0
	for _, k := range got {
		sum += k
	}
	for _, k := range got {
		if 4*k*len(got) > sum {
			n++
		}
	}
	return n
}

// behind says whether a bad one of n endpoints is worse than the median of the
// others, of which bad-1 are as bad and the rest good.
func behind(n, bad int) bool {
	if n == 1 {
		return false
	}
	at := func(i int) float64 {
		if i < bad-1 {
			return 0
		}
		return 1
	}
	return (at((n-2)/2)+at((n-1)/2))/2 >= 0.2
}

// The decision table: for 1 to 10 endpoints of which so many are bad, how many
// are left in use after a while. None of them leaves nobody.
func TestEjectionTable(t *testing.T) {
	for n := 1; n <= 10; n++ {
		floor := max(1, (n+1)/2)
		for bad := 0; bad <= n; bad++ {
			for _, class := range []tulle.Class{tulle.Unavailable, tulle.Failed, tulle.TimedOut, tulle.Unsent} {
				want := max(floor, n-bad)
				switch {
				case class == tulle.Unsent:
					want = max(1, n-bad) // no floor but one
				case bad > 0 && !behind(n, bad):
					want = n // a common cause
				}
				t.Run(fmt.Sprintf("n=%d/bad=%d/%v", n, bad, class), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						classes := make([]tulle.Class, n)
						for i := range classes {
							classes[i] = tulle.Answered
							if i < bad {
								classes[i] = class
							}
						}
						w := newWorld(t, classes...)
						w.run(3 * time.Second)
						if class == tulle.Unsent && bad == n && n > 1 {
							probed(t, w)
							return
						}
						got := inUse(w.run(900 * time.Millisecond))
						if got != want {
							t.Errorf("got %d of %d endpoints in use, want %d: %v", got, n, want, w.states())
						}
					})
				})
			}
		}
	}
}

// probed checks that endpoints which are all dead are each tried once a second.
func probed(t *testing.T, w *world) {
	for i, k := range w.run(10 * time.Second) {
		if k < 8 || k > 11 {
			t.Errorf("endpoint %d was tried %d times in 10 s, want about 10", i, k)
		}
	}
}

// The life of an endpoint that goes bad: ejected, tried once, ejected for longer,
// tried, back by a ramp.
func TestEjectionLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tulle.Answered, tulle.Answered, tulle.Answered)
		w.run(time.Second)
		w.classes[0] = tulle.Unavailable
		w.run(time.Second)
		if s := w.states()[0]; s != "ejected" {
			t.Fatalf("after a second of failures: got %s, want ejected", s)
		}
		got := w.run(60 * time.Second)
		// 5, 10, 20, 40 s, each halved at most by jitter.
		if got[0] < 2 || got[0] > 6 {
			t.Errorf("in a minute of failures: got %d probes, want 2 to 6", got[0])
		}
		w.classes[0] = tulle.Answered
		for w.states()[0] != "returning" {
			w.run(100 * time.Millisecond)
		}
		first := w.run(time.Second)
		if first[0] == 0 || first[0] > 15 {
			t.Errorf("in the first second: got %d of 100 calls, want a tenth of a third", first[0])
		}
		w.run(9 * time.Second)
		if last := w.run(3 * time.Second); last[0] < 80 {
			t.Errorf("after the ramp: got %d of 300 calls, want a third", last[0])
		}
		if s := w.states()[0]; s != "healthy" {
			t.Errorf("at the end: got %s, want healthy", s)
		}
	})
}

// A probe that is lost is a failure; one that the caller cancelled is given back.
func TestProbeLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tulle.Unsent, tulle.Answered)
		w.run(500 * time.Millisecond)
		if s := w.states()[0]; s != "dead" {
			t.Fatalf("got %s, want dead", s)
		}
		time.Sleep(time.Second)
		begin := func() *cluster.Attempt {
			a := new(cluster.Attempt)
			if err := w.c.Begin(a, &tulle.Call{Safe: true}, w.c.Now()); err != nil {
				t.Fatal(err)
			}
			return a
		}
		lost := begin()
		if got := lost.Endpoint().Addr; got != "0:1" {
			t.Fatalf("the first attempt after its time went to %s, want 0:1", got)
		}
		for range 10 {
			if got := begin().Endpoint().Addr; got == "0:1" {
				t.Error("a second attempt went to an endpoint that is being tried")
			}
		}
		o := tulle.Outcome{Class: tulle.Ignored}
		lost.Answer(&tulle.Call{}, o, w.c.Now())
		lost.End(o, w.c.Now())
		time.Sleep(20 * time.Millisecond)
		if got := begin().Endpoint().Addr; got != "0:1" {
			t.Errorf("after a cancelled probe the next attempt went to %s, want 0:1", got)
		}
		time.Sleep(11 * time.Second) // nobody ends that one
		if got := begin().Endpoint().Addr; got == "0:1" {
			t.Error("a lost probe was followed by another at once")
		}
		if s := w.states()[0]; s != "ejected" {
			t.Errorf("after a lost probe: got %s, want ejected", s)
		}
	})
}

// What is left out stays so when the set changes, and comes back with its state.
func TestEjectionSurvivesUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tulle.Unavailable, tulle.Answered, tulle.Answered)
		w.run(500 * time.Millisecond)
		update(t, w.c, set("2:1", "1:1", "0:1"))
		got := w.run(500 * time.Millisecond)
		if got[0] != 0 {
			t.Errorf("after an update the ejected endpoint got %d calls", got[0])
		}
		update(t, w.c, set("1:1", "2:1"))
		update(t, w.c, set("1:1", "2:1", "0:1"))
		if got := w.run(500 * time.Millisecond); got[0] != 0 {
			t.Errorf("after it left and came back it got %d calls", got[0])
		}
	})
}

// Endpoints that were left out at the same time are due at the same time. A call
// must not spend all its attempts on them while another endpoint serves.
func TestOneTryOfTheDeadForEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, balancer.RoundRobin{})
		update(t, c, set("a:1", "b:1", "c:1", "d:1", "alive:1"))
		for _, addr := range []string{"a:1", "b:1", "c:1", "d:1"} {
			c.Unreachable(addr, errors.New("refused"))
		}
		for range 8 {
			time.Sleep(2 * time.Second) // all are due
			call := &tulle.Call{Safe: true}
			if got := attempt(t, c, call, 0, tulle.Unsent); got == "alive:1" {
				t.Error("got the one that serves, want one of those that are due")
			}
			if got := attempt(t, c, call, time.Millisecond, tulle.Answered); got != "alive:1" {
				t.Errorf("the repeat: got %s, want the one that serves", got)
			}
		}
		// When nobody is left, each of them is worth a try.
		c.Unreachable("alive:1", errors.New("refused"))
		time.Sleep(2 * time.Second)
		call, tried := &tulle.Call{Safe: true}, map[string]bool{}
		for range 3 {
			tried[attempt(t, c, call, 0, tulle.Unsent)] = true
		}
		if len(tried) != 3 {
			t.Errorf("got %v, want three of the five", tried)
		}
	})
}
