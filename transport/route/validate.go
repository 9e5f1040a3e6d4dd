package route

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The bounds of durations.
const (
	minTimeout = time.Millisecond
	maxTimeout = 24 * time.Hour
	maxDelay   = time.Hour
)

// checker checks a Config.
type checker struct {
	cfg          *Config
	environments []string
	services     []string
}

// validate notes all that is wrong in cfg.
func validate(cfg *Config, p problems) {
	c := &checker{cfg: cfg, environments: environmentNames(cfg), services: slices.Sorted(maps.Keys(cfg.Services))}
	if len(cfg.Services) > maxServices {
		p.at("services").add(len(cfg.Services), "up to %d", maxServices)
		return
	}
	if !isEnvironment(defaultEnvironment(cfg)) {
		p.at("default").add(cfg.Default, wantEnvironment)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Environments)) {
		c.environment(name, cfg.Environments[name], p.at("environments[%q]", name))
	}
	lower := map[string]string{}
	for _, name := range c.services {
		at := p.at("services[%q]", name)
		if other, twice := lower[strings.ToLower(name)]; twice {
			at.add(name, "another name than %q, which it equals but for case", other)
		}
		lower[strings.ToLower(name)] = name
		c.service(name, at)
	}
	c.rules(cfg.Rules, nil, p.at("rules"))
	c.policy(&cfg.Override, p.at("override"))
}

const wantEnvironment = "a DNS label: up to 63 of a-z, 0-9 and -"

// environment checks one environment.
func (c *checker) environment(name string, e Environment, p problems) {
	if !isEnvironment(name) {
		p.add(name, "as name "+wantEnvironment)
	}
	seen := map[string]bool{name: true}
	for i, to := range e.Fallback {
		at := p.at(".fallback[%d]", i)
		switch {
		case to == name:
			at.add(to, "another environment")
		case seen[to]:
			at.add(to, "each environment once")
		case !slices.Contains(c.environments, to):
			at.add(to, "one of %s", strings.Join(c.environments, ", "))
		}
		seen[to] = true
	}
	for i, to := range e.FallbackWrites {
		at := p.at(".fallbackWrites[%d]", i)
		switch {
		case !slices.Contains(e.Fallback, to):
			at.add(to, "one of fallback: %s", strings.Join(e.Fallback, ", "))
		case !c.protected(to):
			at.add(to, "a protected environment; all others serve all methods anyway")
		}
	}
	if len(e.Fallback) == 0 && (e.Failover || e.SpillOver) {
		p.at(".failover").add(true, "false, as fallback is empty")
	}
}

// protected says that an environment is.
func (c *checker) protected(name string) bool {
	if p := c.cfg.Environments[name].Protected; p != nil {
		return *p
	}
	return name == prod
}

// service checks one service.
func (c *checker) service(name string, p problems) {
	s := c.cfg.Services[name]
	if name == "" || len(name) > maxServiceName+8 || strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(";=@,", r)
	}) {
		p.add(name, "a key of up to %d bytes, without spaces and any of ;=@,", maxServiceName+8)
	}
	for i, e := range s.Environments {
		at := p.at(".environments[%d]", i)
		switch {
		case !isEnvironment(e):
			at.add(e, wantEnvironment)
		case slices.Contains(s.Environments[:i], e):
			at.add(e, "each environment once")
		}
	}
	if s.Default != "" && !slices.Contains(c.environments, s.Default) {
		p.at(".default").add(s.Default, "one of %s", strings.Join(c.environments, ", "))
	}
	if s.Default != "" && len(s.Environments) == 0 {
		p.at(".default").add(s.Default, "none, as environments is empty")
	}
	c.rules(s.Rules, &s, p.at(".rules"))
}

// policy checks which overrides are honoured.
func (c *checker) policy(o *OverridePolicy, p problems) {
	for i, name := range o.Services {
		if _, known := c.cfg.Services[name]; name != all && !known {
			p.at(".services[%d]", i).add(name, "* or %s", c.someServices())
		}
	}
	for i, name := range o.Environments {
		if name != all && !slices.Contains(c.environments, name) {
			p.at(".environments[%d]", i).add(name, "* or one of %s", strings.Join(c.environments, ", "))
		}
	}
	if len(o.Services) == 0 && len(o.Environments) > 0 {
		p.at(".services").add(raw("[]"), "some, or no environments either")
	}
	if len(o.Environments) == 0 && len(o.Services) > 0 {
		p.at(".environments").add(raw("[]"), "some, or no services either")
	}
	if o.RequireSignature && len(o.Keys) == 0 {
		p.at(".keys").add(raw("[]"), "at least one, as requireSignature is set")
	}
	if len(o.Keys) > maxKeys {
		p.at(".keys").add(len(o.Keys), "up to %d", maxKeys)
	}
	if o.MaxExpiry != 0 && (o.MaxExpiry < time.Second || o.MaxExpiry > longestMaxExpiry) {
		p.at(".maxExpiry").add(o.MaxExpiry, "1s to %v", longestMaxExpiry)
	}
	seen := map[string]bool{}
	for i, k := range o.Keys {
		k.validate(p.at(".keys[%d]", i))
		if seen[k.ID] {
			p.at(".keys[%d].id", i).add(k.ID, "each once")
		}
		seen[k.ID] = true
	}
}

// validate checks a key. The secret is not part of the error.
func (k *SigningKey) validate(p problems) {
	if !isKeyID(k.ID) {
		p.at(".id").add(k.ID, "1 to 32 of a-z, A-Z, 0-9, - and _")
	}
	if n := len(k.Secret); n < minSecret || n > maxSecret {
		p.at(".secret").add(n, "%d to %d bytes", minSecret, maxSecret)
	}
}

// someServices lists services for an error, if they are few.
func (c *checker) someServices() string {
	const few = 20
	if len(c.services) > few {
		return "one of " + strings.Join(c.services[:few], ", ") + ", …"
	}
	return "one of " + strings.Join(c.services, ", ")
}
