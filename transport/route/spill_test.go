package route_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// TestShares has the examples of Envoy's documentation (Priority levels, and
// Panic threshold), with 100 endpoints in each level.
func TestShares(t *testing.T) {
	for _, test := range []struct {
		healthy, want []int
		panic         bool
	}{
		// Two levels, the second healthy.
		{[]int{100, 100}, []int{100, 0}, false},
		{[]int{72, 100}, []int{100, 0}, false},
		{[]int{71, 100}, []int{99, 1}, false},
		{[]int{50, 100}, []int{70, 30}, false},
		{[]int{25, 100}, []int{35, 65}, false},
		{[]int{0, 100}, []int{0, 100}, false},
		// Three levels.
		{[]int{100, 100, 100}, []int{100, 0, 0}, false},
		{[]int{25, 25, 100}, []int{35, 35, 30}, false},
		{[]int{50, 50, 50}, []int{70, 30, 0}, false},
		// Not enough in all levels: 25 % and 25 % are worth 70 together.
		{[]int{25, 25}, []int{50, 50}, true},
		{[]int{5, 0, 0}, []int{100, 0, 0}, true},
		{[]int{0, 10, 30}, []int{0, 25, 75}, true},
		{[]int{5, 5, 5}, []int{34, 33, 33}, true},
		{[]int{0, 0}, []int{100, 0}, true},
		{[]int{72}, []int{100}, false},
		{[]int{71}, []int{100}, true},
		{nil, nil, true},
	} {
		levels := make([]route.Level, len(test.healthy))
		for i, h := range test.healthy {
			levels[i] = route.Level{Healthy: h, Total: 100}
		}
		got, panics := route.Shares(nil, levels)
		if !slices.Equal(got, test.want) || panics != test.panic {
			t.Errorf("%v: got %v, panic %v, want %v, %v", test.healthy, got, panics, test.want, test.panic)
		}
	}
}

func TestSharesOfEmptyLevels(t *testing.T) {
	got, panics := route.Shares([]int{7}, []route.Level{{}, {Total: 3}, {Total: 3}})
	if want := []int{7, 0, 100, 0}; !slices.Equal(got, want) || !panics {
		t.Errorf("got %v, %v, want %v appended, true", got, panics, want)
	}
	if got, _ := route.Shares(nil, []route.Level{{Healthy: -1, Total: -1}, {Healthy: 9, Total: 3}}); !slices.Equal(got, []int{0, 100}) {
		t.Errorf("got %v, want nonsense bounded", got)
	}
	for level, want := range map[route.Level]bool{{Healthy: 1, Total: 2}: false, {Healthy: 1, Total: 3}: true, {}: false, {Total: 1}: true} {
		if got := level.Panics(); got != want {
			t.Errorf("%v: got %v, want %v", level, got, want)
		}
	}
}

// TestSharesSum: whatever the health, 100 % are given out, none to a level that
// has nothing while another has.
func TestSharesSum(t *testing.T) {
	for a := range 11 {
		for b := range 11 {
			for c := range 11 {
				levels := []route.Level{{a, 10}, {b, 10}, {c, 10}}
				got, _ := route.Shares(nil, levels)
				sum := 0
				for i, s := range got {
					sum += s
					if s < 0 || s > 0 && levels[i].Healthy == 0 && a+b+c > 0 {
						t.Fatalf("%v: got %v", levels, got)
					}
				}
				if sum != 100 {
					t.Fatalf("%v: got %v, sum %d, want 100", levels, got, sum)
				}
			}
		}
	}
}

func TestPick(t *testing.T) {
	failover := &route.Chain{Steps: make([]route.Step, 3)}
	for _, test := range []struct {
		levels []route.Level
		want   int
	}{
		{[]route.Level{{1, 9}, {9, 9}, {9, 9}}, 0},
		{[]route.Level{{0, 9}, {1, 9}, {9, 9}}, 1},
		{[]route.Level{{0, 9}, {0, 9}, {0, 9}}, 0},
		{[]route.Level{{0, 0}, {0, 9}, {0, 9}}, 1},
		{[]route.Level{{}, {}, {}}, 0},
		{nil, 0},
		{[]route.Level{{}, {}, {}, {9, 9}}, 0}, // more levels than steps
	} {
		if got := failover.Pick(test.levels, 1); got != test.want {
			t.Errorf("%v: got %d, want %d", test.levels, got, test.want)
		}
	}
	spill := &route.Chain{SpillOver: true, Steps: make([]route.Step, 2)}
	const n = 20_000
	got := [2]int{}
	for i := range n {
		got[spill.Pick([]route.Level{{5, 10}, {10, 10}}, spread(i))]++
	}
	if math.Abs(float64(got[0])-0.7*n) > 0.01*n {
		t.Errorf("got %v, want 70 %% and 30 %%", got)
	}
	if got := spill.Pick(nil, 1); got != 0 {
		t.Errorf("got %d without levels, want 0", got)
	}
	levels := []route.Level{{5, 10}, {10, 10}}
	if got := testing.AllocsPerRun(100, func() { spill.Pick(levels, 7) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func ExampleShares() {
	// Half of the endpoints in staging are down; prod is well.
	shares, panics := route.Shares(nil, []route.Level{{Healthy: 5, Total: 10}, {Healthy: 20, Total: 20}})
	fmt.Println(shares, panics)
	// Output: [70 30] false
}
