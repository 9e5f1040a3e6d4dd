package cluster

import (
	"slices"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// A layout is how the endpoints of a View fall into levels, by priority, and
// these into groups: the caller's zone and all others. It never changes.
type layout struct {
	zone     string  // the caller's
	levels   []level // the most preferred first
	groups   []group
	home     []int32 // the group of each endpoint
	compared int     // the level of which the two zones are compared, -1 if none
}

// level is one priority.
type level struct {
	priority  int
	set       balancer.Set
	near, far int     // groups; the same one where zones do not matter
	need      float64 // weight that the calls of the caller's zone need
}

// group is endpoints that get one share of the calls.
type group struct {
	set    balancer.Set
	count  int
	weight float64
}

// newLayout is the layout of members for a caller in zone. It is nil where there
// is only one group: then nothing is to be decided.
func newLayout(members []tulle.Endpoint, zone string, cfg Locality) *layout {
	if cfg.Off {
		zone = ""
	}
	var priorities []int
	for i := range members {
		if at, ok := slices.BinarySearch(priorities, members[i].Priority); !ok {
			priorities = slices.Insert(priorities, at, members[i].Priority)
		}
	}
	if len(priorities) < 2 && zone == "" {
		return nil
	}
	l := &layout{zone: zone, levels: make([]level, len(priorities)), home: make([]int32, len(members)), compared: -1}
	for k, p := range priorities {
		l.levels[k] = level{priority: p, set: balancer.NewSet(len(members))}
	}
	for i := range members {
		k, _ := slices.BinarySearch(priorities, members[i].Priority)
		l.levels[k].set.Add(i)
	}
	for k := range l.levels {
		l.split(k, members, zone, cfg.Least)
	}
	if len(l.groups) < 2 {
		return nil
	}
	return l
}

// split makes the groups of level k: two if the caller's zone has enough
// endpoints and another zone has some.
func (l *layout) split(k int, members []tulle.Endpoint, zone string, least int) {
	lv := &l.levels[k]
	near, far := group{set: balancer.NewSet(len(members))}, group{set: balancer.NewSet(len(members))}
	zones := make(map[string]struct{})
	for i := lv.set.Next(0); i >= 0; i = lv.set.Next(i + 1) {
		if zone != "" {
			zones[members[i].Zone] = struct{}{}
		}
		g := &far
		if zone != "" && members[i].Zone == zone {
			g = &near
		}
		g.set.Add(i)
		g.count++
		g.weight += members[i].Share()
	}
	if near.count < least || far.count == 0 {
		whole := group{lv.set, near.count + far.count, near.weight + far.weight}
		lv.near, lv.far = l.add(whole), len(l.groups)-1
		return
	}
	lv.near, lv.far = l.add(near), l.add(far)
	// How the callers are spread is unknown. As even as the zones, or like the
	// endpoints: the worse of the two counts.
	lv.need = max(near.weight, (near.weight+far.weight)/float64(len(zones)))
	if l.compared < 0 {
		l.compared = k
	}
}

// add adds a group and sets the home of its members.
func (l *layout) add(g group) int {
	for i := g.set.Next(0); i >= 0; i = g.set.Next(i + 1) {
		l.home[i] = int32(len(l.groups))
	}
	l.groups = append(l.groups, g)
	return len(l.groups) - 1
}

// levelOf is the level of endpoint i, and whether it is one of those that are
// preferred for their zone.
func (l *layout) levelOf(i int) (k int, near bool) {
	for k := range l.levels {
		if lv := &l.levels[k]; lv.set.Has(i) {
			return k, lv.near != lv.far && int(l.home[i]) == lv.near
		}
	}
	return 0, false
}
