package retry_test

import (
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// TestRand: the pause comes from Config.Rand where there is one, so that a
// simulation can be repeated.
func TestRand(t *testing.T) {
	for _, tt := range []struct {
		bits uint64
		want time.Duration
	}{{0, 0}, {1 << 63, 12500 * time.Microsecond}, {1<<64 - 1, 25*time.Millisecond - 1}} {
		r, err := retry.New(retry.Config{Rand: func() uint64 { return tt.bits }})
		if err != nil {
			t.Fatal(err)
		}
		call := &tulle.Call{Safe: true}
		call.Begin()
		call.Report(tulle.Outcome{Class: tulle.Unavailable})
		p, ok := r.Next(call, 0, retry.Unlimited)
		if !ok || p.Wait != tt.want {
			t.Errorf("bits %x: got a pause of %v (%v), want %v", tt.bits, p.Wait, ok, tt.want)
		}
	}
}
