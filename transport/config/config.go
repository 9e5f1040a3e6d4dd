package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/tullemesh/tulle/transport"
)

// Options say how a file is read. The zero Options are ready to use.
type Options struct {
	// Base is what the program says in code; the file is put over it:
	//
	//   - Defaults, and the Policy of a service that both have: a key of the
	//     file wins; a section such as retry wins as a whole, except for the
	//     functions in it, which a file cannot set. They stay those of the
	//     service in Base, or else of Base.Defaults.
	//   - Services: those of both. Of one that both have, spelling of case
	//     and trailing dots aside, a key of the file wins; target wins over
	//     Target and Resolver. Classify stays.
	//   - RefuseAddrs: those of both.
	//   - Unknown: that of the file, if it has one.
	//   - Resolvers and Base: those of Base. Without a resolver for "file" there
	//     it gets one that reads YAML as well as JSON.
	Base transport.Config

	// LookupEnv finds the variables of references. Default (nil): os.LookupEnv.
	LookupEnv func(name string) (string, bool)

	// Interval is the time from one look at the files to the next; an unchanged
	// file costs one stat per look, and one read while it is younger than 2 s.
	// Default (0): 1 s. Range: 10 ms to 1 h.
	Interval time.Duration

	// Settle is how long the files must stay the same before what they say is
	// put in force, so that a file that is being written is left alone and a
	// storm of changes is one reload. Default (0): 100 ms. Range: 1 ms to 1 min.
	Settle time.Duration

	// MaxSettle is when good settings are put in force even though the files do
	// not come to rest. Default (0): 5 s, or Settle if that is more. Range:
	// Settle to 1 h.
	MaxSettle time.Duration

	// Logger is told of each reload and of each refusal. Default (nil): nobody.
	Logger *slog.Logger

	// OnReload is called after each reload and each refusal, by the goroutine
	// of Run. Default (nil): nobody is told.
	OnReload func(Status)
}

// Validate returns an error that names every field that cannot be used and its
// value, or nil. It does not check Base, which is checked with the file.
func (o *Options) Validate() error {
	probs := &problems{}
	check := func(name string, value, least, most time.Duration) {
		if value != 0 && (value < least || value > most) {
			probs.add(place{file: "config", key: name}, "%v: want %v to %v, or 0 for the default", value, least, most)
		}
	}
	check("Interval", o.Interval, 10*time.Millisecond, time.Hour)
	check("Settle", o.Settle, time.Millisecond, time.Minute)
	check("MaxSettle", o.MaxSettle, max(o.Settle, time.Millisecond), time.Hour)
	return probs.err()
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	o.Interval = cmp.Or(o.Interval, time.Second)
	o.Settle = cmp.Or(o.Settle, 100*time.Millisecond)
	o.MaxSettle = cmp.Or(o.MaxSettle, max(5*time.Second, o.Settle))
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	return o
}

// A Result is what a file says. It is not changed any more.
type Result struct {
	// Transport is the whole Config: the file over Options.Base. It has been
	// validated.
	Transport transport.Config

	// Version is a short name of the content of all files that were read.
	Version string

	// Warnings are settings that are allowed and mostly not meant.
	Warnings []*Problem

	file   fileSection
	places map[string]place
	raws   map[string]string
	base   *transport.Config
	hide   func(string) string
}

// Load reads a file once. Its error is made of Problems, and names them all. The
// file has up to 4 MiB of YAML or JSON, in UTF-8.
func Load(path string, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	l := loadFile(path, &o, nil)
	return l.result, l.err
}

// Parse reads what would stand in a file of the given name. Relative paths in it
// are relative to the folder of that name.
func Parse(name string, data []byte, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	l := load(name, data, newSource(filepath.Dir(name)), &o, nil)
	return l.result, l.err
}

// A loaded is one load: its result or its error, and what it was made of.
type loaded struct {
	result *Result
	err    error
	source *source
	memo   *memo
}

// loadFile reads and decodes a file. A memo that comes from the load before is
// used to keep what has not changed.
func loadFile(path string, o *Options, old *memo) *loaded {
	src := newSource(filepath.Dir(path))
	data, err := src.read(filepath.Base(path), maxFile)
	if err != nil {
		return &loaded{err: fmt.Errorf("config: %s: %w", path, err), source: src, memo: old}
	}
	l := load(path, data, src, o, old)
	src.forget()
	return l
}

// load decodes what was read.
func load(name string, data []byte, src *source, o *Options, old *memo) *loaded {
	probs, notes := &problems{}, &problems{}
	refs := &references{env: o.LookupEnv, source: src}
	b := &builder{
		decoder: newDecoder(name, refs, probs), base: &o.Base, source: src, memo: old.next(), notes: notes,
	}
	l := &loaded{source: src, memo: b.memo}
	var file fileSection
	if docs := parseTree(name, data, probs); len(probs.list) == 0 {
		b.documents(docs, &file)
		cfg := b.config(&file)
		b.validate(&cfg)
		if len(probs.list) == 0 {
			b.lint(&file, &cfg)
		}
		l.result = &Result{Transport: cfg, file: file, places: b.places, raws: b.raws, base: &o.Base, hide: refs.hide}
	}
	for _, list := range [][]*Problem{probs.list, notes.list} {
		for _, p := range list {
			p.Message = refs.hide(p.Message)
		}
	}
	if l.err = probs.err(); l.err != nil {
		l.result, l.memo = nil, old
		return l
	}
	l.result.Version, l.result.Warnings = src.version(), notes.sorted()
	return l
}

// documents decodes the documents of a file: one of ours, and routes of the
// Gateway API.
func (b *builder) documents(docs []*yaml.Node, file *fileSection) {
	seen := false
	for _, doc := range docs {
		if isList(doc) {
			b.gateways = append(b.gateways, b.routesOf(doc, b.file)...)
			continue
		}
		if isGateway(doc) {
			b.gateways = append(b.gateways, gatewayRoute{doc, b.file})
			continue
		}
		if seen {
			b.note(doc, where{}, "a second document: want one, besides routes of the Gateway API")
			continue
		}
		seen = true
		b.value(reflect.ValueOf(file).Elem(), doc, where{}, &field{})
	}
}

// sorted makes errors come in the same order each time.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
