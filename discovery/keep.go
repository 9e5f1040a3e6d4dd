package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// The pause before a watch is started again is a random share of a ceiling
	// that doubles from keepMin to keepMax.
	keepMin = 100 * time.Millisecond
	keepMax = 30 * time.Second
)

// errEnded stands for the error that a watch did not give.
var errEnded = errors.New("discovery: the watch ended early and gave no error")

// Keep returns a Resolver that calls r's Watch again each time that it ends
// before the context is done. The error that it ended with is reported, unless
// the watch did that itself.
//
// The pause before each new watch is random, from zero up to a ceiling that
// grows from 100 ms to 30 s (full jitter), so that the clients of a source that
// fell over do not come back all at once. A good update brings the ceiling back
// to 100 ms, but at most every 30 s: a source that answers and hangs up each
// time is not asked ever faster. Hints on refresh do not cut the pause short.
//
// A nil r is reported and returned as an error.
func Keep(r Resolver) Resolver { return keeper{r} }

// keeper is a struct and not a Func so that owners can compare resolvers by
// content.
type keeper struct{ resolver Resolver }

func (k keeper) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	if k.resolver == nil {
		return refuse(report, errors.New("discovery: keep: the resolver is nil"))
	}
	p := pauses{rnd: newRand()}
	for {
		var last error // what the watch said last of itself
		err := k.resolver.Watch(ctx, func(u Update) {
			if last = u.Err; u.Err == nil {
				p.good(time.Now())
			}
			report(u)
		}, refresh)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = errEnded
		}
		if last == nil || !errors.Is(err, last) {
			report(Update{Err: err})
		}
		if _, err := pause(ctx, p.next(), 0, nil); err != nil {
			return err
		}
	}
}

// pauses gives the length of each pause of one Keep.
type pauses struct {
	rnd     *rand.Rand
	ends    int       // early ends since the last reset
	resetAt time.Time // zero: never
}

// next is the pause after one more early end.
func (p *pauses) next() time.Duration {
	ceiling := doubled(keepMin, keepMax, p.ends)
	p.ends++
	return time.Duration(p.rnd.Int64N(int64(ceiling) + 1))
}

// good says that a good update came at now.
func (p *pauses) good(now time.Time) {
	if p.resetAt.IsZero() || now.Sub(p.resetAt) >= keepMax {
		p.ends, p.resetAt = 0, now
	}
}
