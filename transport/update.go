package transport

import (
	"net/http"
)

// Update puts cfg in force in place of the Config that was, as a whole: a call
// sees either of them and never a mix. What is known stays where a service keeps
// its name: statistics, ejections, budget, the tokens of limits, connections
// where nothing about them changes, and the last good set of endpoints also when
// its source changes. A breaker whose own settings change starts closed. Calls
// that are running end under the Config that they began with.
//
// If cfg cannot be used, Update returns an error that names every setting that
// cannot, and nothing changes.
func (t *Transport) Update(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := t.put(cfg); err != nil {
		return err
	}
	t.followers.tellAll()
	return nil
}

// put builds what a valid Config needs and puts it in force.
func (t *Transport) put(cfg Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watching.Err() != nil {
		return ErrClosed
	}
	old := t.table.Load()
	next := &table{cfg: cfg, services: make(map[string]*service, len(cfg.Services)), plain: cfg.Base}
	if next.plain == nil {
		next.plain = old.plain
		if old.plain == nil || old.cfg.Base != nil {
			next.plain = tunedPlain()
		}
	}
	for name, from := range cfg.Services {
		key, _ := serviceKey(name) // Validate has checked it
		s, err := t.newService(&cfg, key, from)
		if err != nil {
			return err
		}
		next.services[key] = s
	}
	t.replace(old, next)
	return nil
}

// tunedPlain sends what passes through where there is no Base.
func tunedPlain() http.RoundTripper {
	p := tuned()
	p.Proxy = http.ProxyFromEnvironment
	return p
}

// replace takes over what stays, puts next in force, and lets go of the rest.
func (t *Transport) replace(old, next *table) {
	var leftover []func()
	for key, s := range next.services {
		if was := old.services[key]; was != nil {
			leftover = append(leftover, s.inherit(was)...)
		}
	}
	for key, was := range old.services {
		if next.services[key] == nil {
			leftover = append(leftover, was.end, was.wire.close)
		}
	}
	t.table.Store(next)
	if old.plain != nil && old.cfg.Base == nil && next.plain != old.plain {
		leftover = append(leftover, func() { closeIdle(old.plain) })
	}
	for _, f := range leftover {
		f()
	}
	for _, s := range next.services {
		if s.end == nil {
			t.watch(s)
		}
	}
	t.hosts.reconfigure(&next.cfg)
}
