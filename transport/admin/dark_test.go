package admin_test

import (
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
)

// A breaker in dark mode refuses nothing, so that it is no trouble; what the
// policies in dark mode would have done is told.
func TestDark(t *testing.T) {
	f := newFake()
	f.change(func(s *transport.Snapshot) {
		orders := &s.Services[0]
		orders.Breaker, orders.BreakerDark, orders.BreakerDarkRejected = "open", true, 1234
		orders.DarkEjections, orders.Retry.Dark, orders.Deadline.Dark = 2, 3, 4
		orders.Limit.DarkWaited, orders.Limit.DarkRefused = 5, 6
	})
	h := newHandler(t, f, admin.Config{})
	var state admin.State
	getJSON(t, h, "/snapshot.json?service=orders", &state)
	if got := state.Services[0]; len(got.Problems) != 0 || state.Totals.Breakers != 0 || got.BreakerDarkRejected != 1234 {
		t.Errorf("got %+v, %d breakers open", got, state.Totals.Breakers)
	}
	text := get(h, "/service?name=orders").Body.String()
	for _, want := range []string{
		"all well", "dark: would have refused 1\u202f234",
		"2 × left out an endpoint, 1\u202f234 × refused an attempt, 3 × repeated an attempt, 5 × made a call wait, " +
			"6 × refused a call by the rate limit, 4 × refused a call that came too late",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got no %q in the page of orders", want)
		}
	}
}
