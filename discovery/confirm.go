package discovery

import (
	"slices"
	"time"

	"github.com/tullemesh/tulle"
)

const (
	// confirmAfter is how far apart the two answers must be that take away
	// more than half of a set. It outlasts the restart of a name server that
	// comes up with half of its zone.
	confirmAfter = 5 * time.Second

	// keepMissing is how long an endpoint outlives the first answer that did
	// not name it while no two answers agree. Servers that hand out a random
	// part of a large set never agree with themselves: their answers together
	// are the set.
	keepMissing = 10 * time.Minute

	// maxUnion bounds what such answers can add up to.
	maxUnion = 10_000
)

// A confirmer holds back answers that take away more than half of the set,
// whether others stand in for those that are gone or not: an answer that is
// wrong looks like that, and so does one of a server that gives a part. What is
// new is taken at once.
type confirmer struct {
	set  []tulle.Endpoint // what is in force
	gone bool             // the set is empty on good authority

	missing map[string]time.Time // Addr of those of set that answers lack, and since when

	doubted []string  // the Addrs of the answer that is held back, sorted
	holding bool      // there is one; doubted may be empty
	since   time.Time // when it was given first
	changes int       // other answers that were held back just before it
}

// take is told an answer with endpoints and returns what is in force. A positive
// again is the time after which the next answer can confirm this one.
func (c *confirmer) take(answer []tulle.Endpoint, interval time.Duration, now time.Time) (set []tulle.Endpoint, again time.Duration) {
	lost := c.lost(answer)
	if 2*len(lost) <= len(c.set) || c.confirms(addrsOf(answer), now) {
		*c = confirmer{set: answer}
		return answer, 0
	}
	missing := make(map[string]time.Time, len(lost))
	union := slices.Clone(answer)
	for _, e := range lost {
		since, known := c.missing[e.Addr]
		if !known {
			since = now
		}
		if now.Sub(since) < keepMissing && len(union) < maxUnion {
			missing[e.Addr] = since
			union = append(union, e)
		}
	}
	c.set, c.missing = union, missing
	return union, c.again(interval, now)
}

// none is told that an answer says there is nobody. It returns true when that
// is confirmed. Where nobody was ever there it never is: a name that is wrong
// looks like that.
func (c *confirmer) none(interval time.Duration, now time.Time) (sure bool, again time.Duration) {
	switch {
	case len(c.set) == 0:
		return c.gone, 0
	case c.confirms(nil, now):
		*c = confirmer{gone: true}
		return true, 0
	}
	return false, c.again(interval, now)
}

// lost are those of the set that the answer does not name.
func (c *confirmer) lost(answer []tulle.Endpoint) (lost []tulle.Endpoint) {
	named := make(map[string]bool, len(answer))
	for i := range answer {
		named[answer[i].Addr] = true
	}
	for _, e := range c.set {
		if !named[e.Addr] {
			lost = append(lost, e)
		}
	}
	return lost
}

// confirms says whether the answer held back says the same, long enough ago.
// If not, this one is held back in its place.
func (c *confirmer) confirms(addrs []string, now time.Time) bool {
	if c.holding && slices.Equal(c.doubted, addrs) {
		return now.Sub(c.since) >= confirmAfter
	}
	if c.holding {
		c.changes++
	}
	c.holding, c.doubted, c.since = true, addrs, now
	return false
}

// again is when to look again: soon, but ever later while no two answers agree,
// as asking more often would not help then.
func (c *confirmer) again(interval time.Duration, now time.Time) time.Duration {
	due := c.since.Add(doubled(confirmAfter, max(interval, confirmAfter), c.changes))
	return max(dnsFloor, due.Sub(now))
}

// addrsOf is a set as a value that can be compared: without the order, and
// without weights, which some servers change all the time.
func addrsOf(set []tulle.Endpoint) []string {
	addrs := make([]string, len(set))
	for i := range set {
		addrs[i] = set[i].Addr
	}
	slices.Sort(addrs)
	return addrs
}
