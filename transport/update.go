package transport

import (
	"cmp"
	"net/http"
	"sync/atomic"

	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
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
	err := cfg.Validate()
	if err == nil {
		err = t.put(cfg)
	}
	if err != nil {
		t.Refused(err)
		return err
	}
	t.updates.applied.Add(1)
	t.updates.failure.Store(nil)
	t.tel.Event(t.watching, telemetry.Event{Kind: telemetry.ConfigApplied, N: len(cfg.Services)})
	t.followers.tellAll()
	return nil
}

// updates counts what became of Configs.
type updates struct {
	applied, refused atomic.Uint64
	failure          atomic.Pointer[error] // why the latest was refused, nil after one that was not
}

// Refused takes note that a new configuration could not be used before there was a
// Config to Update with, for those that read one from elsewhere: it is counted,
// logged and shown in Snapshot, as one that Update refuses.
func (t *Transport) Refused(err error) {
	t.updates.refused.Add(1)
	t.updates.failure.Store(&err)
	t.tel.Event(t.watching, telemetry.Event{Kind: telemetry.ConfigRefused, Err: err})
}

// put builds what a valid Config needs and puts it in force.
func (t *Transport) put(cfg Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watching.Err() != nil {
		return ErrClosed
	}
	old := t.table.Load()
	next := &table{cfg: cfg, services: make(map[string]*entry, len(cfg.Services)), plain: cfg.Base}
	if next.plain == nil {
		next.plain = old.plain
		if old.plain == nil || old.cfg.Base != nil {
			next.plain = tunedPlain()
		}
	}
	if err := t.fill(next, &cfg); err != nil {
		return err
	}
	t.replace(old, next)
	return nil
}

// fill makes the services of a Config and the routes to them.
func (t *Transport) fill(next *table, cfg *Config) error {
	routes, err := route.New(cfg.routing())
	if err != nil {
		return err
	}
	next.routes = routes
	at := make(map[route.Destination]*service)
	for name, from := range cfg.Services {
		key, _ := serviceKey(name) // Validate has checked it
		for env, place := range from.places() {
			s, err := t.newService(cfg, key, env, place)
			if err != nil {
				return err
			}
			at[route.Destination{Service: key, Environment: env}] = s
		}
		next.services[key] = &entry{
			name: key, handle: routes.Service(key), home: home(cfg, &from, key, at),
			direct: len(from.Environments) == 0 && len(from.Rules) == 0 && !from.OnlyRules && len(cfg.Rules) == 0,
		}
	}
	for _, d := range routes.Destinations() {
		next.destinations = append(next.destinations, at[d])
	}
	return nil
}

// home is where calls to a service go when nobody says otherwise, or nil.
func home(cfg *Config, from *Service, key string, at map[route.Destination]*service) *service {
	if s := at[route.Destination{Service: key}]; s != nil {
		return s
	}
	first := cmp.Or(from.Environment, cfg.Environment, "prod")
	for _, env := range append([]string{first}, cfg.Environments[first].Fallback...) {
		if s := at[route.Destination{Service: key, Environment: env}]; s != nil {
			return s
		}
	}
	return nil
}

// letGo ends what belongs to a destination that is not in use any more. Calls that
// wait for the first report of its source get it before.
func (t *Transport) letGo(s *service) {
	end := func() {
		s.end()
		s.wire.close()
	}
	select {
	case <-s.Engine.Ready():
		end()
	default:
		t.watches.Go(func() {
			select {
			case <-s.Engine.Ready():
			case <-t.watching.Done():
				s.giveUp()
			}
			end()
		})
	}
}

// giveUp fails the calls that wait for the first report of a source that is watched
// no more.
func (s *service) giveUp() {
	select {
	case <-s.Engine.Ready():
	default:
		s.Engine.Fail(ErrClosed)
	}
}

// heirs says which destination takes over what is known of which: the one of the
// same name and environment, or else, when a service gets environments or loses
// them, one with the same source. Gone are those that have no heir.
func heirs(old, next *table) (heirs map[*service]*service, gone map[route.Destination]*service) {
	gone = make(map[route.Destination]*service, len(old.destinations))
	for _, s := range old.destinations {
		gone[s.place()] = s
	}
	heirs = make(map[*service]*service, len(gone))
	var strangers []*service
	for _, s := range next.destinations {
		was := gone[s.place()]
		if was == nil {
			strangers = append(strangers, s)
			continue
		}
		heirs[s] = was
		delete(gone, s.place())
	}
	left := make(map[string][]*service)
	for _, was := range gone {
		left[was.Name] = append(left[was.Name], was)
	}
	for _, s := range strangers {
		for _, was := range left[s.Name] {
			moved := (was.Environment == "") != (s.Environment == "") && gone[was.place()] != nil
			if moved && sameSource(was, s) {
				heirs[s] = was
				delete(gone, was.place())
				break
			}
		}
	}
	return heirs, gone
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
	heirs, gone := heirs(old, next)
	for s, was := range heirs {
		leftover = append(leftover, s.inherit(was)...)
	}
	for _, s := range gone {
		leftover = append(leftover, func() { t.letGo(s) })
	}
	t.table.Store(next)
	if old.plain != nil && old.cfg.Base == nil && next.plain != old.plain {
		leftover = append(leftover, func() { closeIdle(old.plain) })
	}
	for _, f := range leftover {
		f()
	}
	for _, s := range next.destinations {
		if s.end == nil {
			t.watch(s)
		}
	}
	t.hosts.reconfigure(&next.cfg)
}
