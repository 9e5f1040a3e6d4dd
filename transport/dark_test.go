package transport_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// In the dark every layer counts what it would have done, and does nothing: each
// call reaches an endpoint once.
func TestDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := map[string]int{}
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			sent[addr]++
			if addr == "good:1" && sent[addr] < 40 {
				return answer(req, http.StatusOK, ""), nil
			}
			return answer(req, http.StatusBadGateway, ""), nil
		})
		rt := newTransport(t, service(base, transport.Policy{
			DarkDeadlines: true,
			Retry:         &retry.Config{Dark: true},
			Ejection:      &breaker.OutlierConfig{Dark: true},
			Breaker:       &breaker.Config{Dark: true},
			Limit:         &limit.Config{Rate: 10, Burst: 1, Dark: true},
		}, "good:1", "bad:1"))
		const calls = 400
		for range calls {
			if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
				t.Fatalf("a call failed: %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, _, _ = get(past, rt, "http://svc/") // sent; the Base does not look at the deadline
		if got := sent["good:1"] + sent["bad:1"]; got != calls+1 {
			t.Errorf("got %d attempts, want %d", got, calls+1)
		}
		s := rt.Snapshot().Services[0]
		if s.Retry.Dark == 0 || s.Retry.Repeats+s.Retry.Moves != 0 {
			t.Errorf("retry: got %+v", s.Retry)
		}
		if s.Ejections == 0 {
			t.Error("ejection: counted nothing")
		}
		if s.Limit.DarkRefused+s.Limit.DarkWaited == 0 || s.Limit.Refused+s.Limit.Waited != 0 {
			t.Errorf("limit: got %+v", s.Limit)
		}
		if s.Deadline.Dark != 1 || s.Deadline.Refused != 0 {
			t.Errorf("deadline: got %+v", s.Deadline)
		}
		if s.BreakerOpened == 0 || s.BreakerRejected != 0 {
			t.Errorf("breaker: opened %d times, rejected %d", s.BreakerOpened, s.BreakerRejected)
		}
	})
}
