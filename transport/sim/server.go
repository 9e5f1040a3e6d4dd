package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tullemesh/tulle"
)

// server is one server of the model.
type server struct {
	id       int32
	group    *Servers
	endpoint tulle.Endpoint
	faults   []*effect
	pausing  int   // how many of them are standstills
	joined   int64 // when it came
	cold     bool  // it came after the start
	gone     bool  // it refuses connections for good

	busy    int
	queue   queue
	backlog int // requests in the queue whose clients still wait, and those in work

	visits [64]visits // by how many others were there
	meter  meter
}

// effect is a Fault as it hits one server or client.
type effect struct {
	*Fault
	start, end int64
	offset     int64 // of its periods
	levels     []level
	at         int // in levels
}

// level is the speed of an antagonist's server, or the share of its burst that
// neighbours leave to a server, from a time on.
type level struct {
	from  int64
	value float64
}

// active says whether the effect is on.
func (e *effect) active(now int64) bool { return e.start <= now && now < e.end }

// still is when a periodic standstill that is on now ends; 0: there is none.
func (e *effect) still(now int64) int64 {
	if !e.active(now) {
		return 0
	}
	into := (now - e.start + e.offset) % int64(e.Period)
	if into >= int64(e.Length) {
		return 0
	}
	return now + int64(e.Length) - into
}

// untilStill is when the next standstill begins, from a time at which there is
// none.
func (e *effect) untilStill(now int64) int64 {
	if now >= e.end {
		return math.MaxInt64
	}
	if now < e.start {
		// The first one may begin in the middle.
		if e.offset < int64(e.Length) {
			return e.start
		}
		return e.start + int64(e.Period) - e.offset
	}
	into := (now - e.start + e.offset) % int64(e.Period)
	if next := now + int64(e.Period) - into; next < e.end {
		return next
	}
	return math.MaxInt64
}

// skip leaves out as many whole periods as the work lasts at least, from the end of a
// standstill on: each takes what is between two standstills off the work.
func (e *effect) skip(now, left int64) (int64, int64) {
	works := int64(e.Period - e.Length)
	n := min((left-1)/works, (e.end-now)/int64(e.Period))
	if n <= 0 {
		return now, left
	}
	return now + n*int64(e.Period), left - n*works
}

// level is the one that holds now. It is asked in the order of time.
func (e *effect) level(now int64) float64 {
	for e.at+1 < len(e.levels) && e.levels[e.at+1].from <= now {
		e.at++
	}
	return e.levels[e.at].value
}

// draw draws the levels of the whole run.
func (e *effect) draw(r *rand.Rand) {
	for at := e.start; at < e.end; {
		e.levels = append(e.levels, level{at, e.next(r)})
		at += max(1, int64(r.ExpFloat64()*float64(e.Period)))
	}
}

// next draws one level.
func (e *effect) next(r *rand.Rand) float64 {
	if e.Kind == "antagonist" {
		low := 1 / e.Factor
		return low + r.Float64()*(e.Factor-low)
	}
	if r.Float64() < e.Share {
		return 0
	}
	return r.Float64()
}

// fault is the first effect of one of these kinds that is on, or nil.
func (s *server) fault(now int64, kinds ...string) *effect {
	for _, e := range s.faults {
		if !e.active(now) {
			continue
		}
		for _, k := range kinds {
			if e.Kind == k {
				return e
			}
		}
	}
	return nil
}

// slowness is by what the work of a request is multiplied that begins now.
func (s *server) slowness(now int64) float64 {
	f := 1 / s.group.Speed
	if s.cold && s.group.Cold > 1 {
		if age := now - s.joined; age < int64(s.group.Warming) {
			f *= s.group.Cold - (s.group.Cold-1)*float64(age)/float64(s.group.Warming)
		}
	}
	for _, e := range s.faults {
		if !e.active(now) {
			continue
		}
		switch e.Kind {
		case "slow":
			f *= e.Factor
		case "antagonist":
			f /= e.level(now)
		}
	}
	return f
}

// workers is how many there are now.
func (s *server) workers(now int64) int {
	promised, burst, left := s.promised(now), float64(s.group.Burst-s.group.Workers), 1.0
	if burst <= 0 {
		return int(math.Ceil(promised))
	}
	for _, e := range s.faults {
		if e.Kind == "crowding" && e.active(now) {
			left = min(left, e.level(now))
		}
	}
	return int(math.Ceil(promised + left*burst))
}

// promised is how many workers there are now without a burst.
func (s *server) promised(now int64) float64 {
	n := float64(s.group.Workers)
	for _, e := range s.faults {
		if e.Kind == "capacity" && e.active(now) {
			n /= e.Factor
		}
	}
	return n
}

// never is later than all else that happens.
const never = int64(1) << 61

// maxStandstills is how many standstills of several faults one request is followed
// through, one by one.
const maxStandstills = 1_000_000

// finish is when work is done that begins now: standstills are left out.
func (s *server) finish(now int64, work float64) int64 {
	return min(s.end(now, work), never)
}

// end is finish without its bound.
func (s *server) end(now int64, work float64) int64 {
	left := int64(min(work, longest))
	for range maxStandstills {
		stop := int64(math.MaxInt64)
		moved := false
		for _, e := range s.faults {
			if e.Kind != "pausing" {
				continue
			}
			if end := e.still(now); end > now {
				now, moved = end, true
				if s.pausing == 1 {
					now, left = e.skip(now, left)
				}
				break
			}
			stop = min(stop, e.untilStill(now))
		}
		switch {
		case moved:
		case stop-now >= left:
			return now + left
		default:
			left -= stop - now
			now = stop
		}
	}
	return now + left
}

// answered takes note of a request that found so many others and took so long.
func (s *server) answered(found int, took int64) {
	s.visits[min(found, len(s.visits)-1)].add(time.Duration(took))
}

// visits are the last times of requests that found the same number of others.
type visits struct {
	took  [16]time.Duration
	count int
}

// add takes note of one.
func (v *visits) add(took time.Duration) {
	v.took[v.count%len(v.took)] = took
	v.count++
}

// latencyAt is the median time of recent requests that found about as many others;
// 0 before there is any. It looks further away until there are enough.
func (s *server) latencyAt(found int) time.Duration {
	at := min(found, len(s.visits)-1)
	near := make([]time.Duration, 0, 64)
	for off := 0; off < len(s.visits) && (off < 2 || len(near) < similar); off++ {
		for _, i := range []int{at - off, at + off} {
			if i < 0 || i >= len(s.visits) || off == 0 && len(near) > 0 {
				continue
			}
			v := &s.visits[i]
			near = append(near, v.took[:min(v.count, len(v.took))]...)
		}
	}
	if len(near) == 0 {
		return 0
	}
	slices.Sort(near)
	return near[len(near)/2]
}

// similar is how many requests are enough for a median.
const similar = 8

// queue holds attempts in the order in which they came.
type queue struct {
	ring  []int32
	first int
	size  int
}

// push adds one.
func (q *queue) push(id int32) {
	if q.size == len(q.ring) {
		bigger := make([]int32, max(8, 2*len(q.ring)))
		for i := range q.size {
			bigger[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = bigger, 0
	}
	q.ring[(q.first+q.size)%len(q.ring)] = id
	q.size++
}

// pop takes the first one, which must be there.
func (q *queue) pop() int32 {
	id := q.ring[q.first]
	q.first = (q.first + 1) % len(q.ring)
	q.size--
	return id
}
