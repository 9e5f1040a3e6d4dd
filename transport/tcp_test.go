package transport_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
)

// echo is a TCP server that sends lines back. It returns its address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func TestDialContext(t *testing.T) {
	addr := echo(t)
	rt := newTransport(t, service(nil, transport.Policy{}, refusing(t), refusing(t), addr))
	begun := time.Now()
	for range 20 {
		c, err := rt.DialContext(t.Context(), "tcp", "svc:27017")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if _, streaming := inFlight(rt); streaming != 1 {
			t.Errorf("with an open connection: got %d streaming, want 1", streaming)
		}
		if _, ok := c.(interface{ CloseWrite() error }); !ok {
			t.Error("the connection lost CloseWrite")
		}
		for range 2 {
			_ = c.Close()
		}
		if waiting, streaming := inFlight(rt); waiting != 0 || streaming != 0 {
			t.Errorf("after Close: got %d waiting, %d streaming", waiting, streaming)
		}
	}
	// The time for which it is left out begins with 10 ms and doubles.
	most := uint64(2 + bits.Len64(uint64(time.Since(begun)/(10*time.Millisecond))))
	for a, n := range attempts(rt) {
		if a != addr && n > most {
			t.Errorf("a dead endpoint was dialled %d times, want at most %d", n, most)
		}
	}
}

func TestDialContextFails(t *testing.T) {
	dead := refusing(t)
	rt := newTransport(t, service(nil, transport.Policy{}, dead))
	_, err := rt.DialContext(t.Context(), "tcp", "svc:1")
	var e *transport.Error
	var op *net.OpError
	if !errors.As(err, &e) || e.Endpoint != dead || !errors.As(err, &op) {
		t.Errorf("got %v, want an Error with the dial", err)
	}
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := rt.DialContext(past, "tcp", "svc:1"); !errors.Is(err, deadline.ErrCall) {
		t.Errorf("past deadline: got %v, want ErrCall", err)
	}
	if _, err := rt.DialContext(t.Context(), "udp", "svc:1"); err == nil {
		t.Error("udp was accepted")
	}
	if _, err := rt.DialContext(t.Context(), "tcp", "svc"); err == nil {
		t.Error("an address without a port was accepted")
	}
}

// An address that is no service is dialled as it is, or as Unknown says.
func TestDialContextUnknown(t *testing.T) {
	addr := echo(t)
	for _, test := range []struct {
		unknown transport.Unknown
		ok      bool
	}{{transport.Pass, true}, {transport.Resolve, true}, {transport.Refuse, false}} {
		rt := newTransport(t, transport.Config{Unknown: test.unknown})
		c, err := rt.DialContext(t.Context(), "tcp", addr)
		if (err == nil) != test.ok {
			t.Errorf("%d: got %v, want success: %v", test.unknown, err, test.ok)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

// A connect that hangs is given up within the attempt timeout, and another
// endpoint is tried.
func TestDialContextMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := 0
		base := tunedWith(func(ctx context.Context, _, a string) (net.Conn, error) {
			if a == "a:9" {
				hung++
				<-ctx.Done()
				return nil, ctx.Err()
			}
			c, far := net.Pipe()
			return c, far.Close()
		})
		rt := newTransport(t, service(base, transport.Policy{AttemptTimeout: 20 * time.Millisecond}, "a:9", "b:9"))
		for range 20 {
			c, err := rt.DialContext(t.Context(), "tcp", "svc:9")
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		if hung == 0 || hung > 3 {
			t.Errorf("the endpoint that hangs was dialled %d times, want it found out and left out", hung)
		}
	})
}
