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
