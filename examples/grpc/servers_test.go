package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestLedger(t *testing.T) {
	var l ledger
	steps := []struct {
		do                          func()
		executed, twice, duplicates int
	}{
		{func() { l.delivered("a") }, 0, 0, 0}, // looked up, not there
		{func() { l.execute("a") }, 1, 0, 0},
		{func() { l.execute("b") }, 2, 0, 0},
		{func() { l.delivered("a") }, 2, 0, 1},
		{func() { l.delivered("a") }, 2, 0, 2},
		{func() { l.execute("a") }, 2, 1, 2},
		{func() { l.execute("a") }, 2, 1, 2}, // three times is one write still
		{func() { l.execute("b") }, 2, 2, 2},
	}
	for i, step := range steps {
		step.do()
		executed, twice, duplicates := l.count()
		if executed != step.executed || twice != step.twice || duplicates != step.duplicates {
			t.Errorf("step %d: got %d executed, %d twice, %d duplicates, want %d, %d, %d",
				i, executed, twice, duplicates, step.executed, step.twice, step.duplicates)
		}
	}
}

// numbered is a request as the load makes it.
func numbered(number int) *testpb.SimpleRequest {
	return &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte(strconv.Itoa(number))}}
}

// write has s answer a write and tells how long it took.
func write(ctx context.Context, s *server, number int) (code codes.Code, took time.Duration) {
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(keyHeader, fmt.Sprintf("key-%d", number)))
	begin := time.Now()
	_, err := s.UnaryCall(ctx, numbered(number))
	return status.Code(err), time.Since(begin)
}

// TestModes has a caller that waits for a second. A write must have its effect
// where there is an answer and nowhere else.
func TestModes(t *testing.T) {
	tests := []struct {
		mode     mode
		code     codes.Code
		least    time.Duration
		most     time.Duration
		executed int
	}{
		{healthy, codes.OK, time.Millisecond, 50 * time.Millisecond, 1},
		{slow, codes.DeadlineExceeded, deadline, deadline, 0},
		{unavailable, codes.Unavailable, 0, 0, 0},
		{silent, codes.DeadlineExceeded, deadline, deadline, 0},
		{killed, codes.Canceled, 0, 50 * time.Millisecond, 0},
		{leaving, codes.OK, time.Millisecond, 50 * time.Millisecond, 1}, // who has not heard it yet is served
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			s := &server{ledger: new(ledger)}
			s.mode.Store(int32(tt.mode))
			code, took := write(ctx, s, 1)
			executed, _, _ := s.ledger.count()
			if code != tt.code || took < tt.least || took > tt.most || executed != tt.executed {
				t.Errorf("%v: got %v after %v, %d executed, want %v after %v to %v, %d",
					tt.mode, code, took, executed, tt.code, tt.least, tt.most, tt.executed)
			}
		})
	}
}

// TestReadHasNoEffect wants a read to be answered as a write is, and no more.
func TestReadHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{name: "s1", ledger: new(ledger)}
		out, err := s.CacheableUnaryCall(t.Context(), numbered(1))
		if executed, _, _ := s.ledger.count(); err != nil || out.Hostname != "s1" || executed != 0 {
			t.Errorf("got %v, %v, %d executed, want s1 and none", out, err, executed)
		}
		if _, err := s.UnaryCall(t.Context(), numbered(1)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a write without a key: got %v, want InvalidArgument", err)
		}
	})
}

// TestChangeOfModeDuringWork wants a call that is at work when its server falls
// silent or dies to stay without effect.
func TestChangeOfModeDuringWork(t *testing.T) {
	for _, m := range []mode{silent, killed} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			s := &server{ledger: new(ledger)}
			time.AfterFunc(time.Millisecond/2, func() { s.mode.Store(int32(m)) })
			code, _ := write(ctx, s, 1)
			if executed, _, _ := s.ledger.count(); code == codes.OK || executed != 0 {
				t.Errorf("%v: got %v, %d executed, want neither answer nor effect", m, code, executed)
			}
		})
	}
}

func TestSlowServerAnswersInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{ledger: new(ledger)}
		s.become(slow)
		if code, took := write(t.Context(), s, 1); code != codes.OK || took != slowTime {
			t.Errorf("got %v after %v, want OK after %v", code, took, slowTime)
		}
	})
}

// TestRepeatedWrite wants the stored answer for a repeat that comes after the
// effect.
func TestRepeatedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		first, second := &server{ledger: l}, &server{ledger: l}
		write(t.Context(), first, 1)
		if code, took := write(t.Context(), second, 1); code != codes.OK || took != 0 {
			t.Errorf("got %v after %v, want OK at once", code, took)
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
			both.Go(func() { write(t.Context(), &server{ledger: l}, 1) })
		}
		both.Wait()
		if executed, twice, duplicates := l.count(); executed != 1 || twice != 1 || duplicates != 0 {
			t.Errorf("got %d executed, %d twice, %d duplicates, want 1, 1, 0", executed, twice, duplicates)
		}
	})
}

// TestWorkIsThatOfTheCall wants both groups to work equally long at a call.
func TestWorkIsThatOfTheCall(t *testing.T) {
	a, b, c := &server{name: "a", seed: 1}, &server{name: "b", seed: 1}, &server{seed: 2}
	other, sum := 0, 0.0
	for i := range 1000 {
		in := numbered(i)
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
	if got := a.work(nil); got != serviceTime {
		t.Errorf("a call without a number: got %v, want %v", got, serviceTime)
	}
}

// dial is a connection to one server.
func dial(t *testing.T, s *server) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// TestGroup kills a server of a real group: its connections break, its port
// refuses, the others answer, and the next one can join.
func TestGroup(t *testing.T) {
	g, err := newGroup(1, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	call := func(s *server) string {
		out, err := testpb.NewTestServiceClient(dial(t, s)).CacheableUnaryCall(t.Context(), numbered(1))
		if err != nil {
			return "error"
		}
		return out.Hostname
	}
	for _, s := range g.members() {
		if got := call(s); got != s.name {
			t.Errorf("got %q, want %q", got, s.name)
		}
	}
	g.servers[0].become(killed)
	if got := call(g.servers[0]); got != "error" {
		t.Errorf("a killed server: got %q, want an error", got)
	}
	if err := g.start(); err != nil {
		t.Fatal(err)
	}
	if got := call(g.servers[2]); got != "s3" {
		t.Errorf("the one that joined: got %q, want s3", got)
	}
	if err := g.start(); err == nil || len(g.members()) != 3 {
		t.Errorf("got %v and %d members, want an error as all 3 are started", err, len(g.members()))
	}
}

// TestHealth wants servers to say how they are only when they know it.
func TestHealth(t *testing.T) {
	g, err := newGroup(1, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	s := g.servers[0]
	check := healthpb.NewHealthClient(dial(t, s))
	for _, tt := range []struct {
		mode mode
		want healthpb.HealthCheckResponse_ServingStatus
	}{
		{healthy, healthpb.HealthCheckResponse_SERVING},
		{slow, healthpb.HealthCheckResponse_SERVING},
		{unavailable, healthpb.HealthCheckResponse_SERVING},
		{silent, healthpb.HealthCheckResponse_SERVING},
		{leaving, healthpb.HealthCheckResponse_NOT_SERVING},
	} {
		s.become(tt.mode)
		if got, err := check.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || got.Status != tt.want {
			t.Errorf("%v: got %v, %v, want %v", tt.mode, got, err, tt.want)
		}
	}
}
