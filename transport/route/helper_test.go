package route_test

import (
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// table makes a Table that must be right.
func table(tb testing.TB, cfg route.Config) *route.Table {
	tb.Helper()
	t, err := route.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// overridable is a Config in which headers may send users and orders to
// staging and local.
func overridable() route.Config {
	return route.Config{
		Default: "test",
		Environments: map[string]route.Environment{
			"staging": {Fallback: []string{"prod"}},
			"local":   {Fallback: []string{"staging"}},
		},
		Services: map[string]route.Service{
			"users":  {Environments: []string{"local", "prod", "staging", "test"}},
			"orders": {Environments: []string{"prod", "test"}},
			"plain":  {},
		},
		Override: route.OverridePolicy{Services: []string{"users", "orders"}, Environments: []string{"staging", "local"}},
	}
}

// firstOf is where a decision leads first.
func firstOf(d route.Decision) string {
	if d.Err != nil {
		return "error: " + d.Err.Error()
	}
	if d.Chain == nil {
		return d.Action.String()
	}
	return d.Service.Name() + "/" + d.Chain.Steps[0].Environment
}
