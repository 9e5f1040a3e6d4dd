package breaker_test

import (
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// sparing is a Witness of an endpoint that can be done without.
type sparing struct{}

func (sparing) Evidence() breaker.Evidence {
	return breaker.Evidence{Requests: 5, Median: 1, HasPeers: true, Spare: true}
}

// TestOutlierRand: the length of an ejection comes from OutlierConfig.Rand where
// there is one, so that a simulation can be repeated.
func TestOutlierRand(t *testing.T) {
	for _, tt := range []struct {
		bits uint64
		want time.Duration
	}{{0, 2500 * time.Millisecond}, {1 << 63, 3750 * time.Millisecond}, {1<<64 - 1, 5 * time.Second}} {
		cfg := breaker.OutlierConfig{Rand: func() uint64 { return tt.bits }}.WithDefaults()
		var o breaker.Outlier
		for range cfg.Consecutive {
			o.Record(tulle.Failure, time.Second, &cfg, sparing{})
		}
		state, until := o.State()
		// A millisecond more, as a gobreaker's time must be over by then.
		if got := until - time.Second; state != breaker.OutlierEjected || got < tt.want || got > tt.want+2*time.Millisecond {
			t.Errorf("bits %x: got %v for %v, want ejected for %v", tt.bits, state, got, tt.want)
		}
	}
}
