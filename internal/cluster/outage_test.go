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
