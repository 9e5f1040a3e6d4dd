package transport_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// A call that was not sent says what kept it: in metrics, and in its record.
func TestRefusalTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSDK()
		bad := func(req *http.Request, _ string) (*http.Response, error) {
			return answer(req, http.StatusServiceUnavailable, ""), nil
		}
		cfg := transport.Config{Base: fleet(bad), Telemetry: s.config, Services: map[string]transport.Service{
			"limited": {Resolver: endpoints("a:1"), Policy: transport.Policy{Limit: &limit.Config{Rate: 0.001, Burst: 1}}},
			"broken": {Resolver: endpoints("a:1"), Policy: transport.Policy{
				Retry: &retry.Config{Attempts: 1}, Breaker: &breaker.Config{Requests: 5},
			}},
			"nobody": {Resolver: discovery.Static{}},
			"late":   {Resolver: endpoints("a:1")},
		}}
		rt := newTransportOf(t, cfg)
		for service, want := range map[string]string{
			"limited": "limited", "broken": "breaker_open", "nobody": "no_endpoints", "late": "timeout",
		} {
			var rec telemetry.Record
			ctx := t.Context()
			if service == "late" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, time.Now().Add(-time.Second))
				defer cancel()
			}
			for range 30 {
				_, _, _ = get(telemetry.WithRecord(ctx, &rec), rt, "http://"+service+"/")
			}
			if rec.Outcome != want || rec.Error == "" {
				t.Errorf("%s: got the outcome %q: %s", service, rec.Outcome, rec.Error)
			}
		}
		got := slices.Compact(labels(t, s, "http.client.request.duration", "error.type"))
		for _, want := range []string{"breaker_open", "limited", "no_endpoints", "timeout"} {
			if !slices.Contains(got, want) {
				t.Errorf("got error.type %q, want %s among them", got, want)
			}
		}
	})
}

// newTransportOf is newTransport for one of which not all services have endpoints.
func newTransportOf(t *testing.T, cfg transport.Config) *transport.Transport {
	t.Helper()
	rt, err := transport.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	return rt
}

// A record says how long a repeat was put off, and names the endpoint that was picked
// however many there are.
func TestRecordOfRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
			if n++; n == 1 {
				return answer(req, http.StatusServiceUnavailable, ""), nil
			}
			return answer(req, http.StatusOK, ""), nil
		})
		var all discovery.Static
		for i := range 100 {
			all = append(all, tulle.Endpoint{Addr: strings.Repeat("e", i+1) + ":1"})
		}
		rt := newTransport(t, transport.Config{Base: base, Services: map[string]transport.Service{
			"svc": {Resolver: all, Policy: transport.Policy{Retry: &retry.Config{
				MinBackoff: 100 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, Rand: func() uint64 { return 1 << 63 },
			}}},
		}})
		var rec telemetry.Record
		if status, _, err := get(telemetry.WithRecord(t.Context(), &rec), rt, "http://svc/"); status != 200 || err != nil {
			t.Fatalf("got %d, %v", status, err)
		}
		if len(rec.Repeats) != 1 || rec.Repeats[0].Wait != 50*time.Millisecond {
			t.Errorf("got %+v, want a pause of 50 ms", rec.Repeats)
		}
		for _, p := range rec.Picks {
			has := slices.ContainsFunc(p.Candidates, func(c telemetry.Candidate) bool { return c.Addr == p.Endpoint })
			if len(p.Candidates) != 32 || !has {
				t.Errorf("got %d candidates, the picked one among them: %v", len(p.Candidates), has)
			}
		}
	})
}
