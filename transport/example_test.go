package transport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
)

// Two instances of a service, one of which is down. The client knows neither.
func Example() {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello from %s", r.Host)
	}))
	defer up.Close()

	t, err := transport.New(transport.Config{
		Defaults: transport.Policy{Timeout: 2 * time.Second},
		Services: map[string]transport.Service{
			"users": {Resolver: discovery.Static{{Addr: up.Listener.Addr().String()}, {Addr: "127.0.0.1:1"}}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	client := &http.Client{Transport: t}

	resp, err := client.Get("http://users/v1/me")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	fmt.Println(string(text), err)
	// Output: hello from users <nil>
}

// Targets name their source by a URL; a service overrides the defaults field by
// field.
func ExampleNew() {
	t, err := transport.New(transport.Config{
		Defaults: transport.Policy{Timeout: 2 * time.Second, AttemptTimeout: 500 * time.Millisecond},
		Services: map[string]transport.Service{
			"users":  {Target: "static://10.0.0.1:8080,10.0.0.2:8080"},
			"orders": {Target: "dns://orders.internal:8080", Policy: transport.Policy{Timeout: 10 * time.Second}},
			"bank":   {Target: "static://bank.example:443", External: true, Policy: transport.Policy{Retry: &retry.Config{Attempts: 1}}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	if err := t.Ready(context.Background(), "users"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(t.Snapshot().Services[2].Endpoints), "endpoints of", t.Snapshot().Services[2].Name)
	// Output: 2 endpoints of users
}

// Options change how one call is treated, and tell where it went.
func ExampleWithCall() {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer up.Close()
	t, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"users": {Resolver: discovery.Static{{Addr: up.Listener.Addr().String(), Name: "users-0"}}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()

	var info transport.Info
	ctx := transport.WithCall(context.Background(),
		transport.CallTimeout(time.Second), transport.Idempotent(), transport.AttemptInfo(&info))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://users/v1/me", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode, info.Endpoint.Name, info.Attempts)
	// Output: 200 users-0 1
}

// Layers can be put together by hand, the first one outermost.
func ExampleChain() {
	r, err := retry.New(retry.Config{Attempts: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport.Chain(nil, r.Wrap)}
	fmt.Println(client.Transport != nil)
	// Output: true
}
