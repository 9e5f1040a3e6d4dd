package discovery_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/discovery"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		target string
		want   discovery.Resolver
	}{
		{"static://a:80", discovery.Static(eps("a:80"))},
		{"static://a:80, b:80,[::1]:80", discovery.Static(eps("a:80", "b:80", "[::1]:80"))},
		{"STATIC://a:80", discovery.Static(eps("a:80"))},
		{"file:///etc/mesh/users.json", discovery.File{Path: "/etc/mesh/users.json"}},
		{"file:///a%20b%3f/x@y:1", discovery.File{Path: "/a b?/x@y:1"}},
		{"dns://users.internal:8080", discovery.DNS{Host: "users.internal", Port: "8080"}},
		{"dns://users.internal.", discovery.DNS{Host: "users.internal."}},
		{"dns://10.0.0.1:80", discovery.DNS{Host: "10.0.0.1", Port: "80"}},
		{"dns://[::1]:80", discovery.DNS{Host: "::1", Port: "80"}},
		{"dns://[::1]", discovery.DNS{Host: "::1"}},
		{"dns://[fe80::1%25eth0]:80", discovery.DNS{Host: "fe80::1%eth0", Port: "80"}},
		{"srv://_http._tcp.users.internal", discovery.SRV{Name: "_http._tcp.users.internal"}},
		{"static://a:80,b:80?subset=1", discovery.Subset{Resolver: discovery.Static(eps("a:80", "b:80")), Size: 1}},
		{"file:///a?subset=20", discovery.Subset{Resolver: discovery.File{Path: "/a"}, Size: 20}},
		{"dns://users:80?subset=1000000", discovery.Subset{Resolver: discovery.DNS{Host: "users", Port: "80"}, Size: 1000000}},
		{"srv://users?subset=3", discovery.Subset{Resolver: discovery.SRV{Name: "users"}, Size: 3}},
		{"SRV://users.service.consul.", discovery.SRV{Name: "users.service.consul."}},
	} {
		got, err := discovery.Parse(c.target)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("Parse(%q): got %#v, %v, want %#v", c.target, got, err, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ target, want string }{
		{"", "no scheme"},
		{"users:8080", "no scheme"},
		{"file:/etc/users.json", "no scheme"},
		{"://a:80", `unknown scheme ""`},
		{"consul://users", `unknown scheme "consul"`},
		{"static://", `item 1: "" is empty`},
		{"static://a:80,,b:80", `item 2: "" is empty`},
		{"static://a:80,b:99999", `item 2: tulle: endpoint addr "b:99999"`},
		{"static://a:80/x", `item 1: tulle: endpoint addr "a:80/x"`},
		{"static://a:80?x=1", `query "x=1": want none, or subset=20`},
		{"static://a:80?", `query ""`},
		{"static://a:80?subset=", `subset "": want 1 to 1000000`},
		{"static://a:80?subset=0", `subset "0": want 1 to 1000000`},
		{"static://a:80?subset=-1", `subset "-1"`},
		{"static://a:80?subset=1000001", `subset "1000001"`},
		{"static://a:80?subset=2&subset=3", `subset "2&subset=3"`},
		{"static://a:80?subset=2?subset=3", `subset "2?subset=3"`},
		{"static://a:80?subset=2#x", "a fragment is not allowed"},
		{"static://?subset=2", `item 1: "" is empty`},
		{"file://etc/users.json", `"etc" stands where a host would: the path must be absolute`},
		{"file://./users.json", `"." stands where a host would`},
		{"file://", `path "" does not name a file`},
		{"file:///", `path "/" does not name a file`},
		{"file:///etc/", `path "/etc/" does not name a file`},
		{"file:///a%zz", "path: invalid URL escape"},
		{"file:///a%00b", `Path "/a\x00b"`},
		{"file:///a?b", `query "b"`},
		{"file:///a#b", "a fragment is not allowed"},
		{"dns://", "no host after two slashes"},
		{"dns:///users:80", "no host after two slashes"},
		{"dns://:80", "no host before the port"},
		{"dns://users:", "no port after the colon"},
		{"dns://users/", `a path is not allowed, got "/"`},
		{"dns://8.8.8.8/users:80", "a path is not allowed"},
		{"dns://users:80?x", `query "x"`},
		{"dns://users:80#x", "a fragment is not allowed"},
		{"dns://users:http", `Port "http": want 1 to 65535`},
		{"dns://a:80,b:80", "too many colons"},
		{"dns://::1", "too many colons"},
		{"dns://[::1", "missing ']'"},
		{"dns://[users]:80x", `Port "80x"`},
		{"dns://us%ers", "host: invalid URL escape"},
		{"dns://a%2fb", `Host "a/b"`},
		{"srv://", "no host after two slashes"},
		{"srv://_http._tcp.users:80", `a port is not allowed, got "80": SRV records have their own`},
		{"srv://_http._tcp.users:", "no port after the colon"},
		{"srv://users/x", "a path is not allowed"},
		{"srv://users?x", `query "x"`},
		{"srv://10.0.0.1", `Name "10.0.0.1": want the name of SRV records`},
		{"srv://[::1]", `Name "::1"`},
		{"srv://a%2fb", `Name "a/b"`},
	} {
		got, err := discovery.Parse(c.target)
		switch {
		case err == nil || got != nil:
			t.Errorf("Parse(%q): got %#v, %v, want nil and an error", c.target, got, err)
		case !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "discovery: target "):
			t.Errorf("Parse(%q): got %q, want it to say %q", c.target, err, c.want)
		case !strings.Contains(err.Error(), c.target) || !strings.Contains(err.Error(), "want static://"):
			t.Errorf("Parse(%q): got %q, want it to name the target and what is allowed", c.target, err)
		}
	}
}

// A password is refused and not repeated: errors end up in logs.
func TestParsePassword(t *testing.T) {
	for _, target := range []string{
		"dns://me:secret@users:80", "dns://secret@users", "static://me:secret@a:80", "consul://me:secret@a/b", "file://me:secret@host/a",
		"dns://me:secret?x@users", "dns://me:x?secret@users:80", "dns://me:x#secret@users", "dns://secret@users?subset=2",
	} {
		_, err := discovery.Parse(target)
		if err == nil || !strings.Contains(err.Error(), "a user is not allowed") {
			t.Errorf("Parse(%q): got %v, want a user to be refused", target, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("Parse(%q): got the password in %q, want it hidden", target, err)
		}
	}
}

// FuzzParse: no input panics; what is accepted is a Resolver that its own
// Validate accepts.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"static://a:80,b:80", "file:///a/b", "dns://a:80", "dns://[::1]:80", "dns://a", "x://y", "://", "dns://%", "dns://[",
		"file:///%2e%2e/a", "dns://a@b", "static://", "dns://[fe80::1%25e]", "DNS://a:1", "dns://]:1", "file://\x00/",
		"srv://_http._tcp.users.internal", "srv://a:1", "srv://[::1]", "srv://%", "srv://.", "srv://_a._b.c/d",
		"static://a:80,b:80?subset=1", "dns://a?subset=20", "file:///a?subset=0", "srv://a?subset", "static://a?subset=99999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		r, err := discovery.Parse(target)
		if (r == nil) != (err != nil) {
			t.Fatalf("Parse(%q): got %v, %v, want one of them", target, r, err)
		}
		if err != nil {
			return
		}
		if err := r.(interface{ Validate() error }).Validate(); err != nil {
			t.Fatalf("Parse(%q): got %#v, which is not valid: %v", target, r, err)
		}
		if s, ok := r.(discovery.Subset); ok {
			r = s.Resolver
			if err := r.(interface{ Validate() error }).Validate(); err != nil {
				t.Fatalf("Parse(%q): got a subset of %#v, which is not valid: %v", target, r, err)
			}
		}
		if f, ok := r.(discovery.File); ok && !strings.HasPrefix(f.Path, "/") {
			t.Fatalf("Parse(%q): got the path %q, want an absolute one", target, f.Path)
		}
	})
}
