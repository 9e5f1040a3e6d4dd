package sim_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/sim"
)

// bare is a policy that leaves everything to the balancer.
func bare() transport.Policy {
	return transport.Policy{
		Ejection: &breaker.OutlierConfig{Off: true}, Breaker: &breaker.Config{Off: true}, Retry: &retry.Config{Attempts: 1},
	}
}

// small is a scenario without trouble: 4 servers at 25 %.
func small() sim.Scenario {
	return sim.Scenario{
		Name: "small", Duration: 10 * time.Second,
		Servers: []sim.Servers{{Count: 4, Workers: 2, Work: sim.Work{Mean: 10 * ms}}},
		Load:    sim.Load{Rate: 200},
		Policy:  bare(),
	}
}

// row runs a scenario of one variant.
func row(t *testing.T, sc sim.Scenario) sim.Row {
	t.Helper()
	res, err := sim.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	return res.Rows[0]
}

// near fails the test unless got is within a share of want.
func near(t *testing.T, what string, got, want, off float64) {
	t.Helper()
	if math.Abs(got-want) > off*math.Abs(want) {
		t.Errorf("%s: got %v, want %v within %v %%", what, got, want, 100*off)
	}
}

// TestQueue holds the model of a server against the textbook: the time in an M/M/1
// queue is exponential with mean 1 ÷ (μ - λ).
func TestQueue(t *testing.T) {
	sc := small()
	sc.Duration, sc.Warmup = 400*time.Second, 10*time.Second
	sc.Servers = []sim.Servers{{Work: sim.Work{Kind: "exponential", Mean: 2 * ms}}}
	sc.Load = sim.Load{Rate: 350}
	r := row(t, sc)
	mean := 1 / (500.0 - 350)
	near(t, "calls", float64(r.Calls), 350*390, 0.01)
	near(t, "median", r.P50.Seconds(), mean*math.Ln2, 0.05)
	near(t, "99th percentile", r.P99.Seconds(), mean*math.Log(100), 0.08)
}

// TestQueueOfWorkers does it for four workers: a call waits with the chance of
// Erlang's C formula.
func TestQueueOfWorkers(t *testing.T) {
	sc := small()
	sc.Duration, sc.Warmup = 600*time.Second, 10*time.Second
	sc.Servers = []sim.Servers{{Workers: 4, Work: sim.Work{Mean: 10 * ms, Kind: "exponential"}}}
	sc.Load = sim.Load{Rate: 0.6, Capacity: true}
	r := row(t, sc)
	near(t, "calls", float64(r.Calls), 240*590, 0.01)
	// With 2.4 calls in work at a time C is 0.287. The time is the sum of the
	// work and, with that chance, an exponential wait of 160 a second.
	const c, mu, nu = 0.287, 100.0, 160.0
	above := func(x float64) float64 {
		return (1-c)*math.Exp(-mu*x) + c*(mu*math.Exp(-nu*x)-nu*math.Exp(-mu*x))/(mu-nu)
	}
	near(t, "share above the median", above(r.P50.Seconds()), 0.5, 0.03)
	near(t, "share above the 99th percentile", above(r.P99.Seconds()), 0.01, 0.25)
}

// TestNetwork: both ways count.
func TestNetwork(t *testing.T) {
	sc := small()
	sc.Load = sim.Load{Rate: 1, Even: true}
	sc.Network = sim.Work{Mean: 3 * ms}
	if r := row(t, sc); r.P50 < 15900*time.Microsecond || r.P50 > 16100*time.Microsecond {
		t.Errorf("got %v, want 3 + 10 + 3 ms", r.P50)
	}
}

// TestSame: a run depends on the seed and nothing else.
func TestSame(t *testing.T) {
	sc, err := sim.Named("c7-mixed")
	if err != nil {
		t.Fatal(err)
	}
	sc.Duration, sc.Calls.Once = 5*time.Second, false
	sc.Policy = transport.Policy{AttemptTimeout: 100 * ms}
	first, second := row(t, sc), row(t, sc)
	if !reflect.DeepEqual(first, second) {
		t.Errorf("got %+v the second time, want %+v", second, first)
	}
	sc.Seed = 99
	if other := row(t, sc); other.P999 == first.P999 && other.Calls == first.Calls {
		t.Errorf("seed 99: got %+v, want something else than with seed 1", other)
	}
}

// TestSameHelped: nor does one of a balancer that servers help.
func TestSameHelped(t *testing.T) {
	sc, err := sim.Named("c7-mixed")
	if err != nil {
		t.Fatal(err)
	}
	sc.Duration, sc.Clients = 5*time.Second, 8
	if sc, err = sc.Balanced("weighted_round_robin", "yarp", "linear", "c3", "c3_probing", "prequal"); err != nil {
		t.Fatal(err)
	}
	first, err := sim.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	second, err := sim.Run(t.Context(), sc)
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("got %+v (%v) the second time, want %+v", second, err, first)
	}
}

// TestSameWorld: variants get the same calls.
func TestSameWorld(t *testing.T) {
	sc, err := small().Balanced("random", "round_robin", "shortest_expected_delay")
	if err != nil {
		t.Fatal(err)
	}
	sc.Servers[0].Workers = 1000 // nobody waits, so only the work differs
	sc.Servers[0].Work = sim.Work{Kind: "exponential", Mean: 10 * ms}
	res, err := sim.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows[1:] {
		if a := res.Rows[0]; r.Calls != a.Calls || r.P50 != a.P50 || r.P999 != a.P999 {
			t.Errorf("%s: got %d calls, %v, %v, want %d, %v, %v as for random", r.Variant, r.Calls, r.P50, r.P999, a.Calls, a.P50, a.P999)
		}
	}
}

// TestFaults: what each kind of trouble does to a client that does nothing about
// it.
func TestFaults(t *testing.T) {
	second := time.Second
	tests := []struct {
		name    string
		fault   sim.Fault
		success float64
		p50     time.Duration // 0: any
	}{
		{"none", sim.Fault{Kind: "slow", Factor: 1}, 1, 10 * ms},
		{"slow", sim.Fault{Kind: "slow", Factor: 3}, 1, 30 * ms},
		{"slow for a while", sim.Fault{Kind: "slow", Factor: 3, Start: 1 * second, End: 4 * second}, 1, 10 * ms},
		{"fixed", sim.Fault{Kind: "fixed", Latency: 70 * ms}, 1, 70 * ms},
		{"too late", sim.Fault{Kind: "fixed", Latency: 1500 * ms, Start: 0, End: 5 * second}, 0.5, 0},
		{"stuck", sim.Fault{Kind: "stuck", Count: 1}, 0.75, 10 * ms},
		{"stuck, another one", sim.Fault{Kind: "stuck", First: 2, Count: 2}, 0.5, 0},
		{"erring", sim.Fault{Kind: "erring", Share: 0.4, Latency: ms}, 0.6, 10 * ms},
		{"wrong", sim.Fault{Kind: "wrong", Share: 0.2, Latency: ms}, 0.8, 10 * ms},
		{"refusing", sim.Fault{Kind: "refusing", Count: 1}, 0.75, 10 * ms},
		{"blackhole", sim.Fault{Kind: "blackhole", Count: 1}, 0.75, 10 * ms},
		{"capacity", sim.Fault{Kind: "capacity", Factor: 2}, 1, 0},
		{"antagonist", sim.Fault{Kind: "antagonist", Factor: 1.5, Period: second}, 1, 0},
		{"crowding", sim.Fault{Kind: "crowding", Share: 0.5, Period: second}, 1, 10 * ms},
		{"churn", sim.Fault{Kind: "churn", Period: second, Length: 500 * ms}, 1, 10 * ms},
		{"stall", sim.Fault{Kind: "stall", Period: second, Length: 100 * ms}, 1, 10 * ms},
		{"other group", sim.Fault{Kind: "stuck", Servers: "others"}, 1, 10 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc := small()
			sc.Servers = append(sc.Servers, sim.Servers{Name: "others", Work: sim.Work{Mean: ms}, Join: time.Hour})
			sc.Load = sim.Load{Rate: 100, Even: true}
			sc.Policy.Balancer = balancer.RoundRobin{}
			sc.Calls.Once = true
			sc.Faults = []sim.Fault{tt.fault}
			r := row(t, sc)
			if math.Abs(r.Success()-tt.success) > 0.03 {
				t.Errorf("got %.3f of the calls good, want %.3f", r.Success(), tt.success)
			}
			if tt.p50 != 0 && (r.P50 < tt.p50*99/100 || r.P50 > tt.p50*102/100) {
				t.Errorf("got a median of %v, want %v", r.P50, tt.p50)
			}
		})
	}
}

// TestCrowding: what a server does beyond what it is promised is up to its neighbours.
func TestCrowding(t *testing.T) {
	const promised = 100 // calls a second of one worker
	for _, tt := range []struct {
		name    string
		faults  []sim.Fault
		success float64
	}{
		{"no neighbours", nil, 1},
		{"always", []sim.Fault{{Kind: "crowding", Period: time.Second}}, 0.5},
		{"from the middle on", []sim.Fault{{Kind: "crowding", Period: time.Second, Start: 100 * time.Second}}, 0.75},
		// Of two to five workers in the mean three and a half are there, and never
		// less than two: the queue of one second is done in the next.
		{"at times", []sim.Fault{{Kind: "crowding", Share: 1e-9, Period: 100 * ms}}, 1},
	} {
		sc := small()
		sc.Duration = 200 * time.Second
		sc.Servers = []sim.Servers{{Workers: 1, Burst: 5, Queue: 200, Work: sim.Work{Mean: 10 * ms}}}
		sc.Load, sc.Calls.Goal = sim.Load{Rate: 2 * promised, Even: true}, 10*time.Second
		sc.Faults = tt.faults
		if got := row(t, sc).Success(); math.Abs(got-tt.success) > 0.02 {
			t.Errorf("%s: got %.3f of the calls good, want %.3f", tt.name, got, tt.success)
		}
	}
}

// TestPausing: who comes into a standstill of 1 s in 10 waits for its end, 500 ms on
// average.
func TestPausing(t *testing.T) {
	sc := small()
	sc.Duration = 100 * time.Second
	sc.Servers = []sim.Servers{{Workers: 1000, Work: sim.Work{Mean: 10 * ms}}}
	sc.Load = sim.Load{Rate: 100, Even: true}
	sc.Calls.Goal = 10 * time.Second
	sc.Faults = []sim.Fault{{Kind: "pausing", Period: 10 * time.Second, Length: time.Second}}
	r := row(t, sc)
	near(t, "99th percentile", r.P99.Seconds(), 0.91, 0.02) // a tenth waits, a tenth of it longer than 0.9 s
	near(t, "median", r.P50.Seconds(), 0.010, 0.02)
	// 10 s after the start of the one before: the pauses are where they were.
	slow := 0
	for _, s := range r.Series {
		if s.P99 > 300*ms {
			slow++
		}
	}
	if slow < 10 || slow > 20 {
		t.Errorf("got %d of 100 seconds with slow calls, want 10 to 20", slow)
	}
}

// TestStall: what happens while the client stands still, it sees when it goes on.
func TestStall(t *testing.T) {
	sc := small()
	sc.Load = sim.Load{Rate: 100, Even: true}
	sc.Duration = 50 * time.Second
	sc.Faults = []sim.Fault{{Kind: "stall", Period: 5 * time.Second, Length: 500 * ms}}
	r := row(t, sc)
	near(t, "99th percentile", r.P99.Seconds(), 0.460, 0.03)
	sc.Faults[0].First = 1 // a client that does not exist
	if r := row(t, sc); r.P99 > 11*ms {
		t.Errorf("another client stalls: got %v, want 10ms", r.P99)
	}
}

// TestTimeouts: the attempt's, the call's and the caller's own.
func TestTimeouts(t *testing.T) {
	sc := small()
	sc.Load = sim.Load{Rate: 100, Even: true}
	sc.Faults = []sim.Fault{{Kind: "stuck", Count: 1}}
	sc.Policy.Balancer = balancer.RoundRobin{}

	// A client of one attempt a call fails a quarter of them.
	sc.Policy.AttemptTimeout = 50 * ms
	r := row(t, sc)
	near(t, "without repeats", r.Success(), 0.75, 0.01)

	// Repeats of timeouts, while the others are healthy, mend most of it. At the
	// start too little is known, and the budget is small.
	sc.Policy.Retry = &retry.Config{Budget: retry.BudgetConfig{Ratio: 1}}
	r = row(t, sc)
	if r.Success() < 0.95 || r.Attempts <= r.Calls {
		t.Errorf("got %.3f good with %d attempts for %d calls, want more than 0.95 and more attempts", r.Success(), r.Attempts, r.Calls)
	}

	// A call's timeout ends all that.
	sc.Policy.AttemptTimeout, sc.Policy.Timeout = 0, 50*ms
	near(t, "with a timeout of the call", row(t, sc).Success(), 0.75, 0.01)
	sc.Policy.Timeout, sc.Calls.Deadline = 0, 120*ms
	near(t, "with a deadline of the caller", row(t, sc).Success(), 0.75, 0.01)
}

// TestUnsafe: a call that must not be sent twice is not, unless nobody got it.
func TestUnsafe(t *testing.T) {
	sc := small()
	sc.Faults = []sim.Fault{{Kind: "erring", Count: 1, Status: 503}}
	sc.Policy.Balancer, sc.Policy.Retry = balancer.RoundRobin{}, &retry.Config{Budget: retry.BudgetConfig{Ratio: 1}}
	if r := row(t, sc); r.Good != r.Calls {
		t.Errorf("safe: got %d of %d good, want all", r.Good, r.Calls)
	}
	sc.Calls.Unsafe = 1
	near(t, "unsafe", row(t, sc).Success(), 0.75, 0.03)
	sc.Faults[0].Kind = "refusing"
	if r := row(t, sc); r.Good != r.Calls {
		t.Errorf("unsafe, refused: got %d of %d good, want all, elsewhere", r.Good, r.Calls)
	}
}

// TestQueueBound: what comes while the queue is full is answered at once, with a
// hint if the servers give one.
func TestQueueBound(t *testing.T) {
	sc := small()
	sc.Servers = []sim.Servers{{Count: 2, Queue: -1, Work: sim.Work{Mean: 10 * ms}}}
	sc.Load = sim.Load{Rate: 400, Even: true} // twice what they can do
	sc.Policy.Balancer = balancer.RoundRobin{}
	r := row(t, sc)
	near(t, "good", r.Success(), 0.5, 0.1)
	if r.Deepest != 1 {
		t.Errorf("got %d requests at a server, want 1", r.Deepest)
	}
	sc.Servers[0].Queue, sc.Servers[0].RetryAfter = 5, 1
	sc.Policy.Retry = &retry.Config{}
	sc.Load = sim.Load{Kind: "bursts", Rate: 20, To: 400, Period: 5 * time.Second, Length: 200 * ms, Even: true}
	sc.Calls.Goal = 3 * time.Second
	with := row(t, sc)
	if with.Deepest != 6 || with.Attempts <= with.Calls {
		t.Errorf("got %d at a server and %d attempts for %d calls, want 6, and more attempts", with.Deepest, with.Attempts, with.Calls)
	}
}

// TestProbesOfStalled: requests that are answered after a fixed time are with their
// server until then, and its probes tell so.
func TestProbesOfStalled(t *testing.T) {
	sc, err := sim.Named("a1-stalled-replica")
	if err != nil {
		t.Fatal(err)
	}
	sc.Duration, sc.Faults[0].Start, sc.Faults[0].End = 10*time.Second, 2*time.Second, 8*time.Second
	if sc, err = sc.Balanced("prequal"); err != nil {
		t.Fatal(err)
	}
	if r := row(t, sc); r.Success() < 0.99 {
		t.Errorf("got %.4f good, want 0.99 and more, as the server is known to be stalled", r.Success())
	}
}

// TestBrokenBalancer: a policy of the user's own takes part, and what it does wrong
// is an error.
func TestBrokenBalancer(t *testing.T) {
	sc := small()
	sc.Policy.Balancer = balancer.PolicyFunc(func(balancer.Members) balancer.Picker { panic("no picker today") })
	if _, err := sim.Run(t.Context(), sc); err == nil || err.Error() != `small: variant "balancer.PolicyFunc": sim: no picker today` {
		t.Errorf("got %v, want the panic as an error", err)
	}
}

// TestCancel: a run ends with its context, also while calls wait for a limit.
func TestCancel(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := sim.Run(ctx, small()); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	sc := small()
	sc.Duration, sc.Load.Rate = 600*time.Second, 2000
	sc.Policy.Limit = &limit.Config{Rate: 100, MaxWait: 10 * time.Second, MaxWaiters: 1000}
	ctx, stop := context.WithTimeoutCause(t.Context(), 300*ms, cause)
	defer stop()
	if _, err := sim.Run(ctx, sc); !errors.Is(err, cause) {
		t.Errorf("waiting: got %v, want %v", err, cause)
	}
}

// TestOverrun: a queue that only grows ends the run before it fills the memory.
func TestOverrun(t *testing.T) {
	if testing.Short() {
		t.Skip("has a million calls")
	}
	sc := small()
	sc.Duration, sc.Load.Rate, sc.Policy.Balancer = 60*time.Second, 200_000, balancer.RoundRobin{}
	if _, err := sim.Run(t.Context(), sc); err == nil || !strings.Contains(err.Error(), "calls are under way after 5") {
		t.Errorf("got %v, want an error that says when there were too many calls", err)
	}
}

// TestLimit: refused at once, or after a wait, and never more than the rate.
func TestLimit(t *testing.T) {
	sc := small()
	sc.Load = sim.Load{Rate: 200, Even: true}
	sc.Policy.Limit = &limit.Config{Rate: 50, Burst: 1}
	r := row(t, sc)
	near(t, "let through", float64(r.Good), 500, 0.02)
	if r.Limited != r.Calls-r.Good {
		t.Errorf("got %d limited, want %d", r.Limited, r.Calls-r.Good)
	}
	sc.Load = sim.Load{Kind: "bursts", Rate: 10, To: 100, Period: 5 * time.Second, Length: time.Second, Even: true}
	sc.Policy.Limit = &limit.Config{Rate: 50, Burst: 1, MaxWait: 2 * time.Second}
	sc.Calls.Goal = 3 * time.Second
	r = row(t, sc)
	if r.Good != r.Calls || r.Limited != 0 {
		t.Errorf("got %d of %d good and %d limited, want all", r.Good, r.Calls, r.Limited)
	}
	if r.P99 < 900*ms || r.P99 > 1100*ms {
		t.Errorf("got %v, want about 1 s: 50 calls too many wait for 50 a second", r.P99)
	}
	sc.Policy.Limit.Dark = true
	if r = row(t, sc); r.P99 > 20*ms || r.Limited != 0 {
		t.Errorf("dark: got %v and %d limited, want no wait and none", r.P99, r.Limited)
	}
}

// TestJoinAndLeave: clients learn of it late, and moves cover the gap.
func TestJoinAndLeave(t *testing.T) {
	sc := small()
	sc.Clients, sc.Discovery = 3, 2*time.Second
	sc.Servers = []sim.Servers{
		{Count: 2, Workers: 2, Work: sim.Work{Mean: 10 * ms}},
		{Name: "old", Count: 2, Workers: 2, Work: sim.Work{Mean: 10 * ms}, Leave: 5 * time.Second},
		{Name: "new", Count: 2, Workers: 2, Work: sim.Work{Mean: 10 * ms}, Join: 5 * time.Second, Cold: 5, Warming: time.Second},
	}
	sc.Policy.Balancer, sc.Calls.Once = balancer.RoundRobin{}, true
	r := row(t, sc)
	if lost := r.Calls - r.Good; lost < 50 || lost > 400 {
		t.Errorf("without moves: got %d calls lost, want those of about a second", lost)
	}
	sc.Calls.Once = false
	if r = row(t, sc); r.Good != r.Calls {
		t.Errorf("with moves: got %d of %d good, want all", r.Good, r.Calls)
	}
	if r.P999 < 30*ms {
		t.Errorf("got %v, want up to the 50 ms of a cold server", r.P999)
	}
}

// TestZones: clients stay in their zone while it suffices, as a Transport does, unless
// the policy says otherwise; priorities are used in their order.
func TestZones(t *testing.T) {
	sc := small()
	sc.Clients, sc.Zones = 4, []string{"a", "b"}
	quick, slow := sim.Work{Mean: 10 * ms}, sim.Work{Mean: 40 * ms}
	sc.Servers = []sim.Servers{{Name: "a", Count: 4, Workers: 8, Zone: "a", Work: quick}, {Name: "b", Count: 4, Workers: 8, Zone: "b", Work: slow}}
	sc.Policy.Balancer, sc.Policy.Locality = balancer.RoundRobin{}, &transport.Locality{Explore: -1, Tolerance: -1}
	sc.Faults = []sim.Fault{{Kind: "refusing", Servers: "b"}}
	sc.Calls.Once = true
	if s := row(t, sc).Success(); s < 0.45 || s > 0.55 {
		t.Errorf("got %.3f good, want those of the clients in zone a, a half", s)
	}
	sc.Zones, sc.Faults = []string{"a"}, nil
	if r := row(t, sc); r.P99 > 12*ms {
		t.Errorf("all in zone a: got %v, want the 10 ms of its servers", r.P99)
	}
	sc.Policy.Locality = &transport.Locality{Off: true}
	if r := row(t, sc); r.P99 < 39*ms {
		t.Errorf("off: got %v, want the 40 ms of the others, too", r.P99)
	}
	sc.Zones, sc.Servers[1].Priority = nil, 1
	if r := row(t, sc); r.P99 > 12*ms {
		t.Errorf("priorities: got %v, want the 10 ms of the first", r.P99)
	}
}

// TestDarkDeadlines: calls whose time is up when they come are sent all the same, and
// fail.
func TestDarkDeadlines(t *testing.T) {
	sc := small()
	sc.Load, sc.Calls.Deadline = sim.Load{Rate: 100, Even: true}, 100*ms
	sc.Faults = []sim.Fault{{Kind: "stall", Period: 5 * time.Second, Length: 500 * ms}}
	light := row(t, sc)
	sc.Policy.DarkDeadlines = true
	dark := row(t, sc)
	if light.Attempts >= light.Calls || dark.Attempts != dark.Calls || dark.Good > light.Good {
		t.Errorf("got %d and %d attempts, %d and %d of %d good, want fewer than calls, as many, and no more", light.Attempts, dark.Attempts, light.Good, dark.Good, dark.Calls)
	}
}

// TestEjectionAndBreaker: both are part of a run.
func TestEjectionAndBreaker(t *testing.T) {
	sc := small()
	sc.Duration = 30 * time.Second
	sc.Policy = transport.Policy{Balancer: balancer.RoundRobin{}, Retry: &retry.Config{Attempts: 1}}
	sc.Faults = []sim.Fault{{Kind: "erring", Count: 1, Start: 5 * time.Second, End: 15 * time.Second}}
	r := row(t, sc)
	if r.Ejections == 0 || r.Opened != 0 || r.Success() < 0.98 {
		t.Errorf("one fails: got %d ejections, %d opened, %.3f good, want some, none and 0.98 (without: 0.92)", r.Ejections, r.Opened, r.Success())
	}
	sc.Faults[0].Count = 0
	r = row(t, sc)
	if r.Opened == 0 || r.Attempts > r.Calls*9/10 {
		t.Errorf("all fail: got %d opened and %d attempts for %d calls, want an open breaker and fewer attempts", r.Opened, r.Attempts, r.Calls)
	}
	if r.Recovered > 12*time.Second || r.Recovered == sim.Never {
		t.Errorf("got %v until all is well, want 12 s at most", r.Recovered)
	}
}

// TestCounts: what is counted begins after the warm-up.
func TestCounts(t *testing.T) {
	sc := small()
	sc.Warmup = 5 * time.Second
	r := row(t, sc)
	all := uint64(0)
	for _, s := range r.Series {
		all += s.Calls
	}
	if r.Attempts != r.Calls || r.Calls < all*4/10 || r.Calls > all*6/10 {
		t.Errorf("got %d attempts and %d calls after the warm-up of %d, want half of them, each with one attempt", r.Attempts, r.Calls, all)
	}
}

// BenchmarkRun tells how many calls of the default policy a core runs a second.
func BenchmarkRun(b *testing.B) {
	sc, err := sim.Named("h1-equal")
	if err != nil {
		b.Fatal(err)
	}
	calls := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		res, err := sim.Run(b.Context(), sc)
		if err != nil {
			b.Fatal(err)
		}
		calls += res.Rows[0].Calls
	}
	b.ReportMetric(float64(calls)/b.Elapsed().Seconds(), "calls/s")
}
