package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tullemesh/tulle"
)

const (
	// dnsFloor is the least time from one look-up to the next, whatever the
	// hints: a service that is down must not make its clients flood the name
	// servers.
	dnsFloor = time.Second

	// dnsTimeout bounds one question. One server that is tried twice for 5 s,
	// which is package net's default, just fits in: it then still gives what
	// it has heard of the other family.
	dnsTimeout = 11 * time.Second

	// lookTimeout bounds all questions of one look: one that failed slowly,
	// and a short one after that. Combinations wait longer (patience).
	lookTimeout = dnsTimeout + 2*time.Second

	// dnsInterval is the default of the Interval fields, maxDNSInterval their
	// most.
	dnsInterval    = 30 * time.Second
	maxDNSInterval = 24 * time.Hour
)

// found is what one look at the name servers came to.
type found struct {
	set  []tulle.Endpoint // in part from earlier looks if err is not nil
	none bool             // there is nobody, they say; err has the words
	err  error            // what could not be asked or understood
	odd  error            // what was left out of the set for good reason
}

// dnsWatch is one watch of a DNS or a SRV. It belongs to the goroutine of Watch.
type dnsWatch struct {
	look     func(context.Context) found
	interval time.Duration
	report   func(Update)

	said      said
	confirmer confirmer
	failures  int // looks in a row that found an error
	rnd       *rand.Rand
}

// run looks again and again until ctx is done.
func (w *dnsWatch) run(ctx context.Context, refresh <-chan struct{}) error {
	if w.interval == 0 {
		w.interval = dnsInterval
	}
	w.rnd = newRand()
	for ctx.Err() == nil {
		looking, cancel := context.WithTimeout(ctx, lookTimeout)
		f := w.look(looking)
		cancel()
		if ctx.Err() != nil {
			break // the look failed because nobody waits for it
		}
		// The error of pause is that of ctx, which ends the loop.
		_, _ = pause(ctx, w.take(f, time.Now()), dnsFloor, refresh)
	}
	return ctx.Err()
}

// take reports what was found, as far as it is news, and returns the pause until
// the next look.
func (w *dnsWatch) take(f found, now time.Time) time.Duration {
	wait := w.interval
	if f.err == nil {
		w.failures = 0
	} else {
		wait = doubled(dnsFloor, w.interval, w.failures)
		w.failures++
	}
	wait = spread(wait, w.rnd)

	var again time.Duration
	switch {
	case len(f.set) > 0:
		var set []tulle.Endpoint
		set, again = w.confirmer.take(f.set, w.interval, now)
		w.said.tell(w.report, set, errors.Join(f.err, f.odd))
	case f.none:
		var sure bool
		if sure, again = w.confirmer.none(w.interval, now); sure {
			// Also when it was said before: the receiver counts.
			w.said.tellSet(w.report, nil)
		} else {
			w.said.tellErr(w.report, f.err)
		}
	default:
		w.said.tellErr(w.report, f.err)
	}
	if again > 0 {
		wait = min(wait, again)
	}
	return max(dnsFloor, wait)
}
