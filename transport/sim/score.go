package sim

import (
	"math"
	"slices"
	"time"
)

// A Score says how a variant did in several scenarios against the best of each.
type Score struct {
	// Variant is its name.
	Variant string

	// Tail is the geometric mean of the 99th and the 99.9th percentile over the
	// best in the scenario: 1 is the best everywhere. A percentile that is
	// Never counts as the longest of the scenario, the goal at least.
	Tail float64

	// Failure is the same of the share of calls that were not good. Shares count
	// as a ten-thousandth more than they are, as less than that is noise.
	Failure float64
}

// failureFloor is what is noise in a share of failures.
const failureFloor = 1e-4

// Scores compares the variants that take part in all results, best Tail × Failure
// first. It is meaningful for results of one list of variants.
func Scores(results []*Result) []Score {
	var scores []Score
	for _, name := range common(results) {
		s := Score{Variant: name, Tail: 1, Failure: 1}
		for _, res := range results {
			tail, failure := res.against(name)
			s.Tail *= math.Pow(tail, 1/float64(len(results)))
			s.Failure *= math.Pow(failure, 1/float64(len(results)))
		}
		scores = append(scores, s)
	}
	slices.SortStableFunc(scores, func(a, b Score) int {
		return int(math.Copysign(1, a.Tail*a.Failure-b.Tail*b.Failure))
	})
	return scores
}

// common are the names of the variants that all results have.
func common(results []*Result) []string {
	count := map[string]int{}
	var names []string
	for _, res := range results {
		for i := range res.Rows {
			name := res.Rows[i].Variant
			if count[name]++; count[name] == len(results) {
				names = append(names, name)
			}
		}
	}
	return names
}

// against is how much worse a variant is than the best of each measure.
func (res *Result) against(name string) (tail, failure float64) {
	longest := res.Goal
	for i := range res.Rows {
		longest = max(longest, res.Rows[i].P99, res.Rows[i].P999)
	}
	length := func(d time.Duration) float64 {
		if d == Never {
			d = longest
		}
		return max(d.Seconds(), 1e-9)
	}
	var own Row
	best99, best999, least := math.Inf(1), math.Inf(1), math.Inf(1)
	for i := range res.Rows {
		r := &res.Rows[i]
		if r.Variant == name {
			own = *r
		}
		best99, best999 = min(best99, length(r.P99)), min(best999, length(r.P999))
		least = min(least, 1-r.Success())
	}
	tail = math.Sqrt(length(own.P99) / best99 * length(own.P999) / best999)
	return tail, (1 - own.Success() + failureFloor) / (least + failureFloor)
}
