package destination_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
)

// A Gate that refuses is idle when the last call has ended, and not before.
func TestGate(t *testing.T) {
	g := destination.NewGate()
	for range 2 {
		if !g.Enter() {
			t.Fatal("a new Gate refuses")
		}
	}
	g.Refuse()
	g.Refuse()
	if g.Enter() {
		t.Error("a Gate that refuses lets a call in")
	}
	g.Exit()
	select {
	case <-g.Idle():
		t.Error("idle with a call that runs")
	default:
	}
	g.Exit()
	<-g.Idle()
}

// Calls that come while a Gate is closed are either counted or refused.
func TestGateRace(t *testing.T) {
	g := destination.NewGate()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for g.Enter() {
				g.Exit()
			}
		})
	}
	g.Refuse()
	wg.Wait()
	<-g.Idle()
}

// The timeout of a call is its own, else that of its rule, else that of its service.
func TestTimeouts(t *testing.T) {
	rule := &destination.Ruled{Timeout: 2 * time.Second, AttemptTimeout: -1, Host: "rule"}
	for _, c := range []struct {
		name    string
		o       *destination.Options
		call    time.Duration
		attempt time.Duration
		host    string
	}{
		{"none", nil, time.Second, 3 * time.Second, "service"},
		{"empty", &destination.Options{}, time.Second, 3 * time.Second, "service"},
		{"rule", &destination.Options{Ruled: rule}, 2 * time.Second, 0, "rule"},
		{"own", &destination.Options{Timeout: -1, Ruled: rule}, -1, 0, "rule"},
	} {
		if got := c.o.CallTimeout(time.Second); got != c.call {
			t.Errorf("%s: got a timeout of %v, want %v", c.name, got, c.call)
		}
		if got := c.o.AttemptTimeout(3 * time.Second); got != c.attempt {
			t.Errorf("%s: got an attempt timeout of %v, want %v", c.name, got, c.attempt)
		}
		if got := c.o.Host("service"); got != c.host {
			t.Errorf("%s: got host %q, want %q", c.name, got, c.host)
		}
	}
}

// A nil Options says nothing.
func TestNoOptions(t *testing.T) {
	var o *destination.Options
	r, err := retry.New(retry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if o.OnlyUnsent() || o.Vouched() || o.Delay() != 0 || o.Retrier(r) != r {
		t.Error("got something from no options")
	}
	o.Tell("service", nil, 1)
	told := 0
	o = &destination.Options{Report: func(string, *tulle.Endpoint, int) { told++ }}
	o.Tell("service", nil, 1)
	if got := destination.OptionsOf(destination.WithOptions(t.Context(), o)); told != 1 || got != o {
		t.Errorf("got %d reports and %v", told, got)
	}
}

// The end of a call is the earliest of all, and a call past it is refused.
func TestEnd(t *testing.T) {
	late, err := deadline.New(deadline.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := &destination.Destination{Timeout: time.Minute, Late: late}
	now := time.Now()
	if end, err := d.End(t.Context(), nil, now); err != nil || !end.Equal(now.Add(time.Minute)) {
		t.Errorf("got %v, %v", end, err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), now.Add(time.Second))
	defer cancel()
	if end, err := d.End(ctx, nil, now); err != nil || !end.Equal(now.Add(time.Second)) {
		t.Errorf("got %v, %v, want the context's", end, err)
	}
	if _, err := d.End(ctx, nil, now.Add(2*time.Second)); !errors.Is(err, deadline.ErrCall) {
		t.Errorf("got %v, want ErrCall", err)
	}
	cancel()
	if _, err := d.End(ctx, nil, now); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// A rule's delay is waited, at most until the call's end, and not past its context.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &destination.Options{Ruled: &destination.Ruled{Delay: time.Minute}}
		began := time.Now()
		if err := destination.Hold(t.Context(), o, time.Time{}); err != nil || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		began = time.Now()
		if err := destination.Hold(t.Context(), o, began.Add(time.Second)); !errors.Is(err, deadline.ErrCall) || time.Since(began) != time.Second {
			t.Errorf("with an end: got %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := destination.Hold(ctx, o, time.Time{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context: got %v", err)
		}
		if err := destination.Hold(t.Context(), nil, time.Time{}); err != nil {
			t.Errorf("without a delay: got %v", err)
		}
	})
}

// Codes of gRPC and statuses of HTTP stand for one another, unknown ones too.
func TestCodes(t *testing.T) {
	for name, status := range map[string]int{"UNAVAILABLE": 503, "NOT_FOUND": 404, "OK": 200, "RESOURCE_EXHAUSTED": 429, "NO_SUCH": 500} {
		if got := destination.StatusOf(destination.Code(name)); got != status {
			t.Errorf("%s: got %d, want %d", name, got, status)
		}
	}
	if got := destination.StatusOf(99); got != http.StatusInternalServerError {
		t.Errorf("got %d for a code that is none", got)
	}
	for status, name := range map[int]string{401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "UNIMPLEMENTED", 503: "UNAVAILABLE", 418: "UNKNOWN", 400: "INTERNAL"} {
		if got := destination.CodeOf(status); got != destination.Code(name) {
			t.Errorf("%d: got %d, want %s", status, got, name)
		}
	}
}

// Peers are trusted by their address, whatever form that has.
func TestTrusted(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for remote, want := range map[string]bool{
		"10.1.2.3:80": true, "[::ffff:10.1.2.3]:80": true, "[fd00::1%eth0]:80": true, "11.0.0.1:80": false, "10.1.2.3": false, "": false, "bufconn": false,
	} {
		if got := destination.Trusted(networks, remote); got != want {
			t.Errorf("%q: got %v, want %v", remote, got, want)
		}
	}
	if destination.Trusted(nil, "10.1.2.3:80") {
		t.Error("trusted without networks")
	}
}

// A repeat is known by any of the headers, and never by one that is no number.
func TestIsRepeat(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"Tulle-Attempt", "2", true}, {"Tulle-Attempt", "1", false}, {"Tulle-Attempt", "-2", false}, {"Tulle-Attempt", "x", false},
		{"X-Envoy-Attempt-Count", "3", true}, {"Grpc-Previous-Rpc-Attempts", "1", true}, {"Grpc-Previous-Rpc-Attempts", "0", false},
		{"Tulle-Attempt", "99999999999999999999", false},
	} {
		h := http.Header{c.name: {c.value}}
		if got := destination.IsRepeat(h.Get); got != c.want {
			t.Errorf("%s: %s: got %v, want %v", c.name, c.value, got, c.want)
		}
	}
}
