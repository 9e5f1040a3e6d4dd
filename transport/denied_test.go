package transport_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// A record says why a call was not repeated, in a word of retry.Denial, and hooks hear
// the same. Of a call that nobody would repeat nothing is said.
func TestRecordOfDenial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notFound := func(*tulle.Call) tulle.Repetition { return tulle.RepeatSafe }
		shut := &breaker.Config{Requests: 1, FailureShare: 0.01}
		for _, c := range []struct {
			want   retry.Denial
			status int
			method string
			policy transport.Policy
			after  time.Duration // of Retry-After
			time   time.Duration // of the call; default (0): none
		}{
			{"", http.StatusOK, "GET", transport.Policy{}, 0, 0},
			{"", http.StatusInternalServerError, "GET", transport.Policy{}, 0, 0},
			{retry.DeniedUnsafe, http.StatusBadGateway, "POST", transport.Policy{}, 0, 0},
			{retry.DeniedAttempts, http.StatusBadGateway, "GET", transport.Policy{Retry: &retry.Config{Attempts: 1}}, 0, 0},
			{retry.DeniedBudget, http.StatusBadGateway, "GET", transport.Policy{
				Retry: &retry.Config{Budget: retry.BudgetConfig{Ratio: -1, PerSecond: -1}},
			}, 0, 0},
			{retry.DeniedNoHint, http.StatusTooManyRequests, "GET", transport.Policy{}, 0, 0},
			{retry.DeniedTime, http.StatusServiceUnavailable, "GET", transport.Policy{}, time.Minute, time.Second},
			{retry.DeniedDark, http.StatusBadGateway, "GET", transport.Policy{Retry: &retry.Config{Dark: true}}, 0, 0},
			{retry.DeniedBreaker, http.StatusBadGateway, "GET", transport.Policy{Breaker: shut}, 0, 0},
			{retry.DeniedBudget, http.StatusNotFound, "GET", transport.Policy{Retry: &retry.Config{
				Condition: notFound, Budget: retry.BudgetConfig{Ratio: -1, PerSecond: -1},
			}}, 0, 0},
		} {
			base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
				resp := answer(req, c.status, "")
				if c.after > 0 {
					resp.Header.Set("Retry-After", "60")
				}
				return resp, nil
			})
			rt := newTransport(t, transport.Config{Base: base, Services: map[string]transport.Service{
				"svc": {Resolver: endpoints("a:1"), Policy: c.policy},
			}})
			wantDenial(t, rt, c.method, c.time, c.want)
		}
	})
}

// wantDenial makes a call that is not repeated for a reason; "": that goes unsaid.
func wantDenial(t *testing.T, rt http.RoundTripper, method string, limit time.Duration, want retry.Denial) {
	t.Helper()
	ctx := t.Context()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	var rec telemetry.Record
	var told []telemetry.Repeat
	ctx = telemetry.WithRecord(telemetry.WithTrace(ctx, &telemetry.Trace{
		RetryDecision: func(r telemetry.Repeat) { told = append(told, r) },
	}), &rec)
	req, err := http.NewRequestWithContext(ctx, method, "http://svc/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if want == "" {
		if len(rec.Repeats)+len(told) > 0 {
			t.Errorf("status %d: got %+v, want nothing said", resp.StatusCode, rec.Repeats)
		}
		return
	}
	if len(rec.Repeats) != 1 || len(told) != 1 || told[0] != rec.Repeats[0] || told[0].Granted || told[0].Reason != string(want) {
		t.Errorf("status %d: got %+v, hooks %+v, want it denied as %q", resp.StatusCode, rec.Repeats, told, want)
	}
}
