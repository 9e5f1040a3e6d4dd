package route

// Level is how many endpoints one step of a Chain has, or one priority of a
// destination.
type Level struct {
	// Healthy is how many may get calls, of Total.
	Healthy, Total int
}

// overprovision is how much more than its share an endpoint is taken to be able
// to serve, in percent: Envoy's default.
const overprovision = 140

// panicBelow is the share of healthy endpoints, in percent, below which those
// of a level are all used, when there is not enough health in all levels
// together: Envoy's default.
const panicBelow = 50

// Shares appends to dst, for each level, the percentage of calls that it gets:
// by Envoy's rule for priority levels (envoyproxy.io/docs: Load Balancing,
// Priority levels). The health of a level is 1.4 times its share of healthy
// endpoints, up to 100 %, in whole percents; each level gets as much as its
// health, until 100 % are given out. So the first gets all while more than 71.4
// % of it are healthy. If all levels together have less, what they have is
// scaled up to 100 %; if none has any, the first level with endpoints gets all.
//
// Scarce says that there is less than 100 % in all levels. Then a level of which
// less than half is healthy (Level.Panics) should use its endpoints whatever
// their health, as few would not stand what comes.
func Shares(dst []int, levels []Level) (shares []int, scarce bool) {
	total := 0
	for i := range levels {
		total += levels[i].health()
	}
	scarce = total < 100
	total = min(total, 100)
	if total == 0 {
		return allToFirst(dst, levels), true
	}
	left, first := 100, -1
	for i := range levels {
		share := min(left, levels[i].health()*100/total)
		if share > 0 && first < 0 {
			first = len(dst)
		}
		left -= share
		dst = append(dst, share)
	}
	if first >= 0 {
		dst[first] += left // what rounding left over
	}
	return dst, scarce
}

// allToFirst gives all calls to the first level that has endpoints.
func allToFirst(dst []int, levels []Level) []int {
	given := false
	for i := range levels {
		share := 0
		if !given && (levels[i].Total > 0 || i == len(levels)-1) {
			given, share = true, 100
		}
		dst = append(dst, share)
	}
	return dst
}

// health is the health of a level in percent.
func (l *Level) health() int {
	if l.Total <= 0 || l.Healthy <= 0 {
		return 0
	}
	return min(100, overprovision*min(l.Healthy, l.Total)/l.Total)
}

// Panics says that the level should use all of its endpoints, given that there is
// not enough health in all levels (scarce, from Shares).
func (l Level) Panics() bool { return l.Healthy*100 < panicBelow*l.Total }

// Pick chooses a step of the chain by the health of its steps, one Level for
// each. With SpillOver, calls are shared among them as Shares says; otherwise
// the first one with a healthy endpoint is chosen, or if there is none, the
// first with endpoints. It returns 0 if that leaves nothing. It does not
// allocate for chains of up to 8 steps.
func (c *Chain) Pick(levels []Level, random uint64) int {
	levels = levels[:min(len(levels), len(c.Steps))]
	if !c.SpillOver {
		return firstHealthy(levels)
	}
	var buf [8]int
	shares, _ := Shares(buf[:0], levels)
	at := int(draw(random, forSpill) % 100) // 2^64 is all but a multiple of 100
	for i, share := range shares {
		if at < share {
			return i
		}
		at -= share
	}
	return 0
}

// firstHealthy is the first level with a healthy endpoint, else the first with
// any, else 0.
func firstHealthy(levels []Level) int {
	some := -1
	for i := range levels {
		if levels[i].Healthy > 0 {
			return i
		}
		if some < 0 && levels[i].Total > 0 {
			some = i
		}
	}
	return max(some, 0)
}
