package discovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
)

func TestMergeUnion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := discovery.Static{{Addr: "a:80", Zone: "first"}, {Addr: "b:80"}}
		two := holds("c:80", "a:80")
		w := watch(t, discovery.Merge(one, two))
		u := w.next()
		if got := brief(u.Endpoints); u.Err != nil || strings.Join(got, " ") != "a:80 b:80 c:80" || u.Endpoints[0].Zone != "first" {
			t.Fatalf("got %v, %v, want a:80 of the first, b:80 and c:80", u.Endpoints, u.Err)
		}
		two.set("a:80", "c:80")
		w.quiet(time.Minute) // the union is the same
		two.set("d:80")
		w.want("a:80", "b:80", "d:80")
		two.set()
		w.want("a:80", "b:80")
	})
}

// Nothing is reported until each one was heard.
func TestMergeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, three := holds("a:80"), newMemory(), newMemory()
		w := watch(t, discovery.Merge(one, two, three))
		w.quiet(3 * time.Second)
		two.fail(errDown)
		w.quiet(3 * time.Second)
		three.set("c:80")
		w.want("a:80", "c:80")
		w.wantErr("discovery: merge: resolver 2 of 3", errDown.Error())
		w.quiet(time.Minute)
		two.set("b:80")
		w.want("a:80", "b:80", "c:80")
	})
}

// One that stays silent is not waited for without end.
func TestMergeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds("a:80"), newMemory()
		start := time.Now()
		w := watch(t, discovery.Merge(one, two))
		w.want("a:80")
		if d := time.Since(start); d != discovery.Patience {
			t.Errorf("first report: got it after %v, want %v", d, discovery.Patience)
		}
		w.wantErr("resolver 2 of 2: no report within 15s")
		two.set("b:80")
		w.want("a:80", "b:80")
	})
}

// An error takes nothing away, is told, and ends when all are well again.
func TestMergeFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds("a:80"), holds("b:80")
		w := watch(t, discovery.Merge(one, two))
		w.want("a:80", "b:80")
		one.fail(errDown)
		if err := w.wantErr("discovery: merge: resolver 1 of 2"); !errors.Is(err, errDown) {
			t.Errorf("got %v, want the resolver's error in it", err)
		}
		two.set("c:80")
		w.want("a:80", "c:80")
		w.wantErr("resolver 1 of 2") // still so: the set has ended it for the receiver
		two.fail(errDown)
		w.wantErr("resolver 1 of 2", "resolver 2 of 2")
		one.set("a:80")
		w.wantErr("resolver 2 of 2")
		two.set("c:80")
		w.want("a:80", "c:80") // the same set ends the errors
		w.quiet(time.Minute)
	})
}

func TestMergeNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newMemory(), newMemory()
		w := watch(t, discovery.Merge(one, two))
		one.fail(errDown)
		w.quiet(time.Second)
		two.fail(errors.New("trouble"))
		w.wantErr("resolver 1 of 2: the source is down", "resolver 2 of 2: trouble")
		w.quiet(time.Minute)
		one.set("a:80")
		w.want("a:80")
		w.wantErr("resolver 2 of 2: trouble")
	})
}

// An empty set drains a service, so it takes everybody's word.
func TestMergeEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds(), newMemory()
		two.fail(errDown)
		w := watch(t, discovery.Merge(one, two))
		w.wantErr("resolver 2 of 2")
		w.quiet(time.Minute)
		two.set()
		w.want()
		two.fail(errDown)
		w.wantErr("resolver 2 of 2")
		two.set("b:80")
		w.want("b:80")
		two.fail(errDown)
		w.wantErr("resolver 2 of 2")
		one.set("a:80")
		w.want("a:80", "b:80")
	})
}

// A resolver whose watch ends is started again, beside the others.
func TestMergeRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ender{f: func(ctx context.Context, n int, report reportFunc) error {
			if n < 3 {
				return errDown
			}
			report(discovery.Update{Endpoints: eps("b:80")})
			<-ctx.Done()
			return ctx.Err()
		}}
		w := watch(t, discovery.Merge(holds("a:80"), e))
		w.want("a:80")
		w.wantErr("resolver 2 of 2")
		w.want("a:80", "b:80")
		w.quiet(time.Minute)
	})
}

// Hints reach all, also beside one that never reads them, and not faster than
// each 100 ms.
func TestMergeHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds("a:80"), holds("b:80")
		w := watch(t, discovery.Merge(one, discovery.Static{{Addr: "s:80"}}, two))
		w.want("a:80", "s:80", "b:80")
		w.hint()
		synctest.Wait()
		for i, m := range []*memory{one, two} {
			if got := m.count(&m.hints, 0); got != 1 {
				t.Errorf("memory %d: got %d hints at once, want 1", i, got)
			}
		}
		flood(w, 10*time.Second)
		if got := one.count(&one.hints, 0); got < 90 || got > 102 {
			t.Errorf("hints of a 10s flood: got %d, want about 100", got)
		}
	})
}

// A report that blocks does not let a goroutine outlive the watch.
func TestMergeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds("a:80"), holds("b:80")
		ctx, cancel := context.WithCancel(t.Context())
		entered, release := make(chan struct{}), make(chan struct{})
		end := make(chan error)
		go func() {
			end <- discovery.Merge(one, two).Watch(ctx, func(discovery.Update) {
				close(entered)
				<-release
			}, nil)
		}()
		<-entered
		one.set("c:80") // its goroutine waits for the loop now
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want context.Canceled", err)
		}
		if n := one.count(&one.watches, 0) + two.count(&two.watches, 0); n != 0 {
			t.Errorf("watches of the resolvers after the return: got %d, want 0", n)
		}
	})
}

// The return waits for a resolver that takes its time to end.
func TestMergeWaitsForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &ender{f: func(ctx context.Context, _ int, report reportFunc) error {
			report(discovery.Update{Endpoints: eps("a:80")})
			<-ctx.Done()
			late := time.NewTimer(3 * time.Second)
			defer late.Stop()
			<-late.C
			return ctx.Err()
		}}
		w := watch(t, discovery.Merge(slow, holds("b:80")))
		w.want("a:80", "b:80")
		start := time.Now()
		w.stop()
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("Watch returned %v after the end of its context, want the 3s of the resolver", d)
		}
	})
}

func TestMergeWrongArguments(t *testing.T) {
	for _, c := range []struct {
		r    discovery.Resolver
		want string
	}{
		{discovery.Merge(), "discovery: merge: no resolvers"},
		{discovery.Merge(discovery.Static{}, nil), "discovery: merge: resolver 2 of 2 is nil"},
		{discovery.Prefer(), "discovery: prefer: no resolvers"},
		{discovery.Prefer(nil), "discovery: prefer: resolver 1 of 1 is nil"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, c.r)
			w.wantErr(c.want)
			if <-w.end; w.err == nil {
				t.Errorf("%s: Watch got nil, want the error", c.want)
			}
		})
	}
}

// The caller's slice of resolvers is not kept.
func TestMergeCopiesArguments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := []discovery.Resolver{discovery.Static(eps("a:80"))}
		m, p := discovery.Merge(rs...), discovery.Prefer(rs...)
		rs[0] = nil
		watch(t, m).want("a:80")
		watch(t, p).want("a:80")
	})
}

// BenchmarkMerge is one change of one of two sources of 5,000 endpoints.
func BenchmarkMerge(b *testing.B) {
	all := numbered(10000)
	update := func(n int) discovery.Update { return discovery.Update{Endpoints: all[:5000+n%2]} }
	changes, reports := make(chan discovery.Update), make(chan discovery.Update)
	r := discovery.Merge(discovery.Static(all[5001:]), discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
		for {
			select {
			case u := <-changes:
				report(u)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}))
	ctx, cancel := context.WithCancel(b.Context())
	end := make(chan struct{})
	go func() {
		defer close(end)
		_ = r.Watch(ctx, func(u discovery.Update) { reports <- u }, nil)
	}()
	changes <- update(0)
	<-reports
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		changes <- update(n)
		<-reports
	}
	cancel()
	<-end
}
