package dns_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tullemesh/tulle/discovery"
)

// A watch is a Watch that runs until the test ends.
type watch struct {
	t       *testing.T
	refresh chan struct{}
	updates chan discovery.Update
}

func start(t *testing.T, r discovery.Resolver) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{t: t, refresh: make(chan struct{}, 1), updates: make(chan discovery.Update, 1000)}
	end := make(chan struct{})
	go func() {
		defer close(end)
		if err := r.Watch(ctx, func(u discovery.Update) { w.updates <- u }, w.refresh); ctx.Err() == nil {
			t.Errorf("Watch has returned: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-end
	})
	return w
}

// text is an update in the form "addr priority weight, ...", or its error.
func text(u discovery.Update) string {
	if u.Err != nil {
		return "error: " + u.Err.Error()
	}
	list := []string{}
	for _, e := range u.Endpoints {
		list = append(list, fmt.Sprint(e.Addr, " ", e.Priority, " ", e.Share()))
	}
	slices.Sort(list)
	return fmt.Sprint(list)
}

// until takes updates until one is accepted, and returns those before it.
func (w *watch) until(what string, want func(discovery.Update) bool) (before []discovery.Update) {
	w.t.Helper()
	late := time.NewTimer(40 * time.Second)
	defer late.Stop()
	var texts []string
	for {
		select {
		case u := <-w.updates:
			if want(u) {
				return before
			}
			before = append(before, u)
			texts = append(texts, text(u))
		case <-late.C:
			w.t.Fatalf("got the updates %q within 40s, want %s", texts, what)
		}
	}
}

// set waits for a set of endpoints, in the form of text, with nothing but errors
// and the sets of between before.
func (w *watch) set(want []string, between ...[]string) {
	w.t.Helper()
	before := w.until("the set "+fmt.Sprint(want), func(u discovery.Update) bool { return text(u) == fmt.Sprint(want) })
	for _, u := range before {
		if u.Err == nil && !slices.ContainsFunc(between, func(set []string) bool { return text(u) == fmt.Sprint(set) }) {
			w.t.Errorf("got %s before %v, want errors and %v only", text(u), want, between)
		}
	}
}

// fails waits for an error, with nothing before.
func (w *watch) fails() {
	w.t.Helper()
	for _, u := range w.until("an error", func(u discovery.Update) bool { return u.Err != nil }) {
		w.t.Errorf("got %s, want an error", text(u))
	}
}

// holds looks on for some time, in which there may be errors only.
func (w *watch) holds(d time.Duration) {
	w.t.Helper()
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		select {
		case u := <-w.updates:
			if u.Err == nil {
				w.t.Errorf("got %s, want the last good set to stay", text(u))
			}
		case <-over.C:
			return
		}
	}
}

// hint says that connections fail.
func (w *watch) hint() {
	select {
	case w.refresh <- struct{}{}:
	default:
	}
}
