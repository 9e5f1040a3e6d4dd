package sim_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport/sim"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

// witness is a Picker that polls and listens, and keeps what it is told.
type witness struct {
	balancer.Picker
	period  time.Duration
	polled  [8][]tulle.Load // by endpoint
	service [8][]time.Duration
	left    [8][]int
}

func (w *witness) Period() time.Duration { return w.period }

func (w *witness) Polled(i, _ int, load tulle.Load, _ time.Duration) {
	w.polled[i] = append(w.polled[i], load)
}

func (w *witness) Answered(i, inFlight int, service, _ time.Duration) {
	w.service[i] = append(w.service[i], service)
	w.left[i] = append(w.left[i], inFlight)
}

// watched puts a witness of a round robin into a scenario with one client.
func watched(sc *sim.Scenario, period time.Duration) *witness {
	w := &witness{period: period}
	sc.Policy.Balancer = balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		w.Picker = balancer.RoundRobin{}.Build(m)
		return w
	})
	return w
}

// TestPolls: a server knows its requests a second, its errors, and how busy it is; one
// that answers nobody answers no poll.
func TestPolls(t *testing.T) {
	sc := small()
	sc.Servers[0].Work.Kind, sc.Load.Even = "exponential", true
	sc.Faults = []sim.Fault{
		{Kind: "slow", Count: 1, Factor: 2},
		{Kind: "erring", First: 1, Count: 1, Share: 0.5},
		{Kind: "stuck", First: 2, Count: 1},
	}
	sc.Calls.Deadline = time.Second
	w := watched(&sc, 100*ms)
	row(t, sc)
	for i, want := range []struct{ busy, qps, eps float64 }{
		// 50 calls a second each, of 10 ms in the mean, at two workers.
		{0.5, 50, 0}, {0.125, 50, 25}, {}, {0.25, 50, 0},
	} {
		if i == 2 {
			if len(w.polled[2]) > 0 {
				t.Errorf("endpoint 2: got %d answers of one that is stuck", len(w.polled[2]))
			}
			continue
		}
		if got := len(w.polled[i]); got != 100 {
			t.Fatalf("endpoint %d: got %d answers in 10 s, want 100", i, got)
		}
		var busy, qps, eps float64
		for _, l := range w.polled[i][50:] {
			busy, qps, eps = busy+l.Application/50, qps+l.QPS/50, eps+l.EPS/50
		}
		near(t, "utilization", busy, want.busy, 0.15)
		near(t, "requests a second", qps, want.qps, 0.1)
		near(t, "errors a second", eps, want.eps, 0.2)
	}
}

// TestPollsOfMany: each client polls, and not all of them at the same time.
func TestPollsOfMany(t *testing.T) {
	sc := small()
	sc.Clients, sc.Duration = 4, time.Second
	var at []time.Duration
	sc.Policy.Balancer = balancer.PolicyFunc(func(m balancer.Members) balancer.Picker {
		return times{balancer.RoundRobin{}.Build(m), &at}
	})
	row(t, sc)
	want := []time.Duration{0, 100 * ms, 200 * ms, 300 * ms, 400 * ms, 500 * ms, 600 * ms, 700 * ms, 800 * ms, 900 * ms}
	if !reflect.DeepEqual(at, want) {
		t.Errorf("got answers of the first server at %v, want %v", at, want)
	}
}

// times is a Picker that polls and keeps when the first server answers.
type times struct {
	balancer.Picker
	at *[]time.Duration
}

func (times) Period() time.Duration { return 400 * ms }

func (p times) Polled(i, _ int, _ tulle.Load, now time.Duration) {
	if i == 0 {
		*p.at = append(*p.at, now)
	}
}

// TestPollsBound: who polls too often gets an error, not a run of hours.
func TestPollsBound(t *testing.T) {
	sc := small()
	sc.Duration, sc.Load.Rate = 24*time.Hour, 0.1
	watched(&sc, time.Nanosecond) // counts as 1 ms
	if _, err := sim.Run(t.Context(), sc); !strings.Contains(text(err), "asks 3.46e+08 times how a server is, want at most 100000000") {
		t.Errorf("got %v, want an error", err)
	}
}

// TestAnswersTell: with an answer comes how long the server worked on it, without its
// wait, and how many others it has. Who does not answer says nothing.
func TestAnswersTell(t *testing.T) {
	sc := small()
	sc.Servers = []sim.Servers{{Count: 2, Work: sim.Work{Mean: 100 * ms}}}
	sc.Load = sim.Load{Kind: "bursts", Rate: 0, To: 60, Period: 5 * time.Second, Length: 105 * ms, Even: true}
	sc.Duration, sc.Calls.Deadline = 5*time.Second, time.Second
	sc.Faults = []sim.Fault{{Kind: "stuck", First: 1, Count: 1}}
	w := watched(&sc, time.Second)
	row(t, sc)
	// Six calls, three for each.
	if want := []time.Duration{100 * ms, 100 * ms, 100 * ms}; !reflect.DeepEqual(w.service[0], want) {
		t.Errorf("got times of work %v, want %v", w.service[0], want)
	}
	if want := []int{2, 1, 0}; !reflect.DeepEqual(w.left[0], want) {
		t.Errorf("got %v left, want %v", w.left[0], want)
	}
	if len(w.service[1]) > 0 {
		t.Errorf("got %v from one that is stuck, want nothing", w.service[1])
	}
}

// TestC3Clients: in a simulation C3 knows how many clients there are.
func TestC3Clients(t *testing.T) {
	sc := small()
	sc.Clients, sc.Load, sc.Servers[0].Work.Kind = 6, sim.Load{Rate: 0.8, Capacity: true}, "exponential"
	run := func(clients int) sim.Row {
		sc.Policy.Balancer = peers.C3{Clients: clients}
		return row(t, sc)
	}
	unset, six, one := run(0), run(6), run(1)
	if !reflect.DeepEqual(unset, six) {
		t.Error("got another result without the number of clients than with it")
	}
	if reflect.DeepEqual(unset, one) {
		t.Error("got the same result as with one client, want the number to count")
	}
}

// TestHelpedOfChange: what servers say finds the right endpoint when the set changes,
// and nobody when it comes from one that has left.
func TestHelpedOfChange(t *testing.T) {
	sc := small()
	slow := sim.Servers{Name: "leaver", Work: sim.Work{Mean: 500 * ms}, Workers: 10, Leave: 5 * time.Second}
	late := sim.Servers{Name: "late", Work: sim.Work{Mean: 40 * ms}, Workers: 10, Join: 6 * time.Second}
	sc.Servers = []sim.Servers{slow, sc.Servers[0], late}
	w := watched(&sc, 100*ms)
	row(t, sc)
	// The first was the leaver, then one of the others; the last one is the newcomer.
	if got := w.service[0][0]; got != 500*ms {
		t.Errorf("got %v first, want the time of the one that leaves", got)
	}
	if got := w.service[0][len(w.service[0])-1]; got != 10*ms {
		t.Errorf("got %v last, want the time of one that stays", got)
	}
	for i := range 4 {
		for k, got := range w.service[i] {
			if got == 500*ms && (i > 0 || k > 0 && w.service[0][k-1] != 500*ms) {
				t.Fatalf("endpoint %d, answer %d: got the time of another one", i, k)
			}
		}
	}
	if n := len(w.service[4]); n == 0 || w.service[4][n-1] != 40*ms {
		t.Errorf("got %v, want the newcomer's times at last", w.service[4])
	}
}
