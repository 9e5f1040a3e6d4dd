package limit

import (
	"context"
	"time"
)

// minAsk is the shortest pause before a Source is asked again for a call that
// waits, whatever it says: one that answers "almost" must not be asked in a
// busy loop.
const minAsk = time.Millisecond

// A Source is a limiter of your own, such as one that several clients share. It
// decides; the Limiter does the waiting and its bounds, Dark and the counting.
type Source interface {
	// Take asks for a token of the key, "" where there are no keys. A wait of
	// 0 or less says that the token was taken. Any other says that it was not,
	// and after what time it is worth while to ask again.
	//
	// With an error the call is let through, as a limiter that is down must
	// not take the service down with it. A Source that would rather refuse
	// returns a wait in place of the error.
	//
	// Take runs on the path of the call, unlocked and in the call's goroutine,
	// and from many goroutines at once. It should return when ctx ends, which
	// it does with the deadline of the call at the latest. Of the calls of one
	// key that wait only the first asks.
	Take(ctx context.Context, key string, now time.Time) (wait time.Duration, err error)
}

// SourceFunc is a function as a Source.
type SourceFunc func(ctx context.Context, key string, now time.Time) (time.Duration, error)

// Take implements Source.
func (f SourceFunc) Take(ctx context.Context, key string, now time.Time) (time.Duration, error) {
	return f(ctx, key, now)
}

// take asks the Source. Its context ends with the call.
func (q *query) take(s Source) (time.Duration, error) {
	ctx := q.ctx
	if has, ok := ctx.Deadline(); !q.deadline.IsZero() && (!ok || q.deadline.Before(has)) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, q.deadline)
		defer cancel()
	}
	return s.Take(ctx, q.key, time.Now())
}

// acquireFrom is acquire where a Source decides. A call does not ask while others
// wait, as it would overtake them.
func (l *Limiter) acquireFrom(q query, cfg *Config, busy bool) error {
	var wait time.Duration
	if !busy {
		var err error
		if wait, err = q.take(cfg.Source); err != nil || wait <= 0 {
			return l.taken(&q, cfg, err)
		}
	}
	now := time.Now()
	l.mu.Lock()
	if l.cfg.Load() != cfg { // the answer is that of another Config
		l.mu.Unlock()
		return l.acquire(q)
	}
	if cfg.Dark {
		if cfg.fits(wait, now, now, q.end()) {
			l.stats.DarkWaited++
		} else {
			l.stats.DarkRefused++
		}
		l.mu.Unlock()
		return nil
	}
	ln := l.lanes.find(q.key, cfg)
	now = ln.at(now)
	if first := ln.first(); busy && first != nil {
		wait = max(0, first.ask.Sub(now)) // it cannot be less
	}
	w, err := l.joinLocked(cfg, ln, &q, now, wait)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.await(q, ln, w)
}

// taken ends a call that got a token at once, or an error of the Source.
func (l *Limiter) taken(q *query, cfg *Config, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.stats.Admitted++
		return nil
	}
	if ended := q.ended(time.Now()); ended != nil && !cfg.Dark {
		l.stats.Abandoned++
		return ended
	}
	l.stats.Failed++
	return nil
}

// ask asks the Source for w, if there is one and it is the turn of w.
func (l *Limiter) ask(q *query, ln *lane, w *waiter) {
	if l.cfg.Load().Source == nil {
		return
	}
	l.mu.Lock()
	cfg := l.cfg.Load()
	turn := cfg.Source != nil && ln.first() == w && !time.Now().Before(w.ask)
	l.mu.Unlock()
	if !turn {
		return
	}
	wait, err := q.take(cfg.Source)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := ln.at(time.Now())
	ended := q.ended(now)
	switch {
	case w.settled: // by an Update
	case ended != nil:
		l.stats.Abandoned++
		l.settleLocked(ln, w, now, ended)
	case err != nil:
		l.stats.Failed++
		l.settleLocked(ln, w, now, nil)
	case wait <= 0:
		l.stats.Waited++
		l.settleLocked(ln, w, now, nil)
	case l.cfg.Load() != cfg: // the answer is that of another Source
	case !cfg.fits(wait, now, w.since, w.deadline):
		l.refuseLocked(ln, w, now, wait)
	default:
		w.ask = now.Add(max(wait, minAsk))
	}
}
