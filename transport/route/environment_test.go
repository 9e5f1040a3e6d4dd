package route_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// chainOf is where a decision can lead, as text.
func chainOf(d route.Decision) string {
	if d.Err != nil {
		switch {
		case errors.Is(d.Err, route.ErrReadOnly):
			return "read-only"
		case errors.Is(d.Err, route.ErrNoDestination):
			return "nowhere"
		}
		return d.Err.Error()
	}
	var names []string
	for _, s := range d.Chain.Steps {
		name := s.Environment
		if s.SafeOnly {
			name += "(safe)"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// TestFallback is the contract on environments: who falls back where, and what
// a protected environment serves.
func TestFallback(t *testing.T) {
	tests := map[string]struct {
		environments map[string]route.Environment
		in           string // environments of the service, from the default "local"
		read, write  string
	}{
		"at home":            {nil, "local prod", "local", "local"},
		"no edge":            {nil, "prod", "nowhere", "nowhere"},
		"one edge":           {map[string]route.Environment{"local": {Fallback: []string{"staging"}}}, "staging", "staging", "staging"},
		"in order":           {map[string]route.Environment{"local": {Fallback: []string{"test", "staging"}}}, "staging test", "test", "test"},
		"edges do not chain": {map[string]route.Environment{"local": {Fallback: []string{"staging"}}, "staging": {Fallback: []string{"test"}}}, "test", "nowhere", "nowhere"},
		"nor into prod":      {map[string]route.Environment{"local": {Fallback: []string{"staging"}}, "staging": {Fallback: []string{"prod"}}}, "prod", "nowhere", "nowhere"},
		"into prod":          {map[string]route.Environment{"local": {Fallback: []string{"staging", "prod"}}}, "prod", "prod(safe)", "read-only"},
		"prod with writes":   {map[string]route.Environment{"local": {Fallback: []string{"prod"}, FallbackWrites: []string{"prod"}}}, "prod", "prod", "prod"},
		"prod unprotected":   {map[string]route.Environment{"local": {Fallback: []string{"prod"}}, "prod": {Protected: new(false)}}, "prod", "prod", "prod"},
		"other protected":    {map[string]route.Environment{"local": {Fallback: []string{"vault"}}, "vault": {Protected: new(true)}}, "vault", "vault(safe)", "read-only"},
		// Reads would go to prod: writes must not go past it.
		"no passing over": {map[string]route.Environment{"local": {Fallback: []string{"prod", "staging"}}}, "prod staging", "prod(safe)", "read-only"},
		"failover":        {map[string]route.Environment{"local": {Fallback: []string{"staging", "prod"}, Failover: true}}, "local staging prod", "local staging prod(safe)", "local staging"},
		"failover stops":  {map[string]route.Environment{"local": {Fallback: []string{"prod", "staging"}, SpillOver: true}}, "local staging prod", "local prod(safe) staging", "local"},
		"spill over":      {map[string]route.Environment{"local": {Fallback: []string{"staging"}, SpillOver: true}}, "staging", "staging", "staging"},
	}
	for name, test := range tests {
		for _, e := range []string{"local", "staging", "test", "prod"} {
			if test.environments == nil {
				test.environments = map[string]route.Environment{}
			}
			if _, has := test.environments[e]; !has {
				test.environments[e] = route.Environment{}
			}
		}
		tb := table(t, route.Config{
			Default: "local", Environments: test.environments,
			Services: map[string]route.Service{"users": {Environments: strings.Fields(test.in)}},
		})
		for method, want := range map[string]string{"GET": test.read, "HEAD": test.read, "": test.read, "POST": test.write, "DELETE": test.write, "get": test.write} {
			if got := chainOf(tb.Decide(&route.Input{Service: "users", Method: method})); got != want {
				t.Errorf("%s, %s: got %q, want %q", name, method, got, want)
			}
		}
	}
}

// TestSafeMethods: what is not certain to be safe counts as a write.
func TestSafeMethods(t *testing.T) {
	tb := table(t, route.Config{
		Default: "local", Environments: map[string]route.Environment{"local": {Fallback: []string{"prod"}}},
		Services: map[string]route.Service{"users": {Environments: []string{"prod"}}},
	})
	for name, test := range map[string]struct {
		in   route.Input
		safe bool
	}{
		"OPTIONS":           {route.Input{Method: "OPTIONS"}, true},
		"TRACE":             {route.Input{Method: "TRACE"}, true},
		"PUT":               {route.Input{Method: "PUT"}, false},
		"CONNECT":           {route.Input{Method: "CONNECT"}, false},
		"keyed POST":        {route.Input{Method: "POST", Header: map[string][]string{"Idempotency-Key": {"1"}}}, false},
		"tunnelled":         {route.Input{Header: map[string][]string{"X-Http-Method-Override": {"DELETE"}}}, false},
		"tunnelled as well": {route.Input{Header: map[string][]string{"X-Method-Override": {"DELETE"}}}, false},
		"websocket":         {route.Input{Header: map[string][]string{"Upgrade": {"websocket"}}}, false},
		"gRPC":              {route.Input{GRPC: true, Method: "GET"}, false},
		"gRPC that reads":   {route.Input{GRPC: true, Safe: true}, true},
		"vouched for":       {route.Input{Method: "POST", Safe: true}, true},
	} {
		test.in.Service = "users"
		d := tb.Decide(&test.in)
		if got := d.Err == nil; got != test.safe || !test.safe && !errors.Is(d.Err, route.ErrReadOnly) {
			t.Errorf("%s: got %v, want safe %v", name, d.Err, test.safe)
		}
	}
}

// TestDestinations: steps name them by index.
func TestDestinations(t *testing.T) {
	tb := table(t, overridable())
	seen := map[route.Destination]bool{}
	for i, d := range tb.Destinations() {
		if seen[d] {
			t.Errorf("got %v twice, want it once", d)
		}
		seen[d] = true
		o, err := route.Parse("users=staging")
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []route.Input{{Service: d.Service}, {Service: d.Service, Overrides: o}} {
			for _, s := range tb.Decide(&in).Chain.Steps {
				if s.Destination == i && (s.Environment != d.Environment) {
					t.Errorf("destination %d: got %s, want %s", i, s.Environment, d.Environment)
				}
			}
		}
	}
	if want := 7; len(seen) != want {
		t.Errorf("got %d destinations, want %d", len(seen), want)
	}
}

// TestNamedEnvironment: a rule that names a protected environment is no
// fallback, and a service without environments is the same for all.
func TestNamedEnvironment(t *testing.T) {
	tb := table(t, route.Config{
		Default: "local",
		Services: map[string]route.Service{
			"users": {
				Environments: []string{"local", "prod"},
				Rules:        []route.Rule{{Match: []route.Match{{Method: "POST"}}, Backends: []route.Backend{{Environment: "prod"}}}},
			},
			"plain": {}, "billing": {Environments: []string{"prod"}, Default: "prod"},
		},
	})
	for _, test := range []struct{ service, method, want string }{
		{"users", "GET", "users/local"},
		{"users", "POST", "users/prod"},
		{"plain", "POST", "plain/"},
		{"billing", "POST", "billing/prod"},
		{"nobody", "GET", "error: route: unknown service"},
	} {
		if got := firstOf(tb.Decide(&route.Input{Service: test.service, Method: test.method})); got != test.want {
			t.Errorf("%s %s: got %q, want %q", test.method, test.service, got, test.want)
		}
	}
}

func TestStepText(t *testing.T) {
	for _, test := range []struct {
		step route.Step
		want string
	}{
		{route.Step{}, "(no environment)"},
		{route.Step{Environment: "prod", Protected: true}, "prod, protected"},
		{route.Step{Environment: "prod", Protected: true, SafeOnly: true, Fallback: true}, "prod, fallback, protected, safe methods only"},
	} {
		if got := test.step.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
