package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of a file, which editors use to
// complete and check one. It is made from the types that the decoder fills. It
// is the looser of the two: it does not know what comparisons of fields say, nor
// what a URL must look like.
func Schema() []byte {
	s := &schemer{defs: schema{}}
	root := s.section(reflect.TypeFor[fileSection]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of tulle"
	root["patternProperties"] = schema{"^" + extension: true}
	root["$defs"] = s.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil // it is made of maps, texts and numbers only
	}
	return append(text, '\n')
}

// A schema is a JSON Schema.
type schema = map[string]any

// A schemer collects the schemas of named types.
type schemer struct{ defs schema }

// ref is a reference to the schema of a section, which is made at its first use.
func (s *schemer) ref(t reflect.Type) schema {
	name := strings.TrimSuffix(strings.TrimSuffix(t.Name(), "Section"), "Options")
	if t.PkgPath() == routePackage {
		name = "route" + name
	}
	if _, made := s.defs[name]; !made {
		s.defs[name] = true // ends the circle of a section in itself
		if c, ok := reflect.New(t).Interface().(custom); ok {
			s.defs[name] = c.schema(s)
		} else {
			s.defs[name] = s.section(t)
		}
	}
	return schema{"$ref": "#/$defs/" + name}
}

// section is the schema of a struct. Its value may be missing, as when all its
// keys are commented out.
func (s *schemer) section(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	for _, f := range fieldsOf(t) {
		properties[f.key] = s.field(&f)
		if f.rule("need") != "" {
			required = append(required, f.key)
		}
	}
	out := schema{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// field is the schema of one key.
func (s *schemer) field(f *field) schema {
	out := s.value(f.typ, f)
	if doc := f.rule("doc"); doc != "" {
		out["description"] = doc
	}
	if value := f.rule("default"); value != "" {
		out["default"] = literal(f.typ, value)
		if out["default"] == nil {
			delete(out, "default")
			out["description"] = f.rule("doc") + " Default: " + value + "."
		}
	}
	return out
}

// literal is a default as JSON, nil where it is only words.
func literal(t reflect.Type, text string) any {
	switch {
	case t == durationType:
		return text
	case t.Kind() == reflect.Bool:
		return text == "true"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Uint16, t.Kind() == reflect.Float64:
		if x, err := strconv.ParseFloat(text, 64); err == nil {
			return x
		}
	case t.Kind() == reflect.String && !strings.Contains(text, " "):
		return text
	}
	return nil
}

// durationPattern is the form of a duration.
const durationPattern = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`

// value is the schema of a type.
func (s *schemer) value(t reflect.Type, f *field) schema {
	switch {
	case t == durationType:
		pattern := durationPattern
		if f.rule("none") != "" {
			pattern = "^none$|" + pattern
		}
		return schema{"type": "string", "pattern": pattern, "$comment": f.want()}
	case t == reflect.TypeFor[[]byte]():
		return schema{"type": "string"}
	case reflect.PointerTo(t).Implements(reflect.TypeFor[custom]()):
		return s.ref(t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.value(t.Elem(), f)
	case reflect.Struct:
		return s.ref(t)
	case reflect.Map:
		return schema{"type": []string{"object", "null"}, "additionalProperties": s.value(t.Elem(), f)}
	case reflect.Slice:
		return schema{"type": []string{"array", "null"}, "items": s.value(t.Elem(), f)}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.String:
		return text(f)
	case reflect.Float64:
		return limits(schema{"type": "number"}, f)
	}
	return limits(schema{"type": "integer"}, f)
}

// text is the schema of a text or of some words. A word of a number's form may
// stand without quotes.
func text(f *field) schema {
	out := schema{"type": "string"}
	if words := f.enum(); words != nil {
		values := []any{}
		for _, w := range words {
			values = append(values, w)
			if x, err := strconv.ParseFloat(w, 64); err == nil {
				values = append(values, x)
			}
		}
		return schema{"enum": values}
	}
	if p := f.rule("pattern"); p != "" {
		out["pattern"] = p
	}
	return out
}

// limits adds the range of a number.
func limits(out schema, f *field) schema {
	for rule, keyword := range map[string]string{"min": "minimum", "max": "maximum", "above": "exclusiveMinimum"} {
		if x, err := strconv.ParseFloat(f.rule(rule), 64); err == nil {
			out[keyword] = x
		}
	}
	if least, has := out["minimum"].(float64); has && least > 0 && f.rule("zero") != "" {
		return schema{"anyOf": []any{out, schema{"const": 0}}}
	}
	return out
}

func (b *balancerSection) schema(s *schemer) schema {
	var names []string
	var forms []any
	for _, kind := range balancers() {
		names = append(names, kind.name)
		form := schema{"properties": schema{}, "type": "object", "additionalProperties": false}
		if kind.options != nil {
			form = s.section(reflect.TypeOf(kind.options).Elem())
			form["type"] = "object"
		}
		form["description"] = kind.doc
		form["properties"].(schema)["name"] = schema{"const": kind.name}
		form["required"] = []string{"name"}
		forms = append(forms, form)
	}
	return schema{"oneOf": slices.Insert(forms, 0, any(schema{"enum": names}))}
}

func (a *addrsSection) schema(*schemer) schema {
	return schema{"type": []string{"array", "null"}, "items": schema{
		"type": "string", "pattern": "^" + nonPublic + `$|/[0-9]{1,3}$|\$\{`,
	}}
}

func (t *targetSection) schema(s *schemer) schema {
	form := s.section(reflect.TypeFor[targetFields]())
	form["type"] = "object"
	var one []any
	for _, key := range targetKinds {
		one = append(one, schema{"required": []string{key}})
	}
	form["oneOf"] = one
	return schema{"oneOf": []any{schema{"type": "string", "minLength": 1}, form}}
}

func (e *endpointSection) schema(s *schemer) schema {
	form := s.section(reflect.TypeFor[endpointFields]())
	form["type"] = "object"
	return schema{"oneOf": []any{schema{"type": "string", "minLength": 1}, form}}
}
