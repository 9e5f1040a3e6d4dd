package discoverytest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/discovery/discoverytest"
)

var errDown = errors.New("the source is down")

// source is something to watch, in memory. Its own Watch keeps every rule; the
// broken resolvers are made of its parts.
type source struct {
	mu      sync.Mutex
	set     []tulle.Endpoint
	err     error
	changed chan struct{} // closed and replaced at each change
	release chan struct{} // closed when the check is over, for those who ignore ctx
}

func newSource() *source {
	return &source{
		set: []tulle.Endpoint{{Addr: "192.0.2.9:80"}}, changed: make(chan struct{}), release: make(chan struct{}),
	}
}

func (s *source) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// now is what a look at the source would find, and when to look again.
func (s *source) now() (discovery.Update, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return discovery.Update{Err: s.err}, s.changed
	}
	return discovery.Update{Endpoints: slices.Clone(s.set)}, s.changed
}

func (s *source) Watch(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
	return s.each(ctx, report)
}

// each passes all states of the source to f.
func (s *source) each(ctx context.Context, f func(discovery.Update)) error {
	for {
		u, changed := s.now()
		f(u)
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// harness is over the resolvers that of makes out of new sources. The sources
// are released by end.
func harness(of func(*source) discovery.Resolver) (h discoverytest.Harness, end func()) {
	var all []*source
	last := func() *source { return all[len(all)-1] }
	return discoverytest.Harness{
			New: func(*testing.T) discovery.Resolver {
				all = append(all, newSource())
				return of(last())
			},
			Set: func(_ *testing.T, set []tulle.Endpoint) {
				last().change(func() { last().set = set })
			},
			Fail:    func(*testing.T) { last().change(func() { last().err = errDown }) },
			Recover: func(*testing.T) { last().change(func() { last().err = nil }) },
			Within:  time.Second,
		}, func() {
			for _, s := range all {
				close(s.release)
			}
		}
}
