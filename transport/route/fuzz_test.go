package route_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// FuzzParse: no text panics; what is read is written so that it reads the same;
// and no text leads to where the policy does not let it.
func FuzzParse(f *testing.F) {
	signed, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "users=staging", "users=staging;orders=local", "users=prod", signed, "users=staging@k1.1.x", pairs(17), "a==b;", "users=staging\n"} {
		f.Add(seed)
	}
	tb := table(f, overridable())
	sealed := table(f, signedConfig(key()))
	f.Fuzz(func(t *testing.T, text string) {
		o, err := route.Parse(text)
		if err == nil {
			again, err := route.Parse(o.String())
			if err != nil || again.String() != o.String() {
				t.Errorf("%q: got %q, then %v, want it to read again", text, o, err)
			}
		}
		for _, service := range []string{"users", "orders", "plain"} {
			d := tb.Decide(&route.Input{Service: service, Overrides: tb.Overrides(t.Context(), with(text), now())})
			for _, s := range d.Chain.Steps {
				if s.Environment == "prod" || d.Overridden && s.Environment != "staging" && s.Environment != "local" {
					t.Errorf("%q: got %s in %s, want staging or local", text, service, s.Environment)
				}
			}
			d = sealed.Decide(&route.Input{Service: service, Overrides: sealed.Overrides(t.Context(), with(text), now())})
			if d.Overridden && text != signed {
				t.Errorf("%q: got it honoured, want only what was signed", text)
			}
		}
	})
}

// FuzzBaggage: no header panics; Strip leaves nothing of ours and all of the
// others'; what was written is read.
func FuzzBaggage(f *testing.F) {
	for _, seed := range []string{"", "user=7", "tulle-route=users%3Dstaging", "a=b, tulle-route = x%3Dy ;p=1,c=d", "tulle-route=%zz", ",,=,;", "tulle-route"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		header := map[string][]string{"Baggage": {value}}
		_, _ = route.Read(header)
		o, err := route.Parse("users=staging")
		if err != nil {
			t.Fatal(err)
		}
		if o.WriteBaggage(header) == nil {
			if got, err := route.Read(header); err != nil || got.String() != "users=staging" {
				t.Errorf("%q: got %v, %v, want what was written", value, got, err)
			}
		}
		route.Strip(header)
		if got, err := route.Read(header); got != nil || err != nil {
			t.Errorf("%q: got %v, %v after Strip, want none", value, got, err)
		}
		for _, member := range strings.Split(value, ",") {
			member = strings.TrimSpace(member)
			name, _, _ := strings.Cut(member, "=")
			if member != "" && strings.TrimSpace(name) != "tulle-route" && !strings.Contains(strings.Join(header["Baggage"], ","), member) {
				t.Errorf("%q: got %q, want %q kept", value, header["Baggage"], member)
			}
		}
	})
}

// FuzzRules: whatever stands in a Config, New says no or makes a table that
// decides without a panic, and as Explain says.
func FuzzRules(f *testing.F) {
	f.Add([]byte(`{"Rules": [{"Match": [{"Path": {"Prefix": "/a"}}], "Backends": [{"Environment": "staging", "Weight": 3}]}]}`), "/a/b", "q=1")
	f.Add([]byte(`{"Default": "local", "Environments": {"local": {"Fallback": ["prod"], "SpillOver": true}}, "Override": {"Services": ["*"], "Environments": ["*"]}}`), "/", "")
	f.Add([]byte(`{"Rules": [{"Match": [{"Path": {"Regex": "/(a|b)*"}, "Query": [{"Name": "q", "Regex": "."}]}], "Rewrite": {"Path": {"Full": "/x"}}}]}`), "/abab", "q=%zz&q=1")
	f.Add([]byte(`{"Rules": [{"Redirect": {"Port": 1}, "Hosts": ["*.x"]}, {"Fault": {"Delay": 1, "AbortStatus": 500}, "Key": {"Query": "q"}, "Backends": [{}, {"Weight": 0}]}]}`), "*", "&&=;")
	f.Add([]byte(`{"Rules": [{"Match": [{"GRPC": {"Service": "(", "Regex": true}}], "Mirror": {"Service": "plain"}, "Fixed": {"Status": 200}}]}`), "", "")
	f.Fuzz(func(t *testing.T, data []byte, path, query string) {
		var cfg route.Config
		if json.Unmarshal(data, &cfg) != nil {
			return
		}
		if cfg.Services == nil {
			cfg.Services = map[string]route.Service{}
		}
		cfg.Services["users"] = route.Service{Environments: []string{"prod", "staging"}, Rules: cfg.Rules}
		cfg.Services["plain"] = route.Service{}
		tb, err := route.New(cfg)
		if err != nil {
			if len(errorsOf(err)) == 0 {
				t.Errorf("got %v, want errors that say where", err)
			}
			return
		}
		for _, in := range []route.Input{
			{Service: "users", Path: path, RawQuery: query, Host: "a.x"},
			{Service: "plain", Path: path, RawQuery: query, GRPC: true, Random: 1 << 63},
			{Service: "users", Method: "POST", Path: path, Overrides: tb.Overrides(t.Context(), with("users=staging"), now())},
		} {
			d, x := tb.Decide(&in), tb.Explain(&in)
			if (d.Action == route.Send) != (d.Chain != nil) || (d.Action == route.Refuse) != (d.Err != nil) || x.Action != d.Action.String() {
				t.Errorf("got %+v, explained as %+v", d, x)
			}
			if d.Chain != nil && d.Chain.Pick(make([]route.Level, len(d.Chain.Steps)), in.Random) >= len(d.Chain.Steps) {
				t.Errorf("got a step behind the end of %+v", d.Chain)
			}
			u := &url.URL{Scheme: "http", Host: "users", Path: path}
			if before := u.Path; d.RewritePath(u) && !strings.HasPrefix(u.Path, "/") {
				t.Errorf("%q: got path %q, want it from /", before, u.Path)
			}
			d.EditRequest(map[string][]string{})
			_ = d.Location(u, "users:80")
		}
	})
}

// FuzzRegex: an expression is refused, or it decides, without a panic.
func FuzzRegex(f *testing.F) {
	for _, seed := range []string{"", "a|b", "(", ")(", "a)|(b", "(?i)x", "^$", `\z`, "(?P<n>a)", strings.Repeat("(a{1,9}){1,9}", 9), "\xff"} {
		f.Add(seed, "/a")
	}
	f.Fuzz(func(t *testing.T, re, path string) {
		tb, err := route.New(route.Config{Services: map[string]route.Service{"users": {Rules: []route.Rule{{Match: []route.Match{{Path: route.PathMatch{Regex: re}}}}}}}})
		if err == nil {
			tb.Decide(&route.Input{Service: "users", Path: path})
		}
	})
}

// FuzzGateway: no object panics, and what is read can be attached and used.
func FuzzGateway(f *testing.F) {
	f.Add(withRule(`{"matches": [{"path": {"value": "/a"}}], "backendRefs": [{"name": "v1", "weight": 2}]}`))
	f.Add(withRule(`{"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "v2"}, "percent": 5}}, null, {"type": "X"}]}`))
	f.Add(withRule(`{"timeouts": {"request": "1s"}, "retry": {"codes": [503], "attempts": 1, "backoff": "1ms"}}`))
	f.Add([]byte(strings.Replace(string(withRule(`{"matches": [{"method": {"service": "a"}}]}`)), "HTTPRoute", "GRPCRoute", 1)))
	f.Add([]byte(`{"kind": "HTTPRoute", "spec": {"parentRefs": [null], "rules": [[]], "hostnames": [{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := route.ParseGateway(data, route.GatewayOptions{})
		if err != nil {
			return
		}
		cfg := route.Config{Services: map[string]route.Service{}}
		for _, key := range g.Services {
			cfg.Services[key] = route.Service{}
		}
		for _, r := range g.Rules {
			for _, b := range r.Backends {
				cfg.Services[b.Service] = route.Service{}
			}
			if r.Mirror != nil {
				cfg.Services[r.Mirror.Service] = route.Service{}
			}
		}
		if err := cfg.Attach(g); err != nil {
			t.Fatal(err)
		}
		tb, err := route.New(cfg)
		if err != nil {
			for _, e := range errorsOf(err) { // names of services are the cluster's
				if !strings.HasPrefix(e.Path, "services[") || strings.Contains(e.Path, ".rules[") {
					t.Errorf("got %v, want what was read to be usable", e)
				}
			}
			return
		}
		tb.Explain(&route.Input{Service: g.Services[0], Path: "/a", GRPC: g.Kind == "GRPCRoute"})
	})
}
