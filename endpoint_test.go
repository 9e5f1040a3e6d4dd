package tulle_test

import (
	"math"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/tullemesh/tulle"
)

func TestEndpointValidateAddr(t *testing.T) {
	for _, c := range []struct {
		addr string
		want string // part of the error, "" for none
	}{
		{"a", ""},
		{"a:80", ""},
		{"a.b-c_d:1", ""},
		{"a.:65535", ""},
		{"10.0.0.1", ""},
		{"10.0.0.1:8080", ""},
		{"::1", ""},
		{"[::1]", ""},
		{"[::1]:80", ""},
		{"[::ffff:10.0.0.1]:80", ""},
		{"2001:db8::8080", ""}, // no port: that needs brackets
		{"[fe80::1%eth0]:80", ""},
		{"b\u00fccher.example:80", ""},

		{"", "no host"},
		{":80", "no host"},
		{"a:", `port "": want 1 to 65535`},
		{"a:0", `port "0"`},
		{"a:65536", `port "65536"`},
		{"a:-1", `port "-1"`},
		{"a:+1", `port "+1"`},
		{"a:http", `port "http"`},
		{"a:80:90", "want host:port"},
		{":", "port"},
		{"::1:80x", "want host:port"},
		{"fe80::1%eth0", "want host:port"}, // where would the zone end?
		{"[fe80::1%eth0]", "want host:port"},
		{"[fe80::1%]:80", "want host:port"},

		// Brackets that do not pair, or that hold anything else.
		{"[", "want host:port"},
		{"[]", "want host:port"},
		{"[]:80", "want host:port"},
		{"[::1", "want host:port"},
		{"::1]", "want host:port"},
		{"[[::1]]", "want host:port"},
		{"[::1]]:80", "brackets"},
		{"[a]:80", "brackets"},
		{"[10.0.0.1]:80", "brackets"},
		{"a]b", "brackets"},
		{"[fe80::1%a]b]:80", "want host:port"},

		// What would end the host in a URL or a header.
		{"a/b", `"/" cannot stand in a host`},
		{"a/b:80", `"/" cannot stand in a host`},
		{"u@a:80", `"@" cannot`},
		{"a?b", `"?" cannot`},
		{"a#b", `"#" cannot`},
		{`a\b`, "cannot stand"},
		{"a b", `" " cannot`},
		{"a\r\nb:80", "cannot stand"},
		{"a\x00", "cannot stand"},
		{"a\x7f", "cannot stand"},
		{"a\xff:80", "cannot stand"}, // no UTF-8
		{"{a}:80", "cannot stand"},
		{"http://a:80", "cannot stand"},
		{"[fe80::1%a/b]:80", "cannot stand"},
	} {
		e := tulle.Endpoint{Addr: c.addr}
		err := e.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: got %v, want %q", c.addr, err, c.want)
		}
	}
}

func TestEndpointValidateFields(t *testing.T) {
	for _, c := range []struct {
		e    tulle.Endpoint
		want string // part of the error, "" for none
	}{
		{tulle.Endpoint{Weight: 1e6}, ""},
		{tulle.Endpoint{Weight: math.SmallestNonzeroFloat64}, ""},
		{tulle.Endpoint{Priority: math.MaxInt}, ""},
		{tulle.Endpoint{Name: "n", Zone: "z", Labels: map[string]string{"": ""}}, ""},
		{tulle.Endpoint{Weight: -1}, "weight -1"},
		{tulle.Endpoint{Weight: -math.SmallestNonzeroFloat64}, "weight"},
		{tulle.Endpoint{Weight: 1e6 + 1}, "weight 1.000001e+06"},
		{tulle.Endpoint{Weight: math.Inf(1)}, "weight +Inf"},
		{tulle.Endpoint{Weight: math.NaN()}, "weight NaN"},
		{tulle.Endpoint{Priority: -1}, "priority -1"},
		{tulle.Endpoint{Weight: -1, Priority: -1}, "weight"}, // the first
	} {
		c.e.Addr = "a:80"
		err := c.e.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.e, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "a:80") {
			t.Errorf("%+v: got %v, want the address in it", c.e, err)
		}
	}
}

func TestEndpointShareAndEqual(t *testing.T) {
	a := tulle.Endpoint{Addr: "a:80"}
	if got := a.Share(); got != 1 {
		t.Errorf("share of weight 0: got %v, want 1", got)
	}
	if got := (&tulle.Endpoint{Weight: 2.5}).Share(); got != 2.5 {
		t.Errorf("share: got %v, want 2.5", got)
	}
	for _, c := range []struct {
		name string
		o    tulle.Endpoint
		want bool
	}{
		{"same", tulle.Endpoint{Addr: "a:80"}, true},
		{"the default written out", tulle.Endpoint{Addr: "a:80", Weight: 1}, true},
		{"empty labels", tulle.Endpoint{Addr: "a:80", Labels: map[string]string{}}, true},
		{"addr", tulle.Endpoint{Addr: "b:80"}, false},
		{"name", tulle.Endpoint{Addr: "a:80", Name: "n"}, false},
		{"zone", tulle.Endpoint{Addr: "a:80", Zone: "z"}, false},
		{"weight", tulle.Endpoint{Addr: "a:80", Weight: 2}, false},
		{"priority", tulle.Endpoint{Addr: "a:80", Priority: 1}, false},
		{"labels", tulle.Endpoint{Addr: "a:80", Labels: map[string]string{"k": "v"}}, false},
	} {
		if got := a.Equal(&c.o); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if got := c.o.Equal(&a); got != c.want {
			t.Errorf("%s, the other way: got %v, want %v", c.name, got, c.want)
		}
	}
}

// inURL is how an address stands in the host of a URL: an IPv6 address without
// a port gets brackets.
func inURL(addr string) string {
	if strings.Count(addr, ":") > 1 && addr[0] != '[' {
		return "[" + addr + "]"
	}
	return addr
}

// FuzzEndpointAddr wants an address that is accepted to mean the same in a URL:
// the same host and port, and nothing of it in the user, path or query.
func FuzzEndpointAddr(f *testing.F) {
	for _, seed := range []string{
		"a", "a:80", "10.0.0.1:80", "::1", "[::1]", "[::1]:80", "[fe80::1%eth0]:80", "[fe80::1%]:80", "[::1", "[]", "[a]:80",
		"a:", ":80", "a:80:90", "a/b", "u@a", "a%41b", "a%zz:1", "%", "*", "a\r\nb", "a\xffb", "b\u00fccher:80", "a\u3002b",
		"[::ffff:1.2.3.4]:80", "[1.2.3.4]:80", "a;b=c,d", "a:080", "[fe80::1%25a]:80", "[fe80::1%a]b]:80",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if (&tulle.Endpoint{Addr: addr}).Validate() != nil {
			return
		}
		for _, path := range []string{"", "/", "/p?q#f"} {
			u := &url.URL{Scheme: "http", Host: inURL(addr)}
			got, err := url.Parse(u.String() + path)
			if err != nil {
				t.Fatalf("%q: got %v, want a URL that parses", addr, err)
			}
			if got.Host != u.Host || got.User != nil || got.Opaque != "" || got.Path+"?"+got.RawQuery+"#"+got.Fragment != cutPath(path) {
				t.Errorf("%q: got %+v, want the host alone to come from it", addr, got)
			}
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				host, port = strings.Trim(addr, "[]"), ""
			}
			if got.Hostname() != host || got.Port() != port {
				t.Errorf("%q: got host %q, port %q, want %q, %q", addr, got.Hostname(), got.Port(), host, port)
			}
		}
	})
}

// cutPath is path as path, query and fragment.
func cutPath(path string) string {
	if path == "/p?q#f" {
		return path
	}
	return path + "?#"
}

func BenchmarkEndpointValidate(b *testing.B) {
	for _, addr := range []string{"10.0.0.1:8080", "users-7.users.svc:80", "[2001:db8::1]:80"} {
		b.Run(addr, func(b *testing.B) {
			b.ReportAllocs()
			e := tulle.Endpoint{Addr: addr}
			for b.Loop() {
				if err := e.Validate(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
