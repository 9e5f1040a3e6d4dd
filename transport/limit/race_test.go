package limit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/limit"
)

// In real time, with everything at once: 64 goroutines call, give up and have
// short deadlines, while the Config changes. Each call is in one counter, never
// more wait than may, and the tokens that were given out are no more than there
// were.
func TestConcurrent(t *testing.T) {
	const each = 300
	cfg := limit.Config{Rate: 20_000, Burst: 5, MaxWait: 50 * time.Millisecond, MaxWaiters: 8}
	l := newLimiter(t, cfg)
	var admitted, other atomic.Uint64
	begin := time.Now()
	stop := make(chan struct{}) // closed when all calls are over
	var watch sync.WaitGroup
	watch.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if s := l.Stats(); s.Waiting > cfg.MaxWaiters {
				t.Errorf("got %d that wait, want at most %d", s.Waiting, cfg.MaxWaiters)
			}
			if n%10 == 0 {
				next := cfg
				next.MaxWaiters = 1 + n%cfg.MaxWaiters
				next.Rate = float64(1000 + n%19_000)
				if err := l.Update(next); err != nil {
					t.Error(err)
				}
			}
		}
	})
	together(64, func(i int) {
		for range each {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(20))*time.Millisecond)
			if rand.IntN(4) == 0 {
				time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel)
			}
			switch err := l.Acquire(ctx, "", begin.Add(time.Minute)); {
			case err == nil:
				admitted.Add(1)
			case errors.Is(err, limit.ErrLimited), ctx.Err() != nil:
				other.Add(1)
			default:
				t.Errorf("got %v, want a refusal or the end of the context", err)
			}
			cancel()
		}
	})
	took := time.Since(begin)
	close(stop)
	watch.Wait()
	s := l.Stats()
	if got := calls(s); got != 64*each || s.Waiting != 0 {
		t.Errorf("got %+v, want %d calls and none waiting", s, 64*each)
	}
	if s.Admitted+s.Waited != admitted.Load() || s.Refused+s.Abandoned != other.Load() {
		t.Errorf("got %+v, want %d let through and %d not", s, admitted.Load(), other.Load())
	}
	if most := cfg.Rate*took.Seconds() + float64(cfg.Burst); float64(admitted.Load()) > most {
		t.Errorf("got %d let through in %v, want at most %v", admitted.Load(), took, most)
	}
}

// The same with keys that are forgotten and come back, and with a Source.
func TestConcurrentKeys(t *testing.T) {
	for _, cfg := range []limit.Config{
		{Rate: 2000, Burst: 2, MaxWait: 10 * time.Millisecond, MaxWaiters: 2, Keys: 4},
		{Source: newShared(2000, 0), MaxWait: 10 * time.Millisecond, MaxWaiters: 2, Keys: 4},
	} {
		l := newLimiter(t, cfg)
		together(64, func(i int) {
			for n := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%3 == 0 {
					time.AfterFunc(time.Duration(n)*10*time.Microsecond, cancel)
				}
				_ = l.Acquire(ctx, fmt.Sprint((i+n)%13), time.Time{})
				cancel()
			}
		})
		s := l.Stats()
		if got := calls(s); got != 64*50 || s.Waiting != 0 || s.Keys > 4 {
			t.Errorf("got %+v, want %d calls, none waiting and at most 4 keys", s, 64*50)
		}
	}
}

// Any Config can follow any other one while calls wait.
func TestConcurrentUpdates(t *testing.T) {
	wait := limit.Config{MaxWait: 5 * time.Millisecond, MaxWaiters: 20}
	slow, source, dark := wait, wait, wait
	slow.Rate, source.Source, dark.Rate, dark.Dark = 1000, newShared(1000, 0), 1000, true
	configs := []limit.Config{slow, {}, source, slow, dark, source, {}, slow, source, dark, {Rate: 1000}}
	l := newLimiter(t, slow)
	stop := make(chan struct{}) // closed when all calls are over
	var updates sync.WaitGroup
	updates.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := l.Update(configs[n%len(configs)]); err != nil {
				t.Error(err)
			}
			if n%5 == 0 {
				runtime.Gosched()
			}
		}
	})
	together(64, func(i int) {
		for n := range 100 {
			if err := l.Acquire(t.Context(), fmt.Sprint(n%3), time.Time{}); err != nil && !errors.Is(err, limit.ErrLimited) {
				t.Errorf("got %v, want a token or a refusal", err)
			}
		}
	})
	close(stop)
	updates.Wait()
	if s := l.Stats(); s.Waiting != 0 {
		t.Errorf("got %+v, want none waiting", s)
	}
}

// With more callers than tokens the rate is met, not only kept: that timers are
// late costs nothing. How close it comes depends on the machine; see the log.
func TestRateIsMet(t *testing.T) {
	const rate, n = 2000, 1000
	l := newLimiter(t, limit.Config{Rate: rate, Burst: 1, MaxWait: time.Minute})
	begin := time.Now()
	together(20, func(int) {
		for range n / 20 {
			if err := l.Acquire(t.Context(), "", time.Time{}); err != nil {
				t.Errorf("got %v, want a token", err)
			}
		}
	})
	took, want := time.Since(begin), time.Duration(n-1)*time.Second/rate
	if took < want-time.Millisecond {
		t.Errorf("got %d tokens in %v, want them in %v or more", n, took, want)
	}
	t.Logf("%d tokens in %v; they are due in %v", n, took, want)
}
