package route_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// TestHandle: a handle decides as the name does, also without any rule.
func TestHandle(t *testing.T) {
	tb := table(t, overridable())
	for _, name := range []string{"users", "orders", "plain"} {
		h := tb.Service(name)
		if h == nil || h.Name() != name {
			t.Fatalf("%s: got %v, want its handle", name, h)
		}
		byName, byHandle := tb.Decide(&route.Input{Service: name}), tb.Decide(&route.Input{Handle: h, Service: "ignored"})
		if byName != byHandle || byHandle.Service != h || byHandle.Action != route.Send {
			t.Errorf("%s: got %+v by name, %+v by handle, want the same", name, byName, byHandle)
		}
	}
	if h := tb.Service("nobody"); h != nil {
		t.Errorf("got %v, want nil", h)
	}
}

// TestNoDestinationIsRefusedByHandle: the short way of services without rules
// does not hide an error.
func TestNoDestinationIsRefusedByHandle(t *testing.T) {
	tb := table(t, route.Config{Services: map[string]route.Service{
		"users":  {Environments: []string{"staging"}},
		"strict": {OnlyRules: true},
	}})
	for name, want := range map[string]error{"users": route.ErrNoDestination, "strict": route.ErrNoRule} {
		d := tb.Decide(&route.Input{Handle: tb.Service(name)})
		if d.Action != route.Refuse || !errors.Is(d.Err, want) || d.Chain != nil || d.Service.Name() != name {
			t.Errorf("%s: got %+v, want it refused with %v", name, d, want)
		}
		if !strings.Contains(d.Err.Error(), name) {
			t.Errorf("%s: got %v, want the service named", name, d.Err)
		}
	}
}

// TestRefusalsSayWhy: the error alone tells what to configure.
func TestRefusalsSayWhy(t *testing.T) {
	tb := table(t, route.Config{
		Default: "local",
		Environments: map[string]route.Environment{
			"local": {Fallback: []string{"staging", "prod"}}, "alone": {}, "test": {Fallback: []string{"staging", "local"}},
		},
		Services: map[string]route.Service{
			"users":   {Environments: []string{"prod"}},
			"orders":  {Environments: []string{"alone"}, Default: "test"},
			"billing": {Environments: []string{"prod"}, Default: "alone"},
			"search":  {Environments: []string{"staging"}, Rules: []route.Rule{{Name: "empty", Backends: []route.Backend{{Weight: new(0)}}}}},
		},
	})
	for name, want := range map[string]string{
		"users":   "route: safe methods only: users has no destination in local, and falls back into the protected prod only to read",
		"orders":  "route: no destination: orders has none in test, nor where it may fall back from there: staging, local",
		"billing": "route: no destination: billing has none in alone, which falls back on nothing",
		"search":  `route: no backend has a weight: rule "empty"`,
	} {
		d := tb.Decide(&route.Input{Service: name, Method: "POST"})
		if d.Err == nil || d.Err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, d.Err, want)
		}
		if x := tb.Explain(&route.Input{Service: name, Method: "POST"}); x.Error != want || x.Action != "refuse" || len(x.Chain) != 0 {
			t.Errorf("%s: got %+v, want the same explained", name, x)
		}
	}
}

// TestRuleInOtherEnvironment: a backend's environment is where its chain starts,
// with the fallbacks of that environment.
func TestRuleInOtherEnvironment(t *testing.T) {
	tb := table(t, route.Config{
		Default: "prod",
		Environments: map[string]route.Environment{
			"staging": {Fallback: []string{"test", "prod"}, Failover: true},
		},
		Services: map[string]route.Service{
			"users": {Environments: []string{"prod", "staging"}},
			"echo": {Environments: []string{"prod", "test"}, Rules: []route.Rule{
				{Match: []route.Match{path("/s", "", "")}, Backends: []route.Backend{{Environment: "staging"}}},
				{Match: []route.Match{path("/u", "", "")}, Backends: []route.Backend{{Service: "users", Environment: "staging"}}},
			}},
		},
		Rules: []route.Rule{{Match: []route.Match{{Headers: []route.ValueMatch{{Name: "x-env", Exact: "s"}}}}, Backends: []route.Backend{{Environment: "staging"}}}},
	})
	env := map[string][]string{"X-Env": {"s"}}
	for _, test := range []struct {
		in   route.Input
		want string
	}{
		{route.Input{Service: "echo", Path: "/s"}, "test prod(safe)"},
		{route.Input{Service: "echo", Path: "/s", Method: "POST"}, "test"},
		{route.Input{Service: "echo", Path: "/u"}, "staging prod(safe)"},
		{route.Input{Service: "echo", Path: "/"}, "prod"},
		{route.Input{Service: "users", Path: "/"}, "prod"},
		{route.Input{Service: "users", Path: "/", Header: env}, "staging prod(safe)"}, // a global rule, for the service called
		{route.Input{Service: "echo", Path: "/u", Header: env}, "staging prod(safe)"},
	} {
		if got := chainOf(tb.Decide(&test.in)); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.in, got, test.want)
		}
	}
}

// TestChainsAreShared: decisions point to what the table has, once.
func TestChainsAreShared(t *testing.T) {
	tb := table(t, overridable())
	a, b := tb.Decide(&route.Input{Service: "users"}), tb.Decide(&route.Input{Service: "users", Method: "POST"})
	if a.Chain != b.Chain {
		t.Error("got two chains for calls that walk alike, want one")
	}
}
