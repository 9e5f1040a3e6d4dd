package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// sample draws a time in nanoseconds.
func (w *Work) sample(r *rand.Rand) float64 {
	x := 0.0
	switch w.Kind {
	case "", "constant":
		x = float64(w.Mean)
	case "exponential":
		x = r.ExpFloat64() * float64(w.Mean)
	case "normal":
		x = max(0, float64(w.Mean)+r.NormFloat64()*float64(w.Deviation))
	case "lognormal":
		x = float64(w.Median) * math.Exp(w.sigma()*r.NormFloat64())
	case "pareto":
		x = w.scale() * math.Pow(1-r.Float64(), -1/w.Shape)
	case "bimodal":
		if x = float64(w.Mean); r.Float64() < w.Share {
			x = float64(w.Slow)
		}
	case "table":
		x = w.quantile(r.Float64())
	}
	if w.Max > 0 {
		x = min(x, float64(w.Max))
	}
	return min(x, longest)
}

// longest is what a time is cut at, so that sums of some fit into 64 bits: 1000
// days, which is never. Tails of distributions have no end.
const longest = float64(1000 * 24 * time.Hour)

// sigma is the deviation of the logarithm.
func (w *Work) sigma() float64 {
	ratio := float64(w.Deviation) / float64(w.Median)
	return math.Sqrt(math.Log((1 + math.Sqrt(1+4*ratio*ratio)) / 2))
}

// scale is the least value of a Pareto distribution.
func (w *Work) scale() float64 { return float64(w.Mean) * (w.Shape - 1) / w.Shape }

// quantile reads the table.
func (w *Work) quantile(u float64) float64 {
	at := u * float64(len(w.Quantiles)-1)
	i := min(int(at), len(w.Quantiles)-2)
	low, high := float64(w.Quantiles[i]), float64(w.Quantiles[i+1])
	return low + (at-float64(i))*(high-low)
}

// mean is the expected time in nanoseconds, by the formula of the distribution;
// that of a normal one is cut at 0. Max is not seen.
func (w *Work) mean() float64 {
	switch w.Kind {
	case "normal":
		m, s := float64(w.Mean), float64(w.Deviation)
		if s == 0 {
			return m
		}
		z := m / s
		return m*0.5*math.Erfc(-z/math.Sqrt2) + s*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
	case "lognormal":
		s := w.sigma()
		return float64(w.Median) * math.Exp(s*s/2)
	case "bimodal":
		return float64(w.Mean)*(1-w.Share) + float64(w.Slow)*w.Share
	case "table":
		sum := 0.0
		for i := range len(w.Quantiles) - 1 {
			sum += float64(w.Quantiles[i]+w.Quantiles[i+1]) / 2
		}
		return sum / float64(len(w.Quantiles)-1)
	}
	return float64(w.Mean)
}

// peak is the highest rate of a second, for drawing.
func (l *Load) peak() float64 {
	most := max(l.Rate, l.To)
	if l.Kind == "steps" || l.Kind == "trace" {
		most = 0
		for _, p := range l.Points {
			most = max(most, p.Rate)
		}
	}
	return most
}

// rate is the number of calls a second at a time.
func (l *Load) rate(at, whole time.Duration) float64 {
	switch l.Kind {
	case "ramp":
		return l.Rate + (l.To-l.Rate)*float64(at)/float64(whole)
	case "sine":
		phase := 2 * math.Pi * float64(at%l.Period) / float64(l.Period)
		return l.Rate + (l.To-l.Rate)*(1-math.Cos(phase))/2
	case "bursts":
		if at%l.Period < l.Length {
			return l.To
		}
	case "steps", "trace":
		return l.point(at)
	}
	return l.Rate
}

// point reads Points.
func (l *Load) point(at time.Duration) float64 {
	i, found := slices.BinarySearchFunc(l.Points, at, func(p Point, at time.Duration) int {
		return int(min(max(p.At-at, -1), 1))
	})
	if found {
		return l.Points[i].Rate
	}
	if i == 0 {
		return l.Points[0].Rate
	}
	before := l.Points[i-1]
	if l.Kind == "steps" || i == len(l.Points) {
		return before.Rate
	}
	share := float64(at-before.At) / float64(l.Points[i].At-before.At)
	return before.Rate + share*(l.Points[i].Rate-before.Rate)
}

// next is when the call after one at a time comes. Random ones are drawn at the
// peak rate and thinned out (Lewis and Shedler, 1979).
func (l *Load) next(r *rand.Rand, at int64, whole time.Duration) int64 {
	if l.Even {
		return l.nextEven(at, whole)
	}
	peak := l.peak()
	for at < int64(whole) {
		gap := r.ExpFloat64() * 1e9 / peak
		if gap >= float64(int64(whole)-at) {
			return int64(whole) // the gap of a tiny rate fits into no integer
		}
		at += int64(gap)
		if r.Float64()*peak < l.rate(time.Duration(min(at, int64(whole))), whole) {
			return at
		}
	}
	return at
}

// nextEven is when the area under the rate has grown by one call.
func (l *Load) nextEven(at int64, whole time.Duration) int64 {
	const step = int64(10 * time.Millisecond)
	for left := 1.0; at < int64(whole); at += step {
		grown := l.rate(time.Duration(at), whole) * float64(step) / 1e9
		if grown >= left {
			return at + max(1, int64(left/grown*float64(step)))
		}
		left -= grown
	}
	return at
}

// capacity is the most calls a second that the servers of the start can do.
func (s *Scenario) capacity() float64 {
	sum := 0.0
	for i := range s.Servers {
		g := &s.Servers[i]
		if g.Join == 0 {
			sum += float64(g.Count) * float64(g.Workers) * g.Speed / g.Work.mean() * 1e9
		}
	}
	return sum
}
