package admin

import (
	"math"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// Rates and shares are over the time since a base that is baseAge to twice that
// old: over less they jump. One that is older than tooOld is from before nobody
// looked.
const (
	baseAge = 10 * time.Second
	tooOld  = 3 * baseAge
)

// past is what is remembered of earlier readings, within bounds: three marks, a
// ring of points for each destination that there is, and the latest changes.
type past struct {
	older, middle, last *mark

	changes changes

	size   int
	made   int         // points since the start
	times  []time.Time // a ring, as those of all series
	series map[key]*series
	total  *series // of all destinations together
}

// series are the points of one destination.
type series struct {
	points []point
	seen   int // the value of made at the last one that says something
}

// A point is what charts show of an interval. Times are in seconds. What is not
// known is NaN.
type point struct {
	rate, success, p50, p99  float32
	out, inFlight, ejections float32
}

func (p *past) init(size int) {
	p.size = size
	p.times = make([]time.Time, size)
	p.series = make(map[key]*series)
	p.total = newSeries(size)
}

func newSeries(size int) *series {
	s := &series{points: make([]point, size)}
	for i := range s.points {
		s.points[i] = unknown()
	}
	return s
}

// unknown is a point that says nothing.
func unknown() point {
	nan := float32(math.NaN())
	return point{nan, nan, nan, nan, nan, nan, nan}
}

// base is what rates and shares at a moment are compared with, nil at first.
func (p *past) base(now time.Time) *mark {
	for _, m := range []*mark{p.older, p.middle, p.last} {
		if m != nil && now.Sub(m.at) <= tooOld {
			return m
		}
	}
	return p.last
}

// due says that it is time for another point.
func (p *past) due(now time.Time, interval time.Duration) bool {
	return p.last == nil || now.Sub(p.last.at) >= interval-interval/10 // tickers are not exact
}

// record takes in a reading: as a point of the charts, by what has changed, and
// to compare later ones with.
func (p *past) record(r *reading, config *ConfigStatus) {
	m := markOf(r, config)
	p.plot(r)
	p.changes.compare(p.last, m)
	p.last = m
	if p.middle == nil || r.at.Sub(p.middle.at) >= baseAge {
		p.older, p.middle = p.middle, m
	}
}

// plot adds a point to each series.
func (p *past) plot(r *reading) {
	slot := p.made % p.size
	p.made++
	p.times[slot] = r.at
	for k, s := range p.series {
		s.points[slot] = unknown()
		if p.made-s.seen > p.size {
			delete(p.series, k)
		}
	}
	ejected := float32(0)
	for i := range r.snap.Services {
		svc := &r.snap.Services[i]
		k := keyOf(svc)
		s := p.series[k]
		if s == nil {
			s = newSeries(p.size)
			p.series[k] = s
		}
		s.seen = p.made
		s.points[slot] = p.pointOf(svc, &r.services[i], r.at)
		if n := s.points[slot].ejections; n > 0 {
			ejected += n
		}
	}
	p.total.points[slot] = p.totalOf(&r.totals, ejected, r.at)
}

// pointOf is the point of a destination.
func (p *past) pointOf(svc *transport.ServiceSnapshot, sum *Summary, now time.Time) point {
	to := unknown()
	to.out, to.inFlight = float32(sum.States.Out()), float32(sum.Waiting+sum.Streaming)
	if sum.Success >= 0 {
		to.success = float32(sum.Success)
	}
	if svc.Median > 0 {
		to.p50, to.p99 = float32(svc.Median.Seconds()), float32(svc.Spread.P99.Seconds())
	}
	was := p.last.service(keyOf(svc))
	if was == nil {
		return to
	}
	to.rate = float32(float64(was.sum(svc)) / p.last.since(now))
	to.ejections = float32(svc.Ejections - min(was.ejections, svc.Ejections))
	return to
}

// totalOf is the point of all destinations together.
func (p *past) totalOf(t *Totals, ejected float32, now time.Time) point {
	to := unknown()
	to.out, to.inFlight = float32(t.States.Out()), float32(t.Waiting+t.Streaming)
	if t.Success >= 0 {
		to.success = float32(t.Success)
	}
	if p.last != nil {
		to.ejections = ejected
		to.rate = float32(t.attempts) / float32(p.last.since(now))
	}
	return to
}

// plotted are the points of a series, the earliest first, with their times.
func (p *past) plotted(s *series) ([]time.Time, []point) {
	n := min(p.made, p.size)
	times, points := make([]time.Time, n), make([]point, n)
	for i := range n {
		slot := (p.made - n + i) % p.size
		times[i], points[i] = p.times[slot], s.points[slot]
	}
	return times, points
}

// maxChanges is how many changes are remembered.
const maxChanges = 100

// changes are the latest changes, the earliest first.
type changes struct {
	list []Change
	seq  uint64
}

// add takes in a change. The list is replaced when it is full, as readings hold
// the old one.
func (c *changes) add(ch Change) {
	c.seq++
	ch.Seq = c.seq
	if len(c.list) >= 2*maxChanges {
		c.list = append([]Change(nil), c.list[len(c.list)-maxChanges+1:]...)
	}
	c.list = append(c.list, ch)
}

// latest are the changes that are to be shown, the latest last.
func (c *changes) latest() []Change {
	from := max(0, len(c.list)-maxChanges)
	return c.list[from:len(c.list):len(c.list)]
}

// compare takes in what is different in m.
func (c *changes) compare(was, m *mark) {
	if was == nil {
		return
	}
	if was.config.Version != m.config.Version {
		c.add(Change{At: m.at, Kind: ConfigChange, From: was.config.Version, To: m.config.Version})
	}
	if m.config.Error != "" && was.config.Error != m.config.Error {
		c.add(Change{At: m.at, Kind: ConfigChange, From: m.config.Version, To: "refused"})
	}
	for _, k := range m.keys {
		c.compareService(was, m, k)
	}
}

// compareService is compare for one destination. One that is new has no changes.
func (c *changes) compareService(was, m *mark, k key) {
	before, s := was.services[k], m.services[k]
	if before == nil {
		return
	}
	ch := Change{At: m.at, Service: k.service, Environment: k.environment}
	if before.breaker != s.breaker {
		ch.Kind, ch.From, ch.To = BreakerChange, before.breaker, s.breaker
		c.add(ch)
	}
	if before.failing != s.failing {
		ch.Kind, ch.From, ch.To = DiscoveryChange, "failing", "working"
		if s.failing {
			ch.From, ch.To = ch.To, ch.From
		}
		c.add(ch)
	}
	for i := range s.endpoints {
		e := &s.endpoints[i]
		if old := before.find(i, e.addr); old != nil && old.state != e.state {
			ch.Kind, ch.Endpoint, ch.From, ch.To = EndpointChange, e.addr, old.state, e.state
			c.add(ch)
		}
	}
}
