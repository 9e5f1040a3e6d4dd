package transport_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// with is a Config of one service.
func with(name string, s transport.Service) transport.Config {
	return transport.Config{Services: map[string]transport.Service{name: s}}
}

// Bad input is refused with an error that names the field and the value.
func TestBadInput(t *testing.T) {
	one := endpoints("10.0.0.1:80")
	policy := func(p transport.Policy) transport.Config {
		return with("svc", transport.Service{Resolver: one, Policy: p})
	}
	for _, test := range []struct {
		name string
		cfg  transport.Config
		want []string
	}{
		{"empty service name", with("", transport.Service{Resolver: one}), []string{`Services[""]`, "host or host:port"}},
		{"service name with scheme", with("http://users", transport.Service{Resolver: one}), []string{`"http://users"`, "without scheme"}},
		{"service name with path", with("users/v1", transport.Service{Resolver: one}), []string{`"users/v1"`, "path"}},
		{"service name with port only", with(":80", transport.Service{Resolver: one}), []string{`":80"`, "no host"}},
		{"service name with empty port", with("users:", transport.Service{Resolver: one}), []string{`"users:"`, "empty port"}},
		{"no source", with("svc", transport.Service{}), []string{`Services["svc"].Target`, "or a Resolver"}},
		{"two sources", with("svc", transport.Service{Target: "static://a:1", Resolver: one}), []string{"Target", `"static://a:1"`, "Resolver is set"}},
		{"unknown scheme", with("svc", transport.Service{Target: "zookeeper://a:1"}), []string{"Target", "zookeeper://a:1"}},
		{"target without scheme", with("svc", transport.Service{Target: "a:1"}), []string{"Target", `"a:1"`}},
		{"target with a bad port", with("svc", transport.Service{Target: "static://a:99999"}), []string{"Target", "99999"}},
		{"relative file", with("svc", transport.Service{Target: "file://users.json"}), []string{"Target", "users.json"}},
		{"timeout of nanoseconds", policy(transport.Policy{Timeout: 5}), []string{`Services["svc"].Timeout`, "5ns", "1ms"}},
		{"timeout of a year", policy(transport.Policy{AttemptTimeout: 365 * 24 * time.Hour}), []string{"AttemptTimeout", "8760h", "24h"}},
		{"attempt longer than call", policy(transport.Policy{Timeout: time.Second, AttemptTimeout: time.Minute}), []string{"AttemptTimeout", "1m0s", "1s"}},
		{"attempts", policy(transport.Policy{Retry: &retry.Config{Attempts: 11}}), []string{"Retry", "Attempts", "11"}},
		{"back-off", policy(transport.Policy{Retry: &retry.Config{MinBackoff: time.Second, MaxBackoff: time.Millisecond}}), []string{"MinBackoff", "1s", "1ms"}},
		{"budget", policy(transport.Policy{Retry: &retry.Config{Budget: retry.BudgetConfig{Ratio: 2}}}), []string{"Budget.Ratio", "2"}},
		{"ejection", policy(transport.Policy{Ejection: &breaker.OutlierConfig{Base: time.Hour, Max: time.Minute}}), []string{"Ejection", "Base", "1h0m0s", "1m0s"}},
		{"ejection window", policy(transport.Policy{Ejection: &breaker.OutlierConfig{Window: time.Hour}}), []string{"Ejection", "Window", "1h0m0s", "30s"}},
		{"breaker", policy(transport.Policy{Breaker: &breaker.Config{FailureShare: 2}}), []string{"Breaker", "FailureShare", "2"}},
		{"limit", policy(transport.Policy{Limit: &limit.Config{Rate: -1}}), []string{"Limit", "Rate", "-1"}},
		{"host with scheme", with("svc", transport.Service{Resolver: one, Host: "http://x"}), []string{"Host", `"http://x"`}},
		{"server name with port", with("svc", transport.Service{Resolver: one, TLSServerName: "x:443"}), []string{"TLSServerName", `"x:443"`}},
		{"h2c with TLS", with("svc", transport.Service{Resolver: one, Protocol: transport.H2C, TLS: new(tls.Config)}), []string{"Protocol", "H2C", "TLS"}},
		{"protocol", with("svc", transport.Service{Resolver: one, Protocol: 7}), []string{"Protocol", "7"}},
		{"unknown", transport.Config{Unknown: 9}, []string{"Unknown", "9", "Refuse"}},
		{"defaults", transport.Config{Defaults: transport.Policy{Timeout: 1}}, []string{"Defaults.Timeout", "1ns"}},
		{"scheme of a resolver", transport.Config{Resolvers: map[string]transport.ResolverFunc{"K8S": nil}}, []string{"Resolvers", `"K8S"`, "lower case"}},
		{"TLS over another Base", transport.Config{
			Base:     stub{},
			Services: map[string]transport.Service{"svc": {Resolver: one, TLSServerName: "x"}},
		}, []string{"TLS", "transport_test.stub", "EndpointRoundTripper"}},
	} {
		_, err := transport.New(test.cfg)
		if err == nil {
			t.Errorf("%s: New accepted it", test.name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want it to name %s", test.name, err, want)
			}
		}
	}
}

// All that is wrong is named in one go.
func TestEveryErrorIsNamed(t *testing.T) {
	_, err := transport.New(transport.Config{
		Unknown: 9,
		Services: map[string]transport.Service{
			"A":  {Target: "nowhere://"},
			"a.": {Target: "static://a:1"},
			"b":  {},
		},
	})
	if err == nil {
		t.Fatal("New accepted it")
	}
	for _, want := range []string{"Unknown 9", `Services["A"].Target`, `Services["a."].name`, `Services["b"].Target`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %s", err, want)
		}
	}
}

// A source that is wrong at run time keeps the last good set, and Snapshot and
// Ready say what is wrong.
func TestBadSource(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"no JSON", `[{"addr":`, "users.json"},
		{"no port number", `["10.0.0.1:http"]`, "10.0.0.1:http"},
		{"negative weight", `[{"addr":"10.0.0.1:80","weight":-1}]`, "-1"},
		{"unknown key", `[{"adr":"10.0.0.1:80"}]`, "adr"},
		{"twice", `["10.0.0.1:80","10.0.0.1:80"]`, "10.0.0.1:80"},
	} {
		path := filepath.Join(t.TempDir(), "users.json")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		rt, err := transport.New(with("users", transport.Service{Target: "file://" + path}))
		if err != nil {
			t.Fatalf("%s: New: %v", test.name, err)
		}
		if err := rt.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Ready: got %v, want it to name %s", test.name, err, test.want)
		}
		if got := rt.Snapshot().Services[0].DiscoveryError; !strings.Contains(got, test.want) {
			t.Errorf("%s: Snapshot: got %q, want it to name %s", test.name, got, test.want)
		}
		_, _, err = get(t.Context(), rt, "http://users/")
		if !errors.Is(err, transport.ErrNoEndpoints) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: a call: got %v, want ErrNoEndpoints and the reason", test.name, err)
		}
		if err := rt.Close(); err != nil {
			t.Errorf("%s: Close: %v", test.name, err)
		}
	}
}

// Targets of further schemes come from Config.Resolvers, which also goes before
// the schemes that are built in.
func TestResolvers(t *testing.T) {
	addr := start(t, ok)
	var asked []string
	cfg := transport.Config{
		Resolvers: map[string]transport.ResolverFunc{"mine": func(u *url.URL) (discovery.Resolver, error) {
			asked = append(asked, u.String())
			return endpoints(addr), nil
		}},
		Services: map[string]transport.Service{"svc": {Target: "mine://ns/users?x=1"}},
	}
	rt := newTransport(t, cfg)
	if status, _, err := get(t.Context(), rt, "http://svc/"); err != nil || status != http.StatusOK {
		t.Errorf("got %d, %v", status, err)
	}
	if len(asked) == 0 || asked[0] != "mine://ns/users?x=1" {
		t.Errorf("the resolver was asked for %q", asked)
	}
	cfg.Resolvers["mine"] = func(*url.URL) (discovery.Resolver, error) { return nil, nil }
	if _, err := transport.New(cfg); err == nil || !strings.Contains(err.Error(), "no Resolver") {
		t.Errorf("a ResolverFunc that returns nothing: got %v", err)
	}
}
