package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/internal/cluster"
)

// spread deals calls to both sides as lean and 1 % of exploration say.
func dealt(calls int, lean float64) (near, far int) {
	near = int(float64(calls) * min(lean, 0.99))
	return near, calls - near
}

func TestZonesAlike(t *testing.T) {
	for _, step := range []func(int, float64) [2]cluster.Side{
		func(int, float64) [2]cluster.Side { return [2]cluster.Side{} }, // nobody calls
		func(_ int, lean float64) [2]cluster.Side {
			near, far := dealt(1000, lean)
			return [2]cluster.Side{{Calls: near, Each: 14 * time.Millisecond}, {Calls: far, Each: 10 * time.Millisecond}}
		},
		// Ten calls a second: a far answer in ten seconds shows nothing.
		func(i int, _ float64) [2]cluster.Side {
			far := cluster.Side{Each: time.Millisecond}
			if i%10 == 0 {
				far.Calls = 1
			}
			return [2]cluster.Side{{Calls: 10, Each: 10 * time.Millisecond}, far}
		},
		// Failures that are everywhere.
		func(_ int, lean float64) [2]cluster.Side {
			near, far := dealt(1000, lean)
			return [2]cluster.Side{{Calls: near / 2, Failed: near / 2, Each: time.Millisecond}, {Calls: far / 2, Failed: far / 2, Each: time.Millisecond}}
		},
	} {
		if got := slices.Min(cluster.Lean(1.5, 120, step)); got != 1 {
			t.Errorf("got down to %v, want 1: the zone is as good as the others", got)
		}
	}
}

// Answers that vary much on both sides seldom look like a slow zone, and not for
// long.
func TestZonesNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, rate := range []int{30, 100, 1000} {
		sum, n := 0.0, 0
		for range 20 {
			mean := func(calls int) time.Duration {
				total := 0.0
				for range calls {
					total += rnd.ExpFloat64()
				}
				return time.Duration(total / float64(max(calls, 1)) * float64(10*time.Millisecond))
			}
			for _, lean := range cluster.Lean(1.5, 300, func(_ int, lean float64) [2]cluster.Side {
				near, far := dealt(rate, lean)
				if near == rate && rnd.IntN(100) < rate {
					near, far = near-1, 1
				}
				return [2]cluster.Side{{Calls: near, Each: mean(near)}, {Calls: far, Each: mean(far)}}
			}) {
				sum, n = sum+lean, n+1
			}
		}
		if got := sum / float64(n); got < 0.97 {
			t.Errorf("%d calls/s: got %.3f of the calls in the zone on average, want nearly all", rate, got)
		}
	}
}

// A zone that is slow or fails whatever its load loses its calls within some
// seconds, keeps a few, and gets them back when it is well.
func TestZoneDegradesAndReturns(t *testing.T) {
	for _, bad := range []cluster.Side{{Each: 40 * time.Millisecond}, {Each: 10 * time.Millisecond, Failed: 1}} {
		got := cluster.Lean(1.5, 160, func(i int, lean float64) [2]cluster.Side {
			near, far := dealt(500, lean)
			sides := [2]cluster.Side{{Calls: near, Each: 10 * time.Millisecond}, {Calls: far, Each: 10 * time.Millisecond}}
			if i >= 20 && i < 80 {
				sides[0].Each, sides[0].Failed = bad.Each, near*bad.Failed/2
				sides[0].Calls -= sides[0].Failed
			}
			return sides
		})
		if got[19] != 1 || got[30] > 0.3 || got[79] > 0.1 || got[79] < 0.03 || got[120] < 0.95 {
			t.Errorf("%+v: got %.2f before, %.2f after 10 s, %.2f after a minute, %.2f 40 s after it", bad, got[19], got[30], got[79], got[120])
		}
		if i := slices.IndexFunc(got, func(lean float64) bool { return lean < 0.5 }); i < 20 || i > 28 {
			t.Errorf("%+v: got below half at %d s, want within 8 s", bad, i)
		}
	}
}

// A zone that cannot serve all its callers settles where it is not much dearer
// than the others, without swinging.
func TestZoneSettles(t *testing.T) {
	for _, load := range []float64{0.9, 1.2, 2} {
		t.Run(fmt.Sprint(load), func(t *testing.T) {
			var near []time.Duration
			got := cluster.Lean(1.5, 300, func(_ int, lean float64) [2]cluster.Side {
				n, far := dealt(1000, lean)
				// A queue: the time grows with the load on the zone.
				each := time.Duration(10 / max(0.02, 1-load*float64(n)/1000) * float64(time.Millisecond))
				near = append(near, each)
				return [2]cluster.Side{{Calls: n, Each: each}, {Calls: far, Each: 20 * time.Millisecond}}
			})
			low, high := slices.Min(got[100:]), slices.Max(got[100:])
			slowest := slices.Max(near[100:])
			if high-low > 0.25 || low < 0.2 || slowest > 60*time.Millisecond {
				t.Errorf("got %.2f to %.2f and up to %v, want it to stand still near 30 ms", low, high, slowest)
			}
		})
	}
}

func TestZoneToleranceOff(t *testing.T) {
	got := cluster.Lean(-1, 50, func(int, float64) [2]cluster.Side {
		return [2]cluster.Side{{Calls: 100, Each: time.Second}, {Calls: 100, Each: time.Millisecond}}
	})
	if slices.Min(got) != 1 {
		t.Errorf("got %v, want latency ignored", got)
	}
}

// The engine compares the zones by itself as calls come, also across changes of
// the set.
func TestClusterComparesZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, members := zoned(t, "a/0*4 b/0*4", balancer.RoundRobin{}, cluster.Locality{})
		share := func(d time.Duration, near time.Duration) float64 {
			a, all := 0, 0
			for end := c.Now() + d; c.Now() < end; {
				var at cluster.Attempt
				call := &tulle.Call{}
				call.Begin()
				now := c.Now()
				if err := c.Begin(&at, call, now); err != nil {
					t.Fatal(err)
				}
				took := 10 * time.Millisecond
				if at.Endpoint().Zone == "a" {
					a++
					took = near
				}
				all++
				o := tulle.Outcome{Class: tulle.Answered, Elapsed: took}
				at.Answer(call, o, now)
				at.End(o, now)
				time.Sleep(5 * time.Millisecond)
			}
			return float64(a) / float64(all)
		}
		if got := share(30*time.Second, 10*time.Millisecond); got < 0.97 {
			t.Errorf("all well: got %.2f in the zone, want 0.99", got)
		}
		share(30*time.Second, 60*time.Millisecond)
		update(t, c, members[:7])
		if got := share(10*time.Second, 60*time.Millisecond); got > 0.12 || got < 0.01 {
			t.Errorf("the zone is slow: got %.2f in it, want about 0.05", got)
		}
		for _, g := range c.Status().Groups {
			if g.Zone == "a" && g.Share > 0.12 {
				t.Errorf("got %+v in Status, want the share in force", g)
			}
		}
		share(40*time.Second, 10*time.Millisecond)
		if got := share(30*time.Second, 10*time.Millisecond); got < 0.97 {
			t.Errorf("well again: got %.2f in the zone, want 0.99", got)
		}
	})
}
