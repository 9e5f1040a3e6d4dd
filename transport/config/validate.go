package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tullemesh/tulle/internal/setting"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// validate asks package transport what it thinks of the settings, and finds the
// lines that its errors are about. What was refused while decoding is not
// complained of again.
func (b *builder) validate(cfg *transport.Config) {
	setting.Walk(cfg.Validate(), func(path string, e *setting.Error, err error) {
		if re, ok := err.(*route.Error); ok {
			path = re.Path
			if outer, ok := strings.CutSuffix(path, "default"); ok && (outer == "" || strings.HasPrefix(outer, "services[") && strings.HasSuffix(outer, "].")) {
				path = outer + "environment"
			}
			e = &setting.Error{Value: re.Value, Want: re.Want}
			if re.File != "" && re.File != b.file && !b.probs.full() {
				b.probs.add(place{file: re.File, line: re.Line, column: 1}, "%s %s: want %s", re.Path, bounded(re.Value), re.Want)
				return
			}
		}
		path = strings.Replace(path, "].Policy.", "].", 1)
		path = strings.Replace(path, "].TLSServerName", "].TLS.ServerName", 1)
		if b.probs.full() {
			b.probs.dropped = max(b.probs.dropped, 1) // it may follow from another one
			return
		}
		if b.follows(path, e != nil && strings.HasPrefix(e.Want, atMost)) {
			return
		}
		b.invalid(path, e, err)
	})
}

// invalid notes an error of Validate at its place.
func (b *builder) invalid(path string, e *setting.Error, err error) {
	at, rest := b.locate(path)
	text := bounded(err.Error())
	raw, hidden := b.raw(strings.ToLower(path))
	switch {
	case hidden && e != nil:
		text = fmt.Sprintf("%s, with its references filled in: want %s", shown(raw), keyed(e.Want))
	case hidden:
		text = fmt.Sprintf("%s, with its references filled in: it cannot be used", shown(raw))
	case e != nil:
		text = fmt.Sprintf("%s: want %s", bounded(fmt.Sprint(e.Value)), keyed(e.Want))
	}
	if rest != "" && (hidden || e != nil) {
		text = rest + " " + text
	}
	b.probs.add(at, "%s", text)
}

// atMost is how a wish begins that compares a field with another one.
const atMost = "at most "

// keyed is what is wanted, with the key of a field in place of its name.
func keyed(want string) string {
	name, ok := strings.CutPrefix(want, atMost)
	if !ok || name == "" || name[0] < 'A' || name[0] > 'Z' {
		return want
	}
	return atMost + lowerFirst(name)
}

// locate finds the place of a setting, or of what is nearest around it, and then
// also what is left of its path.
func (b *builder) locate(path string) (at place, rest string) {
	for p := path; p != ""; p = p[:max(strings.LastIndexAny(p, ".["), 0)] {
		if at, ok := b.places[strings.ToLower(p)]; ok {
			rest = strings.TrimPrefix(path[len(p):], ".")
			if rest != "" {
				rest = lowerFirst(rest)
			}
			return at, rest
		}
	}
	return place{file: b.file, key: "the program's settings"}, path
}

// follows says that an error is about something that could not be decoded, or
// compares with what could not: its default is in its place then.
func (b *builder) follows(path string, compares bool) bool {
	path = strings.ToLower(path)
	around := []string{path}
	if i := strings.LastIndexByte(path, '.'); i > 0 && compares {
		if strings.HasSuffix(path, "timeout") && !strings.HasSuffix(path, ".probetimeout") {
			around = []string{path[:i] + ".timeout", path[:i] + ".attempttimeout", "defaults.timeout", "defaults.attempttimeout"}
		} else {
			around = []string{path[:i]} // fields of one section
		}
	}
	for failed := range b.failed {
		if slices.ContainsFunc(around, func(at string) bool { return within(failed, at) }) {
			return true
		}
	}
	return false
}

// lint warns of what is allowed and mostly not meant.
func (b *builder) lint(f *fileSection, cfg *transport.Config) {
	common := b.defaultKeys()
	for _, name := range sorted(f.Services) {
		s, at := f.Services[name], where{"services", "services"}.entry(name)
		p := cfg.Services[name].Policy
		if p.AttemptTimeout == 0 && cfg.Defaults.AttemptTimeout == 0 && !everywhere(cfg.Services[name]) {
			b.notes.add(b.places[at.path], "attemptTimeout is not set: a call whose instance hangs cannot move on; set it to what the slowest route takes, or to none")
		}
		if s.Limit != nil && p.Limit.Rate == 0 && p.Limit.Source == nil {
			b.noRate(at.path)
		}
		b.lost(at, common)
	}
	if f.Defaults.Limit != nil && cfg.Defaults.Limit.Rate == 0 && cfg.Defaults.Limit.Source == nil {
		b.noRate("defaults")
	}
}

// everywhere says that each destination of a service sets attemptTimeout itself.
func everywhere(s transport.Service) bool {
	for _, d := range s.Environments {
		if d.Policy.AttemptTimeout == 0 {
			return false
		}
	}
	return len(s.Environments) > 0
}

// noRate warns of a limit that limits nothing, unless it is empty: that is how a
// service goes without the limit of the defaults.
func (b *builder) noRate(path string) {
	path += ".limit"
	for p := range b.places {
		if p != path && within(p, path) {
			b.notes.add(b.places[path], "rate is not set: nothing is limited")
			return
		}
	}
}

// sectionsOfPolicy are those that take the place of the defaults' as a whole.
func sectionsOfPolicy() []string {
	return []string{"balancer", "retry", "ejection", "breaker", "locality", "limit"}
}

// defaultKeys are the paths of keys in sections of the defaults, by section.
func (b *builder) defaultKeys() map[string][]string {
	keys := map[string][]string{}
	for path := range b.places {
		parts := strings.SplitN(path, ".", 3)
		if len(parts) == 3 && parts[0] == "defaults" && !strings.ContainsAny(parts[2], ".[") {
			keys[parts[1]] = append(keys[parts[1]], parts[2])
		}
	}
	for _, list := range keys {
		slices.Sort(list)
	}
	return keys
}

// lost warns of keys of the defaults that do not hold for a service because it
// has the section itself.
func (b *builder) lost(at where, common map[string][]string) {
	for _, section := range sectionsOfPolicy() {
		own, ok := b.places[at.path+"."+section]
		if !ok {
			continue
		}
		for _, name := range common[section] {
			if _, has := b.places[at.path+"."+section+"."+name]; !has {
				there := b.places["defaults."+section+"."+name]
				b.notes.add(own, "it takes the place of defaults.%s as a whole: %s on line %d does not hold here",
					section, there.key[strings.LastIndexByte(there.key, '.')+1:], there.line)
			}
		}
	}
}
