package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/retry"
)

// Parse reads a scenario from JSON. Unknown and repeated keys, wrong types and
// values that cannot be used are errors; all of them are named, with the path of
// their keys.
func Parse(data []byte) (Scenario, error) {
	var sc Scenario
	tree, err := parseTree(data)
	if err != nil {
		return sc, fmt.Errorf("sim: %w", err)
	}
	b := binder{}
	b.bind("", tree, reflect.ValueOf(&sc).Elem())
	if _, err := sc.complete(); err != nil {
		b.add(err)
	}
	return sc, errors.Join(b.errs...)
}

// add adds the errors of the check, without those that only follow from a value
// that could not be read.
func (b *binder) add(err error) {
	unread := b.errs
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		b.errs = append(b.errs, err)
		return
	}
	for _, e := range joined.Unwrap() {
		field, follows := (*FieldError)(nil), false
		for _, u := range unread {
			cause := (*FieldError)(nil)
			if errors.As(e, &field) && errors.As(u, &cause) {
				follows = follows || strings.HasPrefix(field.Path, cause.Path) || strings.HasPrefix(cause.Path, field.Path)
			}
		}
		if !follows {
			b.errs = append(b.errs, e)
		}
	}
}

// A FieldError is about one field of a scenario.
type FieldError struct {
	// Path leads to the field by the keys of the JSON form, as in
	// "faults[0].kind"; it is empty for the scenario itself.
	Path string

	// Text says what is wrong, the value, and what is wanted.
	Text string
}

// Error implements error.
func (e *FieldError) Error() string {
	if e.Path == "" {
		return "sim: the scenario: " + e.Text
	}
	return "sim: " + e.Path + ": " + e.Text
}

// tree is a JSON value. Objects keep the order of their keys, so that errors come
// in the order of the file.
type tree struct {
	value  any // json.Delim for objects and lists; string, json.Number, bool or nil
	keys   []string
	values []tree
	twice  []string // keys that stand in it more than once
}

// parseTree reads the one value that data holds.
func parseTree(data []byte) (tree, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	t, err := readTree(d)
	if err != nil {
		return t, fmt.Errorf("reading JSON, near byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return t, fmt.Errorf("reading JSON: something follows at byte %d", d.InputOffset())
	}
	return t, nil
}

// readTree reads a value.
func readTree(d *json.Decoder) (tree, error) {
	token, err := d.Token()
	t := tree{value: token}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return t, err
	}
	open, nested := token.(json.Delim)
	if !nested {
		return t, nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return t, err
			}
			name, _ := key.(string) // the decoder sees to it
			if seen[name] {
				t.twice = append(t.twice, name)
			}
			seen[name] = true
			t.keys = append(t.keys, name)
		}
		v, err := readTree(d)
		if err != nil {
			return t, err
		}
		t.values = append(t.values, v)
	}
	_, err = d.Token() // the closing one
	return t, err
}

// binder fills Go values from JSON and collects what is wrong.
type binder struct{ errs []error }

// maxErrors is how many errors are told; nobody reads more.
const maxErrors = 100

// bad notes an error.
func (b *binder) bad(path, format string, args ...any) {
	if len(b.errs) >= maxErrors {
		return
	}
	b.errs = append(b.errs, &FieldError{Path: path, Text: fmt.Sprintf(format, args...)})
}

// text shows a JSON value in an error.
func (t tree) text() string {
	switch v := t.value.(type) {
	case json.Delim:
		if v == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return strconv.Quote(v)
	case nil:
		return "null"
	}
	return fmt.Sprint(t.value)
}

// The types that have a form of their own.
var (
	durationType = reflect.TypeFor[time.Duration]()
	balancerType = reflect.TypeFor[balancer.Policy]()
	budgetType   = reflect.TypeFor[retry.BudgetConfig]()
)

// bind fills one value.
func (b *binder) bind(path string, t tree, v reflect.Value) {
	switch {
	case v.Type() == durationType:
		b.duration(path, t, v)
		return
	case v.Type() == balancerType:
		b.balancer(path, t, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		b.bind(path, t, v.Elem())
	case reflect.Struct:
		b.object(path, t, v)
	case reflect.Slice:
		b.list(path, t, v)
	default:
		b.scalar(path, t, v)
	}
}

// duration reads a time such as "250ms".
func (b *binder) duration(path string, t tree, v reflect.Value) {
	s, ok := t.value.(string)
	if ok && s == "none" {
		v.SetInt(-1)
		return
	}
	d, err := time.ParseDuration(s)
	if !ok || err != nil {
		b.bad(path, "got %s, want a time such as \"250ms\"", t.text())
		return
	}
	v.SetInt(int64(d))
}

// scalar reads a string, a number or a bool.
func (b *binder) scalar(path string, t tree, v reflect.Value) {
	number, isNumber := t.value.(json.Number)
	var err error
	switch v.Kind() {
	case reflect.String:
		s, ok := t.value.(string)
		if !ok {
			b.bad(path, "got %s, want a string", t.text())
			return
		}
		v.SetString(s)
	case reflect.Bool:
		x, ok := t.value.(bool)
		if !ok {
			b.bad(path, "got %s, want true or false", t.text())
			return
		}
		v.SetBool(x)
	case reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(number.String(), 64); isNumber && err == nil {
			v.SetFloat(x)
			return
		}
		b.bad(path, "got %s, want a number", t.text())
	case reflect.Int:
		var x int64
		if x, err = strconv.ParseInt(number.String(), 10, strconv.IntSize); isNumber && err == nil {
			v.SetInt(x)
			return
		}
		b.bad(path, "got %s, want a whole number", t.text())
	case reflect.Uint64:
		var x uint64
		if x, err = strconv.ParseUint(number.String(), 10, 64); isNumber && err == nil {
			v.SetUint(x)
			return
		}
		b.bad(path, "got %s, want a whole number of 0 or more", t.text())
	default:
		b.bad(path, "cannot be set here")
	}
}

// list reads a list.
func (b *binder) list(path string, t tree, v reflect.Value) {
	if t.value != json.Delim('[') {
		b.bad(path, "got %s, want a list", t.text())
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(t.values), len(t.values)))
	for i, item := range t.values {
		b.bind(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i))
	}
}

// object reads a struct.
func (b *binder) object(path string, t tree, v reflect.Value, ignore ...string) {
	if t.value != json.Delim('{') {
		b.bad(path, "got %s, want an object", t.text())
		return
	}
	for _, key := range t.twice {
		b.bad(join(path, key), "stands there twice")
	}
	fields := keysOf(v.Type())
	for i, key := range t.keys {
		if slices.Contains(ignore, key) {
			continue
		}
		k := slices.Index(fields, key)
		if key == "" || k < 0 {
			known := slices.DeleteFunc(append(slices.Clone(ignore), fields...), func(s string) bool { return s == "" })
			slices.Sort(known)
			b.bad(join(path, key), "unknown key, want one of %s", strings.Join(known, ", "))
			continue
		}
		b.bind(join(path, key), t.values[i], v.Field(k))
		if v.Type() == budgetType && v.Field(k).IsZero() {
			v.Field(k).SetFloat(-1) // that is how a BudgetConfig says none
		}
	}
}

// join adds a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// keysOf are the keys of a struct's fields, by index; "" for one that is code.
func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		f := t.Field(i)
		code := f.Type.Kind() == reflect.Func || f.Type.Kind() == reflect.Interface && f.Type != balancerType
		if f.IsExported() && !code {
			keys[i] = keyOf(f.Name)
		}
	}
	return keys
}

// keyOf is the key of a field: its name with a small letter first.
func keyOf(name string) string { return strings.ToLower(name[:1]) + name[1:] }

// balancer reads the name of a balancer, or an object with its name and settings.
func (b *binder) balancer(path string, t tree, v reflect.Value) {
	name, isName := t.value.(string)
	settings := t.value == json.Delim('{')
	at := path
	if i := slices.Index(t.keys, "name"); settings && i >= 0 {
		name, isName = t.values[i].value.(string)
		at = join(path, "name")
	}
	p, ok := balancerOf(name)
	if !isName || !ok {
		b.bad(at, "got %q, want one of %s", name, strings.Join(Balancers(), ", "))
		return
	}
	if settings {
		own := reflect.New(reflect.TypeOf(p)).Elem()
		own.Set(reflect.ValueOf(p))
		b.object(path, t, own, "name")
		p, _ = own.Interface().(balancer.Policy)
	}
	v.Set(reflect.ValueOf(p))
}
