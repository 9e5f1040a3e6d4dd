package show

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A host is the smallest one: it tells its name to whoever connects.
type host struct {
	name   string
	closed chan struct{}
	once   sync.Once
}

func newHost(s *Server) Host { return &host{name: s.Name(), closed: make(chan struct{})} }

func (h *host) Serve(l net.Listener) error {
	stop := sync.OnceFunc(func() { l.Close() })
	defer stop()
	var running sync.WaitGroup
	running.Go(func() {
		<-h.closed
		stop()
	})
	defer running.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprint(c, h.name)
		c.Close()
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// write has s do a write and tells how long it took.
func write(ctx context.Context, s *Server, number int) (took time.Duration, err error) {
	begin := time.Now()
	err = s.Work(ctx, strconv.Itoa(number), fmt.Sprintf("key-%d", number))
	return time.Since(begin), err
}

// TestModes has a caller that waits for a second. A write must have its effect
// exactly if it was answered.
func TestModes(t *testing.T) {
	tests := []struct {
		mode     Mode
		want     error
		least    time.Duration
		most     time.Duration
		executed int
	}{
		{Healthy, nil, time.Millisecond, 50 * time.Millisecond, 1},
		{Slow, context.DeadlineExceeded, Deadline, Deadline, 0},
		{Unavailable, ErrUnavailable, 0, 0, 0},
		{Silent, context.DeadlineExceeded, Deadline, Deadline, 0},
		{Killed, context.Canceled, 0, 50 * time.Millisecond, 0},
		{Leaving, nil, time.Millisecond, 50 * time.Millisecond, 1}, // who has not heard it yet is served
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			s := NewServer("s1", 1, newHost)
			ctx, cancel := context.WithTimeout(t.Context(), Deadline)
			defer cancel()
			s.Become(tt.mode)
			took, err := write(ctx, s, 1)
			executed, _, _ := s.ledger.count()
			if !errors.Is(err, tt.want) || took < tt.least || took > tt.most || executed != tt.executed {
				t.Errorf("mode %d: got %v after %v, %d executed, want %v after %v to %v, %d",
					tt.mode, err, took, executed, tt.want, tt.least, tt.most, tt.executed)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	s := &Show{Refuse: "answers 503"}
	for m, want := range []string{"healthy", "answers after 2s", "answers 503", "killed", "never answers", "NOT_SERVING"} {
		if got := s.describe(Mode(m)); got != want {
			t.Errorf("mode %d: got %q, want %q", m, got, want)
		}
	}
}

// TestReadHasNoEffect wants a call without a key to be done as a write is, and no
// more.
func TestReadHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer("s1", 1, newHost)
		err := s.Work(t.Context(), "1", "")
		if executed, _, _ := s.ledger.count(); err != nil || executed != 0 {
			t.Errorf("got %v, %d executed, want none", err, executed)
		}
	})
}

// TestChangeOfModeDuringWork wants a call that is at work when its server falls
// silent or dies to stay without effect.
func TestChangeOfModeDuringWork(t *testing.T) {
	for _, m := range []Mode{Silent, Killed} {
		synctest.Test(t, func(t *testing.T) {
			s := NewServer("s1", 1, newHost)
			ctx, cancel := context.WithTimeout(t.Context(), Deadline)
			defer cancel()
			time.AfterFunc(time.Millisecond/2, func() { s.Become(m) })
			_, err := write(ctx, s, 1)
			if executed, _, _ := s.ledger.count(); err == nil || executed != 0 {
				t.Errorf("mode %d: got %v, %d executed, want an error and no effect", m, err, executed)
			}
		})
	}
}

// TestSlow wants a caller that waits long enough to be served.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer("s1", 1, newHost)
		s.Become(Slow)
		if took, err := write(t.Context(), s, 1); err != nil || took != slowTime {
			t.Errorf("got %v after %v, want success after %v", err, took, slowTime)
		}
	})
}

// TestRepeatedWrite wants the stored answer for a repeat that comes after the
// effect, at another server as well.
func TestRepeatedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		first, second := &Server{ledger: l}, &Server{ledger: l}
		write(t.Context(), first, 1)
		if took, err := write(t.Context(), second, 1); err != nil || took != 0 {
			t.Errorf("got %v after %v, want success at once", err, took)
		}
		if executed, twice, duplicates := l.count(); executed != 1 || twice != 0 || duplicates != 1 {
			t.Errorf("got %d executed, %d twice, %d duplicates, want 1, 0, 1", executed, twice, duplicates)
		}
	})
}

// TestOverlappingWrites shows that the count of double executions can find a client
// out that repeats a write while it still runs.
func TestOverlappingWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { write(t.Context(), &Server{ledger: l}, 1) })
		}
		both.Wait()
		if executed, twice, duplicates := l.count(); executed != 1 || twice != 1 || duplicates != 0 {
			t.Errorf("got %d executed, %d twice, %d duplicates, want 1, 1, 0", executed, twice, duplicates)
		}
	})
}

// TestWorkIsThatOfTheCall wants both groups to work equally long at a call.
func TestWorkIsThatOfTheCall(t *testing.T) {
	a, b, c := &Server{name: "a", seed: 1}, &Server{name: "b", seed: 1}, &Server{seed: 2}
	other, sum := 0, 0.0
	for i := range 1000 {
		in := strconv.Itoa(i)
		work := a.work(in)
		if got := b.work(in); got != work {
			t.Fatalf("call %d: got %v and %v, want the same everywhere", i, work, got)
		}
		if c.work(in) != work {
			other++
		}
		sum += work.Seconds()
	}
	if other < 990 {
		t.Errorf("got %d of 1000 that depend on the seed, want all", other)
	}
	// The mean of a lognormal time is above its median.
	if mean := sum / 1000; mean < serviceTime.Seconds() || mean > 1.2*serviceTime.Seconds() {
		t.Errorf("got a mean of %v s, want a little over %v", mean, serviceTime)
	}
	if got := a.work(""); got != serviceTime {
		t.Errorf("a call without a number: got %v, want %v", got, serviceTime)
	}
}

// TestGroup kills a server of a real group: its port refuses, the others answer, and
// the next one can join.
func TestGroup(t *testing.T) {
	g, err := newGroup(newHost, 1, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	call := func(s *Server) string {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return "error"
		}
		defer c.Close()
		body, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for i, s := range g.members() {
		if got, want := call(s), serverName(i); got != want || g.addrs()[i] != s.Addr() {
			t.Errorf("got %q at %s, want %q at %s", got, s.Addr(), want, g.addrs()[i])
		}
	}
	if err := g.begin(&Phase{Becomes: Killed}); err != nil {
		t.Fatal(err)
	}
	if got := call(g.servers[0]); got != "error" {
		t.Errorf("a killed server: got %q, want an error", got)
	}
	if err := g.begin(&Phase{Joins: true}); err != nil {
		t.Fatal(err)
	}
	if got := call(g.servers[2]); got != "s3" {
		t.Errorf("the one that joined: got %q, want s3", got)
	}
	if err := g.start(); err == nil || len(g.members()) != 3 {
		t.Errorf("got %v and %d members, want an error as all 3 are started", err, len(g.members()))
	}
}
