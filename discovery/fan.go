package discovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tullemesh/tulle"
)

const (
	// patience is how long a resolver may take for its first report until the
	// others stop to wait for it. It is above the time of a DNS look-up.
	patience = 15 * time.Second

	// hintRest is the least time between two hints that are passed on. Without
	// it a flood of them would keep the loop from ever resting.
	hintRest = 100 * time.Millisecond
)

// A source is what a combination knows of one of its resolvers.
type source struct {
	set      []tulle.Endpoint // the last good one
	answered bool             // set was reported, be it empty
	err      error            // what the last report said, nil after a good one
}

// pending says that nothing at all was heard of the source.
func (s *source) pending() bool { return !s.answered && s.err == nil }

// A combine makes one set out of many. It returns false while it cannot tell
// yet, or as long as the set would be empty only because a source has never
// answered: an empty set drains the service, so every source must agree to it.
// It must return a slice of its own or one of the sources' as it is.
type combine func([]source) ([]tulle.Endpoint, bool)

// fan is one watch of a combination of resolvers. It belongs to the goroutine
// of Watch; the goroutines of the resolvers reach it by a channel.
type fan struct {
	name    string // for errors
	combine combine
	report  func(Update)
	sources []source
	said    said
}

// fanEvent is a report of resolver i.
type fanEvent struct {
	i int
	Update
}

// watchAll runs one kept watch per resolver and reports what combine makes of
// them, until ctx is done. All goroutines have ended when it returns.
func watchAll(ctx context.Context, name string, rs []Resolver, c combine, report func(Update), refresh <-chan struct{}) error {
	if err := checkResolvers(name, rs); err != nil {
		return refuse(report, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	events := make(chan fanEvent)
	hints := make([]chan struct{}, len(rs))
	for i, r := range rs {
		hints[i] = make(chan struct{}, 1)
		wg.Go(func() {
			// Keep returns when ctx is done and not before, so its error says
			// nothing.
			_ = Keep(r).Watch(ctx, func(u Update) {
				select {
				case events <- fanEvent{i, u}:
				case <-ctx.Done():
				}
			}, hints[i])
		})
	}
	f := fan{name: name, combine: c, report: report, sources: make([]source, len(rs))}
	return f.loop(ctx, events, hints, refresh)
}

func checkResolvers(name string, rs []Resolver) error {
	if len(rs) == 0 {
		return fmt.Errorf("discovery: %s: no resolvers", name)
	}
	for i, r := range rs {
		if r == nil {
			return fmt.Errorf("discovery: %s: resolver %d of %d is nil", name, i+1, len(rs))
		}
	}
	return nil
}

// loop takes what comes until ctx is done.
func (f *fan) loop(ctx context.Context, events <-chan fanEvent, hints []chan struct{}, refresh <-chan struct{}) error {
	silence := time.NewTimer(patience)
	defer silence.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	var taking <-chan struct{} // refresh, or nil while hints have to wait
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-events:
			f.take(e)
		case <-silence.C:
			f.stopWaiting()
		case <-rest.C:
			taking = refresh
		case <-taking:
			passOn(hints)
			taking = nil
			rest.Reset(hintRest)
		}
	}
}

// passOn gives each resolver a hint, if the one before it was read.
func passOn(hints []chan struct{}) {
	for _, h := range hints {
		select {
		case h <- struct{}{}:
		default:
		}
	}
}

// take notes a report and publishes what follows from it.
func (f *fan) take(e fanEvent) {
	s := &f.sources[e.i]
	if e.Err != nil {
		s.err = e.Err
	} else {
		s.set, s.answered, s.err = e.Endpoints, true, nil
	}
	f.publish(e.Err == nil && len(e.Endpoints) == 0)
}

// stopWaiting counts resolvers that said nothing so far as failed.
func (f *fan) stopWaiting() {
	for i := range f.sources {
		if s := &f.sources[i]; s.pending() {
			s.err = fmt.Errorf("no report within %v", patience)
		}
	}
	f.publish(false)
}

// publish reports the set if that is news, then the errors that are in force.
// Before the first set, errors wait until every resolver was heard. That nobody
// is there is news as often as a resolver says it, as the receiver may count.
func (f *fan) publish(repeated bool) {
	err, pending := f.state()
	set, ok := f.combine(f.sources)
	if ok && (f.said.isNews(set, err) || repeated && len(set) == 0) {
		f.said.tellSet(f.report, set)
	}
	if err != nil && (f.said.known || !pending) {
		f.said.tellErr(f.report, err)
	}
}

// state joins the errors that are in force and says whether a resolver was not
// heard yet.
func (f *fan) state() (err error, pending bool) {
	var errs []error
	for i := range f.sources {
		s := &f.sources[i]
		pending = pending || s.pending()
		if s.err != nil {
			errs = append(errs, fmt.Errorf("discovery: %s: resolver %d of %d: %w", f.name, i+1, len(f.sources), s.err))
		}
	}
	return errors.Join(errs...), pending
}
