package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// scalar fills a plain value.
func (d *decoder) scalar(v reflect.Value, n *yaml.Node, w where, f *field) {
	switch v.Kind() {
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.bad(n, w, "%s: want true or false", what(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		if x, ok := d.number(n, w, f, integer, "a whole number"); ok {
			v.SetInt(int64(x))
		}
	case reflect.Uint16:
		if x, ok := d.number(n, w, f, integer, "a whole number"); ok {
			v.SetUint(uint64(x))
		}
	case reflect.Float64:
		if x, ok := d.number(n, w, f, decimal, "a number"); ok {
			if zero := f.rule("zero"); x == 0 && zero != "" {
				x, _ = strconv.ParseFloat(zero, 64) // a test reads all tags
			}
			v.SetFloat(x)
		}
	case reflect.String:
		if words := f.enum(); words != nil {
			v.SetString(d.word(n, w, words))
		} else {
			v.SetString(d.text(n, w, f.rule("lines") != ""))
		}
	}
}

// word reads one of some words. Those of a number's form need no quotes.
func (d *decoder) word(n *yaml.Node, w where, words []string) string {
	if n.Kind == yaml.ScalarNode && slices.Contains(words, n.Value) {
		return n.Value
	}
	if n.Kind != yaml.ScalarNode || isNull(n) || strings.Contains(n.Value, "${") {
		d.bad(n, w, "%s: want one of %s", what(n), strings.Join(words, ", "))
	} else {
		d.bad(n, w, "%s: %s", shown(n.Value), meant(n.Value, slices.Clone(words)))
	}
	return ""
}

// text reads a text and fills in its references. What these lead to is shown
// nowhere.
func (d *decoder) text(n *yaml.Node, w where, lines bool) string {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		quote := ""
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			quote = ", so put it in quotes"
		}
		d.bad(n, w, "%s: want text%s", what(n), quote)
		return ""
	}
	if ambiguous(n) {
		d.bad(n, w, "%s: want quotes around it, as it is a truth value to some and text to others", n.Value)
		return ""
	}
	s := n.Value
	if d.refs != nil && strings.Contains(s, "${") {
		filled, used, err := d.refs.fill(s)
		if err != nil {
			d.bad(n, w, "%v", err)
			return ""
		}
		if used {
			d.raws[w.path] = s
		}
		s = filled
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t')) }) {
		d.bad(n, w, "%s: want text without control characters", shown(n.Value))
		return ""
	}
	return s
}

// duration reads a duration with its unit.
func (d *decoder) duration(v reflect.Value, n *yaml.Node, w where, f *field) {
	want := after(": ", f.want())
	switch {
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float"):
		d.bad(n, w, "%s has no unit: want a duration such as 1s or 250ms%s", what(n), want)
		return
	case n.Kind != yaml.ScalarNode || n.Tag != "!!str":
		d.bad(n, w, "%s: want a duration such as 1s or 250ms%s", what(n), want)
		return
	}
	if none := f.rule("none"); none != "" && n.Value == "none" {
		v.SetInt(int64(span(none)))
		return
	}
	x, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		d.bad(n, w, "%s: want a duration such as 1s or 250ms%s", shown(n.Value), want)
	case !f.lasts(x):
		d.bad(n, w, "%s: want %s", bounded(n.Value), f.want())
	default:
		v.SetInt(int64(x))
	}
}

// lasts says that x is in the range of the field.
func (f *field) lasts(x time.Duration) bool {
	least, above, most := f.rule("min"), f.rule("above"), f.rule("max")
	return x >= span(least) && (above == "" || x > span(above)) && (most == "" || x <= span(most))
}

// span is the duration of a tag; a test reads all of them.
func span(tag string) time.Duration {
	x, err := time.ParseDuration(tag)
	if err != nil {
		return 0
	}
	return x
}
