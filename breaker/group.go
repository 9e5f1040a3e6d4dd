package breaker

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// GroupConfig says which Breakers a Group has.
type GroupConfig struct {
	// Config is that of each Breaker. Config.OnChange is shared by all; for
	// one Breaker its Changes come in order, those of different ones may come
	// at once.
	Config

	// Key says whose Breaker a request is for. Default (nil): the host of its
	// URL, as it is written there. It must not change the request.
	Key func(*http.Request) string

	// Keys is the most Breakers that are kept. When another is needed the one
	// that was not used for longest is forgotten; one that refuses calls only
	// when all do. Default (0): 1024. Range: 1 to 1000000.
	Keys int
}

// defaultKeys is the default of GroupConfig.Keys.
const defaultKeys = 1024

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c GroupConfig) Validate() error {
	err := c.Config.Validate()
	if c.Keys < 0 || c.Keys > 1e6 {
		err = errors.Join(err, fmt.Errorf("breaker: Keys %v: want 1 to 1000000, or 0 for the default", c.Keys))
	}
	return err
}

// A Group has a Breaker for each key, made when the key is first seen. It is safe
// for concurrent use.
type Group struct {
	cfg   GroupConfig
	clock atomic.Uint64 // counts uses

	mu      sync.RWMutex
	members map[string]*member // guarded by mu
}

// member is a Breaker and when it was last used.
type member struct {
	breaker *Breaker
	used    atomic.Uint64
}

// NewGroup returns an empty Group for cfg, or an error that names every field
// that cannot be used.
func NewGroup(cfg GroupConfig) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Config = cfg.withDefaults()
	if cfg.Key == nil {
		cfg.Key = func(req *http.Request) string { return req.URL.Host }
	}
	if cfg.Keys == 0 {
		cfg.Keys = defaultKeys
	}
	return &Group{cfg: cfg, members: make(map[string]*member)}, nil
}

// Wrap returns a RoundTripper that asks the Breaker of each request's key. It is
// otherwise as Breaker.Wrap.
func (g *Group) Wrap(base http.RoundTripper) http.RoundTripper {
	return newWrapper(base, func(req *http.Request) *Breaker { return g.Of(g.cfg.Key(req)) })
}

// Of returns the Breaker of a key, which it makes if there is none. It is to be
// asked for each time, since the Group may forget it.
func (g *Group) Of(key string) *Breaker {
	g.mu.RLock()
	m := g.members[key]
	g.mu.RUnlock()
	if m == nil {
		return g.add(key)
	}
	m.used.Store(g.clock.Add(1))
	return m.breaker
}

// add makes the Breaker of a key, and room for it.
func (g *Group) add(key string) *Breaker {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[key]
	if m == nil {
		if len(g.members) >= g.cfg.Keys {
			g.evictLocked()
		}
		m = &member{breaker: newBreaker(g.cfg.Config, key)}
		g.members[key] = m
	}
	m.used.Store(g.clock.Add(1))
	return m.breaker
}

// evictLocked forgets one Breaker. One whose time to be open is over keeps
// nobody out any more, so dead hosts do not hold their places for ever.
func (g *Group) evictLocked() {
	now := time.Now()
	var last string
	var oldest uint64
	var kept, found bool
	for key, m := range g.members {
		used, refusing := m.used.Load(), m.breaker.refusing(now)
		if !found || kept && !refusing || kept == refusing && used < oldest {
			last, oldest, kept, found = key, used, refusing, true
		}
	}
	delete(g.members, last)
}

// All are the Breakers that there are now and their keys, in the order of the
// keys. It does not count as a use of them.
func (g *Group) All() iter.Seq2[string, *Breaker] {
	g.mu.RLock()
	all := make(map[string]*Breaker, len(g.members))
	for key, m := range g.members {
		all[key] = m.breaker
	}
	g.mu.RUnlock()
	return func(yield func(string, *Breaker) bool) {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if !yield(key, all[key]) {
				return
			}
		}
	}
}
