package limit

import (
	"container/list"
	"time"
)

// Update puts cfg in force in place of what was, and keeps the tokens and the
// queues. Calls that wait are judged anew: a higher rate lets them go earlier,
// and those that have to wait too long now, or are too many, are refused at
// once, the youngest first. Without a limit, and with Dark, all go. If cfg
// cannot be used Update returns an error that names every such field, and
// nothing changes.
func (l *Limiter) Update(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.Store(&cfg)
	now := time.Now()
	l.adaptLocked(&l.lanes.service, &cfg, now)
	for _, ln := range l.lanes.byKey {
		l.adaptLocked(ln, &cfg, now)
	}
	l.lanes.shrink(cfg.Keys)
	return nil
}

// adaptLocked does for one lane what Update says.
func (l *Limiter) adaptLocked(ln *lane, cfg *Config, now time.Time) {
	now = ln.at(now)
	ln.unbook(now) // at the old rate
	ln.set(cfg, now)
	place := 0
	var next *list.Element
	for e := ln.queue.Front(); e != nil; e = next {
		next = e.Next()
		w := e.Value.(*waiter)
		wait := ln.waitAt(place, now)
		switch {
		case cfg.off() || cfg.Dark:
			l.stats.Waited++
			l.settleLocked(ln, w, now, nil)
		case place >= cfg.MaxWaiters || !cfg.fits(wait, now, w.since, w.deadline):
			l.refuseLocked(ln, w, now, wait)
		default:
			w.ask = now // another Source may say something else
			w.poke()
			place++
		}
	}
}
