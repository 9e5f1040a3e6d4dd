package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A where is a place in the settings: the path of keys for people, and that of
// Go fields in lower case, by which the errors of Validate are found again:
// package transport writes them as in Go, package route in camel case.
type where struct{ key, path string }

// plain are keys that need no quotes in a path.
var plain = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// field is the place of a key of a section.
func (w where) field(f *field) where {
	return where{dotted(w.key, f.key), dotted(w.path, strings.ToLower(f.name))}
}

// entry is the place of a key of a map.
func (w where) entry(key string) where {
	k := dotted(w.key, key)
	if !plain.MatchString(key) {
		k = w.key + "[" + shown(key) + "]"
	}
	return where{k, fmt.Sprintf("%s[%q]", w.path, strings.ToLower(key))}
}

// item is the place of an item of a list.
func (w where) item(i int) where {
	n := fmt.Sprintf("[%d]", i)
	return where{w.key + n, w.path + n}
}

func dotted(a, b string) string {
	if a == "" {
		return b
	}
	return a + "." + b
}

// A custom section decodes itself, as it can be written in several ways.
type custom interface {
	decode(d *decoder, n *yaml.Node, w where)
	schema(s *schemer) schema
}

// A decoder fills sections from a tree.
type decoder struct {
	file   string
	probs  *problems
	refs   *references       // nil: "${" has no meaning
	places map[string]place  // of keys, by path in Go
	raws   map[string]string // by path, texts as written that have references
	failed map[string]bool   // paths with a problem
	shapes map[reflect.Type][]field
	left   int // nodes that may still be visited
	depth  int
}

func newDecoder(file string, refs *references, probs *problems) *decoder {
	return &decoder{file: file, probs: probs, refs: refs, places: map[string]place{}, raws: map[string]string{}, failed: map[string]bool{}, shapes: map[reflect.Type][]field{}, left: maxNodes}
}

// at is the place of a node.
func (d *decoder) at(n *yaml.Node, w where) place {
	return place{file: d.file, line: n.Line, column: n.Column, key: w.key}
}

// bad notes a problem with a node, the value of which is then not there.
func (d *decoder) bad(n *yaml.Node, w where, format string, args ...any) {
	d.failed[w.path] = true
	d.probs.add(d.at(n, w), format, args...)
}

// note notes a problem with a key, which leaves the rest of its section intact.
func (d *decoder) note(n *yaml.Node, w where, format string, args ...any) {
	d.probs.add(d.at(n, w), format, args...)
}

// enter follows aliases and bounds the work. Each return of true must be
// followed by a call to leave.
func (d *decoder) enter(n **yaml.Node, w where) bool {
	if (*n).Kind == yaml.AliasNode && (*n).Alias != nil {
		*n = (*n).Alias
	}
	if !d.spend(1, *n, w) {
		return false
	}
	if d.depth >= maxDepth {
		d.bad(*n, w, "nested deeper than %d: does an alias contain itself?", maxDepth)
		d.left = 0
		return false
	}
	d.depth++
	if (*n).Style&yaml.TaggedStyle != 0 {
		d.bad(*n, w, "the tag %s: want a value without a tag", bounded((*n).Tag))
		d.depth--
		return false
	}
	return true
}

func (d *decoder) leave() { d.depth-- }

// spend counts values, and says whether there may be more.
func (d *decoder) spend(values int, n *yaml.Node, w where) bool {
	if d.left > 0 && d.left <= values {
		d.bad(n, w, "more than %d values, those counted again that aliases repeat", maxNodes)
	}
	d.left -= values
	return d.left > 0
}

// value fills v from a node.
func (d *decoder) value(v reflect.Value, n *yaml.Node, w where, f *field) {
	if !d.enter(&n, w) {
		return
	}
	defer d.leave()
	if c, ok := v.Addr().Interface().(custom); ok {
		c.decode(d, n, w)
		return
	}
	switch {
	case v.Type() == durationType:
		d.duration(v, n, w, f)
	case v.Type() == reflect.TypeFor[[]byte]():
		v.SetBytes([]byte(d.text(n, w, false)))
	case v.Kind() == reflect.Pointer:
		if isNull(n) {
			return // as if the key were not there
		}
		v.Set(reflect.New(v.Type().Elem()))
		d.depth-- // it is the same node again
		d.value(v.Elem(), n, w, f)
		d.depth++
	case v.Kind() == reflect.Struct:
		d.section(v, n, w)
	case v.Kind() == reflect.Map:
		d.entries(v, n, w, f)
	case v.Kind() == reflect.Slice:
		d.items(v, n, w, f)
	default:
		d.scalar(v, n, w, f)
	}
}

// section fills a struct from a mapping.
func (d *decoder) section(v reflect.Value, n *yaml.Node, w where) {
	if isNull(n) {
		return // all its keys are commented out
	}
	if n.Kind != yaml.MappingNode {
		d.bad(n, w, "%s: want a mapping", what(n))
		return
	}
	fields := d.fieldsOf(v.Type())
	has := map[string]bool{}
	for _, p := range d.pairs(n, w) {
		f := fieldNamed(fields, p.key.Value)
		if f == nil {
			d.unknown(p.key, w, fields)
			continue
		}
		has[f.key] = true
		at := w.field(f)
		d.places[at.path] = d.at(p.key, at)
		d.value(v.FieldByIndex(f.index), p.value, at, f)
	}
	for i := range fields {
		if fields[i].rule("need") != "" && !has[fields[i].key] {
			d.failed[w.field(&fields[i]).path] = true
			d.note(n, w, "the key %s is missing", fields[i].key)
		}
	}
}

// fieldsOf is fieldsOf, once for each type.
func (d *decoder) fieldsOf(t reflect.Type) []field {
	list, ok := d.shapes[t]
	if !ok {
		list = fieldsOf(t)
		d.shapes[t] = list
	}
	return list
}

func fieldNamed(fields []field, key string) *field {
	for i := range fields {
		if fields[i].key == key {
			return &fields[i]
		}
	}
	return nil
}

// extension is how keys at the top begin that are for others, such as a home
// for anchors.
const extension = "x-"

// unknown notes a key that no section has.
func (d *decoder) unknown(key *yaml.Node, w where, fields []field) {
	if w.path == "" && strings.HasPrefix(key.Value, extension) {
		return
	}
	known := make([]string, len(fields))
	for i := range fields {
		known[i] = fields[i].key
	}
	d.note(key, w, "unknown key %s: %s", shown(key.Value), meant(key.Value, known))
}

// entries fills a map from a mapping.
func (d *decoder) entries(v reflect.Value, n *yaml.Node, w where, f *field) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.bad(n, w, "%s: want a mapping", what(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range d.pairs(n, w) {
		at := w.entry(p.key.Value)
		if ambiguous(p.key) {
			d.note(p.key, w, "the key %s: want quotes around it, as it is a truth value to some and text to others", p.key.Value)
			continue
		}
		d.places[at.path] = d.at(p.key, at)
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(item, p.value, at, f)
		v.SetMapIndex(reflect.ValueOf(p.key.Value), item)
	}
}

// items fills a slice from a list.
func (d *decoder) items(v reflect.Value, n *yaml.Node, w where, f *field) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.bad(n, w, "%s: want a list", what(n))
		return
	}
	if len(n.Content) >= d.left {
		d.spend(len(n.Content), n, w)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		at := w.item(i)
		d.places[at.path] = d.at(item, at)
		d.value(v.Index(i), item, at, f)
	}
}

// A pair is a key of a mapping and its value.
type pair struct{ key, value *yaml.Node }

// pairs are the keys of a mapping in their order: its own, and then those of
// merge keys that it has not itself. A key that stands twice is a problem, and
// the first one counts.
func (d *decoder) pairs(n *yaml.Node, w where) []pair {
	var list []pair
	var merges []*yaml.Node
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		switch {
		case key.Kind == yaml.ScalarNode && key.Tag == "!!merge":
			merges = append(merges, value)
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Style&yaml.TaggedStyle != 0:
			d.note(key, w, "%s is a key: want text, in quotes if need be", what(key))
		case lines[key.Value] > 0:
			d.note(key, w, "the key %s is already on line %d", shown(key.Value), lines[key.Value])
		default:
			lines[key.Value] = key.Line
			list = append(list, pair{key, value})
		}
	}
	for _, m := range merges {
		list = d.merge(list, lines, m, w)
	}
	return list
}

// merge adds the keys of a merge key ("<<") that are not there yet.
func (d *decoder) merge(list []pair, has map[string]int, from *yaml.Node, w where) []pair {
	if !d.enter(&from, w) {
		return list
	}
	defer d.leave()
	sources := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		sources = from.Content
	}
	for _, s := range sources {
		if s.Kind == yaml.AliasNode && s.Alias != nil {
			s = s.Alias
		}
		if s.Kind != yaml.MappingNode {
			d.bad(s, w, "%s is merged in: want a mapping, or a list of them", what(s))
			continue
		}
		if !d.spend(len(s.Content), s, w) {
			break
		}
		for _, p := range d.pairs(s, w) {
			if has[p.key.Value] == 0 {
				has[p.key.Value] = max(p.key.Line, 1)
				list = append(list, p)
			}
		}
	}
	return list
}

// ambiguous tells the words that YAML 1.1 takes for truth values and YAML 1.2
// for text.
func ambiguous(n *yaml.Node) bool {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Style&quoted != 0 {
		return false
	}
	switch strings.ToLower(n.Value) {
	case "yes", "no", "on", "off":
		return true
	}
	return false
}

// integer and decimal are how numbers are written: decimal, as leading zeros
// mean octal to some, and underscores and other bases are surprises.
var (
	integer = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
)

// number reads a number of the form and checks its range.
func (d *decoder) number(n *yaml.Node, w where, f *field, form *regexp.Regexp, kind string) (float64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" || !form.MatchString(n.Value) {
		d.bad(n, w, "%s: want %s%s", what(n), kind, after(": ", f.want()))
		return 0, false
	}
	x, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || !f.holds(x) {
		d.bad(n, w, "%s: want %s", bounded(n.Value), or(f.want(), kind))
		return 0, false
	}
	return x, true
}

// holds says that x is in the range of the field.
func (f *field) holds(x float64) bool {
	bound := func(name string, ok func(limit float64) bool) bool {
		limit, err := strconv.ParseFloat(f.rule(name), 64)
		return err != nil || ok(limit)
	}
	if x == 0 && f.rule("zero") != "" {
		return true
	}
	return bound("min", func(l float64) bool { return x >= l }) &&
		bound("max", func(l float64) bool { return x <= l }) &&
		bound("above", func(l float64) bool { return x > l })
}

// after is s behind a mark, or nothing.
func after(mark, s string) string {
	if s == "" {
		return ""
	}
	return mark + s
}

// or is s, or what stands in for it.
func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}
