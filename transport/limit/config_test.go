package limit_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// endless is a Source that always has a token.
var endless = limit.SourceFunc(func(context.Context, string, time.Time) (time.Duration, error) { return 0, nil })

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  limit.Config
		want []string // parts of the message, none for a good Config
	}{
		{"zero", limit.Config{}, nil},
		{"least", limit.Config{Rate: 1e-6, Burst: 1, MaxWait: 1, MaxWaiters: 1, Keys: 1}, nil},
		{"most", limit.Config{Rate: 1e6, Burst: 1_000_000, MaxWait: math.MaxInt64, MaxWaiters: 100_000, Keys: 1_000_000, Dark: true}, nil},
		{"source", limit.Config{Source: endless, MaxWait: time.Second}, nil},
		{"rate below 0", limit.Config{Rate: -1}, []string{"Rate -1"}},
		{"too low a rate", limit.Config{Rate: 1e-7}, []string{"Rate 1e-07", "0.000001 to 1000000"}},
		{"too high a rate", limit.Config{Rate: 2e6}, []string{"Rate 2e+06"}},
		{"no number", limit.Config{Rate: math.NaN()}, []string{"Rate NaN"}},
		{"infinity", limit.Config{Rate: math.Inf(1)}, []string{"Rate +Inf"}},
		{"source and rate", limit.Config{Rate: 5, Burst: 6, Source: endless}, []string{"Rate 5", "Burst 6", "Source"}},
		{"all", limit.Config{Rate: -2, Burst: -3, MaxWait: -4, MaxWaiters: -5, Keys: -6},
			[]string{"Rate -2", "Burst -3", "MaxWait -4ns", "MaxWaiters -5", "Keys -6"}},
		{"all too large", limit.Config{Rate: 1e7, Burst: 1e7, MaxWaiters: 1e7, Keys: 1e7},
			[]string{"Rate 1e+07", "Burst 10000000", "MaxWaiters 10000000", "Keys 10000000"}},
	} {
		_, newErr := limit.New(c.cfg)
		updateErr := newLimiter(t, limit.Config{}).Update(c.cfg)
		for _, err := range []error{c.cfg.Validate(), newErr, updateErr} {
			if (err == nil) != (c.want == nil) {
				t.Errorf("%s: got %v, want an error: %v", c.name, err, c.want != nil)
				continue
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: got %q, want %q in it", c.name, err, part)
				}
			}
		}
	}
}

// An Update that is refused changes nothing.
func TestBadUpdateChangesNothing(t *testing.T) {
	l := ready(t, limit.Config{Rate: 1e-6})
	if err := l.Update(limit.Config{Rate: 1000, Keys: -1}); err == nil {
		t.Error("got no error, want one")
	}
	if err := l.Acquire(t.Context(), "", time.Time{}); !errors.Is(err, limit.ErrLimited) {
		t.Errorf("got %v, want the old limit", err)
	}
}

// Without a Burst that of one second is taken, and at least one call.
func TestDefaultBurst(t *testing.T) {
	for _, c := range []struct {
		rate float64
		want int
	}{{0.001, 1}, {1, 1}, {1.5, 2}, {20, 20}} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, limit.Config{Rate: c.rate})
			got := 0
			for l.Acquire(t.Context(), "", time.Time{}) == nil {
				got++
			}
			if got != c.want {
				t.Errorf("Rate %v: got a burst of %d, want %d", c.rate, got, c.want)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  limit.Error
		want string
	}{
		{limit.Error{}, "limit: rate limit reached"},
		{limit.Error{Waiting: 3}, "limit: rate limit reached, 3 calls wait"},
		{limit.Error{RetryAfter: time.Second}, "limit: rate limit reached, retry after 1s"},
		{limit.Error{RetryAfter: time.Second, Waiting: 3}, "limit: rate limit reached, retry after 1s, 3 calls wait"},
		{limit.Error{Key: "secret", RetryAfter: time.Second}, "limit: rate limit reached, retry after 1s"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
