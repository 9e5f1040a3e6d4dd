package breaker_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

// Whatever callers do with their Tickets, at most one trial is under way at a
// time, and once the service is well again the Breaker closes in bounded time.
func TestNeverStuck(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			b := must(t, breaker.Config{Requests: 3, Window: 100 * time.Millisecond, OpenFor: 10 * time.Millisecond, ProbeTimeout: 20 * time.Millisecond})
			var busy atomic.Int64
			var callers sync.WaitGroup
			for i := range uint64(32) {
				callers.Go(func() {
					rng := rand.New(rand.NewPCG(seed, i))
					for range 100 {
						abuse(t, b, rng, &busy)
						time.Sleep(time.Duration(rng.IntN(5000)) * time.Microsecond)
					}
				})
			}
			callers.Wait()
			s := b.Stats()
			if s.Opened < 10 || s.Trials < 10 || s.Rejected < 10 {
				t.Errorf("got %+v, want more of each, else this test is blind", s)
			}
			// A lost trial, its open time and a good trial.
			time.Sleep(30 * time.Millisecond)
			if ticket, err := b.Allow(); err != nil {
				t.Errorf("after the last lease and the open time: got %v, want a Ticket", err)
			} else {
				ticket.Done(good)
			}
			tell(t, b, "sss")
			inState(t, b, breaker.Closed)
		})
	}
}

// abuse makes a call and uses its Ticket in some way. Busy is when the lease of
// the trial that is under way ends, in ns, or 0.
func abuse(t *testing.T, b *breaker.Breaker, rng *rand.Rand, busy *atomic.Int64) {
	ticket, err := b.Allow()
	if err != nil {
		return
	}
	lost := time.Now().Add(20 * time.Millisecond)
	if ticket.Trial() && busy.Swap(lost.UnixNano()) > time.Now().UnixNano() {
		t.Error("got a second trial beside one whose lease is not over")
	}
	if rng.IntN(4) == 0 {
		ticket.Answered()
	}
	time.Sleep(time.Duration(rng.IntN(15000)) * time.Microsecond) // less than the lease
	how := rng.IntN(8)
	if ticket.Trial() && how < 6 {
		busy.CompareAndSwap(lost.UnixNano(), 0)
	}
	switch how {
	case 0:
		ticket.Done(good)
	case 1, 2, 3:
		ticket.Done(bad)
	case 4:
		ticket.Done(ignored)
	case 5: // two at once
		var both sync.WaitGroup
		both.Go(func() { ticket.Done(bad) })
		both.Go(ticket.Cancel)
		both.Wait()
	case 6: // after the lease
		time.Sleep(20 * time.Millisecond)
		ticket.Done(good)
	default: // never
	}
}

// chaos is a base that does all that a base may do, and panics too.
type chaos struct {
	mu   sync.Mutex
	rng  *rand.Rand // guarded by mu
	well atomic.Bool
}

func (c *chaos) intn(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

var errChaos = errors.New("chaos")

// RoundTrip implements http.RoundTripper.
func (c *chaos) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	resp := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("fine")), Request: req}
	if c.well.Load() {
		return resp, nil
	}
	wait := time.NewTimer(time.Duration(c.intn(10)) * time.Millisecond)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	switch c.intn(6) {
	case 0:
		return resp, nil
	case 1:
		resp.StatusCode = http.StatusBadGateway
		return resp, nil
	case 2:
		return nil, errChaos
	case 3:
		panic(errChaos)
	case 4:
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{}))
		return resp, nil
	}
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// failing is a body that breaks.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errChaos }

// use makes a request and does with the response what users do.
func use(rt http.RoundTripper, c *chaos) {
	defer func() { _ = recover() }() // the base's
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(time.Duration(1+c.intn(20))*time.Millisecond, cancel)
	if c.intn(3) > 0 {
		defer cancel()
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://users/", io.NopCloser(strings.NewReader("body")))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return
	}
	switch c.intn(4) {
	case 0:
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	case 1:
		_ = resp.Body.Close()
		_ = resp.Body.Close()
	case 2:
		_, _ = resp.Body.Read(make([]byte, 1))
	default: // forgotten
	}
}

// The same with whole exchanges: panics, broken and forgotten bodies, contexts
// that end at any time.
func TestWrapNeverStuck(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			b := must(t, breaker.Config{Requests: 3, Window: 100 * time.Millisecond, OpenFor: 10 * time.Millisecond, ProbeTimeout: time.Hour})
			base := &chaos{rng: rand.New(rand.NewPCG(seed, 0))}
			rt := b.Wrap(base)
			var callers sync.WaitGroup
			for range 16 {
				callers.Go(func() {
					for range 100 {
						use(rt, base)
						time.Sleep(time.Duration(base.intn(5)) * time.Millisecond)
					}
				})
			}
			callers.Wait()
			if s := b.Stats(); s.Opened < 3 || s.Trials < 3 || s.Rejected < 10 {
				t.Errorf("got %+v, want more of each, else this test is blind", s)
			}
			// All contexts have ended, so no permit is out: the lease of an
			// hour is not needed.
			base.well.Store(true)
			time.Sleep(30 * time.Millisecond)
			for range 2 {
				req, _ := http.NewRequest(http.MethodGet, "http://users/", nil)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatalf("got %v from a service that is well", err)
				}
				_ = resp.Body.Close()
			}
			inState(t, b, breaker.Closed)
		})
	}
}
