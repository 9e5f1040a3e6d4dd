package transport_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// An endpoint that was down and is back gets its share again, at first little of
// it and after ten seconds all: neither a herd nor an exile.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		down, served := true, map[string]int{}
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			mu.Lock()
			refused := down && addr == "b:1"
			if !refused {
				served[addr]++
			}
			mu.Unlock()
			if refused {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}
			if err := sleep(req, time.Duration(4000+rand.IntN(2000))*time.Microsecond); err != nil {
				return nil, err
			}
			return answer(req, http.StatusOK, ""), nil
		})
		rt := newTransport(t, service(base, transport.Policy{}, "a:1", "b:1", "c:1"))
		var callers sync.WaitGroup
		stop := make(chan struct{})
		for range 6 {
			callers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
						t.Errorf("a call failed: %v", err)
					}
				}
			})
		}
		time.Sleep(10 * time.Second)
		share := func(d time.Duration) float64 {
			mu.Lock()
			clear(served)
			mu.Unlock()
			time.Sleep(d)
			mu.Lock()
			defer mu.Unlock()
			return float64(served["b:1"]) / float64(served["a:1"]+served["b:1"]+served["c:1"])
		}
		mu.Lock()
		down = false
		mu.Unlock()
		for s := range 12 {
			got := share(time.Second)
			t.Logf("second %2d: %.1f %%", s+1, 100*got)
			switch {
			case s == 1 && (got == 0 || got > 0.25):
				t.Errorf("in the second second it got %.1f %% of the calls, want some and no herd", 100*got)
			case s == 11 && got < 0.2:
				t.Errorf("after the ramp it got %.1f %% of the calls, want about a third", 100*got)
			}
		}
		close(stop)
		callers.Wait()
	})
}
