package transport_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
)

// The limit charges a call once however often it is sent, keeps the rate, and
// never makes a call wait past its deadline.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
			if sent++; sent%2 == 1 {
				return answer(req, http.StatusBadGateway, ""), nil
			}
			return answer(req, http.StatusOK, ""), nil
		})
		rt := newTransport(t, service(base, transport.Policy{
			Limit: &limit.Config{Rate: 10, Burst: 1, MaxWait: time.Second},
		}, "a:1", "b:1"))
		begun := time.Now()
		for range 3 {
			if status, _, err := get(t.Context(), rt, "http://svc/"); err != nil || status != http.StatusOK {
				t.Fatalf("got %d, %v", status, err)
			}
		}
		if took := time.Since(begun); took < 200*time.Millisecond || took > 900*time.Millisecond {
			t.Errorf("three calls took %v, want the 200 ms of the limit and two or three pauses", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		before := sent
		_, _, err := get(ctx, rt, "http://svc/")
		if !errors.Is(err, limit.ErrLimited) && !errors.Is(err, deadline.ErrCall) {
			t.Errorf("without time to wait: got %v, want ErrLimited", err)
		}
		if sent != before {
			t.Error("it was sent all the same")
		}
		if got := rt.Snapshot().Services[0].Limit; got.Admitted+got.Waited < 3 || got.Refused+got.Abandoned != 1 {
			t.Errorf("got %+v, want 3 let through and 1 not", got)
		}
	})
}
