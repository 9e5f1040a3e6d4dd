package cluster_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/internal/cluster"
)

// servers can be down, when they refuse connections, and count who asks.
type servers struct {
	t     *testing.T
	c     *cluster.Cluster
	down  map[string]bool
	dials map[string]int // of those that are down
}

// newServers starts n servers, named a to z and then by number.
func newServers(t *testing.T, p balancer.Policy, n int) (s *servers, addrs []string) {
	t.Helper()
	s = &servers{t, newCluster(t, p), map[string]bool{}, map[string]int{}}
	for i := range n {
		addr := fmt.Sprintf("%d:1", i)
		if i < 26 {
			addr = string(rune('a'+i)) + ":1"
		}
		addrs = append(addrs, addr)
	}
	update(t, s.c, set(addrs...))
	return s, addrs
}

// begin takes a lease for the call.
func (s *servers) begin(call *tulle.Call) (*cluster.Attempt, error) {
	call.Begin()
	a := new(cluster.Attempt)
	err := s.c.Begin(a, call, s.c.Now())
	if err != nil && !errors.Is(err, cluster.ErrAllDown) {
		s.t.Fatalf("Begin: %v", err)
	}
	return a, err
}

// end ends the attempt as the server has it, and reports whether it was served.
func (s *servers) end(a *cluster.Attempt, call *tulle.Call) bool {
	o := tulle.Outcome{Class: tulle.Answered, Elapsed: time.Millisecond}
	if addr := a.Endpoint().Addr; s.down[addr] {
		s.dials[addr]++
		o = tulle.Outcome{Class: tulle.Unsent, Down: true, Err: errors.New("refused")}
	}
	a.Answer(call, o, s.c.Now())
	a.End(o, s.c.Now())
	return o.Class == tulle.Answered
}

// call makes a call that moves on twice, as those of the stack do, and reports
// whether it was served.
func (s *servers) call() bool {
	call := &tulle.Call{Safe: true}
	for range 3 {
		a, err := s.begin(call)
		if err != nil {
			return false
		}
		if s.end(a, call) {
			return true
		}
	}
	return false
}

// run makes a call each millisecond for d, and returns how many failed.
func (s *servers) run(d time.Duration) (failed int) {
	for range d / time.Millisecond {
		if !s.call() {
			failed++
		}
		time.Sleep(time.Millisecond)
	}
	return failed
}

// most is how often the server was dialled that was dialled most.
func (s *servers) most() int {
	n := 0
	for _, k := range s.dials {
		n = max(n, k)
	}
	return n
}

// Calls that run at once and are refused at once say one thing. Each of them used to
// double the dead time, so that a server which was back after 20 ms was missed for a
// second.
func TestRefusedAtOnceIsOneDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, addrs := newServers(t, nil, 2)
		var all []*cluster.Attempt
		for range 40 {
			a, err := s.begin(&tulle.Call{Safe: true})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		s.down[addrs[0]] = true
		for _, a := range all {
			s.end(a, &tulle.Call{Safe: true})
		}
		if n := s.dials[addrs[0]]; n < 8 {
			t.Fatalf("got %d refused calls, want 8 or more", n)
		}
		if e := status(t, s.c, addrs[0]); e.State != "dead" || e.Until > 10*time.Millisecond {
			t.Errorf("got %s for %v, want dead for 10ms", e.State, e.Until)
		}
	})
}

// A server that shuts down refuses connections and answers on those that it has. The
// answers used to bring it back, so that calls went on to meet it.
func TestAnswersOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, addrs := newServers(t, balancer.RoundRobin{}, 2)
		lease := func(addr string) *cluster.Attempt {
			for {
				a, err := s.begin(&tulle.Call{Safe: true})
				if err != nil {
					t.Fatal(err)
				}
				if a.Endpoint().Addr == addr {
					return a
				}
				s.end(a, &tulle.Call{})
			}
		}
		answered, refused, late := lease(addrs[0]), lease(addrs[0]), lease(addrs[0])
		time.Sleep(time.Millisecond)
		s.down[addrs[0]] = true
		s.end(refused, &tulle.Call{})
		s.down[addrs[0]] = false
		time.Sleep(20 * time.Millisecond) // its dead time is over, and nobody has asked
		s.end(answered, &tulle.Call{})
		if e := status(t, s.c, addrs[0]); e.State != "dead" {
			t.Errorf("after an answer to a call of before: got %s, want dead", e.State)
		}
		if !s.end(lease(addrs[0]), &tulle.Call{}) {
			t.Fatal("it is back, and does not answer")
		}
		// The news of a refused connect may come late, too.
		time.Sleep(time.Millisecond)
		s.down[addrs[0]] = true
		s.end(late, &tulle.Call{})
		if e := status(t, s.c, addrs[0]); e.State != "returning" {
			t.Errorf("after a refused call of before it came back: got %s, want returning", e.State)
		}
	})
}

// A refused connect is one, however late a busy machine takes note of it. Another one
// that fails so late is none.
func TestRefusedLate(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{refused, 10 * time.Millisecond},
		{errors.New("no route"), time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := newServers(t, nil, 2)
			a, err := s.begin(&tulle.Call{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(70 * time.Millisecond)
			o := tulle.Outcome{Class: tulle.Unsent, Down: true, Err: test.err}
			a.Answer(&tulle.Call{}, o, s.c.Now())
			a.End(o, s.c.Now())
			if e := status(t, s.c, a.Endpoint().Addr); e.Until != test.want {
				t.Errorf("%v: got %s for %v, want dead for %v", test.err, e.State, e.Until, test.want)
			}
		})
	}
}

// The first one to come back gets all calls, whatever its ramp says, as nobody else
// is there. Most of them used to go to the dead ones, by policies that do not learn.
func TestFirstOneBackGetsAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, addrs := newServers(t, balancer.RoundRobin{}, 3)
		for _, addr := range addrs {
			s.down[addr] = true
		}
		s.run(5 * time.Second)
		s.down[addrs[1]] = false
		s.run(time.Second)
		clear(s.dials)
		if failed := s.run(5 * time.Second); failed > 0 {
			t.Errorf("%d calls failed while one endpoint served", failed)
		}
		if n := s.most(); n > 6 {
			t.Errorf("in 5 s the dead ones were dialled %v times, want once a second", s.dials)
		}
	})
}

// When the last one dies, or leaves the set, the others may be back long since: they are tried at
// once, though their dead times had grown to a second while they were not missed.
func TestLastOneDies(t *testing.T) {
	for i, n := range []int{2, 3, 10, 3} {
		gone := i == 3
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, addrs := newServers(t, nil, n)
				for _, addr := range addrs[1:] {
					s.down[addr] = true
				}
				// Until all have just been tried in vain, for a second or so.
				for s.run(time.Millisecond); s.c.Now() < 5*time.Second; s.run(time.Millisecond) {
				}
				clear(s.down)
				if gone {
					update(t, s.c, set(addrs[1:]...))
				}
				s.down[addrs[0]] = true
				if failed := s.run(time.Second); failed > 0 {
					t.Errorf("gone: %v: %d calls failed while all but one endpoint served", gone, failed)
				}
			})
		})
	}
}

// A rolling restart that is quicker than the dead times: all are away for a while,
// one after the other, and at most one at a time.
func TestRollingRestart(t *testing.T) {
	for _, away := range []time.Duration{5, 20, 45, 75, 160, 300} {
		away *= time.Millisecond
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, addrs := newServers(t, nil, 3)
				s.run(time.Second)
				for i := range 30 {
					addr := addrs[i%len(addrs)]
					s.down[addr] = true
					if failed := s.run(away); failed > 0 {
						t.Errorf("restart %d: %d calls failed while two endpoints served", i+1, failed)
					}
					s.down[addr] = false
				}
			})
		})
	}
}

// In an outage each endpoint is dialled a few times at first and then once a second,
// however many they are and whatever had become of them before.
func TestDialsInAnOutage(t *testing.T) {
	for _, n := range []int{3, 10, 100} {
		for _, before := range []int{0, 1, n - 1} { // dead before the others die
			t.Run(fmt.Sprintf("n=%d/before=%d", n, before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, addrs := newServers(t, nil, n)
					s.run(time.Second)
					for _, addr := range addrs[:before] {
						s.down[addr] = true
					}
					s.run(10 * time.Second)
					clear(s.dials)
					for _, addr := range addrs {
						s.down[addr] = true
					}
					s.run(2 * time.Second)
					// 10, 20 … 640 ms are seven pauses, of which those before the
					// last one died may be on top.
					if got := s.most(); got > 12 {
						t.Errorf("in the first 2 s of an outage one was dialled %d times, want up to 12", got)
					}
					clear(s.dials)
					s.run(10 * time.Second)
					if got := s.most(); got > 11 || len(s.dials) < n {
						t.Errorf("in 10 s %d were dialled, one of them %d times, want all, once a second", len(s.dials), got)
					}
					begun := s.c.Now()
					s.down[addrs[n/2]] = false
					for !s.call() {
						time.Sleep(time.Millisecond)
					}
					if took := s.c.Now() - begun; took > 1100*time.Millisecond {
						t.Errorf("the first one to be back was missed for %v, want a second at most", took)
					}
				})
			})
		}
	}
}

// A call that has tried all endpoints of an outage ends. Where they are due at the
// same time it used to wait for a pause of the retry policy, which helps in a restart
// only.
func TestNoPauseInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, addrs := newServers(t, nil, 3)
		for _, addr := range addrs {
			s.down[addr] = true
		}
		for i := range 5 {
			call := &tulle.Call{Safe: true}
			for range addrs {
				a, err := s.begin(call)
				if err != nil {
					t.Fatal(err)
				}
				s.end(a, call)
			}
			if got := call.Facts().Untried > 0; got != (i > 0) {
				t.Errorf("call %d: moves on: %v, want %v", i+1, got, i > 0)
			}
			time.Sleep(2 * time.Second) // all are due
		}
	})
}

// Discovery that reports the same dead endpoints again and again has them dialled no
// more often, and makes no call wait longer.
func TestUpdatesInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, addrs := newServers(t, nil, 3)
		for _, addr := range addrs {
			s.down[addr] = true
		}
		s.run(5 * time.Second)
		clear(s.dials)
		for range 50 {
			update(t, s.c, set(addrs...))
			if s.c.Restarting() {
				t.Fatal("after five seconds, and an update, calls still wait for a restart")
			}
			s.run(200 * time.Millisecond)
		}
		if got := s.most(); got > 11 {
			t.Errorf("in 10 s one was dialled %d times, want once a second", got)
		}
		update(t, s.c, set("new:1", "newer:1"))
		s.down["new:1"], s.down["newer:1"] = true, true
		s.run(2 * time.Millisecond)
		if !s.c.Restarting() {
			t.Error("other endpoints have just died, and calls do not wait for a restart")
		}
	})
}

// One that comes and goes does not have those dialled all the time that are down
// for good, though nothing else is left whenever it goes.
func TestDialsWhileOneFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, addrs := newServers(t, nil, 3)
		s.down[addrs[1]], s.down[addrs[2]] = true, true
		s.run(5 * time.Second)
		clear(s.dials)
		for range 200 {
			s.down[addrs[0]] = true
			s.run(25 * time.Millisecond)
			s.down[addrs[0]] = false
			s.run(25 * time.Millisecond)
		}
		if got := max(s.dials[addrs[1]], s.dials[addrs[2]]); got > 90 {
			t.Errorf("in 10 s one that is down for good was dialled %d times, want up to 9 a second", got)
		}
	})
}
