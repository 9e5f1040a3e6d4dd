package route_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

func ExampleNew() {
	t, err := route.New(route.Config{
		// Calls are for the laptop; what does not run there is in staging.
		Default:      "local",
		Environments: map[string]route.Environment{"local": {Fallback: []string{"staging"}}},
		Services: map[string]route.Service{
			"users": {Environments: []string{"local", "staging"}},
			"orders": {Environments: []string{"staging"}, Rules: []route.Rule{{
				Name:     "slow search",
				Match:    []route.Match{{Path: route.PathMatch{Prefix: "/search"}}},
				Timeout:  10 * time.Second,
				Backends: []route.Backend{{RequestHeaders: route.Headers{Set: map[string]string{"X-Search": "1"}}}},
			}}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, in := range []route.Input{{Service: "users", Path: "/v1/me"}, {Service: "orders", Path: "/search/shoes"}} {
		d := t.Decide(&in)
		fmt.Print(d.Service.Name(), " in ", d.Chain.Steps[0].Environment)
		if d.Rule != nil {
			fmt.Print(", rule ", d.Rule.Name, ", timeout ", d.Rule.Timeout)
		}
		fmt.Println()
	}
	// Output:
	// users in local
	// orders in staging, rule slow search, timeout 10s
}

func ExampleWith() {
	t, err := route.New(route.Config{
		Default:  "test",
		Services: map[string]route.Service{"users": {Environments: []string{"test", "staging"}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := route.With(context.Background(), route.Override{Service: "users", Environment: "staging"})
	d := t.Decide(&route.Input{Service: "users", Overrides: t.Overrides(ctx, nil, time.Now())})
	fmt.Println(d.Chain.Steps[0].Environment, d.Overridden)
	// Output: staging true
}

func ExampleParse() {
	o, err := route.Parse("users=staging;orders=local")
	fmt.Println(o, err)
	_, err = route.Parse("users = staging")
	fmt.Println(err)
	// Output:
	// orders=local;users=staging <nil>
	// route: override "users = staging": want service=environment, in lower case
}

func ExampleParseGateway() {
	g, err := route.ParseGateway([]byte(`{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "split", "namespace": "shop"},
		"spec": {
			"parentRefs": [{"group": "", "kind": "Service", "name": "users"}],
			"rules": [{"backendRefs": [{"name": "users", "weight": 9}, {"name": "users-v2", "weight": 1}]}]
		}
	}`), route.GatewayOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := route.Config{Services: map[string]route.Service{"users": {}, "users-v2": {}}}
	if err := cfg.Attach(g); err != nil {
		fmt.Println(err)
		return
	}
	t, err := route.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.Explain(&route.Input{Service: "users", Path: "/"}).Rule.Name)
	// Output: shop/split/0
}

func ExampleSign() {
	text, err := route.Sign(
		[]route.Override{{Service: "users", Environment: "staging"}},
		route.SigningKey{ID: "2026-a", Secret: []byte("sixteen bytes or more")},
		time.Unix(1_800_000_000, 0),
	)
	fmt.Println(text, err)
	// Output: users=staging@2026-a.1800000000.iWr4-WeLry4ID2O46QGdl654XxLx4uIW2upPO2FLASI <nil>
}
