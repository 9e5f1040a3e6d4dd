package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/tullemesh/tulle/transport/config"
)

// A validator checks values against the keywords that the schema uses. It fails
// on any other keyword, so that it cannot pass over one.
type validator struct{ root map[string]any }

func newValidator(t testing.TB) *validator {
	t.Helper()
	v := &validator{}
	if err := json.Unmarshal(config.Schema(), &v.root); err != nil {
		t.Fatal(err)
	}
	return v
}

// notes are keywords that check nothing.
var notes = []string{"$schema", "$defs", "$comment", "title", "description", "default"}

// check returns why value does not fit the schema, or nil.
func (v *validator) check(schema any, value any) error {
	if fits, ok := schema.(bool); ok {
		if !fits {
			return fmt.Errorf("nothing fits")
		}
		return nil
	}
	s := schema.(map[string]any)
	for keyword, arg := range s {
		if err := v.keyword(s, keyword, arg, value); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) keyword(s map[string]any, keyword string, arg, value any) error {
	switch keyword {
	case "$ref":
		name := strings.TrimPrefix(arg.(string), "#/$defs/")
		return v.check(v.root["$defs"].(map[string]any)[name], value)
	case "type":
		types, ok := arg.([]any)
		if !ok {
			types = []any{arg}
		}
		if !slices.ContainsFunc(types, func(t any) bool { return isType(t.(string), value) }) {
			return fmt.Errorf("%v is no %v", value, types)
		}
	case "enum":
		if !slices.Contains(arg.([]any), value) {
			return fmt.Errorf("%v is not among %v", value, arg)
		}
	case "const":
		if value != arg {
			return fmt.Errorf("%v is not %v", value, arg)
		}
	case "pattern":
		if text, ok := value.(string); ok && !regexp.MustCompile(arg.(string)).MatchString(text) {
			return fmt.Errorf("%q does not match %v", text, arg)
		}
	case "minLength":
		if text, ok := value.(string); ok && float64(len(text)) < arg.(float64) {
			return fmt.Errorf("%q is too short", text)
		}
	case "minimum", "maximum", "exclusiveMinimum":
		return bound(keyword, arg.(float64), value)
	case "required":
		for _, key := range arg.([]any) {
			if m, ok := value.(map[string]any); ok {
				if _, has := m[key.(string)]; !has {
					return fmt.Errorf("%v is missing", key)
				}
			}
		}
	case "oneOf":
		n := 0
		var why []string
		for _, one := range arg.([]any) {
			if err := v.check(one, value); err == nil {
				n++
			} else {
				why = append(why, err.Error())
			}
		}
		if n != 1 {
			return fmt.Errorf("%v fits %d of the forms: %s", value, n, strings.Join(why, "; "))
		}
	case "anyOf":
		if !slices.ContainsFunc(arg.([]any), func(one any) bool { return v.check(one, value) == nil }) {
			return fmt.Errorf("%v fits none of the forms", value)
		}
	case "items":
		list, _ := value.([]any)
		for i, item := range list {
			if err := v.check(arg, item); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case "additionalProperties":
		return v.additional(s, arg, value)
	case "properties", "patternProperties": // with additionalProperties
	default:
		if !slices.Contains(notes, keyword) {
			return fmt.Errorf("the validator of the test does not know %q", keyword)
		}
	}
	return nil
}

// additional checks all keys of an object.
func (v *validator) additional(s map[string]any, others, value any) error {
	m, _ := value.(map[string]any)
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	for key, value := range m {
		schema, ok := properties[key]
		if !ok {
			schema = others
			for pattern, s := range patterns {
				if regexp.MustCompile(pattern).MatchString(key) {
					schema = s
				}
			}
		}
		if err := v.check(schema, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func bound(keyword string, limit float64, value any) error {
	x, ok := value.(float64)
	if ok && (keyword == "minimum" && x < limit || keyword == "maximum" && x > limit || keyword == "exclusiveMinimum" && x <= limit) {
		return fmt.Errorf("%v: %s %v", x, keyword, limit)
	}
	return nil
}

func isType(name string, value any) bool {
	switch x := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && x == float64(int64(x))
	case []any:
		return name == "array"
	}
	return name == "object" && reflect.ValueOf(value).Kind() == reflect.Map
}

// asJSON is a YAML file as JSON values.
func asJSON(t testing.TB, text string) any {
	t.Helper()
	var value, out any
	if err := yaml.Load([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The schema accepts what the decoder does.
func TestSchemaAccepts(t *testing.T) {
	v := newValidator(t)
	texts := map[string]string{
		"all keys": whole,
		"targets": `
services:
  a: {target: {static: [a, {addr: b, weight: 0.5, labels: {x: y}}]}, tls: {minVersion: 1.3}}
  b: {target: {prefer: [dns://a, {merge: [{file: x, interval: 1s}, {srv: b}]}]}, balancer: {name: peak_ewma, tau: 1m30s}}
  c: {target: static://a, retry: , tls: {}, balancer: round_robin, limit: {maxWait: 0s}}
x-own: [1, {a: b}]
`,
		"nothing": "{defaults: , services: }",
	}
	for name, text := range texts {
		mustParse(t, text)
		if err := v.check(v.root, asJSON(t, text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The example is complete: it has every key of the schema, and both accept it.
func TestSchemaAcceptsTheExample(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "examples", "config", "tulle.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v := newValidator(t)
	if err := v.check(v.root, asJSON(t, string(data))); err != nil {
		t.Error(err)
	}
	for name, def := range v.root["$defs"].(map[string]any) {
		properties, _ := def.(map[string]any)["properties"].(map[string]any)
		for key := range properties {
			if !regexp.MustCompile(`(^|[\s{#])` + regexp.QuoteMeta(key) + `:`).Match(data) {
				t.Errorf("the example does not have the key %s of %s", key, name)
			}
		}
	}
}

// The schema refuses what editors should mark.
func TestSchemaRefuses(t *testing.T) {
	v := newValidator(t)
	for _, text := range []string{
		"{service: {}}", "{services: []}", "{unknown: Pass}", "{defaults: {timeout: 5}}", "{defaults: {timeout: 5x}}",
		"{defaults: {retry: {attempts: 11}}}", "{defaults: {retry: {attempts: 1.5}}}", "{defaults: {breaker: {failureShare: 0}}}",
		"{defaults: {balancer: p2c}}", "{defaults: {balancer: {choices: 2}}}", "{defaults: {balancer: {name: random, choices: 2}}}",
		"{services: {a: {target: {}}}}", "{services: {a: {target: {dns: a, srv: b}}}}", "{services: {a: {target: ''}}}",
		"{services: {a: {target: {static: [{zone: b}]}}}}", "{services: {a: {external: 'yes'}}}", "{refuseAddrs: [10.0.0.1]}",
		"{services: {a: {tls: {minVersion: '1.1'}}}}", "{defaults: {retry: {maxBackoff: none}}}",
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("%s: the decoder accepts it", text)
		}
		if err := v.check(v.root, asJSON(t, text)); err == nil {
			t.Errorf("%s: the schema accepts it", text)
		}
	}
}
