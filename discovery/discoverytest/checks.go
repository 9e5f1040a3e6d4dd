package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// grace is how long the suite gives a Watch to do something wrong where no event
// tells that it will not: to return early, to report late, to mind hints. A right
// one passes whatever the scheduler does with this time.
const grace = 50 * time.Millisecond

// hints is how many hints a flood has. It ends, so that a resolver that
// discards hints in a loop, as it may, comes to rest again.
const hints = 1000

// The sets that the source goes through. B shares an endpoint with A, so that a
// difference is not mistaken for a set.
var (
	setA = []tulle.Endpoint{{Addr: "192.0.2.1:80"}, {Addr: "192.0.2.2:80"}}
	setB = []tulle.Endpoint{{Addr: "192.0.2.2:80"}, {Addr: "192.0.2.3:80"}, {Addr: "192.0.2.4:80"}}
)

// A check is one rule of the contract.
type check struct {
	name    string
	run     func(*bench) error
	applies func(*Harness) bool
}

// What a check needs of the Harness.
func always(*Harness) bool           { return true }
func canSet(h *Harness) bool         { return h.Set != nil }
func canFail(h *Harness) bool        { return h.Fail != nil }
func isGood(u discovery.Update) bool { return u.Err == nil }

// checks are in the order in which a resolver is usually made to pass them. A
// test sees to it that each of them can fail.
var checks = []check{
	{"first update", firstUpdate, always},
	{"changes", changes, canSet},
	{"failure", failure, canFail},
	{"failure at start", failureAtStart, canFail},
	{"cancelled before", cancelledBefore, always},
	{"blocked report", blockedReport, always},
	{"late report", lateReport, always},
	{"concurrent watches", concurrentWatches, always},
	{"slices", sharedSlices, always},
	{"nil refresh", nilRefresh, always},
	{"flooded refresh", floodedRefresh, always},
	{"goroutines", goroutines, always},
}

// A bench is one check at work.
type bench struct {
	Harness
	t *testing.T
}

// fresh makes a resolver whose source holds A where that can be had. Each check
// has its own, so that none depends on what another has left behind.
func (b *bench) fresh() discovery.Resolver {
	r := b.New(b.t)
	b.set(setA)
	return r
}

// set changes the source if it can be changed. The copy is for harnesses that
// keep what they are given while a resolver hands it out.
func (b *bench) set(set []tulle.Endpoint) {
	if b.Set != nil {
		b.Set(b.t, slices.Clone(set))
	}
}

// watch starts a watch that can be hinted.
func (b *bench) watch(r discovery.Resolver) *watch {
	w := &watch{within: b.Within, hint: make(chan struct{}, 1)}
	w.start(context.Background(), r)
	return w
}

// sees waits for set, or for any good update where the set cannot be chosen.
func (b *bench) sees(w *watch, set []tulle.Endpoint) error {
	if b.Set == nil {
		return w.until("a good update", isGood)
	}
	return w.until(addrs(set), func(u discovery.Update) bool { return u.Err == nil && sameAddrs(u.Endpoints, set) })
}

// turns changes the source, hints, and waits for the change. It does nothing
// where the set cannot be chosen.
func (b *bench) turns(w *watch, set []tulle.Endpoint) error {
	if b.Set == nil {
		return nil
	}
	b.set(set)
	w.ask()
	return b.sees(w, set)
}

// sameAddrs: in any order, as the contract knows none. Reported sets were
// inspected for doubles already.
func sameAddrs(a, b []tulle.Endpoint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !slices.ContainsFunc(b, func(e tulle.Endpoint) bool { return e.Addr == a[i].Addr }) {
			return false
		}
	}
	return true
}

// firstUpdate: a watch reports at once and stays.
func firstUpdate(b *bench) error {
	w := b.watch(b.fresh())
	err := b.sees(w, setA)
	if err == nil {
		wait(grace) // one that looks only once has returned then
	}
	return errors.Join(err, w.stop())
}

// changes: without hints, as the rule does not depend on them.
func changes(b *bench) error {
	w := b.watch(b.fresh())
	err := b.sees(w, setA)
	for _, set := range [][]tulle.Endpoint{setB, setA, setB[:1]} { // growing, back, and all but gone
		if err == nil {
			b.set(set)
			err = b.sees(w, set)
		}
	}
	return errors.Join(err, w.stop())
}

// failure: a source that cannot be asked says nothing about endpoints. A watch
// may end by it, so its owner is there to call it again.
func failure(b *bench) error {
	w := b.watch(discovery.Keep(b.fresh()))
	err := b.sees(w, setA)
	if err == nil {
		b.Fail(b.t)
		w.ask()
		var wrong error
		err = w.until("an error", func(u discovery.Update) bool {
			// An update that was under way when the source failed may still come.
			if u.Err == nil && (len(u.Endpoints) == 0 || b.Set != nil && !sameAddrs(u.Endpoints, setA)) {
				wrong = fmt.Errorf("the source failed: got %s with no error, want an error alone", text(u))
			}
			return u.Err != nil
		})
		err = errors.Join(wrong, err)
	}
	if err == nil {
		b.Recover(b.t)
		w.ask()
		err = b.sees(w, setA) // also when nothing changed: it ends the error
	}
	if err == nil {
		err = b.turns(w, setB)
	}
	return errors.Join(err, w.stop())
}

// failureAtStart: there is no last good set to fall back on, and the temptation
// to report an empty one is greatest.
func failureAtStart(b *bench) error {
	r := b.fresh()
	b.Fail(b.t)
	w := b.watch(discovery.Keep(r))
	var first discovery.Update
	err := w.until("an error", func(u discovery.Update) bool { first = u; return true })
	if err == nil && isGood(first) {
		err = fmt.Errorf("the source fails from the start: got %s first, want an error", text(first))
	}
	if err == nil {
		b.Recover(b.t)
		w.ask()
		err = b.sees(w, setA)
	}
	return errors.Join(err, w.stop())
}

// cancelledBefore: an owner that closes while it starts. A report is allowed,
// but nothing else than the return may be waited for.
func cancelledBefore(b *bench) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := &watch{within: b.Within, hint: make(chan struct{}, 1)}
	w.start(ctx, b.fresh())
	return w.stop()
}

// blockedReport: the context ends while a report blocks. Watch must wait for
// it, start no other meanwhile, and return soon after.
func blockedReport(b *bench) error {
	r := b.fresh()
	release := make(chan struct{})
	w := &watch{within: b.Within, hint: make(chan struct{}, 1), hold: func() { <-release }}
	w.start(context.Background(), r)
	err := w.until("a report", func(discovery.Update) bool { return true })
	b.set(setB) // something to report, for one who does it beside the other
	w.ask()
	wait(grace)
	w.cancel()
	wait(grace)
	if w.over() {
		err = errors.Join(err, errors.New("the Watch returned while report was still running"))
	}
	close(release)
	return errors.Join(err, w.stop())
}

// wait lets time pass in which the resolver could do something wrong; nothing
// depends on how much of it does.
func wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// lateReport: the source changes when the watch is over, and a second watch
// shows when the change can be seen.
func lateReport(b *bench) error {
	r := b.fresh()
	w := b.watch(r)
	err := errors.Join(b.sees(w, setA), w.stop())
	if !w.over() {
		return err // a watch that has not returned may report
	}
	b.set(setB)
	w.ask()
	other := b.watch(r)
	err = errors.Join(err, b.sees(other, setB))
	wait(grace) // the old one may be slower than the new one
	return errors.Join(err, other.stop(), w.verdict())
}

// concurrentWatches: one value may serve several destinations.
func concurrentWatches(b *bench) error {
	r := b.fresh()
	one, two := b.watch(r), b.watch(r)
	err := errors.Join(b.sees(one, setA), b.sees(two, setA))
	if err == nil && b.Set != nil { // one change must reach both
		b.set(setB)
		one.ask()
		two.ask()
		err = errors.Join(b.sees(one, setB), b.sees(two, setB))
	}
	err = errors.Join(err, one.stop())
	if err == nil {
		wait(grace) // the end of one must not be that of the other
		err = b.turns(two, setA)
	}
	return errors.Join(err, two.stop())
}

// sharedSlices: one receiver writes to what it got, another must not notice.
func sharedSlices(b *bench) error {
	r := b.fresh()
	spoiler := &watch{within: b.Within, hint: make(chan struct{}, 1), spoil: true}
	spoiler.start(context.Background(), r)
	err := b.sees(spoiler, setA)
	w := b.watch(r)
	err = errors.Join(err, b.sees(w, setA))
	if err == nil && b.Set != nil {
		b.set(setB)
		spoiler.ask()
		w.ask()
		err = errors.Join(b.sees(spoiler, setB), b.sees(w, setB))
	}
	return errors.Join(err, spoiler.stop(), w.stop())
}

// nilRefresh: hints are an offer of the owner. Changes come in without them.
func nilRefresh(b *bench) error {
	w := &watch{within: b.Within}
	w.start(context.Background(), b.fresh())
	err := b.sees(w, setA)
	if err == nil && b.Set != nil {
		b.set(setB)
		err = b.sees(w, setB)
	}
	return errors.Join(err, w.stop())
}

// floodedRefresh: hints as fast as they are taken. A resolver that never takes
// one leaves the sender blocked, which is no fault.
func floodedRefresh(b *bench) error {
	w := &watch{within: b.Within, hint: make(chan struct{})}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for range hints {
			select {
			case w.hint <- struct{}{}:
			case <-stop:
				return
			}
		}
	}()
	w.start(context.Background(), b.fresh())
	err := b.sees(w, setA)
	if err == nil && b.Set != nil {
		b.set(setB)
		err = b.sees(w, setB)
	}
	enough := time.NewTimer(grace) // one with a floor takes few hints
	defer enough.Stop()
	select {
	case <-stopped:
	case <-enough.C:
	}
	err = errors.Join(err, w.stop())
	close(stop)
	<-stopped
	return err
}

// goroutines: what a watch started has ended with it. It went through a change,
// as many start more with the second question than with the first.
func goroutines(b *bench) error {
	w := b.watch(b.fresh())
	err := b.sees(w, setA)
	if err == nil {
		err = b.turns(w, setB)
	}
	err = errors.Join(err, w.stop())
	if !w.over() {
		return err // its goroutines are still at work
	}
	return errors.Join(err, w.leaks())
}
