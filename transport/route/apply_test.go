package route_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// decide makes the decision on a path for one rule.
func decide(t *testing.T, r route.Rule, path string) route.Decision {
	t.Helper()
	d := withRules(t, r).Decide(&route.Input{Service: "echo", Path: path})
	if d.Rule == nil {
		t.Fatalf("%s: got no rule, want one", path)
	}
	return d
}

// TestReplacePrefix is the table of the Gateway API's HTTPPathModifier, and what
// becomes of a percent-encoding.
func TestReplacePrefix(t *testing.T) {
	for _, test := range []struct{ url, prefix, with, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "/", "/bar"}, // "/" is as good as the empty string
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/foo?q=1", "/foo", "/xyz", "/xyz?q=1"},
		{"", "/", "/v1", "/v1"},
		{"/bar", "/", "/v1", "/v1/bar"},
		{"/foo/a%2Fb/c%20d", "/foo", "/xyz", "/xyz/a%2Fb/c%20d"},
		{"/f%6Fo/a%2Fb", "/foo", "/xyz", "/xyz/a%2Fb"},
		{"/foo/a%2fb", "/foo", "/x%y", "/x%25y/a%2fb"},
		{"/foo%2Fbar/x", "/foo", "/xyz", "/xyz/bar/x"}, // the prefix ends inside of an encoded "/"
		{"/foo/a!b", "/foo", "/xyz", "/xyz/a!b"},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		d := decide(t, route.Rule{Match: []route.Match{path("", test.prefix, "")}, Rewrite: &route.Rewrite{Path: route.PathEdit{Prefix: test.with}}}, u.Path)
		if !d.RewritePath(u) || u.String() != test.want {
			t.Errorf("%s, %s -> %s: got %s, want %s", test.url, test.prefix, test.with, u, test.want)
		}
	}
}

func TestRewrite(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "users", Path: "/a/b", RawPath: "/a%2Fb", RawQuery: "q=1"}
	d := decide(t, route.Rule{Rewrite: &route.Rewrite{Path: route.PathEdit{Full: "/c d"}}}, u.Path)
	if !d.RewritePath(u) || u.String() != "http://users/c%20d?q=1" {
		t.Errorf("got %s, want http://users/c%%20d?q=1", u)
	}
	d = decide(t, route.Rule{Rewrite: &route.Rewrite{Host: "other"}}, "/")
	if d.RewritePath(u) || d.Rule.Rewrite.Host != "other" {
		t.Errorf("got the path rewritten to %s, want the host only", u)
	}
	var none route.Decision
	if none.RewritePath(u) || none.Location(u, "") != "" || none.RedirectStatus() != 302 {
		t.Error("got something from no decision, want nothing")
	}
}

// TestLocation has the cases of the Gateway API's conformance tests for
// redirects (mesh-redirect-path, -port, -scheme), and its rules on ports.
func TestLocation(t *testing.T) {
	prefix := route.PathEdit{Prefix: "/replacement-prefix"}
	for _, test := range []struct {
		url      string
		redirect route.Redirect
		want     string
	}{
		{"http://echo/original-prefix/lemon", route.Redirect{Path: prefix}, "http://echo/replacement-prefix/lemon"},
		{"http://echo/original-prefix", route.Redirect{Path: prefix, Host: "example.org"}, "http://example.org/replacement-prefix"},
		{"http://echo/original-prefix/x?q=%20", route.Redirect{Path: route.PathEdit{Full: "/full"}}, "http://echo/full?q=%20"},
		{"http://echo/original-prefix", route.Redirect{Port: 8083}, "http://echo:8083/original-prefix"},
		{"http://echo/original-prefix", route.Redirect{Port: 8083, Host: "example.org"}, "http://example.org:8083/original-prefix"},
		{"http://echo/original-prefix", route.Redirect{Scheme: "https"}, "https://echo/original-prefix"},
		{"http://echo:8080/original-prefix", route.Redirect{Scheme: "https"}, "https://echo/original-prefix"},
		{"http://echo:8080/original-prefix", route.Redirect{Host: "example.org"}, "http://example.org:8080/original-prefix"},
		{"http://echo:8080/original-prefix", route.Redirect{Port: 80}, "http://echo/original-prefix"},
		{"https://echo:8080/original-prefix", route.Redirect{Port: 443}, "https://echo/original-prefix"},
		{"http://echo/original-prefix", route.Redirect{Scheme: "https", Port: 80}, "https://echo:80/original-prefix"},
		{"http://[::1]:8080/original-prefix", route.Redirect{Port: 9090}, "http://[::1]:9090/original-prefix"},
		{"http://echo/original-prefix/a%2Fb", route.Redirect{Host: "x"}, "http://x/original-prefix/a%2Fb"},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		d := decide(t, route.Rule{Match: []route.Match{path("", "/original-prefix", "")}, Redirect: &test.redirect}, u.Path)
		if got := d.Location(u, u.Host); got != test.want || u.String() != test.url {
			t.Errorf("%s, %+v: got %s, want %s, and the URL unchanged: %s", test.url, test.redirect, got, test.want, u)
		}
		if got := d.Location(u, ""); got != test.want {
			t.Errorf("%s: got %s without a host, want %s", test.url, got, test.want)
		}
	}
	d := decide(t, route.Rule{Redirect: &route.Redirect{Status: 308, Host: "x"}}, "/")
	if got := d.RedirectStatus(); got != 308 {
		t.Errorf("got %d, want 308", got)
	}
	if got := d.Location(&url.URL{Scheme: "http", Host: "echo", Path: "/"}, "named:81"); got != "http://x:81/" {
		t.Errorf("got %s, want the port of the host that the call is addressed to", got)
	}
}

// TestEdits: rule before backend, no slice of the caller's is written to, names
// in any case.
func TestEdits(t *testing.T) {
	r := route.Rule{
		RequestHeaders:  route.Headers{Set: map[string]string{"x-set": "rule", "x-both": "rule"}, Add: map[string]string{"x-add": "rule"}, Remove: []string{"x-gone"}},
		ResponseHeaders: route.Headers{Set: map[string]string{"x-out": "rule"}},
		Backends: []route.Backend{{
			RequestHeaders:  route.Headers{Set: map[string]string{"X-Both": "backend"}, Add: map[string]string{"X-Add": "backend"}},
			ResponseHeaders: route.Headers{Remove: []string{"server"}},
		}},
	}
	d := decide(t, r, "/")
	values := append(make([]string, 0, 8), "mine")
	h := http.Header{"X-Add": values, "X-Gone": {"1"}, "X-Set": {"a", "b"}, "X-Keep": {"1"}}
	d.EditRequest(h)
	for name, want := range map[string][]string{
		"X-Set": {"rule"}, "X-Both": {"backend"}, "X-Add": {"mine", "rule", "backend"}, "X-Gone": nil, "X-Keep": {"1"},
	} {
		if got := h[name]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := values[:2][1]; got != "" {
		t.Errorf("got %q written behind the caller's values, want nothing", got)
	}
	out := http.Header{"Server": {"x"}}
	d.EditResponse(out)
	if got := out.Get("X-Out") + out.Get("Server"); got != "rule" {
		t.Errorf("got %q, want rule", got)
	}
	if !d.EditsRequest() || !d.EditsResponse() {
		t.Error("got no edits, want some")
	}
	none := decide(t, route.Rule{Backends: []route.Backend{{}}}, "/")
	none.EditRequest(h)
	if none.EditsRequest() || none.EditsResponse() {
		t.Error("got edits, want none")
	}
}

// TestConfigIsCopied: what the caller does with its Config afterwards changes
// nothing.
func TestConfigIsCopied(t *testing.T) {
	cfg := route.Config{Services: backends(), Labels: map[string]string{"a": "b"}}
	set := map[string]string{"X-A": "1"}
	weight := 1
	rules := []route.Rule{{
		Match:          []route.Match{{Caller: map[string]string{"a": "b"}, Path: route.PathMatch{Prefix: "/a"}}},
		Backends:       []route.Backend{{Service: "v1", Weight: &weight}},
		RequestHeaders: route.Headers{Set: set},
	}}
	cfg.Services["echo"] = route.Service{Rules: rules}
	tb := table(t, cfg)
	set["X-A"], weight = "2", 0
	rules[0].Match[0].Path.Prefix, rules[0].Match[0].Caller["a"] = "/b", "c"
	rules[0].Backends[0].Service, cfg.Labels["a"] = "v2", "c"
	delete(cfg.Services, "v1")
	d := tb.Decide(&route.Input{Service: "echo", Path: "/a"})
	if got := firstOf(d); got != "v1/" || d.Rule.RequestHeaders.Set["X-A"] != "1" {
		t.Errorf("got %s, %+v, want v1 and the header as it was", got, d.Rule)
	}
}
