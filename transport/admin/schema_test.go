package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// folders are where the types of the JSON are written, by package.
var folders = map[string]string{
	"admin": ".", "transport": "..", "telemetry": "../telemetry", "limit": "../limit", "deadline": "../deadline",
	"tulle": "../..", "retry": "../../retry",
}

// A schemer makes a JSON Schema of Go types, with their comments.
type schemer struct {
	defs map[string]any
	docs map[string]string   // by package.Type and package.Type.Field
	enum map[string][]string // constants by package.Type
}

type object = map[string]any

// newSchemer reads the comments.
func newSchemer(t *testing.T) *schemer {
	s := &schemer{map[string]any{}, map[string]string{}, map[string][]string{}}
	for pkg, dir := range folders {
		names, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if !strings.HasSuffix(n.Name(), ".go") || strings.HasSuffix(n.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, n.Name()), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			s.read(pkg, f)
		}
	}
	return s
}

// read takes in the comments of a file.
func (s *schemer) read(pkg string, f *ast.File) {
	for _, d := range f.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				name := pkg + "." + spec.Name.Name
				s.docs[name] = text(gen.Doc)
				if st, ok := spec.Type.(*ast.StructType); ok {
					s.readFields(name, st)
				}
			case *ast.ValueSpec:
				typ, ok := spec.Type.(*ast.Ident)
				if !ok || len(spec.Values) != 1 {
					continue
				}
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					word, _ := strconv.Unquote(lit.Value)
					name := pkg + "." + typ.Name
					s.enum[name] = append(s.enum[name], word)
				}
			}
		}
	}
}

// readFields takes in the comments of fields. One without shares that of the field
// before.
func (s *schemer) readFields(name string, st *ast.StructType) {
	doc := ""
	for _, f := range st.Fields.List {
		if own := text(f.Doc) + text(f.Comment); own != "" {
			doc = own
		}
		for _, n := range f.Names {
			s.docs[name+"."+n.Name] = doc
		}
	}
}

// text is a comment in one line.
func text(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return strings.Join(strings.Fields(c.Text()), " ")
}

// of is the schema of a type.
func (s *schemer) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case t.Kind() == reflect.Struct:
		return s.ref(t)
	case t.Kind() == reflect.String:
		o := object{"type": "string"}
		if words := s.enum[nameOf(t)]; words != nil {
			o["enum"] = words
		}
		return o
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.Float64:
		return object{"type": "number"}
	case reflect.Zero(t).CanInt():
		return object{"type": "integer"}
	case reflect.Zero(t).CanUint():
		return object{"type": "integer", "minimum": 0}
	}
	return object{"not": object{}} // no value fits, which TestSchemaFits would see
}

func nameOf(t reflect.Type) string { return path.Base(t.PkgPath()) + "." + t.Name() }

// ref is a reference to a struct, which is described once.
func (s *schemer) ref(t reflect.Type) object {
	name := strings.TrimPrefix(nameOf(t), "admin.")
	ref := object{"$ref": "#/$defs/" + name}
	if s.defs[name] != nil {
		return ref
	}
	def := object{"type": "object", "properties": object{}}
	s.defs[name] = def
	if doc := s.docs[nameOf(t)]; doc != "" {
		def["description"] = doc
	}
	required := s.fields(t, def["properties"].(object))
	slices.Sort(required)
	def["required"] = slices.Compact(required)
	return ref
}

// fields adds those of a struct, as encoding/json sees them: what is embedded
// first, so that a field further out takes its place.
func (s *schemer) fields(t reflect.Type, to object) (required []string) {
	for f := range t.Fields() {
		if f.Anonymous && f.Tag.Get("json") == "" {
			required = append(required, s.fields(f.Type, to)...)
		}
	}
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if !f.IsExported() || f.Anonymous && tag == "" || tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		prop := s.of(f.Type)
		if doc := s.docs[nameOf(t)+"."+f.Name]; doc != "" {
			prop["description"] = doc
		}
		to[name] = prop
		required = slices.DeleteFunc(required, func(n string) bool { return n == name })
		if options == "" {
			required = append(required, name)
		}
	}
	return required
}

// documents are what the paths serve.
var documents = []reflect.Type{
	reflect.TypeFor[admin.State](), reflect.TypeFor[admin.Records](), reflect.TypeFor[admin.History](), reflect.TypeFor[admin.Pulse](),
}

// TestSchema compares schema.json with the types. It is rewritten by -update, and
// that is to be done when the snapshot of a Transport has a new field.
func TestSchema(t *testing.T) {
	s := newSchemer(t)
	var one []object
	for _, d := range documents {
		one = append(one, s.ref(d))
	}
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "What transport/admin serves as JSON",
		"anyOf":   one, "$defs": s.defs,
	}
	for name, def := range s.defs {
		for field, prop := range def.(object)["properties"].(object) {
			if prop.(object)["description"] == nil && def.(object)["description"] == nil {
				t.Errorf("neither %s nor its %s has a description", name, field)
			}
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(root); err != nil {
		t.Fatal(err)
	}
	const name = "static/schema.json"
	if *update {
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Errorf("%s is not what the types say: go test ./transport/admin -update", name)
	}
}

// fit returns what is wrong with a value. It knows what our schema uses, and wants
// each property to be in it.
func fit(root, schema object, at string, v any) (bad []string) {
	if ref, ok := schema["$ref"].(string); ok {
		defs, _ := root["$defs"].(object)
		def, _ := defs[strings.TrimPrefix(ref, "#/$defs/")].(object)
		if def == nil {
			return []string{at + ": no definition " + ref}
		}
		return fit(root, def, at, v)
	}
	kind := "null"
	switch v := v.(type) {
	case string:
		kind = "string"
		if words, ok := schema["enum"].([]any); ok && !slices.Contains(words, any(v)) {
			bad = append(bad, fmt.Sprintf("%s: %q is none of %v", at, v, words))
		}
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				bad = append(bad, at+": "+err.Error())
			}
		}
	case bool:
		kind = "boolean"
	case float64:
		if kind = "number"; schema["type"] == "integer" && v == math.Trunc(v) {
			kind = "integer"
		}
		if least, ok := schema["minimum"].(float64); ok && v < least {
			bad = append(bad, fmt.Sprintf("%s: %v is below %v", at, v, least))
		}
	case []any:
		kind = "array"
		items, _ := schema["items"].(object)
		for i, item := range v {
			bad = append(bad, fit(root, items, fmt.Sprintf("%s[%d]", at, i), item)...)
		}
	case object:
		kind = "object"
		bad = append(bad, fitObject(root, schema, at, v)...)
	}
	if kind != schema["type"] {
		bad = append(bad, fmt.Sprintf("%s: it is %s, want %v", at, kind, schema["type"]))
	}
	return bad
}

// fitObject is fit for an object.
func fitObject(root, schema object, at string, v object) (bad []string) {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			bad = append(bad, fmt.Sprintf("%s: no %s", at, name))
		}
	}
	properties, _ := schema["properties"].(object)
	others, _ := schema["additionalProperties"].(object)
	for _, name := range slices.Sorted(maps.Keys(v)) {
		prop, ok := properties[name].(object)
		if !ok {
			prop = others
		}
		if prop == nil {
			bad = append(bad, at+": "+name+" is not in the schema")
			continue
		}
		bad = append(bad, fit(root, prop, at+"."+name, v[name])...)
	}
	return bad
}

// filled has a value in each field, so that none is left out.
func filled() *fake {
	f := newFake()
	f.change(func(s *transport.Snapshot) {
		s.Mirrored = 1
		u := &s.Services[1]
		u.Environment, u.DiscoveryError, u.DiscoveryAge = "prod", "no such host", time.Second
		u.Shares = []transport.ShareSnapshot{{Priority: 1, Zone: "a", Endpoints: 2, Usable: 1, Share: 0.5}}
		u.Endpoints[0].Endpoint = tulle.Endpoint{
			Addr: "10.0.0.1:80", Name: "n", Zone: "a", Weight: 2, Priority: 1, GRPCPort: 9, Labels: map[string]string{"v": "2"},
		}
		u.Endpoints[0].Load = &tulle.Load{CPU: 1, Memory: 1, Application: 1, QPS: 1, EPS: 1,
			Utilization: map[string]float64{"x": 1}, Named: map[string]float64{"y": 1}}
	})
	f.records = []*telemetry.Record{{
		Time: time.Unix(1e9, 0), Elapsed: time.Second, TraceID: "ab", Service: "users@prod", Method: "GET", Path: "/v1",
		Route:   telemetry.Route{Destination: "users@prod", Rule: "r", Override: "o"},
		Breaker: "closed", Refused: 1, Outcome: "answered", Status: 200, Error: "e",
		Waits:   []telemetry.Wait{{For: "rate", Time: 1, Error: "e"}},
		Picks:   []telemetry.Pick{{Attempt: 1, Endpoint: "a", Candidates: []telemetry.Candidate{{Addr: "a", Cost: 1, Avoided: "dead"}}}},
		Tries:   []telemetry.Try{{Attempt: 1, Hedge: true, Endpoint: "a", Start: 1, Time: 1, Outcome: "answered", Status: 200, Error: "e"}},
		Repeats: []telemetry.Repeat{{Granted: true, Reason: "unsent", Wait: 1, Budget: 1}},
	}}
	return f
}

// What is served fits the schema, with every field filled and with none.
func TestSchemaFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := func() admin.ConfigStatus {
			return admin.ConfigStatus{Version: "v", LoadedAt: time.Unix(1, 0), Error: "e", ErrorAt: time.Unix(1, 0)}
		}
		empty := newHandler(t, &fake{}, admin.Config{})
		full := filled()
		h := newHandler(t, full, admin.Config{ConfigStatus: status})
		defer h.Close()
		get(h, "/")
		time.Sleep(time.Second)
		full.change(func(s *transport.Snapshot) { s.Services[1].Breaker, s.Services[1].Endpoints[1].State = "open", "dead" })

		var root object
		if err := json.Unmarshal(get(h, "/schema.json").Body.Bytes(), &root); err != nil {
			t.Fatal(err)
		}
		texts := map[string][]string{}
		for _, from := range []*admin.Handler{empty, h} {
			texts["State"] = append(texts["State"], get(from, "/snapshot.json").Body.String())
			texts["Records"] = append(texts["Records"], get(from, "/records.json").Body.String())
			texts["History"] = append(texts["History"], get(from, "/history.json").Body.String())
		}
		texts["History"] = append(texts["History"], get(h, "/history.json?service=users&environment=prod").Body.String())
		_, events := stream(t, h, "/events", 100*time.Millisecond)
		texts["Pulse"] = events["pulse"]
		for name, list := range texts {
			for _, text := range list {
				var v any
				if err := json.Unmarshal([]byte(text), &v); err != nil {
					t.Fatalf("%s: %v in %s", name, err, text)
				}
				for _, bad := range fit(root, object{"$ref": "#/$defs/" + name}, name, v) {
					t.Error(bad)
				}
			}
		}
		// The check itself finds what is wrong.
		wrong := object{"at": "yesterday", "totals": object{}, "changes": []any{object{"kind": "x"}}, "more": 1.0}
		if bad := fit(root, object{"$ref": "#/$defs/Pulse"}, "Pulse", wrong); len(bad) < 12 {
			t.Errorf("got only %q", bad)
		}
	})
}
