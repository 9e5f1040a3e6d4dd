package config

import (
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// A Setting is one setting of a service and where it comes from.
type Setting struct {
	// Key is the key below the service, such as retry.attempts.
	Key string

	// Value is what holds, as it would be written.
	Value string

	// From is file:line, "default", or "program" for what Options.Base says.
	From string
}

// Service finds the configured service that calls to a host or host:port go to,
// by the rule of package transport: host:port wins over the host. It is "" where
// there is none, and Transport.Unknown then says what becomes of the call.
func (r *Result) Service(host string) string {
	if name, ok := spelled(r.Transport.Services, host); ok {
		return name
	}
	if bare, _, err := net.SplitHostPort(host); err == nil {
		if strings.Contains(bare, ":") {
			bare = "[" + bare + "]"
		}
		name, _ := spelled(r.Transport.Services, bare)
		return name
	}
	return ""
}

// Settings are the settings that hold for a service in an environment, in the
// order of the schema. Those of a section that nobody has set are one Setting. The
// environment of a service without environments is "". It is nil for a name that
// is no service.
func (r *Result) Settings(service, environment string) []Setting {
	s, ok := r.Transport.Services[service]
	if !ok {
		return nil
	}
	section, own := r.file.Services[service], where{"services", "services"}.entry(service)
	e := explainer{Result: r}
	e.layers = []layer{{own.path, &section.policySection}, {"defaults", &r.file.Defaults.policySection}}
	d := s.Environments[environment]
	e.program = []*transport.Policy{&d.Policy, &s.Policy, &r.base.Defaults}
	if env, ok := section.Environments[environment]; ok {
		at := own.path + fmt.Sprintf(".environments[%q]", strings.ToLower(environment))
		e.layers = append([]layer{{at, &env.policySection}}, e.layers...)
		e.part(&env, &d, at)
	} else {
		e.part(&section, &s, own.path)
	}
	e.policy()
	return e.list
}

// explainer collects the settings of one service.
type explainer struct {
	*Result
	layers  []layer             // what the file says of the policy, the nearest first
	program []*transport.Policy // and what the program does
	list    []Setting
}

// A layer is one policy of the file.
type layer struct {
	path   string
	policy *policySection
}

// from is where a path of the file was written.
func (e *explainer) from(path string) (string, bool) {
	at, ok := e.places[path]
	return fmt.Sprintf("%s:%d", at.file, at.line), ok
}

func (e *explainer) add(key, value, from string) {
	e.list = append(e.list, Setting{Key: key, Value: e.hide(value), From: from})
}

// part explains what is not policy, of a service or of one of its destinations.
func (e *explainer) part(section, effective any, path string) {
	v, is := reflect.ValueOf(section).Elem(), reflect.ValueOf(effective).Elem()
	for _, f := range fieldsOf(v.Type()) {
		if len(f.index) > 1 || f.typ.Kind() == reflect.Map || f.typ.Kind() == reflect.Slice {
			continue // the policy; destinations and rules have an explanation of their own
		}
		at := path + "." + strings.ToLower(f.name)
		from, ok := e.from(at)
		switch {
		case ok:
			e.add(f.key, e.written(v.FieldByIndex(f.index), at), from)
		case f.name == "Target":
			if text := target(is); text != "" {
				e.add(f.key, text, "program")
			}
		case f.name == "TLS" && e.file.Defaults.TLS != nil && !is.FieldByName("TLS").IsZero():
			from, _ := e.from("defaults.tls")
			e.add(f.key, "that of the defaults", from)
		case !is.FieldByName(f.name).IsZero():
			e.add(f.key, fmt.Sprint(programs(is.FieldByName(f.name))), "program")
		default:
			e.add(f.key, f.rule("default"), "default")
		}
	}
}

// target is what the program says of the endpoints.
func target(is reflect.Value) string {
	if text := is.FieldByName("Target").String(); text != "" {
		return text
	}
	if r := is.FieldByName("Resolver"); !r.IsNil() {
		return fmt.Sprintf("a %v", r.Elem().Type())
	}
	return ""
}

// policy explains the policy: a key of the nearest layer of the file that has it,
// else of the program, else its default.
func (e *explainer) policy() {
	for _, f := range fieldsOf(reflect.TypeFor[policySection]()) {
		if e.fromFile(&f) {
			continue
		}
		value, from := any(f.rule("default")), "default"
		for _, p := range e.program {
			if v := reflect.ValueOf(p).Elem().FieldByName(f.name); !v.IsZero() {
				value, from = programs(v), "program"
				break
			}
		}
		e.add(f.key, fmt.Sprint(value), from)
	}
}

// fromFile explains a key of the policy if the file has it.
func (e *explainer) fromFile(f *field) bool {
	for _, l := range e.layers {
		at := l.path + "." + strings.ToLower(f.name)
		if v := reflect.ValueOf(l.policy).Elem().FieldByIndex(f.index); e.has(at) && !v.IsZero() {
			e.setting(f, v, at)
			return true
		}
	}
	return false
}

func (e *explainer) has(path string) bool {
	_, ok := e.places[path]
	return ok
}

// setting explains one key of the file, and all keys of a section.
func (e *explainer) setting(f *field, v reflect.Value, path string) {
	from, _ := e.from(path)
	if v.Kind() != reflect.Pointer || f.name == "Balancer" {
		e.add(f.key, e.written(v, path), from)
		return
	}
	e.section(f.key, v.Elem(), path)
}

// section explains all keys of a section.
func (e *explainer) section(key string, v reflect.Value, path string) {
	for _, f := range fieldsOf(v.Type()) {
		at, is := path+"."+strings.ToLower(f.name), v.FieldByIndex(f.index)
		from, ok := e.from(at)
		switch {
		case ok && is.Kind() == reflect.Pointer && !is.IsNil():
			e.section(key+"."+f.key, is.Elem(), at)
		case ok:
			e.add(key+"."+f.key, e.written(is, at), from)
		case f.rule("default") != "":
			e.add(key+"."+f.key, f.rule("default"), "default")
		}
	}
}

// written is a value as it would be written. Of one with references it is the
// text that has them.
func (e *explainer) written(v reflect.Value, path string) string {
	for p, raw := range e.raws {
		if within(p, path) {
			return raw
		}
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		if x < 0 {
			return "none"
		}
		return x.String()
	case *balancerSection:
		return fmt.Sprintf("%s %+v", x.name, programs(reflect.ValueOf(x.policy)))
	case *targetSection:
		return x.String()
	case *tlsSection:
		return x.String()
	case float64:
		return fmt.Sprint(max(x, 0)) // below 0 stands for a 0 of the file
	}
	return fmt.Sprint(v.Interface())
}

// String is the target in short.
func (t *targetSection) String() string {
	switch t.kind {
	case "static":
		return fmt.Sprintf("static: %d endpoints", len(t.Static))
	case "file":
		return "file: " + t.File
	case "dns":
		return "dns: " + t.DNS
	case "srv":
		return "srv: " + t.SRV
	case "prefer":
		return fmt.Sprintf("prefer: %d targets", len(t.Prefer))
	case "merge":
		return fmt.Sprintf("merge: %d targets", len(t.Merge))
	}
	return t.url
}

// String is the section in short.
func (t *tlsSection) String() string {
	var parts []string
	v := reflect.ValueOf(t).Elem()
	for _, f := range fieldsOf(v.Type()) {
		if is := v.FieldByIndex(f.index); !is.IsZero() {
			parts = append(parts, fmt.Sprintf("%s: %v", f.key, is))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// programs is a value of the program for people, without its functions.
func programs(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v = v.Elem(); !v.IsValid() {
			return "none"
		}
	}
	if v.Kind() != reflect.Struct {
		return v.Interface()
	}
	var parts []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && !v.Field(i).IsZero() && f.Type.Kind() != reflect.Func {
			parts = append(parts, fmt.Sprintf("%s: %v", lowerFirst(f.Name), v.Field(i)))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
