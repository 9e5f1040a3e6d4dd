package transport_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/balancer"
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
		if s.DarkEjections == 0 || s.Ejections != 0 {
			t.Errorf("ejection: got %d in the dark, %d carried out", s.DarkEjections, s.Ejections)
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

// script is the way that a number of calls take while three endpoints have their
// troubles: which endpoints got which attempts, and what the caller got.
func script(t *testing.T, p transport.Policy, calls int) (way []string, snap transport.ServiceSnapshot) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			n++
			way = append(way, addr)
			trouble := n / 50 % 4
			switch {
			case trouble == 1 && addr == "b:1", trouble == 2:
				return answer(req, http.StatusServiceUnavailable, ""), nil
			case trouble == 3 && addr == "c:1":
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return answer(req, http.StatusOK, ""), nil
		})
		p.Balancer = balancer.RoundRobin{Rand: func() uint64 { return 0 }}
		p.Retry = &retry.Config{Budget: retry.BudgetConfig{Ratio: 1, PerSecond: 1000}, Rand: func() uint64 { return 1 << 63 }}
		rt := newTransport(t, service(base, p, "a:1", "b:1", "c:1"))
		for range calls {
			status, _, err := get(t.Context(), rt, "http://svc/")
			way = append(way, fmt.Sprint(status, err != nil))
			time.Sleep(50 * time.Millisecond)
		}
		snap = rt.Snapshot().Services[0]
	})
	return way, snap
}

// In the dark each attempt goes where it goes without the policy. A breaker in the
// dark was seen to hold back repeats, and ejection in the dark to lead endpoints
// back in that had never been out.
func TestDarkIsWithout(t *testing.T) {
	const calls = 1000
	off := transport.Policy{Ejection: &breaker.OutlierConfig{Off: true}, Breaker: &breaker.Config{Off: true}}
	want, _ := script(t, off, calls)
	again, _ := script(t, off, calls)
	if !slices.Equal(again, want) {
		t.Fatal("the script is not the same each time")
	}
	dark := off
	dark.Ejection = &breaker.OutlierConfig{Dark: true, Base: time.Second, Max: time.Second}
	got, snap := script(t, dark, calls)
	if !slices.Equal(got, want) {
		t.Error("ejection in the dark: calls went another way")
	}
	if snap.DarkEjections == 0 || snap.Ejections != 0 || snap.Avoided != (transport.AvoidedSnapshot{Tried: snap.Avoided.Tried}) {
		t.Errorf("got %d ejections in the dark, %d carried out, avoided %+v", snap.DarkEjections, snap.Ejections, snap.Avoided)
	}
	dark = off
	dark.Breaker = &breaker.Config{Dark: true, Requests: 5, FailureShare: 0.3, GoodLeft: func() bool { return false }}
	got, snap = script(t, dark, calls)
	if !slices.Equal(got, want) {
		t.Error("breaker in the dark: calls went another way")
	}
	if snap.BreakerDarkRejected == 0 || snap.BreakerRejected != 0 || !snap.BreakerDark {
		t.Errorf("got %d attempts refused in the dark, %d in earnest", snap.BreakerDarkRejected, snap.BreakerRejected)
	}
}

// What was ejected is used again when ejection goes dark by an update, and what
// would have been ejected in the dark is ejected when it is switched on.
func TestDarkByUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := map[string]int{}
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			sent[addr]++
			if addr == "bad:1" {
				return answer(req, http.StatusServiceUnavailable, ""), nil
			}
			return answer(req, http.StatusOK, ""), nil
		})
		config := func(dark bool) transport.Config {
			return service(base, transport.Policy{
				Balancer: balancer.RoundRobin{},
				Retry:    &retry.Config{Attempts: 1},
				Ejection: &breaker.OutlierConfig{Dark: dark, Base: time.Hour, Max: time.Hour},
			}, "a:1", "bad:1", "c:1")
		}
		rt := newTransport(t, config(false))
		calls := func() (bad int) {
			clear(sent)
			for range 60 {
				_, _, _ = get(t.Context(), rt, "http://svc/")
				time.Sleep(10 * time.Millisecond)
			}
			return sent["bad:1"]
		}
		calls()
		for _, step := range []struct {
			dark bool
			want int
		}{{false, 0}, {true, 20}, {true, 20}} {
			if err := rt.Update(config(step.dark)); err != nil {
				t.Fatal(err)
			}
			if got := calls(); got != step.want {
				t.Errorf("dark %v: got %d attempts at the bad one, want %d", step.dark, got, step.want)
			}
		}
		if s := rt.Snapshot().Services[0]; s.Endpoints[1].State != "healthy" || s.Ejections != 1 || s.DarkEjections != 1 {
			t.Errorf("got %s after %d ejections and %d in the dark", s.Endpoints[1].State, s.Ejections, s.DarkEjections)
		}
		if err := rt.Update(config(false)); err != nil {
			t.Fatal(err)
		}
		calls()
		if got := calls(); got != 0 {
			t.Errorf("got %d attempts at the bad one after the dark, want none", got)
		}
	})
}
