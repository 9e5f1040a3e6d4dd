package measure

import (
	"math"
	"slices"
	"time"
)

// A Spread is the middle of some figures and where half of them lie.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // first quartile
	High   float64 `json:"high"` // third quartile
	N      int     `json:"n"`
}

// SpreadOf is the Spread of the figures, which are not changed; NaN and infinite ones are left
// out. No figures give the zero Spread.
func SpreadOf(figures []float64) Spread {
	sorted := slices.DeleteFunc(slices.Clone(figures), func(f float64) bool { return math.IsNaN(f) || math.IsInf(f, 0) })
	if len(sorted) == 0 {
		return Spread{}
	}
	slices.Sort(sorted)
	return Spread{Median: at(sorted, 0.5), Low: at(sorted, 0.25), High: at(sorted, 0.75), N: len(sorted)}
}

// at is the q-quantile of sorted figures, interpolated.
func at(sorted []float64, q float64) float64 {
	pos := q * float64(len(sorted)-1)
	i := int(pos)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (pos-float64(i))*(sorted[i+1]-sorted[i])
}

// Quantile is the smallest of the times that at least the share q of them does
// not exceed. It sorts the times; of none it is 0.
func Quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	rank := int(math.Ceil(q * float64(len(times))))
	return times[min(max(rank, 1), len(times))-1]
}
