package breaker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// alone is the evidence about a bad endpoint without peers.
type alone struct{}

func (alone) Evidence() breaker.Evidence {
	return breaker.Evidence{Requests: 10, Success: 0, Spare: true}
}

// An ejected endpoint that is kept in use, as nothing else is left, comes back by
// a success once its time is over. Before this was so it stayed ejected for ever,
// and its later failures went unseen. An answer that comes sooner may be one to an
// attempt of before the ejection, and says nothing.
func TestOutlierKeptInUseComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := breaker.OutlierConfig{}.WithDefaults()
		start := time.Now()
		now := func() time.Duration { return time.Since(start) }
		var o breaker.Outlier
		for i := range 5 {
			if tripped := o.Record(tulle.Failure, now(), &cfg, alone{}); tripped != (i == 4) {
				t.Fatalf("failure %d: tripped: %v", i+1, tripped)
			}
		}
		if o.Record(tulle.Success, now(), &cfg, alone{}) {
			t.Error("a late answer brought it back")
		}
		time.Sleep(6 * time.Second)
		if state, _ := o.State(); state != breaker.OutlierEjected {
			t.Errorf("got %v, want ejected", state)
		}
		if !o.Record(tulle.Success, now(), &cfg, alone{}) {
			t.Error("a success after its time did not bring it back")
		}
		if state, _ := o.State(); state != breaker.OutlierHealthy {
			t.Errorf("got %v, want healthy", state)
		}
		for range 5 {
			o.Record(tulle.Failure, now(), &cfg, alone{})
		}
		if state, _ := o.State(); state != breaker.OutlierEjected {
			t.Errorf("after it failed again: got %v, want ejected", state)
		}
	})
}

// An endpoint that refused connections is tried at once when no other is left, and
// its dead times begin anew. That is not done again and again, and not where a
// connect takes time.
func TestOutlierHurry(t *testing.T) {
	cfg := breaker.OutlierConfig{}.WithDefaults()
	var o breaker.Outlier
	now := time.Duration(0)
	// want checks for how long it is dead.
	want := func(what string, d time.Duration) {
		t.Helper()
		if state, until := o.State(); state != breaker.OutlierDead || until-now != d {
			t.Errorf("%s: got %v for %v, want dead for %v", what, state, until-now, d)
		}
	}
	// fail has a try fail when the dead time is over.
	fail := func(took time.Duration) {
		t.Helper()
		if _, now = o.State(); !o.Probe(now, &cfg) {
			t.Fatalf("at %v it could not be tried", now)
		}
		o.Settle(tulle.Failure, true, took, now, &cfg)
	}
	if o.Hurry(now, &cfg) {
		t.Error("a healthy endpoint was hurried")
	}
	o.Die(now, 0, &cfg)
	for range 7 {
		fail(0)
	}
	want("after eight refused connects", time.Second)
	if !o.Hurry(now, &cfg) {
		t.Error("it was not hurried")
	}
	want("once hurried", 0)
	fail(0)
	want("after the next refused connect", 10*time.Millisecond)
	if o.Hurry(now+time.Millisecond, &cfg) {
		t.Error("it was hurried twice in a second")
	}
	for range 7 {
		fail(0)
	}
	if !o.Hurry(now, &cfg) {
		t.Error("a second later it was not hurried")
	}
	now += time.Millisecond
	if !o.Probe(now, &cfg) || !o.Settle(tulle.Success, false, 0, now, &cfg) || !o.Die(now, 0, &cfg) {
		t.Fatal("it did not come back and die")
	}
	if !o.Hurry(now, &cfg) {
		t.Error("it came back in between, and was not hurried")
	}
	fail(time.Second)
	if o.Hurry(now+time.Second-1, &cfg) {
		t.Error("a connect that takes a second was hurried")
	}
	want("after a slow connect", time.Second)
}
