package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// label marks the goroutines of a watch. Goroutines inherit labels, so those
// that a watch starts can be told from all others in the process, also when
// other tests run in parallel.
const label = "discoverytest"

// A watch is one Watch that runs, and what it reported.
type watch struct {
	within   time.Duration
	ctx      context.Context
	cancel   context.CancelFunc
	returned chan struct{} // closed when Watch has returned; publishes err
	err      error
	running  atomic.Int32  // reports that run at this moment
	hint     chan struct{} // what the resolver gets as refresh, or nil
	hold     func()        // called by each report, or nil
	spoil    bool          // write to received slices, as their owner may
	news     chan struct{} // 1 deep: a report came

	mu      sync.Mutex // guards what follows
	updates []kept     // all reports so far
	faults  []error    // rules that were broken so far
	next    int        // the first update that until has not seen
}

// kept is an update as it came and as it was.
type kept struct {
	discovery.Update
	copy []tulle.Endpoint
}

// start runs Watch with what is set in w. A ctx that is done already is allowed.
func (w *watch) start(ctx context.Context, r discovery.Resolver) {
	w.returned, w.news = make(chan struct{}), make(chan struct{}, 1)
	w.ctx, w.cancel = context.WithCancel(pprof.WithLabels(ctx, pprof.Labels(label, w.id())))
	go func() {
		defer close(w.returned)
		pprof.SetGoroutineLabels(w.ctx)
		w.err = r.Watch(w.ctx, w.report, w.hint)
	}()
}

// id is the value of the label.
func (w *watch) id() string { return fmt.Sprintf("%p", w) }

// report is what the resolver calls.
func (w *watch) report(u discovery.Update) {
	if n := w.running.Add(1); n > 1 {
		w.fault(fmt.Errorf("report was called while %d other calls of it were running", n-1))
	}
	defer w.running.Add(-1)
	if w.over() {
		w.fault(fmt.Errorf("report was called after Watch had returned, with %s", text(u)))
	}
	if u.Err == nil {
		w.inspect(u.Endpoints)
	}
	k := kept{u, deepClone(u.Endpoints)}
	if w.spoil {
		for i := range u.Endpoints {
			u.Endpoints[i] = tulle.Endpoint{Addr: "spoiled.invalid:1"}
		}
		k.Endpoints = k.copy // our own change is no fault
	}
	w.mu.Lock()
	w.updates = append(w.updates, k)
	w.mu.Unlock()
	w.wake()
	if w.hold != nil {
		w.hold()
	}
}

// inspect finds sets that no receiver could use.
func (w *watch) inspect(set []tulle.Endpoint) {
	seen := make(map[string]bool, len(set))
	for i := range set {
		if err := set[i].Validate(); err != nil {
			w.fault(fmt.Errorf("reported an endpoint that is not valid: %w", err))
		}
		if seen[set[i].Addr] {
			w.fault(fmt.Errorf("reported %s twice in one set", set[i].Addr))
		}
		seen[set[i].Addr] = true
	}
}

// fault notes a broken rule. The check goes on: what else is wrong is worth
// knowing too.
func (w *watch) fault(err error) {
	w.mu.Lock()
	w.faults = append(w.faults, err)
	w.mu.Unlock()
}

// wake lets until look again. One token is enough for any number of news.
func (w *watch) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// over says that Watch has returned.
func (w *watch) over() bool {
	select {
	case <-w.returned:
		return true
	default:
		return false
	}
}

// until waits for an update that want accepts, among those that no earlier call
// has seen. What describes it for the error.
func (w *watch) until(what string, want func(discovery.Update) bool) error {
	late := time.NewTimer(w.within)
	defer late.Stop()
	for {
		if w.find(want) {
			return nil
		}
		select {
		case <-w.news:
		case <-w.returned:
			if w.find(want) { // reported between the last look and the return
				return nil
			}
			return fmt.Errorf("the Watch has returned (%v); want %s, got %s", w.err, what, w.history())
		case <-late.C:
			return fmt.Errorf("nothing within %v; want %s, got %s", w.within, what, w.history())
		}
	}
}

// find looks through the updates that are new.
func (w *watch) find(want func(discovery.Update) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.next < len(w.updates) {
		w.next++
		if want(w.updates[w.next-1].Update) {
			return true
		}
	}
	return false
}

// history is what was reported, for errors.
func (w *watch) history() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.updates) == 0 {
		return "no report at all"
	}
	texts := make([]string, 0, len(w.updates))
	for _, k := range w.updates[max(0, len(w.updates)-5):] {
		texts = append(texts, text(k.Update))
	}
	return strings.Join(texts, ", then ")
}

// ask sends a hint as an owner does: it never waits for the resolver.
func (w *watch) ask() {
	select {
	case w.hint <- struct{}{}:
	default:
	}
}

// stop ends the watch and returns all that it did wrong.
func (w *watch) stop() error {
	if w.ctx.Err() == nil && w.over() {
		w.fault(fmt.Errorf("the Watch returned %v before its context was done", w.err))
	}
	w.cancel()
	late := time.NewTimer(w.within)
	defer late.Stop()
	select {
	case <-w.returned:
	case <-late.C:
		return errors.Join(w.verdict(), fmt.Errorf("the Watch has not returned %v after its context was cancelled", w.within))
	}
	if w.err != nil && !errors.Is(w.err, context.Canceled) {
		return errors.Join(w.verdict(), fmt.Errorf("the Watch returned %v, want nil or the error of its context", w.err))
	}
	return w.verdict()
}

// verdict is all that was found up to now.
func (w *watch) verdict() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := slices.Clone(w.faults)
	for _, k := range w.updates {
		if k.Err == nil && !slices.EqualFunc(k.Endpoints, k.copy, func(a, b tulle.Endpoint) bool { return a.Equal(&b) }) {
			errs = append(errs, fmt.Errorf("a reported slice was changed afterwards from %s to %s", addrs(k.copy), addrs(k.Endpoints)))
		}
	}
	return errors.Join(errs...)
}

// leaks waits until no goroutine of the watch is left, and returns the stacks of
// those that do not end. There is no event to wait for when a goroutine ends,
// so this is the one place that looks again and again.
func (w *watch) leaks() error {
	late := time.NewTimer(w.within)
	defer late.Stop()
	for pause := time.Microsecond; ; pause *= 2 {
		stacks := labelled(w.id())
		if len(stacks) == 0 {
			return nil
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-late.C:
			t.Stop()
			return fmt.Errorf("%d goroutines of the watch are left:\n%s", len(stacks), strings.Join(stacks, "\n\n"))
		}
	}
}

// labelled are the stacks of the goroutines that carry our label with this id.
// The connections of a net/http client are not counted: they belong to the
// client, which may be the caller's own, and end with it.
func labelled(id string) []string {
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return []string{err.Error()} // a strings.Builder does not fail
	}
	var found []string
	for stack := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", label, id)) &&
			!strings.Contains(stack, "net/http.(*persistConn)") && !strings.Contains(stack, "net/http.(*http2clientConnReadLoop)") {
			found = append(found, stack)
		}
	}
	return found
}

// deepClone copies the labels too: changing those is changing the update.
func deepClone(set []tulle.Endpoint) []tulle.Endpoint {
	set = slices.Clone(set)
	for i := range set {
		set[i].Labels = maps.Clone(set[i].Labels)
	}
	return set
}

// text is an update in few words.
func text(u discovery.Update) string {
	if u.Err != nil {
		return fmt.Sprintf("the error %q", u.Err)
	}
	return addrs(u.Endpoints)
}

// addrs is a set in few words: what the suite compares of it.
func addrs(set []tulle.Endpoint) string {
	list := make([]string, len(set))
	for i := range set {
		list[i] = set[i].Addr
	}
	return "the set [" + strings.Join(list, " ") + "]"
}
