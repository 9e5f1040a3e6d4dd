package discovery

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"time"
)

// pause waits for d or until ctx is done. A hint cuts it short, but not below
// floor. Hints that follow are left in the channel: the look that comes next
// answers the first of them, and a flood cannot keep the watch busy.
func pause(ctx context.Context, d, floor time.Duration, refresh <-chan struct{}) (hinted bool, err error) {
	start := time.Now()
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return hinted, ctx.Err()
		case <-t.C:
			return hinted, nil
		case <-refresh:
			hinted, refresh = true, nil
			t.Reset(max(0, min(d, floor)-time.Since(start)))
		}
	}
}

// doubled is base doubled n times, at most limit.
func doubled(base, limit time.Duration, n int) time.Duration {
	for ; n > 0 && base < limit; n-- {
		if base > limit/2 {
			return limit
		}
		base *= 2
	}
	return min(base, limit)
}

// spread moves d by up to a tenth either way, so that clients that started
// together do not ask together.
func spread(d time.Duration, rnd *rand.Rand) time.Duration {
	tenth := int64(d / 10)
	return d + time.Duration(rnd.Int64N(2*tenth+1)-tenth)
}

// newRand is a generator for one watch; it is not safe for concurrent use.
func newRand() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return rand.New(rand.NewChaCha8(seed))
}
