package discovery_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
)

func TestPreferOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, three := holds("a:80"), holds("b:80"), holds("c:80")
		w := watch(t, discovery.Prefer(one, two, three))
		w.want("a:80")
		two.set("b:81") // nobody asks the spare
		w.quiet(time.Minute)
		one.set()
		w.want("b:81")
		two.set()
		w.want("c:80")
		two.set("b:80")
		w.want("b:80")
		one.set("a:81", "a:82")
		w.want("a:81", "a:82")
		w.quiet(time.Minute)
	})
}

// A start does not go through the spare, unless the first fails or is silent.
func TestPreferStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newMemory(), holds("b:80")
		w := watch(t, discovery.Prefer(one, two))
		w.quiet(5 * time.Second)
		one.set("a:80")
		w.want("a:80")
		w.quiet(time.Hour)
	})
	synctest.Test(t, func(t *testing.T) {
		one, two := newMemory(), holds("b:80")
		w := watch(t, discovery.Prefer(one, two))
		w.quiet(5 * time.Second)
		one.fail(errDown)
		w.want("b:80")
		w.wantErr("discovery: prefer: resolver 1 of 2", errDown.Error())
		one.set("a:80")
		w.want("a:80")
	})
	synctest.Test(t, func(t *testing.T) {
		one, two := newMemory(), holds("b:80")
		start := time.Now()
		w := watch(t, discovery.Prefer(one, two))
		w.want("b:80")
		if d := time.Since(start); d != discovery.Patience {
			t.Errorf("first report: got it after %v, want %v", d, discovery.Patience)
		}
		w.wantErr("resolver 1 of 2: no report within 15s")
	})
}

// The first that answers well is not kept waiting by the ones behind it.
func TestPreferDoesNotWaitForSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := watch(t, discovery.Prefer(holds("a:80"), newMemory()))
		w.want("a:80")
		if d := time.Since(start); d != 0 {
			t.Errorf("first report: got it after %v, want it at once", d)
		}
		w.wantErr("resolver 2 of 2: no report within 15s")
	})
}

// A failing resolver keeps its place: its last good set is in force.
func TestPreferFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds("a:80"), holds("b:80")
		w := watch(t, discovery.Prefer(one, two))
		w.want("a:80")
		one.fail(errDown)
		w.wantErr("resolver 1 of 2")
		two.set("b:81")
		w.quiet(time.Minute)
		one.set("a:80")
		w.want("a:80") // the same set ends the error
		two.fail(errors.New("trouble"))
		w.wantErr("resolver 2 of 2: trouble")
		one.set()
		w.want("b:81") // the spare's last good set
		w.wantErr("resolver 2 of 2: trouble")
	})
}

// Empty takes everybody's word.
func TestPreferEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds(), newMemory()
		w := watch(t, discovery.Prefer(one, two))
		w.quiet(time.Second)
		two.fail(errDown)
		w.wantErr("resolver 2 of 2")
		w.quiet(time.Minute)
		two.set()
		w.want()
		one.set("a:80")
		w.want("a:80")
		one.set()
		w.want()
	})
}

func TestPreferHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := holds("a:80"), holds("b:80")
		w := watch(t, discovery.Prefer(one, two))
		w.want("a:80")
		synctest.Wait()
		w.hint()
		synctest.Wait()
		for i, m := range []*memory{one, two} {
			if got := m.count(&m.hints, 0); got != 1 {
				t.Errorf("memory %d: got %d hints, want 1: the spare must be fresh when it is needed", i, got)
			}
		}
	})
}
