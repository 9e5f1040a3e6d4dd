package scale_test

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/scale"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// There is no look for goroutines that are left: go-zero starts some in every
// program that links it.
func TestMain(m *testing.M) {
	client.Quiet()
	server.Main()
	scale.Main()
	os.Exit(m.Run())
}

// Each library is measured in a process of its own, reaches the server, and
// holds what it can be seen to hold.
func TestJob(t *testing.T) {
	srv, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	web, rpc := srv.Ports()
	for _, name := range scale.Libraries() {
		t.Run(name, func(t *testing.T) {
			before, err := srv.Count()
			if err != nil {
				t.Fatal(err)
			}
			const n = 20
			f, err := scale.Job{Library: name, N: n, HTTP: web, GRPC: rpc, Patience: 20 * time.Second}.Run(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			after, err := srv.Count()
			if err != nil {
				t.Fatal(err)
			}
			if got := after - before; got < 3*n+1 {
				t.Errorf("the server answered %d calls, want one and three for each endpoint", got)
			}
			if f.Unsettled || f.Ready <= 0 || f.Settle <= 0 || f.Update <= 0 {
				t.Errorf("got %+v, want times", f)
			}
			if f.AtRest.Heap <= 0 || f.Used.Heap <= f.AtRest.Heap/2 {
				t.Errorf("got a heap of %v at rest and %v in use for each endpoint", f.AtRest.Heap, f.Used.Heap)
			}
			if f.Used.Sockets == 0 || f.Used.Sockets > n+2 || f.Used.Goroutines < f.Used.Sockets {
				t.Errorf("got %d sockets and %d goroutines in use, want one or two for each of at most %d", f.Used.Sockets, f.Used.Goroutines, n)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	if f, err := (scale.Job{Library: "none", N: 1}).Run(context.Background()); err == nil {
		t.Errorf("got %+v for a library that there is not", f)
	}
}

func TestSettle(t *testing.T) {
	from := measure.CPU()
	work := 30 * time.Millisecond
	for measure.CPU() < from+work { // until it is used up
	}
	if used, ok := scale.Settle(from, 20*time.Second); !ok || used < work {
		t.Errorf("got %v and %v, want at least %v", used, ok, work)
	}
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
		}
	}()
	if used, ok := scale.Settle(measure.CPU(), 300*time.Millisecond); ok {
		t.Errorf("a process at work settled after %v", used)
	}
	stop.Store(true)
	<-ended
}

func TestChanged(t *testing.T) {
	for n, want := range map[int]int{1: 1, 9: 1, 10: 1, 100: 10, 10000: 1000} {
		if got := scale.Changed(n); got != want {
			t.Errorf("of %d: got %d, want %d", n, got, want)
		}
	}
}

func TestSockets(t *testing.T) {
	before := scale.Sockets()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got := scale.Sockets() - before; got != 1 {
		t.Errorf("got %d more, want 1", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
