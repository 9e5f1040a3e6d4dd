package route_test

import (
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// to is a rule that goes to a service.
func to(service string, match ...route.Match) route.Rule {
	return route.Rule{Name: service, Match: match, Backends: []route.Backend{{Service: service}}}
}

// withRules is a table in which the rules are those of echo.
func withRules(t *testing.T, rules ...route.Rule) *route.Table {
	t.Helper()
	services := backends()
	services["echo"] = route.Service{Rules: rules}
	return table(t, route.Config{Services: services, Labels: map[string]string{"app": "web", "tier": "front"}})
}

func path(exact, prefix, regex string) route.Match {
	return route.Match{Path: route.PathMatch{Exact: exact, Prefix: prefix, Regex: regex}}
}

// TestRegexPrecedence pins the place that the Gateway API leaves open: behind
// exact paths, before prefixes, longer expressions first.
func TestRegexPrecedence(t *testing.T) {
	check(t, withRules(t,
		to("echo", path("", "/users/long/prefix", "")),
		to("v1", path("", "", "/users/.*")),
		to("v2", path("", "", "/users/[0-9]+")),
		to("v3", path("/users/7", "", "")),
	), []call{
		{url: "/users/7", want: "v3"},
		{url: "/users/8", want: "v2"},
		{url: "/users/long/prefix", want: "v1"},
		{url: "/xusers/8", want: "echo"}, // expressions match the whole path
		{url: "/users/8/more", want: "v1"},
	})
}

func TestConditions(t *testing.T) {
	header := func(v route.ValueMatch) route.Match { return route.Match{Headers: []route.ValueMatch{v}} }
	many := route.Match{} // more names than a decision remembers
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G", "H"} {
		many.Headers = append(many.Headers, route.ValueMatch{Name: name, Present: true})
		many.Query = append(many.Query, route.ValueMatch{Name: name, Exact: "1"})
	}
	tests := map[string]struct {
		match route.Match
		in    route.Input
		want  bool
	}{
		"present":          {header(route.ValueMatch{Name: "x-a", Present: true}), route.Input{Header: map[string][]string{"X-A": {""}}}, true},
		"not present":      {header(route.ValueMatch{Name: "x-a", Present: true}), route.Input{}, false},
		"any of values":    {header(route.ValueMatch{Name: "x-a", Exact: "2"}), route.Input{Header: map[string][]string{"X-A": {"1", "2"}}}, true},
		"header regex":     {header(route.ValueMatch{Name: "x-a", Regex: "a|b"}), route.Input{Header: map[string][]string{"X-A": {"b"}}}, true},
		"whole value":      {header(route.ValueMatch{Name: "x-a", Regex: "a|b"}), route.Input{Header: map[string][]string{"X-A": {"ab"}}}, false},
		"host as header":   {header(route.ValueMatch{Name: "host", Exact: "a.b"}), route.Input{Host: "a.b"}, true},
		"other host":       {header(route.ValueMatch{Name: "host", Exact: "a.b"}), route.Input{Host: "a.c"}, false},
		"query regex":      {route.Match{Query: []route.ValueMatch{{Name: "q", Regex: "[0-9]+"}}}, route.Input{RawQuery: "x=a&q=12"}, true},
		"query whole":      {route.Match{Query: []route.ValueMatch{{Name: "q", Regex: "[0-9]+"}}}, route.Input{RawQuery: "q=12a"}, false},
		"query first":      {route.Match{Query: []route.ValueMatch{{Name: "q", Exact: "2"}}}, route.Input{RawQuery: "q=1&q=2"}, false},
		"query escapes":    {route.Match{Query: []route.ValueMatch{{Name: "a b", Exact: "c+d"}}}, route.Input{RawQuery: "a+b=c%2Bd"}, true},
		"query broken":     {route.Match{Query: []route.ValueMatch{{Name: "q", Exact: "2"}}}, route.Input{RawQuery: "q=%zz&q=2"}, true},
		"query semicolon":  {route.Match{Query: []route.ValueMatch{{Name: "q", Present: true}}}, route.Input{RawQuery: "q=1;x"}, false},
		"caller":           {route.Match{Caller: map[string]string{"app": "web"}}, route.Input{}, true},
		"other caller":     {route.Match{Caller: map[string]string{"app": "batch"}}, route.Input{}, false},
		"no such label":    {route.Match{Caller: map[string]string{"zone": ""}}, route.Input{}, false},
		"OPTIONS star":     {path("", "/", ""), route.Input{Method: "OPTIONS", Path: "*"}, true},
		"prefix and slash": {path("", "/a/", ""), route.Input{Path: "/a"}, true},
		"prefix of star":   {path("", "/a", ""), route.Input{Path: "*"}, false},
		"many":             {many, route.Input{RawQuery: "A=1&B=1&C=1&D=1&E=1&F=1&G=1&H=1", Header: headerOf("ABCDEFGH")}, true},
		"many but one":     {many, route.Input{RawQuery: "A=1&B=1&C=1&D=1&E=1&F=1&G=1&H=1", Header: headerOf("ABCDEFG")}, false},
		"many but a query": {many, route.Input{RawQuery: "A=1&B=1&C=1&D=1&E=1&F=1&G=1", Header: headerOf("ABCDEFGH")}, false},
		"first of a name": {
			route.Match{Headers: []route.ValueMatch{{Name: "x-a", Exact: "1"}, {Name: "X-A", Exact: "2"}}},
			route.Input{Header: map[string][]string{"X-A": {"1"}}}, true,
		},
		"http match, gRPC call": {path("", "/acme.Users", ""), route.Input{GRPC: true, Path: "/acme.Users/Get"}, true},
		"gRPC is POST":          {route.Match{Method: "POST"}, route.Input{GRPC: true, Path: "/acme.Users/Get"}, true},
		"gRPC match, http call": {route.Match{GRPC: &route.GRPCMatch{}}, route.Input{Path: "/acme.Users/Get"}, false},
		"gRPC regex":            {route.Match{GRPC: &route.GRPCMatch{Service: `acme\..*`, Method: "Get|List", Regex: true}}, route.Input{GRPC: true, Path: "/acme.Users/List"}, true},
		"gRPC whole name":       {route.Match{GRPC: &route.GRPCMatch{Method: "Get|List", Regex: true}}, route.Input{GRPC: true, Path: "/acme.Users/GetAll"}, false},
	}
	for name, test := range tests {
		tb := withRules(t, to("v1", test.match))
		test.in.Service = "echo"
		d := tb.Decide(&test.in)
		if got := d.Service.Name() == "v1"; got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		x := tb.Explain(&test.in)
		if got := x.Rule != nil; got != test.want {
			t.Errorf("%s: Explain: got %v, want %v: %+v", name, got, test.want, x)
		}
	}
}

// headerOf has the given one-letter headers.
func headerOf(names string) map[string][]string {
	h := map[string][]string{}
	for _, r := range names {
		h[string(r)] = []string{"v"}
	}
	return h
}

// TestGRPCPrecedence is GRPCRouteRule.matches: characters in a matching service,
// then in a matching method, then headers, then the order.
func TestGRPCPrecedence(t *testing.T) {
	grpc := func(service, method string, headers ...string) route.Match {
		m := route.Match{GRPC: &route.GRPCMatch{Service: service, Method: method}}
		for _, h := range headers {
			m.Headers = append(m.Headers, route.ValueMatch{Name: h, Present: true})
		}
		return m
	}
	regex := grpc("acme.User.", "")
	regex.GRPC.Regex = true
	tb := withRules(t,
		to("echo", route.Match{Path: route.PathMatch{Exact: "/acme.Users/Get"}}), // not by GRPC: last
		to("v1", grpc("", "Get", "A", "B")),
		to("v2", grpc("acme.Users", "")),
		to("v3", grpc("acme.Users", "Get")),
		to("v1", regex),
	)
	for _, test := range []struct {
		path, headers, want string
	}{
		{"/acme.Users/Get", "", "v3"},
		{"/acme.Users/Get", "AB", "v3"},  // a method before headers
		{"/acme.Users/List", "AB", "v2"}, // an exact name before an expression of that length
		{"/acme.UserX/List", "", "v1"},
		{"/acme.Orders/Get", "AB", "v1"},
		{"/acme.Orders/Get", "A", "echo"},
		{"/broken", "", "echo"},
	} {
		d := tb.Decide(&route.Input{Service: "echo", GRPC: true, Path: test.path, Header: headerOf(test.headers)})
		if got := d.Service.Name(); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.path, test.headers, got, test.want)
		}
	}
}

// TestGRPCConformance is grpcroute-exact-method-matching of the Gateway API.
func TestGRPCConformance(t *testing.T) {
	tb := attached(t, []byte(`{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "exact-matching"},
		"spec": {
			"parentRefs": [{"group": "", "kind": "Service", "name": "echo"}],
			"rules": [
				{"matches": [{"method": {"service": "echo.GrpcEcho", "method": "Echo"}}], "backendRefs": [{"name": "v1"}]},
				{"matches": [{"method": {"service": "echo.GrpcEcho", "method": "EchoTwo"}}], "backendRefs": [{"name": "v2"}]}
			]
		}
	}`))
	for path, want := range map[string]string{
		"/echo.GrpcEcho/Echo": "v1/", "/echo.GrpcEcho/EchoTwo": "v2/",
		"/echo.GrpcEcho/EchoThree": "error: route: no rule matches: echo",
	} {
		d := tb.Decide(&route.Input{Service: "echo", GRPC: true, Path: path})
		if got := firstOf(d); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// TestOwnRulesFirst: the least specific rule of a service comes before the most
// specific global one, and a global one applies where no own one matches.
func TestOwnRulesFirst(t *testing.T) {
	services := backends()
	services["echo"] = route.Service{Rules: []route.Rule{to("v1", path("", "/own", ""))}}
	tb := table(t, route.Config{Services: services, Rules: []route.Rule{
		to("v2", path("/own/exact", "", "")),
		to("v3", path("", "/global", "")),
	}})
	check(t, tb, []call{
		{url: "/own/exact", want: "v1"},
		{url: "/global/x", want: "v3"},
		{url: "/else", want: "echo"},
	})
	if d := tb.Decide(&route.Input{Service: "v1", Path: "/own/exact"}); d.Service.Name() != "v2" {
		t.Errorf("v1 /own/exact: got %s, want v2 by the global rule", d.Service.Name())
	}
}

// TestTies: among equals the first in the list wins; more caller labels and more
// query parameters come before fewer.
func TestTies(t *testing.T) {
	labels := func(m map[string]string) route.Match { return route.Match{Caller: m} }
	check(t, withRules(t,
		to("v1", route.Match{}),
		to("v2", labels(map[string]string{"app": "web"})),
		to("v3", labels(map[string]string{"app": "web", "tier": "front"})),
		to("echo", labels(map[string]string{"app": "web", "tier": "front"})),
	), []call{{url: "/", want: "v3"}})
	check(t, withRules(t, to("v1"), to("v2")), []call{{url: "/", want: "v1"}})
	check(t, withRules(t, to("v1", path("", "/a", "")), to("v2", path("", "/a/", ""))), []call{{url: "/a/b", want: "v2"}})
}
