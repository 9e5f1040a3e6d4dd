package transport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// saying is the target of a server that says a word.
func saying(word string) (target string, stop func()) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, word) }))
	return "static://" + s.Listener.Addr().String(), s.Close
}

// say prints who answers a GET.
func say(ctx context.Context, t *transport.Transport, url string) {
	status, text, err := get(ctx, t, url)
	fmt.Println(url, status, text, err)
}

// One service on this laptop, the other one in staging.
func ExampleConfig_environments() {
	laptop, stop := saying("laptop")
	defer stop()
	staging, stop := saying("staging")
	defer stop()
	prod, stop := saying("prod")
	defer stop()

	t, err := transport.New(transport.Config{
		Environment: "local",
		Environments: map[string]route.Environment{
			"local":   {Fallback: []string{"staging", "prod"}, Failover: true},
			"staging": {Fallback: []string{"prod"}},
		},
		Services: map[string]transport.Service{
			"users": {Environments: map[string]transport.Destination{
				"prod": {Target: prod}, "staging": {Target: staging}, "local": {Target: laptop},
			}},
			"orders": {Environments: map[string]transport.Destination{
				"prod": {Target: prod}, "staging": {Target: staging, Policy: transport.Policy{Timeout: 10 * time.Second}},
			}},
			"billing": {Environments: map[string]transport.Destination{"prod": {Target: prod}}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()

	say(context.Background(), t, "http://users/")
	say(context.Background(), t, "http://orders/")
	say(context.Background(), t, "http://billing/")
	_, err = (&http.Client{Transport: t}).Post("http://billing/", "text/plain", nil)
	fmt.Println(err)
	// Output:
	// http://users/ 200 laptop <nil>
	// http://orders/ 200 staging <nil>
	// http://billing/ 200 prod <nil>
	// Post "http://billing/": transport: service billing: route: safe methods only: billing has no destination in local, and falls back into the protected prod only to read
}

// A canary that keeps its users, a shadow, and a maintenance answer.
func ExampleConfig_rules() {
	users, stop := saying("users")
	defer stop()
	next, stop := saying("users-next")
	defer stop()

	one, three := 1, 3
	cfg := transport.Config{Services: map[string]transport.Service{
		"users-next": {Target: next},
		"users": {Target: users, Rules: []route.Rule{{
			Name:     "canary",
			Match:    []route.Match{{Path: route.PathMatch{Prefix: "/v2"}}},
			Backends: []route.Backend{{Service: "users-next", Weight: &one}, {Weight: &three}},
			Key:      route.SplitKey{Header: "X-User"},
			Timeout:  time.Second,
		}, {
			Name:   "shadow",
			Match:  []route.Match{{Path: route.PathMatch{Prefix: "/v1"}}},
			Mirror: &route.Mirror{Service: "users-next"},
		}, {
			Name:  "closed",
			Match: []route.Match{{Path: route.PathMatch{Exact: "/admin"}}},
			Fixed: &route.Fixed{Status: 503, Body: "back soon"},
		}}},
	}}
	t, err := transport.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	for _, path := range []string{"v1/me", "admin"} {
		say(context.Background(), t, "http://users/"+path)
	}
	fmt.Println(t.Snapshot().Mirrored, "mirrored")
	for _, user := range []string{"ada", "bob", "eve"} {
		req, err := http.NewRequest(http.MethodGet, "http://users/v2/me", nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("X-User", user)
		fmt.Println(user, "is for", t.Explain(context.Background(), req).Destination.Name)
	}
	// Output:
	// http://users/v1/me 200 users <nil>
	// http://users/admin 503 back soon <nil>
	// 1 mirrored
	// ada is for users
	// bob is for users-next
	// eve is for users
}

// One request for staging, signed, through a service in between.
func ExampleConfig_overrides() {
	prod, stop := saying("prod")
	defer stop()
	staging, stop := saying("staging")
	defer stop()

	key := route.SigningKey{ID: "2026-a", Secret: []byte("sixteen bytes or more")}
	t, err := transport.New(transport.Config{
		Services: map[string]transport.Service{
			"users": {Environments: map[string]transport.Destination{"prod": {Target: prod}, "staging": {Target: staging}}},
		},
		Override: route.OverridePolicy{
			Services: []string{"users"}, Environments: []string{"staging"},
			Protected:        true, // calls for prod may be led away from it
			RequireSignature: true, Keys: []route.SigningKey{key},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()

	// The service in between takes the override into the context of its calls.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, text, err := get(r.Context(), t, "http://users/")
		_, _ = fmt.Fprint(w, text, " ", err)
	})
	orders := httptest.NewServer(transport.Inbound(transport.InboundConfig{
		Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}, handler))
	defer orders.Close()

	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key, time.Now().Add(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, value := range []string{text, "users=staging"} {
		req, err := http.NewRequest(http.MethodGet, orders.URL, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set(route.Header, value)
		resp, err := orders.Client().Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Println(string(answer), err)
	}
	// Output:
	// staging <nil> <nil>
	// prod <nil> <nil>
}

// Why a call goes where it goes, without sending it.
func ExampleTransport_Explain() {
	t, err := transport.New(transport.Config{
		Environment: "test",
		Services: map[string]transport.Service{
			"users": {
				Environments: map[string]transport.Destination{"test": {Target: "static://10.0.0.1:80"}, "prod": {Target: "static://10.1.0.1:80"}},
				Rules:        []route.Rule{{Name: "reports", Match: []route.Match{{Path: route.PathMatch{Prefix: "/reports"}}}, Timeout: time.Minute}},
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	if err := t.Ready(context.Background()); err != nil {
		fmt.Println(err)
		return
	}

	ctx := route.With(context.Background(), route.Override{Service: "users", Environment: "prod"})
	req, err := http.NewRequest(http.MethodGet, "http://users/reports/1", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := t.Explain(ctx, req)
	fmt.Println("rule:", x.Route.Rule.Name)
	fmt.Println("override refused:", x.Route.Refused)
	fmt.Println("goes to:", x.Destination.Environment, x.Destination.Endpoints[0].Addr)
	// Output:
	// rule: reports
	// override refused: the environment is protected
	// goes to: test 10.0.0.1:80
}
