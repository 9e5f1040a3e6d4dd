package limit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// Each key has tokens and a queue of its own, and so has the lack of a key.
func TestKeysAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, limit.Config{Rate: 1, MaxWait: time.Minute, MaxWaiters: 2})
		for _, key := range []string{"", "a", "b"} {
			start(t, l, key, 0).want(0, nil)
		}
		var waiting []*call
		for _, key := range []string{"", "a", "b"} {
			waiting = append(waiting, start(t, l, key, 0))
			if c := start(t, l, key, 0); !c.waits() {
				t.Errorf("key %q: got %v, want a wait", key, c.err)
			}
			start(t, l, key, 0).want(0, limit.ErrLimited)
		}
		for _, c := range waiting {
			c.want(time.Second, nil)
		}
		if s := l.Stats(); s.Keys != 2 || s.Waiting != 3 {
			t.Errorf("got %+v, want 2 keys and 3 that wait", s)
		}
	})
}

// The key that was not used for the longest time is forgotten, and then has a full
// burst again. A list is the oracle.
func TestForgetsLeastUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 8
		l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 1, Keys: keys})
		var known []string // the latest used last
		rnd := rand.New(rand.NewPCG(1, 2))
		forgotten := 0
		for range 5000 {
			key := fmt.Sprint(rnd.IntN(2 * keys))
			got := l.Acquire(t.Context(), key, time.Time{}) == nil
			i := slices.Index(known, key)
			if want := i < 0; got != want {
				t.Fatalf("key %s of %v: got a token: %v, want %v", key, known, got, want)
			}
			if i >= 0 {
				known = slices.Delete(known, i, i+1)
			} else if len(known) == keys {
				known = known[1:]
				forgotten++
			}
			known = append(known, key)
			if got := l.Stats().Keys; got != len(known) {
				t.Fatalf("got %d keys, want %d", got, len(known))
			}
		}
		if forgotten < 1000 {
			t.Errorf("got %d keys forgotten, want 1000 for the test to mean something", forgotten)
		}
	})
}

// A key that calls wait for is not forgotten, however many others come; they are
// forgotten in its place. When nobody waits any more the bound holds again.
func TestWaitedForIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, limit.Config{Rate: 1, MaxWait: time.Minute, Keys: 3})
		var waiting []*call
		for i := range 5 {
			key := fmt.Sprint("busy", i)
			start(t, l, key, 0).want(0, nil)
			waiting = append(waiting, start(t, l, key, 0))
		}
		for i := range 100 {
			start(t, l, fmt.Sprint("other", i), 0).want(0, nil)
		}
		if got := l.Stats().Keys; got != 6 {
			t.Errorf("got %d keys, want the 5 busy ones and the last other", got)
		}
		behind := start(t, l, "busy0", 0)
		for _, c := range waiting {
			c.want(time.Second, nil)
		}
		behind.want(2*time.Second, nil)
		if got := l.Stats().Keys; got != 3 {
			t.Errorf("got %d keys when nobody waits, want 3", got)
		}
	})
}

// A smaller bound holds at once.
func TestFewerKeys(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1})
	for i := range 2000 {
		_ = l.Acquire(t.Context(), fmt.Sprint(i), time.Time{})
	}
	if got := l.Stats().Keys; got != 1024 {
		t.Errorf("got %d keys, want the default of 1024", got)
	}
	update(t, l, limit.Config{Rate: 1, Keys: 10})
	if got := l.Stats().Keys; got != 10 {
		t.Errorf("got %d keys, want 10", got)
	}
}
