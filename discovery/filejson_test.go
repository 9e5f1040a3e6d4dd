package discovery_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// numbered is a set of n endpoints with all fields.
func numbered(n int) []tulle.Endpoint {
	set := make([]tulle.Endpoint, n)
	for i := range set {
		set[i] = tulle.Endpoint{
			Addr: fmt.Sprintf("10.%d.%d.%d:8080", i>>16, i>>8&255, i&255), Name: fmt.Sprintf("pod-%d", i),
			Zone: "b", Weight: 2, Priority: i % 2, Labels: map[string]string{"version": "1.2.3"},
		}
	}
	return set
}

func TestDecodeJSON(t *testing.T) {
	for _, c := range []struct {
		text string
		want []tulle.Endpoint
	}{
		{`[]`, nil},
		{" [\n]\t", nil},
		{`["a:80", "b"]`, eps("a:80", "b")},
		{`[{"addr":"a:80"}]`, eps("a:80")},
		{`["a:80",{"addr":"b:80","name":"n","zone":"z","weight":0.5,"priority":2,"grpc_port":81,"labels":{"k":"v"}}]`, []tulle.Endpoint{
			{Addr: "a:80"}, {Addr: "b:80", Name: "n", Zone: "z", Weight: 0.5, Priority: 2, GRPCPort: 81, Labels: map[string]string{"k": "v"}},
		}},
		{`[{"zone":"z","addr":"\u0061:80","labels":{}}]`, []tulle.Endpoint{{Addr: "a:80", Zone: "z"}}},
	} {
		got, err := discovery.DecodeJSON([]byte(c.text))
		if err != nil || !discovery.SameSet(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

func TestDecodeJSONErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"addr":"a:80"}`, "line 1, column 1: want an array"},
		{`  "a:80"`, "line 1, column 3: want an array"},
		{`null`, "want an array"},
		{"[\n  \"a:80\",\n]", "line 3, column 1: invalid character ']'"},
		{`["a:80"] x`, "line 1, column 10: invalid character 'x'"},
		{`["a:80"`, "unexpected end of JSON input"},
		{" \n", "unexpected end of JSON input"},
		{`["a:80", 80]`, `item 2 (line 1, column 10): want "host:port" or an object`},
		{`[null]`, "item 1 (line 1, column 2): want"},
		{`[["a:80"]]`, "item 1 (line 1, column 2): want"},
		{"[\"a:80\",\n  {\"addr\": \"b:80\",\n   \"port\" : 80}]", `item 2 (line 2, column 3): unknown key "port" (line 3, column 4): want addr, name`},
		{`[{"ADDR":"a:80"}]`, `unknown key "ADDR"`},
		{`[{"addr":"a:80","addr":"b:80"}]`, `key "addr" stands twice (line 1, column 17)`},
		{`[{"addr":80}]`, `key "addr" (line 1, column 3): json: cannot unmarshal number`},
		{`[{"addr":"a:80","priority":1.5}]`, `key "priority"`},
		{`[{"addr":"a:80","weight":1e999}]`, `key "weight"`},
		{`[{"addr":"a:80","weight":-1}]`, "item 1 (line 1, column 2): tulle: endpoint a:80: weight -1"},
		{`[{"addr":"a:80","labels":{"k":1}}]`, `key "labels"`},
		{`[{}]`, `item 1 (line 1, column 2): tulle: endpoint addr ""`},
		{`["a:80","b:80",{"addr":"a:80"}]`, `item 3 (line 1, column 16): addr "a:80" is already item 1`},
		{`["a/b:80"]`, `item 1 (line 1, column 2): tulle: endpoint addr "a/b:80"`},
	} {
		got, err := discovery.DecodeJSON([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want an error with %q", c.text, got, err, c.want)
		}
	}
}

// TestJSONFields: the decoder knows exactly the tags of tulle.Endpoint, and
// puts each value where the tag says.
func TestJSONFields(t *testing.T) {
	var e tulle.Endpoint
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if got, want := discovery.JSONField(&e, key), v.Field(i).Addr().Interface(); got != want {
			t.Errorf("key %q: got %T, want the field %s", key, got, v.Type().Field(i).Name)
		}
		if _, err := discovery.DecodeJSON([]byte(`[{"nokey":1}]`)); !strings.Contains(err.Error(), key) {
			t.Errorf("the error for unknown keys: got %q, want it to offer %q", err, key)
		}
	}
}

// TestJSONRoundTrip: what encoding/json writes is read back.
func TestJSONRoundTrip(t *testing.T) {
	want := numbered(300)
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got, err := discovery.DecodeJSON(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d endpoints, %v, want the same %d", len(got), err, len(want))
	}
}

// FuzzDecodeJSON: no input panics, what is accepted is a valid set that
// encoding/json, which is more lenient, understands alike.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`[]`, `["a:80"]`, `[{"addr":"a:80","labels":{"a":"b"}}]`, `[{"addr":"a","weight":1e3},"b"]`, `[`, `[[]]`, `{}`, ``,
		`[{"addr":"a"},{"addr":"a"}]`, `["\ud800"]`, `[{"x":1}]`, "\xef\xbb\xbf[]", `[{"addr":null}]`, `["a",1]`, `[] []`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := discovery.DecodeJSON(data)
		if err != nil {
			return
		}
		if err := discovery.Static(set).Validate(); err != nil {
			t.Fatalf("%q: got %v, want a valid set", data, err)
		}
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil || len(items) != len(set) {
			t.Fatalf("%q: got %d endpoints, want %d, %v", data, len(set), len(items), err)
		}
		for i, item := range items {
			var e tulle.Endpoint
			if json.Unmarshal(item, &e.Addr) != nil {
				e.Addr = ""
				if err := json.Unmarshal(item, &e); err != nil {
					t.Fatalf("%q: item %d: got it accepted, want %v", data, i+1, err)
				}
			}
			if !e.Equal(&set[i]) || !maps.Equal(e.Labels, set[i].Labels) {
				t.Fatalf("%q: item %d: got %v, want %v", data, i+1, set[i], e)
			}
		}
	})
}
