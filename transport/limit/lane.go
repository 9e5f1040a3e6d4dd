package limit

import (
	"container/list"
	"math"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// A lane is one key: its tokens, and the queue of the calls that wait for one.
// Limiter.mu guards it.
type lane struct {
	key    string
	tokens *rate.Limiter // nil while a Source decides
	latest time.Time     // the latest time that was used
	queue  list.List     // of *waiter, in the order in which they came

	// booked is the token of the first in the queue, nil when nobody waits or a
	// Source decides. Only one is ever booked, so that all of it can be given
	// back. It is there at due; the next one is booked as of that time.
	booked *rate.Reservation
	due    time.Time

	idle *list.Element // its place in lanes.idle; nil while calls wait
}

// A waiter is a call in a queue. Limiter.mu guards it once it is there.
type waiter struct {
	// wake has room for one: a word that the waiter must look again.
	wake chan struct{}

	place    *list.Element
	since    time.Time
	deadline time.Time // of the call, zero without one
	ask      time.Time // not before is the Source asked for it again

	settled bool  // it has left the queue
	err     error // and this is why, nil for a token
}

// at is now, or the latest time before it: a goroutine that read the clock and
// was then held up must not set the tokens back, as rate.Limiter would add those
// of the time between once more.
func (ln *lane) at(now time.Time) time.Time {
	if now.Before(ln.latest) {
		return ln.latest
	}
	ln.latest = now
	return now
}

// set puts the rate in force. A lane without tokens begins with a full burst.
func (ln *lane) set(cfg *Config, now time.Time) {
	switch {
	case cfg.off() || cfg.Source != nil:
		ln.tokens = nil
	case ln.tokens == nil:
		ln.tokens = rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Burst)
	default:
		ln.tokens.SetLimitAt(now, rate.Limit(cfg.Rate))
		ln.tokens.SetBurstAt(now, cfg.Burst)
	}
}

// first is the first in the queue, or nil.
func (ln *lane) first() *waiter {
	if e := ln.queue.Front(); e != nil {
		return e.Value.(*waiter)
	}
	return nil
}

// maxLate is the lateness of timers that costs no tokens.
const maxLate = 10 * time.Millisecond

// book books the next token for w, the first in the queue, as of the time when it
// became that or would have, were timers never late. With a small burst the
// tokens of the time since then would be lost otherwise. After a longer delay
// they are lost on purpose, as all those who wait would rush off at once.
func (ln *lane) book(w *waiter, now time.Time) {
	since := now.Add(-maxLate)
	for _, t := range []time.Time{w.since, ln.due} {
		if t.After(since) {
			since = t
		}
	}
	ln.booked = ln.tokens.ReserveN(since, 1)
	ln.due = since.Add(ln.booked.DelayFrom(since))
}

// unbook gives the booked token back, if there is one. None is booked as of an
// earlier time after that.
func (ln *lane) unbook(now time.Time) {
	if ln.booked != nil {
		at := now
		if now.After(ln.due) {
			at = ln.due // past its time a Reservation cannot be cancelled
		}
		ln.booked.CancelAt(at)
		ln.booked = nil
	}
	ln.due = now
}

// waitAt is the time until there is a token for place i in the queue, 0 for the
// first, if nobody before it leaves.
func (ln *lane) waitAt(i int, now time.Time) time.Duration {
	if ln.tokens == nil {
		return 0
	}
	lack := float64(i+1) - ln.tokens.TokensAt(now)
	if ln.booked != nil {
		lack--
	}
	wait := math.Ceil(lack / float64(ln.tokens.Limit()) * float64(time.Second))
	if wait >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(max(wait, 0))
}

// debt is how many booked tokens are not there yet.
func (ln *lane) debt(now time.Time) int { return int(math.Ceil(-ln.tokens.TokensAt(now))) }

// lanes are those of all keys. Limiter.mu guards them.
type lanes struct {
	service lane             // that of the key ""
	byKey   map[string]*lane // the others
	idle    list.List        // of those of byKey that nobody waits for, the latest used first
}

// find returns the lane of a key, as used now.
func (ls *lanes) find(key string, cfg *Config) *lane {
	ln := &ls.service
	if key != "" {
		ln = ls.byKey[key]
	}
	if ln == nil {
		ls.shrink(cfg.Keys - 1)             // before, as the new one must stay
		ln = &lane{key: strings.Clone(key)} // it may be a part of a long header
		ls.byKey[ln.key] = ln
		ln.idle = ls.idle.PushFront(ln)
	} else if ln.idle != nil {
		ls.idle.MoveToFront(ln.idle)
	}
	if ln.tokens == nil {
		ln.set(cfg, ln.latest)
	}
	return ln
}

// shrink forgets keys above the number to keep, those first that were not used
// for the longest time.
func (ls *lanes) shrink(keep int) {
	for len(ls.byKey) > keep && ls.idle.Len() > 0 {
		ln := ls.idle.Remove(ls.idle.Back()).(*lane)
		delete(ls.byKey, ln.key)
	}
}

// pin keeps a lane from being forgotten, as calls wait in it.
func (ls *lanes) pin(ln *lane) {
	if ln.idle != nil {
		ls.idle.Remove(ln.idle)
		ln.idle = nil
	}
}

// unpin ends that.
func (ls *lanes) unpin(ln *lane, keep int) {
	if ln.key != "" {
		ln.idle = ls.idle.PushFront(ln)
		ls.shrink(keep)
	}
}
