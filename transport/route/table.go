package route

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// Table is a Config at work. It does not change and is safe for concurrent use.
type Table struct {
	envs         []env
	envIndex     map[string]int
	services     map[string]*Handle
	destinations []Destination
	global       *list
	labels       map[string]string
	policy       OverridePolicy // without its lists, which are where they are asked for
	byHeader     bool           // some header overrides may be honoured
	keys         *keyring
}

// Handle is a service in a Table.
type Handle struct {
	name      string
	lower     string
	plain     *Chain // of all calls, if nothing but an override could change it
	home      int    // its environment when nobody says otherwise
	chains    []*chains
	only      []*Chain // of one step each, or nil, by environment
	rules     *list
	onlyRules bool
	bare      bool // it has no environments
	allowed   bool // headers may override it
	noRule    error
}

// Name is the key of the service.
func (h *Handle) Name() string { return h.name }

// New checks cfg and makes a Table of it. The error joins an *Error for each
// setting that cannot be used.
func New(cfg Config) (*Table, error) {
	p := problems{to: &found{}}
	t := &Table{services: make(map[string]*Handle, len(cfg.Services)), labels: maps.Clone(cfg.Labels)}
	validate(&cfg, p)
	if p.any() {
		return nil, errors.Join(p.to.errs...)
	}
	t.addEnvironments(&cfg)
	t.addOverrides(&cfg)
	for _, name := range slices.Sorted(maps.Keys(cfg.Services)) {
		t.addService(name, &cfg)
	}
	t.global = t.compile(cfg.Rules, nil)
	for name, h := range t.services {
		h.rules = t.compile(cfg.Services[name].Rules, h)
		home := h.chains[h.home]
		if h.rules == nil && t.global == nil && !h.onlyRules && home.uniform() && home[0].Err == nil {
			h.plain = home[0]
		}
	}
	return t, nil
}

// Service returns the service of a key, or nil. Callers keep it to save
// the look-up; it belongs to this Table.
func (t *Table) Service(key string) *Handle { return t.services[key] }

// Destinations are all that a Step can name, in the order of services and
// environments. It must not be changed.
func (t *Table) Destinations() []Destination { return t.destinations }

// environmentNames are the names that a Config mentions as environments.
func environmentNames(cfg *Config) []string {
	names := map[string]bool{defaultEnvironment(cfg): true}
	for name := range cfg.Environments {
		names[name] = true
	}
	for _, s := range cfg.Services {
		for _, name := range s.Environments {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// defaultEnvironment is the environment of calls when nobody says otherwise.
func defaultEnvironment(cfg *Config) string {
	if cfg.Default == "" {
		return prod
	}
	return cfg.Default
}

// addEnvironments makes the environments, of a Config that has been checked.
func (t *Table) addEnvironments(cfg *Config) {
	names := environmentNames(cfg)
	t.envs = make([]env, len(names))
	t.envIndex = make(map[string]int, len(names))
	for i, name := range names {
		t.envIndex[name] = i
	}
	for i, name := range names {
		from := cfg.Environments[name]
		e := &t.envs[i]
		*e = env{name: name, failover: from.Failover || from.SpillOver, spillOver: from.SpillOver, protected: name == prod}
		if from.Protected != nil {
			e.protected = *from.Protected
		}
		for _, to := range from.Fallback {
			e.fallback = append(e.fallback, t.envIndex[to])
			e.writes = append(e.writes, slices.Contains(from.FallbackWrites, to))
		}
	}
}

// addService makes a service without its rules, which may name services that
// come later.
func (t *Table) addService(name string, cfg *Config) {
	s := cfg.Services[name]
	h := &Handle{name: name, lower: strings.ToLower(name), onlyRules: s.OnlyRules, chains: make([]*chains, len(t.envs))}
	h.noRule = refuse(ErrNoRule, name)
	h.allowed = listed(cfg.Override.Services, h.lower)
	home := s.Default
	if home == "" {
		home = defaultEnvironment(cfg)
	}
	h.home = t.envIndex[home]
	t.addDestinations(h, s.Environments)
	t.services[name] = h
}

// addDestinations gives a service its chains.
func (t *Table) addDestinations(h *Handle, environments []string) {
	h.only = make([]*Chain, len(t.envs))
	if len(environments) == 0 {
		h.bare = true
		one := &Chain{Service: h.name, Steps: []Step{{Destination: len(t.destinations)}}}
		t.destinations = append(t.destinations, Destination{Service: h.name})
		for i := range h.chains {
			h.chains[i] = &chains{one, one, one, one}
			h.only[i] = one
		}
		return
	}
	at := make([]int, len(t.envs))
	for i, e := range t.envs {
		at[i] = -1
		if slices.Contains(environments, e.name) {
			at[i] = len(t.destinations)
			h.only[i] = &Chain{Service: h.name, Environment: e.name, Steps: []Step{
				{Environment: e.name, Destination: at[i], Protected: e.protected},
			}}
			t.destinations = append(t.destinations, Destination{Service: h.name, Environment: e.name})
		}
	}
	for i := range h.chains {
		h.chains[i] = t.chainsFrom(h.name, i, at)
	}
}

// listed says that a list of an OverridePolicy has the name.
func listed(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return n == all || strings.ToLower(n) == name })
}
