package measure_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
)

func TestSpreadOf(t *testing.T) {
	tests := []struct {
		name string
		in   []float64
		want measure.Spread
	}{
		{"none", nil, measure.Spread{}},
		{"one", []float64{3}, measure.Spread{Median: 3, Low: 3, High: 3, N: 1}},
		{"odd", []float64{5, 1, 3}, measure.Spread{Median: 3, Low: 2, High: 4, N: 3}},
		{"even", []float64{4, 1, 2, 3}, measure.Spread{Median: 2.5, Low: 1.75, High: 3.25, N: 4}},
		{"not a number", []float64{math.NaN(), 2, math.Inf(1), math.Inf(-1)}, measure.Spread{Median: 2, Low: 2, High: 2, N: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			was := slices.Clone(tt.in)
			if got := measure.SpreadOf(tt.in); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if !slices.EqualFunc(tt.in, was, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
				t.Errorf("the figures were changed: got %v, want %v", tt.in, was)
			}
		})
	}
}

// Whatever the figures, half of them are no larger than the median, and the
// order of the quartiles is kept.
func TestSpreadOfRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		figures := make([]float64, 1+r.IntN(40))
		for i := range figures {
			figures[i] = r.NormFloat64()
		}
		s := measure.SpreadOf(figures)
		below := 0
		for _, f := range figures {
			if f <= s.Median {
				below++
			}
		}
		if n := len(figures); below < n/2 || s.Low > s.Median || s.Median > s.High || s.N != n {
			t.Fatalf("got %+v for %v", s, figures)
		}
	}
}

func TestQuantile(t *testing.T) {
	ten := func() []time.Duration { return []time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1} }
	tests := []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.1, 1}, {0.11, 2}, {0.5, 5}, {0.99, 10}, {1, 10}}
	for _, tt := range tests {
		if got := measure.Quantile(ten(), tt.q); got != tt.want {
			t.Errorf("the %v quantile: got %v, want %v", tt.q, got, tt.want)
		}
	}
	if got := measure.Quantile(nil, 0.5); got != 0 {
		t.Errorf("of none: got %v, want 0", got)
	}
}
