package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
)

// slowBody gives a byte every step and then ends with err.
type slowBody struct {
	ctx   context.Context
	step  time.Duration
	left  int
	err   error
	close atomic.Bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.close.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.left == 0 {
		return 0, b.err
	}
	t := time.NewTimer(b.step)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.ctx.Done():
		return 0, context.Cause(b.ctx)
	}
	b.left--
	p[0] = 'x'
	return 1, nil
}

func (b *slowBody) Close() error {
	b.close.Store(true)
	return nil
}

// An endpoint that serves fifty streams of an hour keeps its share of short
// calls: what counts for the balancer is waiting, not streaming.
func TestStreamsKeepTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			if err := sleep(req, 5*time.Millisecond); err != nil {
				return nil, err
			}
			resp := answer(req, 200, "")
			if req.URL.Path == "/stream" {
				resp.Body = &slowBody{ctx: req.Context(), step: time.Minute, left: 60, err: io.EOF}
			}
			return resp, nil
		})
		rt := newTransport(t, service(base, transport.Policy{}, "a:1", "b:1", "c:1"))

		// Streams until one endpoint has fifty.
		var streams []io.Closer
		busy := ""
		for busy == "" {
			req, _ := http.NewRequest(http.MethodGet, "http://svc/stream", nil)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, resp.Body)
			for _, e := range rt.Snapshot().Services[0].Endpoints {
				if e.Streaming == 50 {
					busy = e.Addr
				}
			}
		}
		before := attempts(rt)
		const calls = 3000
		for range calls {
			if _, _, err := get(t.Context(), rt, "http://svc/short"); err != nil {
				t.Fatal(err)
			}
		}
		got := float64(attempts(rt)[busy]-before[busy]) / calls
		if got < 0.25 || got > 0.42 {
			t.Errorf("endpoint with 50 streams got %.1f %% of the short calls, want about a third", 100*got)
		}
		for _, s := range streams {
			_ = s.Close()
		}
		if w, s := inFlight(rt); w != 0 || s != 0 {
			t.Errorf("after all streams: got %d waiting and %d streaming, want none", w, s)
		}
	})
}

// chaos is a fleet in which everything that can happen to a call does.
func chaos(rng func() *rand.Rand) fleet {
	return func(req *http.Request, addr string) (*http.Response, error) {
		r := rng()
		if err := sleep(req, time.Duration(r.IntN(20))*time.Millisecond); err != nil {
			return nil, err
		}
		switch r.IntN(12) {
		case 0:
			return nil, errors.New("connection reset by peer")
		case 1:
			panic("sender")
		case 2:
			return answer(req, http.StatusServiceUnavailable, "busy"), nil
		case 3:
			resp := answer(req, http.StatusTooManyRequests, "")
			resp.Header.Set("Retry-After", "1")
			return resp, nil
		case 4:
			return answer(req, http.StatusInternalServerError, "oh"), nil
		case 5, 6:
			resp := answer(req, 200, "")
			resp.Body = &slowBody{ctx: req.Context(), step: time.Millisecond, left: r.IntN(50), err: io.ErrUnexpectedEOF}
			return resp, nil
		case 7:
			resp := answer(req, 200, "")
			resp.Body = http.NoBody
			return resp, nil
		}
		resp := answer(req, 200, "")
		resp.Body = &slowBody{ctx: req.Context(), step: time.Millisecond, left: r.IntN(50), err: io.EOF}
		return resp, nil
	}
}

// use does with a call what callers do: read all, read some, close at once,
// close twice, cancel before or while reading, and forget about the body.
func use(rt http.RoundTripper, r *rand.Rand) {
	ctx, cancel := context.WithCancel(context.Background())
	if r.IntN(3) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(1+r.IntN(60))*time.Millisecond)
	}
	defer cancel()
	if r.IntN(6) == 0 {
		defer context.AfterFunc(ctx, func() {})()
		t := time.AfterFunc(time.Duration(r.IntN(30))*time.Millisecond, cancel)
		defer t.Stop()
	}
	method := http.MethodGet
	if r.IntN(2) == 0 {
		method = http.MethodPost
	}
	req, _ := http.NewRequestWithContext(ctx, method, "http://svc/", nil)
	defer func() { _ = recover() }() // the fleet's own panic
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return
	}
	switch r.IntN(5) {
	case 0:
		_, _ = io.Copy(io.Discard, resp.Body)
	case 1:
		_, _ = io.CopyN(io.Discard, resp.Body, 3)
		_ = resp.Body.Close()
	case 2:
		_ = resp.Body.Close()
		_ = resp.Body.Close()
	case 3:
		go func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, resp.Body)
	case 4: // forgotten; the context ends with this function
	}
}

// Whatever callers and endpoints do, leases return to zero, and the budget is
// spent on repeats that were made and on nothing else.
func TestLeasesAndTokensAreConserved(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conserve(t, seed)
			})
		})
	}
}

func conserve(t *testing.T, seed uint64) {
	var mu sync.Mutex
	source := rand.New(rand.NewPCG(seed, 1))
	rng := func() *rand.Rand {
		mu.Lock()
		defer mu.Unlock()
		return rand.New(rand.NewPCG(source.Uint64(), 2))
	}
	policy := transport.Policy{Retry: &retry.Config{Budget: retry.BudgetConfig{Ratio: 0.3}}}
	if seed%2 == 0 {
		policy.Timeout, policy.AttemptTimeout = 40*time.Millisecond, 15*time.Millisecond
	}
	rt := newTransport(t, service(chaos(rng), policy, "a:1", "b:1", "c:1", "d:1"))
	full := rt.Snapshot().Services[0].RetryBudget

	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			r := rng()
			for range 40 {
				use(rt, r)
			}
		})
	}
	callers.Wait()
	time.Sleep(time.Second)
	synctest.Wait()
	if w, s := inFlight(rt); w != 0 || s != 0 {
		t.Errorf("got %d waiting and %d streaming after all calls, want none", w, s)
	}
	time.Sleep(11 * time.Second)
	if got := rt.Snapshot().Services[0].RetryBudget; got != full {
		t.Errorf("budget after its window: got %v, want %v", got, full)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := rt.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown after all calls: %v", err)
	}
}

// A sender that panics is nobody's failure, and leaves no lease.
func TestPanicReleases(t *testing.T) {
	base := fleet(func(*http.Request, string) (*http.Response, error) { panic("boom") })
	rt := newTransport(t, service(base, transport.Policy{}, "a:1"))
	func() {
		defer func() {
			if got := recover(); got != "boom" {
				t.Errorf("recovered %v, want boom", got)
			}
		}()
		_, _, _ = get(t.Context(), rt, "http://svc/")
	}()
	if w, s := inFlight(rt); w != 0 || s != 0 {
		t.Errorf("got %d waiting and %d streaming, want none", w, s)
	}
	if got := rt.Snapshot().Services[0].Endpoints[0].Success; got != -1 {
		t.Errorf("success share: got %v, want -1, nothing counted", got)
	}
	if err := rt.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// The same trouble at two endpoints is the request's: the second one is not
// blamed.
func TestPoisonousRequestBlamesOneEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
			return answer(req, http.StatusBadGateway, ""), nil
		})
		rt := newTransport(t, service(base, transport.Policy{}, "a:1", "b:1", "c:1"))
		var info transport.Info
		ctx := transport.WithCall(t.Context(), transport.AttemptInfo(&info))
		if status, _, err := get(ctx, rt, "http://svc/"); err != nil || status != http.StatusBadGateway {
			t.Fatalf("got %d, %v, want the last 502", status, err)
		}
		blamed, tried := 0, 0
		for _, e := range rt.Snapshot().Services[0].Endpoints {
			if e.Attempts > 0 {
				tried++
			}
			if e.Success == 0 {
				blamed++
			}
		}
		if info.Attempts != 3 || tried != 3 || blamed != 1 {
			t.Errorf("got %d attempts at %d endpoints, %d blamed; want 3 at 3, 1 blamed", info.Attempts, tried, blamed)
		}
	})
}
