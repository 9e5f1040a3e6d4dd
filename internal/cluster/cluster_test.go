package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/retry"
)

func TestMain(m *testing.M) { leak.Main(m) }

func newCluster(tb testing.TB, p balancer.Policy) *cluster.Cluster {
	tb.Helper()
	r, err := retry.New(retry.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	if p == nil {
		p = balancer.ShortestExpectedDelay{Introduction: -1}
	}
	return cluster.New(cluster.Config{Policy: p, Retrier: r})
}

func set(addrs ...string) []tulle.Endpoint {
	eps := make([]tulle.Endpoint, len(addrs))
	for i, a := range addrs {
		eps[i].Addr = a
	}
	return eps
}

func update(tb testing.TB, c *cluster.Cluster, eps []tulle.Endpoint) {
	tb.Helper()
	if err := c.Update(eps); err != nil {
		tb.Fatalf("Update: %v", err)
	}
}

// attempt makes one attempt of call that takes d and comes to class.
func attempt(tb testing.TB, c *cluster.Cluster, call *tulle.Call, d time.Duration, class tulle.Class) string {
	tb.Helper()
	var a cluster.Attempt
	call.Begin()
	now := c.Now()
	if err := c.Begin(&a, call, now); err != nil {
		tb.Fatalf("Begin: %v", err)
	}
	o := tulle.Outcome{Class: class, Elapsed: d, Down: class == tulle.Unsent}
	a.Answer(call, o, now+d)
	if !a.End(o, now+d) {
		tb.Error("End: the lease had ended before")
	}
	if a.End(o, now+d) {
		tb.Error("End: the lease ended twice")
	}
	return a.Endpoint().Addr
}

// status finds the endpoint at addr.
func status(tb testing.TB, c *cluster.Cluster, addr string) cluster.EndpointStatus {
	tb.Helper()
	for _, e := range c.Status().Endpoints {
		if e.Endpoint.Addr == addr {
			return e
		}
	}
	tb.Fatalf("no endpoint %s", addr)
	return cluster.EndpointStatus{}
}

// What is known of an endpoint survives that the set changes, and that the
// endpoint is away for less than ten minutes. A new name is a new instance.
func TestStateSurvivesChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		only := func(want uint64, what string) {
			t.Helper()
			if got := status(t, c, "a:1").Attempts; got != want {
				t.Errorf("%s: got %d attempts remembered, want %d", what, got, want)
			}
		}
		update(t, c, set("a:1"))
		attempt(t, c, &tulle.Call{}, time.Millisecond, tulle.Answered)
		update(t, c, set("z:1", "a:1", "b:1"))
		only(1, "another place in the set")
		update(t, c, set("b:1"))
		time.Sleep(9 * time.Minute)
		update(t, c, set("c:1", "a:1"))
		only(1, "away for nine minutes")
		named := set("a:1", "b:1")
		named[0].Weight, named[0].Zone = 3, "z"
		update(t, c, named)
		only(1, "another weight and zone")
		if got := status(t, c, "a:1").Endpoint; got.Weight != 3 || got.Zone != "z" {
			t.Errorf("got %+v, want the new weight and zone", got)
		}
		update(t, c, set("b:1"))
		time.Sleep(11 * time.Minute)
		update(t, c, set("b:1", "c:1"))
		update(t, c, set("b:1", "a:1"))
		only(0, "away for eleven minutes")
		attempt(t, c, &tulle.Call{Tried: []string{"b:1"}}, time.Millisecond, tulle.Answered)
		only(1, "after another attempt")
		other := set("b:1", "a:1")
		other[1].Name = "a-1"
		update(t, c, other)
		only(0, "another name")
	})
}

// The memory of endpoints that left is bounded.
func TestLeaversAreBounded(t *testing.T) {
	c := newCluster(t, balancer.RoundRobin{})
	for round := range 30 {
		eps := make([]tulle.Endpoint, 100)
		for i := range eps {
			eps[i].Addr = fmt.Sprintf("10.0.%d.%d:80", round, i)
		}
		update(t, c, eps)
	}
	if got := cluster.Known(c); got > 1100 {
		t.Errorf("got %d states kept, want at most 1100", got)
	}
}

// An update that cannot be used is refused whole, with all that is wrong.
func TestUpdateRefuses(t *testing.T) {
	c := newCluster(t, nil)
	update(t, c, set("a:1"))
	err := c.Update([]tulle.Endpoint{{Addr: "b:1"}, {Addr: "c:99999"}, {Addr: "b:1"}, {Addr: "d:1", Weight: -2}})
	if err == nil {
		t.Fatal("Update accepted it")
	}
	for _, want := range []string{"99999", `"b:1"`, "twice", "-2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %s", err, want)
		}
	}
	if c.Len() != 1 || c.Err() != nil || c.Failure() == nil {
		t.Errorf("got %d endpoints, Err %v, Failure %v; want the last good set and the failure", c.Len(), c.Err(), c.Failure())
	}
	update(t, c, set("b:1"))
	if c.Failure() != nil {
		t.Errorf("after a good update: got failure %v", c.Failure())
	}
}

// A call tries each endpoint of the most preferred priority before any other.
func TestPriorities(t *testing.T) {
	eps := set("a:1", "b:1", "c:1", "d:1")
	eps[0].Priority, eps[1].Priority, eps[2].Priority, eps[3].Priority = 2, 0, 1, 0
	for range 50 {
		c := newCluster(t, nil)
		update(t, c, eps)
		call := &tulle.Call{}
		var got []string
		for range 4 {
			got = append(got, attempt(t, c, call, 0, tulle.Unsent))
		}
		slices.Sort(got[:2])
		if want := []string{"b:1", "d:1", "c:1", "a:1"}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// The failing path learns what it needs: who is left, how fast the pool is, and
// how the others are.
func TestPoolFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, balancer.RoundRobin{})
		update(t, c, set("a:1", "b:1", "c:1"))
		fail := func() tulle.Pool {
			call := &tulle.Call{}
			attempt(t, c, call, time.Second, tulle.TimedOut)
			return call.Facts()
		}
		if got := fail(); got.Others != tulle.Unknown || got.Untried != 2 || got.Mean != 0 {
			t.Errorf("before any success: got %+v, want unknown others, 2 untried, no mean", got)
		}
		good := func(n int, d time.Duration) {
			for range n {
				attempt(t, c, &tulle.Call{}, d, tulle.Answered)
			}
		}
		good(60, 10*time.Millisecond)
		got := fail()
		if got.Others != tulle.Healthy {
			t.Errorf("after 60 successes: got %+v, want healthy others", got)
		}
		for _, d := range []time.Duration{got.Mean, got.Median} {
			if d < 8*time.Millisecond || d > 12*time.Millisecond {
				t.Errorf("got mean %v and median %v, want about 10 ms", got.Mean, got.Median)
			}
		}
		time.Sleep(30 * time.Second)
		good(60, 40*time.Millisecond)
		if got := fail(); got.Others != tulle.Unhealthy {
			t.Errorf("when all have become slow: got %+v, want unhealthy others", got)
		}
		time.Sleep(5 * time.Minute)
		for range 30 {
			attempt(t, c, &tulle.Call{}, time.Millisecond, tulle.Unavailable)
			good(3, time.Millisecond)
		}
		if got := fail(); got.Others != tulle.Unhealthy {
			t.Errorf("when a quarter fails: got %+v, want unhealthy others", got)
		}
		time.Sleep(time.Minute)
		if got := fail(); got.Others != tulle.Unknown {
			t.Errorf("a minute later: got %+v, want unknown others", got)
		}
		update(t, c, set("a:1"))
		if got := fail(); got.Others != tulle.Alone || got.Untried != 0 {
			t.Errorf("alone: got %+v", got)
		}
	})
}

// A failed connection hints to discovery, once until it has been heard.
func TestUnsentAsksDiscovery(t *testing.T) {
	c := newCluster(t, nil)
	update(t, c, set("a:1", "b:1", "c:1", "d:1", "e:1"))
	for range 3 {
		attempt(t, c, &tulle.Call{}, 0, tulle.Unsent)
	}
	select {
	case <-c.Refresh():
	default:
		t.Error("no hint")
	}
	select {
	case <-c.Refresh():
		t.Error("a second hint")
	default:
	}
	attempt(t, c, &tulle.Call{}, 0, tulle.Unavailable)
	select {
	case <-c.Refresh():
		t.Error("a hint after a failure that is none of connecting")
	default:
	}
}

// resource counts how often it was retired.
type resource struct{ retired int }

func (r *resource) Retire() { r.retired++ }

// What an adapter keeps for an endpoint is retired when that leaves, once.
func TestResources(t *testing.T) {
	c := newCluster(t, nil)
	update(t, c, set("a:1"))
	begin := func() *cluster.Attempt {
		a := new(cluster.Attempt)
		if err := c.Begin(a, &tulle.Call{}, c.Now()); err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := begin()
	first, second := new(resource), new(resource)
	if a.Resource() != nil || !a.Replace(nil, first) || a.Replace(nil, second) {
		t.Error("the first resource was not kept, or the second was")
	}
	if begin().Resource() != cluster.Resource(first) {
		t.Error("another attempt does not see the resource")
	}
	if !a.Replace(first, second) || a.Resource() != cluster.Resource(second) {
		t.Error("the resource was not replaced")
	}
	update(t, c, set("b:1"))
	if first.retired != 0 || second.retired != 1 {
		t.Errorf("got %d and %d retirements, want 0 and 1", first.retired, second.retired)
	}
	if late := new(resource); a.Replace(nil, late) {
		t.Error("a resource was kept for an endpoint that had left")
	}
	update(t, c, set("a:1", "b:1"))
	if a.Resource() != nil {
		t.Error("the retired resource came back")
	}
}

// Calls that wait for the first report are let go by it, by their deadline, or
// by their context.
func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		if err := c.Admit(t.Context(), time.Now().Add(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("gave up")
		cancel(why)
		if err := c.Admit(ctx, time.Time{}); !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		done := make(chan error)
		go func() { done <- c.Admit(t.Context(), time.Time{}) }()
		synctest.Wait()
		c.Fail(errors.New("no access"))
		if err := <-done; !errors.Is(err, cluster.ErrNoEndpoints) || !strings.Contains(err.Error(), "no access") {
			t.Errorf("got %v, want ErrNoEndpoints and the reason", err)
		}
		update(t, c, set("a:1"))
		if err := c.Admit(t.Context(), time.Time{}); err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}

// Attempts and updates from everywhere leave nothing behind. Run with -race.
func TestConcurrentUpdates(t *testing.T) {
	for _, p := range []balancer.Policy{
		balancer.ShortestExpectedDelay{}, balancer.PeakEWMA{}, balancer.LeastRequest{}, balancer.RoundRobin{}, balancer.Random{},
	} {
		c := newCluster(t, p)
		update(t, c, set("0:1"))
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					// Not Unsent: with all endpoints dead there is no attempt.
					class := tulle.Class(1 + rand.IntN(10))
					if class == tulle.Unsent {
						class = tulle.Lost
					}
					attempt(t, c, &tulle.Call{}, time.Millisecond, class)
				}
			})
		}
		for range 300 {
			n := 1 + rand.IntN(40)
			eps := make([]tulle.Endpoint, n)
			for i, k := range rand.Perm(60)[:n] {
				eps[i].Addr = fmt.Sprintf("%d:1", k)
			}
			update(t, c, eps)
			c.Status()
		}
		close(stop)
		wg.Wait()
		for _, e := range c.Status().Endpoints {
			if e.Waiting != 0 || e.Streaming != 0 {
				t.Errorf("%T: %s: got %d waiting, %d streaming", p, e.Endpoint.Addr, e.Waiting, e.Streaming)
			}
		}
	}
}

// BenchmarkAttempt is the engine's part of a call.
func BenchmarkAttempt(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			c := newCluster(b, nil)
			eps := make([]tulle.Endpoint, n)
			for i := range eps {
				eps[i].Addr = fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255)
			}
			update(b, c, eps)
			b.ReportAllocs()
			var a cluster.Attempt
			var call tulle.Call
			for b.Loop() {
				call.Begin()
				now := c.Now()
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

// BenchmarkUpdate replaces a tenth of a set.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			c := newCluster(b, nil)
			round := 0
			for b.Loop() {
				eps := make([]tulle.Endpoint, n)
				for i := range eps {
					k := 0
					if i%10 == round%10 {
						k = round
					}
					eps[i].Addr = fmt.Sprintf("10.%d.%d.%d:%d", i>>16, i>>8&255, i&255, 1+k%60000)
				}
				update(b, c, eps)
				round++
			}
		})
	}
}
