package breaker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// alone is the evidence about a bad endpoint without peers.
type alone struct{}

func (alone) Evidence() breaker.Evidence {
	return breaker.Evidence{Requests: 10, Success: 0, Spare: true}
}

// An ejected endpoint that is kept in use, as nothing else is left, comes back by
// a success once its time is over. Before this was so it stayed ejected for ever,
// and its later failures went unseen. An answer that comes sooner may be one to an
// attempt of before the ejection, and says nothing.
func TestOutlierKeptInUseComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := breaker.OutlierConfig{}.WithDefaults()
		start := time.Now()
		now := func() time.Duration { return time.Since(start) }
		var o breaker.Outlier
		for i := range 5 {
			if tripped := o.Record(tulle.Failure, now(), &cfg, alone{}); tripped != (i == 4) {
				t.Fatalf("failure %d: tripped: %v", i+1, tripped)
			}
		}
		if o.Record(tulle.Success, now(), &cfg, alone{}) {
			t.Error("a late answer brought it back")
		}
		time.Sleep(6 * time.Second)
		if state, _ := o.State(); state != breaker.OutlierEjected {
			t.Errorf("got %v, want ejected", state)
		}
		if !o.Record(tulle.Success, now(), &cfg, alone{}) {
			t.Error("a success after its time did not bring it back")
		}
		if state, _ := o.State(); state != breaker.OutlierHealthy {
			t.Errorf("got %v, want healthy", state)
		}
		for range 5 {
			o.Record(tulle.Failure, now(), &cfg, alone{})
		}
		if state, _ := o.State(); state != breaker.OutlierEjected {
			t.Errorf("after it failed again: got %v, want ejected", state)
		}
	})
}
