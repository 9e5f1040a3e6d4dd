package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/dnstest"
	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) {
	dnstest.Prepare()
	leak.Main(m)
}

var errDown = errors.New("the source is down")

// A running is a watch under test, inside a synctest bubble.
type running struct {
	t       *testing.T
	cancel  context.CancelFunc
	refresh chan struct{}
	updates chan discovery.Update
	end     chan struct{} // closed when Watch has returned; publishes err
	err     error
}

// watch runs r until the test ends.
func watch(t *testing.T, r discovery.Resolver) *running {
	ctx, cancel := context.WithCancel(context.Background())
	w := &running{
		t: t, cancel: cancel, refresh: make(chan struct{}, 1),
		updates: make(chan discovery.Update, 1000), end: make(chan struct{}),
	}
	go func() {
		defer close(w.end)
		w.err = r.Watch(ctx, func(u discovery.Update) { w.updates <- u }, w.refresh)
	}()
	t.Cleanup(func() { _ = w.stop() })
	return w
}

// stop ends the watch and returns what Watch returned.
func (w *running) stop() error {
	w.cancel()
	<-w.end
	return w.err
}

// next is the next update. Two days in a bubble take no time.
func (w *running) next() discovery.Update {
	w.t.Helper()
	late := time.NewTimer(48 * time.Hour)
	defer late.Stop()
	select {
	case u := <-w.updates:
		return u
	case <-late.C:
		w.t.Fatal("got no update for two days, want one")
	}
	return discovery.Update{}
}

// want checks the next update: the addresses in order, with "/1" behind those
// of priority 1 and so on.
func (w *running) want(addrs ...string) {
	w.t.Helper()
	if u := w.next(); u.Err != nil || !slices.Equal(brief(u.Endpoints), addrs) {
		w.t.Fatalf("update: got %v, %v, want %v", brief(u.Endpoints), u.Err, addrs)
	}
}

// wantErr checks that the next update is an error with all of the texts.
func (w *running) wantErr(texts ...string) error {
	w.t.Helper()
	u := w.next()
	if u.Err == nil {
		w.t.Fatalf("update: got %v, want an error", brief(u.Endpoints))
	}
	for _, text := range texts {
		if !strings.Contains(u.Err.Error(), text) {
			w.t.Fatalf("error: got %q, want it to say %q", u.Err, text)
		}
	}
	return u.Err
}

// quiet checks that nothing is reported for d and a bit more: at d itself the
// watch may be at work, and what the test does next would race with it.
func (w *running) quiet(d time.Duration) {
	w.t.Helper()
	over := time.NewTimer(d + 333*time.Millisecond)
	defer over.Stop()
	select {
	case u := <-w.updates:
		w.t.Fatalf("update: got %v, %v, want none for %v", brief(u.Endpoints), u.Err, d)
	case <-over.C:
	}
}

// hint sends a hint as the engine does.
func (w *running) hint() {
	select {
	case w.refresh <- struct{}{}:
	default:
	}
}

func brief(set []tulle.Endpoint) []string {
	var list []string
	for _, e := range set {
		if e.Priority > 0 {
			e.Addr += fmt.Sprintf("/%d", e.Priority)
		}
		list = append(list, e.Addr)
	}
	return list
}

// eps makes endpoints out of addresses.
func eps(addrs ...string) []tulle.Endpoint {
	set := make([]tulle.Endpoint, len(addrs))
	for i, a := range addrs {
		set[i].Addr = a
	}
	return set
}

// A memory is a source in memory and its own Resolver. It says nothing until
// something was set.
type memory struct {
	mu      sync.Mutex
	update  *discovery.Update
	changed chan struct{} // closed and replaced at each change
	hints   int           // received
	watches int           // running
}

func newMemory() *memory { return &memory{changed: make(chan struct{})} }

// holds is a memory that answers at once.
func holds(addrs ...string) *memory {
	m := newMemory()
	m.set(addrs...)
	return m
}

func (m *memory) set(addrs ...string) { m.say(discovery.Update{Endpoints: eps(addrs...)}) }
func (m *memory) fail(err error)      { m.say(discovery.Update{Err: err}) }

func (m *memory) say(u discovery.Update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.update = &u
	close(m.changed)
	m.changed = make(chan struct{})
}

// now is what a question gets for an answer.
func (m *memory) now() discovery.Update {
	m.mu.Lock()
	defer m.mu.Unlock()
	return discovery.Update{Endpoints: slices.Clone(m.update.Endpoints), Err: m.update.Err}
}

func (m *memory) Watch(ctx context.Context, report func(discovery.Update), refresh <-chan struct{}) error {
	m.count(&m.watches, 1)
	defer m.count(&m.watches, -1)
	for {
		m.mu.Lock()
		u, changed := m.update, m.changed
		m.mu.Unlock()
		if u != nil {
			report(discovery.Update{Endpoints: slices.Clone(u.Endpoints), Err: u.Err})
		}
		for again := true; again; {
			select {
			case <-changed:
				again = false
			case <-refresh:
				m.count(&m.hints, 1)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (m *memory) count(n *int, by int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n += by
	return *n
}
