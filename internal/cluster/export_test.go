package cluster

import (
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// Known counts the endpoints whose state is kept.
func Known(c *Cluster) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known)
}

// Shares are the shares in force where those in out are left out, and lean is how
// much the caller's zone gets of what it could serve.
func Shares(members []tulle.Endpoint, zone string, cfg Locality, out balancer.Set, lean float64) []GroupStatus {
	cfg = cfg.withDefaults()
	v := &View{layout: newLayout(members, zone, cfg)}
	if v.layout != nil {
		v.plan.Store(newPlan(v.layout, members, out, cfg, lean))
	}
	return v.groups()
}

// Lean plays the comparison of two zones, a second for each step, and returns
// what the caller's zone gets after each. Step says how many calls succeed on a
// side, how long each takes, and how many fail.
func Lean(tolerance float64, steps int, step func(i int, lean float64) [2]Side) []float64 {
	z := zones{lean: 1}
	var got []float64
	for i := range steps {
		for k, side := range step(i, z.lean) {
			s := []*zoneStats{&z.near, &z.far}[k]
			s.successes.Add(uint64(side.Calls))
			s.nanos.Add(uint64(side.Calls) * uint64(side.Each))
			s.failures.Add(uint64(side.Failed))
		}
		z.stepLocked(time.Duration(i+1)*time.Second, tolerance)
		got = append(got, z.lean)
	}
	return got
}

// Side is what one side of a comparison did in a second.
type Side struct {
	Calls, Failed int
	Each          time.Duration
}
