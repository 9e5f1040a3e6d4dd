package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// mirrors are the sections and what they mirror.
var mirrors = []struct {
	section, of any
	without     []string // fields that a file cannot set, besides functions and interfaces
}{
	{fileSection{}, transport.Config{}, []string{"Resolvers", "Telemetry"}},
	{policySection{}, transport.Policy{}, nil},
	{serviceSection{}, transport.Service{}, []string{"Policy", "TLSServerName"}},
	{destinationSection{}, transport.Destination{}, []string{"Policy", "TLSServerName"}},
	{retrySection{}, retry.Config{}, nil},
	{budgetSection{}, retry.BudgetConfig{}, nil},
	{ejectionSection{}, breaker.OutlierConfig{}, nil},
	{breakerSection{}, breaker.Config{}, nil},
	{limitSection{}, limit.Config{}, nil},
	{localitySection{}, transport.Locality{}, nil},
	{endpointSection{}, tulle.Endpoint{}, nil},
	{expectedDelayOptions{}, balancer.ShortestExpectedDelay{}, nil},
	{peakOptions{}, balancer.PeakEWMA{}, nil},
	{leastOptions{}, balancer.LeastRequest{}, nil},
}

// A new field of the library must find its way into the file, or be listed as
// one that cannot.
func TestSectionsMirrorTheLibrary(t *testing.T) {
	for _, m := range mirrors {
		section, of := reflect.TypeOf(m.section), reflect.TypeOf(m.of)
		has := map[string]bool{}
		for _, f := range fieldsOf(section) {
			has[f.name] = true
		}
		for i := range of.NumField() {
			f := of.Field(i)
			code := f.Type.Kind() == reflect.Func || f.Type.Kind() == reflect.Interface && f.Name != "Balancer"
			if contains(m.without, f.Name) || code {
				continue
			}
			if !has[f.Name] {
				t.Errorf("%v.%s has no key in %v", of, f.Name, section)
			}
		}
		for i := range section.NumField() {
			f := section.Field(i)
			if !f.IsExported() || f.Anonymous {
				continue
			}
			if _, ok := of.FieldByName(f.Name); !ok && f.Name != "RouteFiles" {
				t.Errorf("%v.%s is nothing in %v", section, f.Name, of)
			}
		}
	}
}

func contains(list []string, s string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
}

// sections are all section types that have keys.
func sections() []reflect.Type {
	list := []reflect.Type{reflect.TypeFor[defaultsSection](), reflect.TypeFor[tlsSection](), reflect.TypeFor[targetSection]()}
	for _, m := range mirrors {
		list = append(list, reflect.TypeOf(m.section))
	}
	return list
}

// The tags can be understood: what the decoder cannot parse it takes for no
// limit.
func TestTags(t *testing.T) {
	for _, typ := range sections() {
		for _, f := range fieldsOf(typ) {
			at := fmt.Sprintf("%v.%s", typ, f.name)
			if f.rule("doc") == "" || !strings.HasSuffix(f.rule("doc"), ".") {
				t.Errorf("%s: got doc %q, want a sentence", at, f.rule("doc"))
			}
			for _, rule := range []string{"min", "max", "above", "none", "zero"} {
				text := f.rule(rule)
				if text == "" {
					continue
				}
				_, notNumber := strconv.ParseFloat(text, 64)
				_, notSpan := time.ParseDuration(text)
				if f.typ == durationType && notSpan != nil || f.typ != durationType && notNumber != nil {
					t.Errorf("%s: tag %s %q does not fit a %v", at, rule, text, f.typ)
				}
			}
			if f.typ == durationType && f.rule("min") == "" && f.rule("above") == "" {
				t.Errorf("%s: a duration without lower limit would take negative ones", at)
			}
			if d := f.rule("default"); d != "" && f.typ == durationType && d != "none" && !strings.Contains(d, " ") {
				if _, err := time.ParseDuration(d); err != nil {
					t.Errorf("%s: default %q is no duration", at, d)
				}
			}
		}
	}
}

// A validator is what leaves have.
type validator interface{ Validate() error }

// The ranges of the tags are those of the leaves: the ends are accepted by their
// Validate, and what is beyond them is not. Without this the file would be
// stricter, or errors lose their line.
func TestRangesAreThoseOfTheLeaves(t *testing.T) {
	for _, leaf := range []struct {
		section any
		config  validator
	}{
		{retrySection{}, &retry.Config{}},
		{ejectionSection{}, &breaker.OutlierConfig{}},
		{breakerSection{}, &breaker.Config{}},
		{limitSection{}, &limit.Config{}},
		{localitySection{}, &transport.Locality{}},
	} {
		for _, f := range fieldsOf(reflect.TypeOf(leaf.section)) {
			set := func(x float64) error {
				c := reflect.New(reflect.TypeOf(leaf.config).Elem())
				v := c.Elem().FieldByName(f.name)
				if v.CanFloat() {
					v.SetFloat(x)
				} else {
					v.SetInt(int64(x))
				}
				if f.name == "Base" { // which must not exceed Max
					c.Elem().FieldByName("Max").SetInt(int64(24 * time.Hour))
				}
				if f.name == "Max" {
					c.Elem().FieldByName("Base").SetInt(int64(100 * time.Millisecond))
				}
				if f.name == "MaxBackoff" {
					c.Elem().FieldByName("MinBackoff").SetInt(1)
				}
				return c.Interface().(validator).Validate()
			}
			number := func(rule string) (float64, bool) {
				if f.typ == durationType {
					return float64(span(f.rule(rule))), f.rule(rule) != ""
				}
				x, err := strconv.ParseFloat(f.rule(rule), 64)
				return x, err == nil
			}
			step := 1.0 // the least that is beyond
			if f.typ.Kind() == reflect.Float64 {
				step = 1e-9
			}
			if least, ok := number("min"); ok {
				if err := set(least); err != nil {
					t.Errorf("%T.%s: the least value: %v", leaf.section, f.name, err)
				}
				if beyond := least - step; beyond != 0 && f.rule("zero") == "" && set(beyond) == nil {
					t.Errorf("%T.%s: %v: got no error, want one", leaf.section, f.name, beyond)
				}
			}
			if most, ok := number("max"); ok {
				if err := set(most); err != nil {
					t.Errorf("%T.%s: the largest value: %v", leaf.section, f.name, err)
				}
				if set(most+max(step, most*1e-9)) == nil {
					t.Errorf("%T.%s: %v and more: got no error, want one", leaf.section, f.name, most)
				}
			}
			if none, ok := number("none"); ok {
				if err := set(none); err != nil {
					t.Errorf("%T.%s: none: %v", leaf.section, f.name, err)
				}
			}
		}
	}
}

// The defaults that the schema names are those of the leaf, where it tells.
func TestDefaultsAreThoseOfTheLeaf(t *testing.T) {
	is := reflect.ValueOf(breaker.OutlierConfig{}.WithDefaults())
	for _, f := range fieldsOf(reflect.TypeFor[ejectionSection]()) {
		v := is.FieldByName(f.name)
		got := fmt.Sprint(v)
		if f.typ == durationType {
			if span(f.rule("default")) != v.Interface() {
				t.Errorf("%s: got default %q, want %v", f.name, f.rule("default"), v)
			}
		} else if f.rule("default") != got {
			t.Errorf("%s: got default %q, want %s", f.name, f.rule("default"), got)
		}
	}
}

// The schema is JSON, names the draft, and describes every key.
func TestSchemaDescribesAllKeys(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" || root["additionalProperties"] != false {
		t.Errorf("got %v and %v", root["$schema"], root["additionalProperties"])
	}
	text := string(Schema())
	for _, typ := range sections() {
		for _, f := range fieldsOf(typ) {
			quoted, _ := json.Marshal(f.rule("doc"))
			if doc := strings.Trim(string(quoted), `"`); !strings.Contains(text, doc) {
				t.Errorf("%v.%s: its description is not in the schema", typ, f.name)
			}
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"timeout", "timeout", 0}, {"timout", "timeout", 1},
		{"tiemout", "timeout", 1}, {"retries", "retry", 3}, {"kitten", "sitting", 3}, {strings.Repeat("x", 100), "x", 64},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q): got %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("distance(%q, %q): got %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for name, want := range map[string]string{
		"Users": "users", "users.": "users", "Users.:80": "users:80", "[::1]:80": "[::1]:80", "[::1]": "[::1]", "::1": "::1", "": "", ":": ":", "a:b:c": "a:b:c",
	} {
		if got := canonical(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// Every field of the types of package route has its line in the table, and every
// line its field.
func TestRouteTags(t *testing.T) {
	tags, used := routeTags(), map[string]bool{}
	var visit func(t reflect.Type)
	visit = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(typ.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if typ.PkgPath() != routePackage {
			return
		}
		for i := range typ.NumField() {
			name := typ.Name() + "." + typ.Field(i).Name
			if used[name] {
				return
			}
			used[name] = true
			tag, ok := tags[name]
			if !ok || tag.Get("key") != "-" && !strings.HasSuffix(tag.Get("doc"), ".") {
				t.Errorf("%s: got tag %q, want one with a doc", name, tag)
			}
			visit(typ.Field(i).Type)
		}
	}
	for _, f := range fieldsOf(reflect.TypeFor[fileSection]()) {
		visit(f.typ)
	}
	for name := range tags {
		if !used[name] {
			t.Errorf("%s: the tag is of no field", name)
		}
	}
}
