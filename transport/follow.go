package transport

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// Destinations are where calls to a service can go, the one where they go when
// nobody says otherwise first. There is none if the name is no service. It is for
// the adapters of other protocols that come with this module.
func (t *Transport) Destinations(name string) []*destination.Destination {
	tb := t.table.Load()
	e := tb.find(name)
	if e == nil {
		return nil
	}
	var all []*destination.Destination
	if e.home != nil {
		all = append(all, &e.home.Destination)
	}
	for _, s := range tb.destinations {
		if s.Name == e.name && s != e.home {
			all = append(all, &s.Destination)
		}
	}
	return all
}

// Telemetry is what records the Transport's calls, for its Records and for adapters
// of other protocols. It is closed with the Transport.
func (t *Transport) Telemetry() *telemetry.Telemetry { return t.tel }

// DefaultTimeout is Config.Defaults.Timeout, 0 for none. It is for the adapters of
// other protocols that come with this module.
func (t *Transport) DefaultTimeout() time.Duration {
	return max(0, t.table.Load().cfg.Defaults.Timeout)
}

// Follow has changed called after a service's endpoints or its settings have
// changed, until stop is called. It is for the adapters of other protocols that
// come with this module. Changed must not block, and may still run once after
// stop.
func (t *Transport) Follow(name string, changed func()) (stop func()) {
	return t.followers.add(canonicalHost(name), changed)
}

// followers are told of changes.
type followers struct {
	mu     sync.Mutex
	byName map[string]map[*func()]struct{} // guarded by mu
}

// add makes a follower of a service.
func (f *followers) add(name string, changed func()) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byName == nil {
		f.byName = make(map[string]map[*func()]struct{})
	}
	if f.byName[name] == nil {
		f.byName[name] = make(map[*func()]struct{})
	}
	key := &changed
	f.byName[name][key] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.byName[name], key)
		if len(f.byName[name]) == 0 {
			delete(f.byName, name)
		}
	}
}

// tell calls the followers of the service under key, without the lock.
func (f *followers) tell(key string) {
	f.call(func(name string) bool {
		host, _, _ := splitPort(name)
		return name == key || host == key
	})
}

// tellAll calls all followers.
func (f *followers) tellAll() { f.call(func(string) bool { return true }) }

// call calls those whose name is wanted.
func (f *followers) call(wanted func(name string) bool) {
	var all []*func()
	f.mu.Lock()
	for name, set := range f.byName {
		if wanted(name) {
			all = slices.AppendSeq(all, maps.Keys(set))
		}
	}
	f.mu.Unlock()
	for _, changed := range all {
		(*changed)()
	}
}
