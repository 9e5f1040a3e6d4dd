package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// The bounds of an object that is parsed.
const (
	maxObject = 1 << 20 // bytes
	maxDepth  = 32
)

// node is a value in a JSON object, with its path. Its methods note what is not
// as it should be, and return zero values then.
type node struct {
	problems
	v any
}

// object is a node that is an object. Keys that nobody asks for are unknown.
type object struct {
	node
	m    map[string]any
	used []string
}

// parseJSON reads one JSON value, refusing what encoding/json lets pass: keys
// that come twice, and text behind the value.
func parseJSON(data []byte) (any, error) {
	if len(data) > maxObject {
		return nil, fmt.Errorf("route: object of %d bytes: want up to %d", len(data), maxObject)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("route: JSON, at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("route: JSON, at byte %d: want one object only", d.InputOffset())
	}
	return v, nil
}

// parseValue reads a value.
func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return parseMap(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}

// parseMap reads the rest of an object.
func parseMap(d *json.Decoder, depth int) (any, error) {
	m := map[string]any{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("key %.100q twice", name)
		}
		if m[name], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return m, err
}

// kind names the type of a value.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		return v.String()
	case string:
		return fmt.Sprintf("%.100q", v)
	case []any:
		return "a list"
	}
	return "an object"
}

// bad notes that the node is something else.
func (n node) bad(want string) { n.add(raw(kind(n.v)), "%s", want) }

// object is the node as an object; nil if it is none.
func (n node) object() *object {
	m, ok := n.v.(map[string]any)
	if !ok {
		n.bad("an object")
		return nil
	}
	return &object{node: n, m: m}
}

// get is the value of a key. Null is as good as none.
func (o *object) get(key string) (n node, has bool) {
	if o == nil {
		return node{}, false
	}
	o.used = append(o.used, key)
	v := o.m[key]
	return node{o.at(".%s", key), v}, v != nil
}

// child is the object of a key, or nil.
func (o *object) child(key string) *object {
	n, has := o.get(key)
	if !has {
		return nil
	}
	return n.object()
}

// list are the elements of a list.
func (o *object) list(key string) []node {
	n, has := o.get(key)
	if !has {
		return nil
	}
	values, ok := n.v.([]any)
	if !ok {
		n.bad("a list")
		return nil
	}
	const most = 128
	if len(values) > most {
		n.add(len(values), "up to %d elements", most)
		return nil
	}
	list := make([]node, len(values))
	for i, v := range values {
		list[i] = node{n.at("[%d]", i), v}
	}
	return list
}

// text is a string; or else what is given.
func (o *object) text(key, instead string) string {
	n, has := o.get(key)
	if !has {
		return instead
	}
	s, ok := n.v.(string)
	if !ok {
		n.bad("a text")
		return instead
	}
	return s
}

// need is a string that must be there.
func (o *object) need(key string) string {
	s := o.text(key, "")
	if n, has := o.get(key); o != nil && !has {
		n.add(raw("(missing)"), "a text")
	}
	return s
}

// number is an integer; or else what is given.
func (o *object) number(key string, instead int) int {
	n, has := o.get(key)
	if !has {
		return instead
	}
	return n.integer(instead)
}

// integer is the node as an integer; or else what is given.
func (n node) integer(instead int) int {
	num, ok := n.v.(json.Number)
	i, err := num.Int64()
	if !ok || err != nil || int64(int32(i)) != i {
		n.bad("an integer of 32 bits")
		return instead
	}
	return int(i)
}

// ignore says that keys are known, and of no matter to us.
func (o *object) ignore(keys ...string) {
	if o != nil {
		o.used = append(o.used, keys...)
	}
}

// refuse notes that keys are there which we cannot do.
func (o *object) refuse(why string, keys ...string) {
	for _, key := range keys {
		if n, has := o.get(key); has {
			n.add(raw(kind(n.v)), "none: %s", why)
		}
	}
}

// done notes the keys that nobody has asked for.
func (o *object) done() {
	if o == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(o.m)) {
		if !slices.Contains(o.used, key) {
			known := slices.Compact(slices.Sorted(slices.Values(o.used)))
			o.at(".%.100s", key).add(raw(kind(o.m[key])), "none: unknown key; there are %s", strings.Join(known, ", "))
		}
	}
}
