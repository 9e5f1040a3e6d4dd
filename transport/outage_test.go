package transport_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/transport"
)

// outage is a fleet of endpoints that can be down, without sockets.
type outage struct {
	down  map[string]bool
	dials map[string]int
}

func (o *outage) fleet() fleet {
	return func(req *http.Request, addr string) (*http.Response, error) {
		o.dials[addr]++
		if o.down[addr] {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		return answer(req, http.StatusOK, ""), nil
	}
}

// pacedCalls makes 200 calls a second for d, and returns how many failed.
func pacedCalls(t *testing.T, rt *transport.Transport, d, slowest time.Duration) (failed int, last error) {
	t.Helper()
	for range int(d / (5 * time.Millisecond)) {
		begun := time.Now()
		if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
			failed, last = failed+1, err
			if took := time.Since(begun); took > slowest {
				t.Errorf("a failing call took %v, want at most %v", took, slowest)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return failed, last
}

// Two of three dead: traffic goes on over the third. All dead: calls fail at once
// with the reason, and each is tried about once a second. One comes back: it
// serves within two seconds.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{down: map[string]bool{}, dials: map[string]int{}}
		rt := newTransport(t, service(o.fleet(), transport.Policy{}, "a:1", "b:1", "c:1"))
		if failed, err := pacedCalls(t, rt, 5*time.Second, 0); failed > 0 {
			t.Fatalf("while all are well: %d calls failed: %v", failed, err)
		}
		o.down["a:1"], o.down["b:1"] = true, true
		clear(o.dials)
		if failed, err := pacedCalls(t, rt, 20*time.Second, 0); failed > 0 {
			t.Errorf("with two of three dead: %d calls failed: %v", failed, err)
		}
		if o.dials["a:1"] > 32 || o.dials["b:1"] > 32 {
			t.Errorf("in 20 s the dead ones were dialled %v times, want once a second after the first ones", o.dials)
		}
		if got := rt.Snapshot().Services[0].Breaker; got != "closed" {
			t.Errorf("the breaker is %s, want closed", got)
		}
		o.down["c:1"] = true
		pacedCalls(t, rt, 2*time.Second, time.Second)
		clear(o.dials)
		failed, err := pacedCalls(t, rt, 20*time.Second, 5*time.Millisecond)
		if failed < 3900 || !errors.Is(err, transport.ErrAllDown) && !errors.Is(err, breaker.ErrOpen) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("with all dead: %d calls failed, the last with %v; want all, with the reason", failed, err)
		}
		for addr, n := range o.dials {
			if n > 22 {
				t.Errorf("in 20 s %s was dialled %d times, want once a second", addr, n)
			}
		}
		o.down["b:1"] = false
		pacedCalls(t, rt, 2*time.Second, time.Second)
		if failed, err := pacedCalls(t, rt, time.Second, 0); failed > 0 {
			t.Errorf("two seconds after one came back %d calls failed: %v", failed, err)
		}
	})
}

// A service that fails as a whole is left alone, and tried from time to time.
func TestServiceBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, status := 0, http.StatusInternalServerError
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
			sent++
			return answer(req, status, ""), nil
		})
		rt := newTransport(t, service(base, transport.Policy{}, "a:1", "b:1", "c:1"))
		for range 100 {
			_, _, _ = get(t.Context(), rt, "http://svc/")
		}
		s := rt.Snapshot().Services[0]
		if sent > 30 || s.BreakerOpened != 1 || s.BreakerRejected == 0 {
			t.Errorf("got %d of 100 calls sent, opened %d, rejected %d", sent, s.BreakerOpened, s.BreakerRejected)
		}
		if _, _, err := get(t.Context(), rt, "http://svc/"); !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("got %v, want ErrOpen", err)
		}
		status = http.StatusOK
		time.Sleep(6 * time.Second)
		for range 10 {
			if got, _, err := get(t.Context(), rt, "http://svc/"); err != nil || got != http.StatusOK {
				t.Errorf("after the trial: got %d, %v", got, err)
			}
		}
	})
}

// One good endpoint keeps the breaker closed.
func TestBreakerStaysClosedWhileOneServes(t *testing.T) {
	var bad atomic.Bool
	answerBy := func(good bool) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if bad.Load() && !good {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	rt := newTransport(t, service(nil, transport.Policy{}, answerBy(true), answerBy(false), answerBy(false)))
	for i := range 600 {
		bad.Store(i > 100)
		_, _, _ = get(t.Context(), rt, "http://svc/")
	}
	if s := rt.Snapshot().Services[0]; s.BreakerOpened != 0 {
		t.Errorf("the breaker opened %d times", s.BreakerOpened)
	}
}
