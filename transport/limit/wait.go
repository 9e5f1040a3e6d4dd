package limit

import (
	"context"
	"fmt"
	"time"
)

// joinLocked puts a call into the queue, or refuses it: it has to wait for so
// long as far as is known.
func (l *Limiter) joinLocked(cfg *Config, ln *lane, q *query, now time.Time, wait time.Duration) (*waiter, error) {
	deadline := q.end()
	if ln.queue.Len() >= cfg.MaxWaiters || !cfg.fits(wait, now, now, deadline) {
		l.stats.Refused++
		return nil, ln.refusal(wait)
	}
	w := &waiter{wake: make(chan struct{}, 1), since: now, deadline: deadline, ask: now.Add(wait)}
	l.lanes.pin(ln)
	w.place = ln.queue.PushBack(w)
	l.stats.Waiting++
	return w, nil
}

// refusal is the error of a call that is not let through.
func (ln *lane) refusal(wait time.Duration) *Error {
	return &Error{Key: ln.key, RetryAfter: wait, Waiting: ln.queue.Len()}
}

// settleLocked takes w out of its queue, with a token if err is nil.
func (l *Limiter) settleLocked(ln *lane, w *waiter, now time.Time, err error) {
	wasFirst := ln.first() == w
	ln.queue.Remove(w.place)
	l.stats.Waiting--
	w.settled, w.err = true, err
	w.poke()
	if next := ln.first(); next == nil {
		ln.unbook(now)
		l.lanes.unpin(ln, l.cfg.Load().Keys)
	} else if wasFirst {
		next.poke() // it must set its timer, or ask the Source
	}
}

// poke tells the waiter to look again.
func (w *waiter) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // it has been told and did not look yet
	}
}

// serveLocked gives those in the queue the tokens that are there, and books the
// next one for who is first then.
func (l *Limiter) serveLocked(ln *lane, now time.Time) {
	if ln.tokens == nil {
		return
	}
	for w := ln.first(); w != nil; w = ln.first() {
		if ln.booked == nil {
			ln.book(w, now)
		}
		if ln.due.After(now) {
			return
		}
		if !w.deadline.IsZero() && !now.Before(w.deadline) {
			l.refuseLocked(ln, w, now, 0) // held up until too late; the next one may have the token
			continue
		}
		ln.booked = nil
		l.stats.Waited++
		l.settleLocked(ln, w, now, nil)
	}
}

// refuseLocked ends the wait of w, which would have to go on for so long.
func (l *Limiter) refuseLocked(ln *lane, w *waiter, now time.Time, wait time.Duration) {
	l.stats.Refused++
	err := ln.refusal(wait)
	err.Waiting-- // not counting itself
	l.settleLocked(ln, w, now, err)
}

// await waits until w is settled. What is to be done for the queue is done by
// whichever of its waiters wakes up, so no goroutine is started for it.
func (l *Limiter) await(q query, ln *lane, w *waiter) error {
	defer l.leave(ln, w, nil) // for a Source that panics
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.ask(&q, ln, w)
		pause, settled := l.look(ln, w)
		if settled {
			return w.err
		}
		timer.Reset(pause)
		select {
		case <-w.wake:
		case <-timer.C:
		case <-q.ctx.Done():
			return l.leave(ln, w, q.ended(time.Now()))
		case <-q.canceled:
			return l.leave(ln, w, fmt.Errorf("%s: %w", textEnded, context.Canceled))
		}
	}
}

// look serves the queue. It returns whether w was settled, and if not, how long
// it may sleep: the first one until its token is there, all until their time is
// up.
func (l *Limiter) look(ln *lane, w *waiter) (pause time.Duration, settled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := ln.at(time.Now())
	l.serveLocked(ln, now)
	if w.settled {
		return 0, true
	}
	until := w.since.Add(l.cfg.Load().MaxWait)
	if !w.deadline.IsZero() && w.deadline.Before(until) {
		until = w.deadline
	}
	if !now.Before(until) {
		l.refuseLocked(ln, w, now, 0)
		return 0, true
	}
	if ln.first() == w {
		next := w.ask
		if ln.booked != nil {
			next = ln.due
		}
		if next.Before(until) {
			until = next
		}
	}
	return until.Sub(now), false
}

// leave takes w out of the queue for a reason of its own. If it was settled
// before, that holds.
func (l *Limiter) leave(ln *lane, w *waiter, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.settled {
		l.stats.Abandoned++
		l.settleLocked(ln, w, ln.at(time.Now()), err)
	}
	return w.err
}
