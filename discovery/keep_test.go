package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
)

type reportFunc = func(discovery.Update)

// ender is a Resolver whose n-th watch (from 0) does what f says, and which
// remembers when its watches began.
type ender struct {
	began []time.Time
	f     func(ctx context.Context, n int, report reportFunc) error
}

func (e *ender) Watch(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
	e.began = append(e.began, time.Now())
	return e.f(ctx, len(e.began)-1, report)
}

// The pauses are random below a ceiling that doubles from 100 ms to 30 s. The
// ceilings are checked over many watches: none is passed, and the largest
// pauses come near.
func TestKeepPauses(t *testing.T) {
	const rounds, ends = 200, 12
	var most [ends - 1]time.Duration
	for range rounds {
		synctest.Test(t, func(t *testing.T) {
			e := &ender{f: func(ctx context.Context, n int, _ reportFunc) error {
				if n == ends-1 {
					<-ctx.Done()
				}
				return errDown
			}}
			w := watch(t, discovery.Keep(e))
			for range ends - 1 {
				w.wantErr(errDown.Error())
			}
			synctest.Wait()
			w.quiet(time.Minute)
			w.stop()
			for i := range most {
				most[i] = max(most[i], e.began[i+1].Sub(e.began[i]))
			}
		})
	}
	ceiling := 100 * time.Millisecond
	for i, got := range most {
		if got > ceiling || got < ceiling*8/10 {
			t.Errorf("pause %d: got at most %v in %d rounds, want close to and not above %v", i+1, got, rounds, ceiling)
		}
		ceiling = min(2*ceiling, 30*time.Second)
	}
}

// A good update makes the next pause short again.
func TestKeepReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ender{f: func(ctx context.Context, n int, report reportFunc) error {
			if n == 20 {
				report(discovery.Update{Endpoints: eps("a:80")})
			}
			if n == 21 {
				<-ctx.Done()
			}
			return errDown
		}}
		w := watch(t, discovery.Keep(e))
		for range 20 {
			w.wantErr(errDown.Error())
		}
		w.want("a:80")
		w.wantErr(errDown.Error())
		w.quiet(time.Minute)
		w.stop()
		if d := e.began[21].Sub(e.began[20]); d > 100*time.Millisecond {
			t.Errorf("the pause after a good update: got %v, want at most 100ms", d)
		}
	})
}

// A source that answers and hangs up each time is not asked ever faster.
func TestKeepAnswersAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ender{f: func(_ context.Context, _ int, report reportFunc) error {
			report(discovery.Update{Endpoints: eps("a:80")})
			return errDown
		}}
		w := watch(t, discovery.Keep(e))
		over := time.NewTimer(10 * time.Minute)
		for done := false; !done; {
			select {
			case <-w.updates:
			case <-over.C:
				done = true
			}
		}
		w.stop()
		if n := len(e.began); n < 40 || n > 600 {
			t.Errorf("got %d watches in 10 minutes, want between 40 and 600", n)
		}
	})
}

// Errors are told once: by the watch or, if it did not, by Keep.
func TestKeepErrors(t *testing.T) {
	var nothing error
	for _, c := range []struct {
		name           string
		said, returned error
		want           []string
	}{
		{"returned", nothing, errDown, []string{"the source is down"}},
		{"said and returned", errDown, errDown, []string{"the source is down"}},
		{"said and returned with more", errDown, fmt.Errorf("gave up: %w", errDown), []string{"the source is down"}},
		{"said and returned another", errors.New("trouble"), errDown, []string{"trouble", "the source is down"}},
		{"returned nil", nothing, nil, []string{"ended early and gave no error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, discovery.Keep(&ender{f: func(ctx context.Context, n int, report reportFunc) error {
					if n > 0 {
						report(discovery.Update{Endpoints: eps("a:80")})
						<-ctx.Done()
						return ctx.Err()
					}
					if c.said != nil {
						report(discovery.Update{Err: c.said})
					}
					return c.returned
				}}))
				for _, text := range c.want {
					w.wantErr(text)
				}
				w.want("a:80")
				w.quiet(time.Hour)
			})
		})
	}
}

// The end of a watch whose context is done is no error, whatever it returns.
func TestKeepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, discovery.Keep(&ender{f: func(ctx context.Context, _ int, _ reportFunc) error {
			<-ctx.Done()
			return errDown
		}}))
		synctest.Wait()
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want context.Canceled", err)
		}
		w.quiet(time.Hour)
	})
}

// A pause does not hold up the end.
func TestKeepEndsInPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, discovery.Keep(&ender{f: func(context.Context, int, reportFunc) error { return errDown }}))
		for range 20 {
			w.wantErr(errDown.Error())
		}
		synctest.Wait()
		start := time.Now()
		err := w.stop()
		if d := time.Since(start); d != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v after %v, want context.Canceled at once", err, d)
		}
	})
}

func TestKeepPassesHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds("a:80")
		w := watch(t, discovery.Keep(m))
		w.want("a:80")
		w.hint()
		synctest.Wait()
		if got := m.count(&m.hints, 0); got != 1 {
			t.Errorf("hints: got %d, want 1", got)
		}
	})
}

func TestKeepNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, discovery.Keep(nil))
		w.wantErr("discovery: keep: the resolver is nil")
		if <-w.end; w.err == nil {
			t.Error("Watch: got nil, want its error")
		}
	})
}

func TestDoubled(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		base, limit time.Duration
		n           int
		want        time.Duration
	}{
		{100 * ms, time.Second, 0, 100 * ms},
		{100 * ms, time.Second, 1, 200 * ms},
		{100 * ms, time.Second, 3, 800 * ms},
		{100 * ms, time.Second, 4, time.Second},
		{100 * ms, time.Second, 1 << 60, time.Second},
		{time.Second, time.Second, 5, time.Second},
		{time.Minute, time.Second, 0, time.Second},
		{1 << 61, 1<<63 - 1, 3, 1<<63 - 1},
	} {
		if got := discovery.Doubled(c.base, c.limit, c.n); got != c.want {
			t.Errorf("doubled(%v, %v, %d): got %v, want %v", c.base, c.limit, c.n, got, c.want)
		}
	}
}
