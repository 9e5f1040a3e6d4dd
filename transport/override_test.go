package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// overridable is a service in three environments, called in test.
func overridable(base http.RoundTripper, policy route.OverridePolicy) transport.Config {
	return transport.Config{
		Base: base, Environment: "test", Override: policy,
		Environments: map[string]route.Environment{"mine": {Fallback: []string{"staging"}}},
		Services: map[string]transport.Service{
			"svc":   {Environments: places("prod", "staging", "test")},
			"other": {Environments: map[string]transport.Destination{"test": at("other:1"), "staging": at("other:2")}},
			"plain": {Resolver: endpoints("plain:1")},
		},
	}
}

var key = route.SigningKey{ID: "k1", Secret: []byte("0123456789abcdef")}

// sign signs overrides of svc.
func sign(t *testing.T, env string, key route.SigningKey, until time.Time) string {
	t.Helper()
	text, err := route.Sign([]route.Override{{Service: "svc", Environment: env}}, key, until)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOverrides(t *testing.T) {
	lists := route.OverridePolicy{Services: []string{"svc"}, Environments: []string{"staging", "mine", "prod"}}
	open, signed, code := lists, lists, route.OverridePolicy{}
	open.Protected, code.CodeProtected = true, true
	signed.RequireSignature, signed.Keys = true, []route.SigningKey{key}
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	thief := route.SigningKey{ID: key.ID, Secret: []byte("fedcba9876543210")}
	for _, test := range []struct {
		name   string
		policy route.OverridePolicy
		header string
		code   string // environment
		want   string
	}{
		{"off", route.OverridePolicy{}, "svc=staging", "", "test:1"},
		{"on", lists, "svc=staging", "", "staging:1"},
		{"of another service", lists, "other=staging", "", "test:1"},
		{"falls back from there", lists, "svc=mine", "", "staging:1"},
		{"into a protected one", lists, "svc=prod", "", "test:1"},
		{"into a protected one that is open", open, "svc=prod", "", "prod:1"},
		{"not understood", lists, "svc = staging", "", "test:1"},
		{"unknown environment", lists, "svc=nowhere", "", "test:1"},
		{"not signed", signed, "svc=staging", "", "test:1"},
		{"signed", signed, sign(t, "staging", key, soon), "", "staging:1"},
		{"signed, over", signed, sign(t, "staging", key, past), "", "test:1"},
		{"signed by another", signed, sign(t, "staging", thief, soon), "", "test:1"},
		{"signed for another", signed, strings.Replace(sign(t, "mine", key, soon), "mine", "staging", 1), "", "test:1"},
		{"code needs no list", route.OverridePolicy{}, "", "staging", "staging:1"},
		{"code ignored", route.OverridePolicy{IgnoreCode: true}, "", "staging", "test:1"},
		{"code into a protected one", route.OverridePolicy{}, "", "prod", "test:1"},
		{"code into one that is open", code, "", "prod", "prod:1"},
		{"code before header", open, "svc=prod", "staging", "staging:1"},
	} {
		rt := newTransport(t, overridable(who, test.policy))
		ctx := t.Context()
		if test.code != "" {
			ctx = route.With(ctx, route.Override{Service: "SVC", Environment: test.code})
		}
		var headers, baggage []string
		if test.header != "" {
			headers = []string{"Tulle-Route", test.header}
			baggage = []string{"Baggage", "a=b,tulle-route=" + strings.ReplaceAll(strings.ReplaceAll(test.header, ";", "%3B"), " ", "%20")}
		}
		for _, h := range [][]string{headers, baggage} {
			if got, err := ask(ctx, rt, "POST", "http://svc/", h...); err != nil || got != test.want {
				t.Errorf("%s, %v: got %s, %v, want %s", test.name, h, got, err, test.want)
			}
		}
	}
}

// An override that is honoured, for a call that may not write there, fails it: it
// must not write elsewhere.
func TestOverrideReadOnly(t *testing.T) {
	cfg := overridable(who, route.OverridePolicy{Services: []string{"*"}, Environments: []string{"*"}, Protected: true, CodeProtected: true})
	cfg.Environments["mine"] = route.Environment{Fallback: []string{"prod"}}
	rt := newTransport(t, cfg)
	mine := route.With(t.Context(), route.Override{Service: "svc", Environment: "mine"})
	if got, err := ask(mine, rt, "GET", "http://svc/"); err != nil || got != "prod:1" {
		t.Errorf("GET: got %s, %v", got, err)
	}
	if got, err := ask(mine, rt, "POST", "http://svc/"); !errors.Is(err, route.ErrReadOnly) {
		t.Errorf("POST: got %s, %v, want ErrReadOnly", got, err)
	}
}

// An override beats the environment of a rule's backend, and stays with the service
// that the rule chose.
func TestOverrideBeatsRule(t *testing.T) {
	cfg := overridable(who, route.OverridePolicy{})
	svc := cfg.Services["svc"]
	svc.Rules = []route.Rule{{Backends: []route.Backend{{Service: "other", Environment: "test"}}}}
	cfg.Services["svc"] = svc
	rt := newTransport(t, cfg)
	ctx := route.With(t.Context(), route.Override{Service: "svc", Environment: "staging"})
	if got, err := ask(ctx, rt, "GET", "http://svc/"); err != nil || got != "other:2" {
		t.Errorf("got %s, %v, want other:2", got, err)
	}
}

// With overrides off, no header leads anywhere else, whatever is in it.
func TestNoHeaderChangesADestination(t *testing.T) {
	cfg := overridable(who, route.OverridePolicy{Keys: []route.SigningKey{key}})
	cfg.Rules = []route.Rule{{Match: under("/api"), Timeout: time.Minute}}
	rt := newTransport(t, cfg)
	good := sign(t, "staging", key, time.Now().Add(time.Hour))
	names := []string{"Tulle-Route", "tulle-route", "Baggage", "Tulle-Mirror", "Tulle-Attempt", "Host", "X-Forwarded-Host", "X-Envoy-Original-Path", "Forwarded"}
	values := []string{"svc=staging", "svc=prod", good, "tulle-route=svc%3Dstaging", "*=prod", "staging", "svc=staging;other=staging"}
	property := func(name, value uint8, noise string, prefix bool, method uint8) bool {
		text := values[int(value)%len(values)]
		if prefix {
			text = noise + text
		}
		req, _ := http.NewRequestWithContext(t.Context(), []string{"GET", "POST", "PUT"}[method%3], "http://svc/api", nil)
		req.Header[names[int(name)%len(names)]] = []string{text}
		if name%2 == 0 {
			req.Header["Tulle-Route"] = []string{text, noise}
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return false
		}
		got, err := readAll(resp)
		return err == nil && got == "test:1"
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// hops are servers in a row, front to back, that call each other through one
// Transport, and note the overrides that reach them.
type hops struct {
	mu   sync.Mutex
	seen []string // guarded by mu: "name: header"
}

func (h *hops) saw(name string, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	baggage := strings.TrimPrefix(r.Header.Get("Baggage"), "a=b") // that of others may come
	h.seen = append(h.seen, strings.TrimSpace(name+": "+strings.Join(r.Header["Tulle-Route"], ",")+baggage))
}

// take returns what was seen since the last time.
func (h *hops) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := strings.Join(h.seen, " | ")
	h.seen = nil
	return text
}

// An override travels over two hops to the service that it is for; who is not
// trusted cannot send one on.
func TestOverrideTravels(t *testing.T) {
	var h hops
	var mesh *transport.Transport
	peers := func(trusted []netip.Prefix, name, next string) string {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.saw(name, r)
			if next == "" {
				_, _ = fmt.Fprint(w, name)
				return
			}
			got, err := ask(r.Context(), mesh, "GET", next)
			_, _ = fmt.Fprint(w, name, " ", got)
			if err != nil {
				t.Error(err)
			}
		})
		return start(t, transport.Inbound(transport.InboundConfig{Trusted: trusted}, handler).ServeHTTP)
	}
	unknown := peers(loopback, "unknown", "")
	cfg := transport.Config{
		Environment: "test",
		Services: map[string]transport.Service{
			"front":  {Resolver: endpoints(peers(loopback, "front", "http://middle/"))},
			"edge":   {Resolver: endpoints(peers(nil, "edge", "http://middle/"))},
			"middle": {Resolver: endpoints(peers(loopback, "middle", "http://back/"))},
			"back": {Environments: map[string]transport.Destination{
				"test": at(peers(loopback, "test", "")), "staging": at(peers(loopback, "staging", "")),
			}},
			"theirs": {Resolver: endpoints(peers(loopback, "theirs", "")), External: true},
		},
		Override: route.OverridePolicy{Services: []string{"back"}, Environments: []string{"staging"}, RequireSignature: true, Keys: []route.SigningKey{key}},
	}
	mesh = newTransport(t, cfg)
	signed, err := route.Sign([]route.Override{{Service: "back", Environment: "staging"}}, key, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, url, header, want, seen string }{
		{"signed", "http://front/", signed, "front middle staging", "front: " + signed + " | middle: " + signed + " | staging: " + signed},
		{"not signed: it travels, and is refused", "http://front/", "back=staging", "front middle test", "front: back=staging | middle: back=staging | test: back=staging"},
		{"at the edge", "http://edge/", signed, "edge middle test", "edge: | middle: | test:"},
		{"to others", "http://theirs/", signed, "theirs", "theirs:"},
		{"to unknown hosts", "http://" + unknown + "/", signed, "unknown", "unknown:"},
	} {
		got, err := ask(t.Context(), mesh, "GET", test.url, "Tulle-Route", test.header)
		if seen := h.take(); err != nil || got != test.want || seen != test.seen {
			t.Errorf("%s: got %s, %v; seen %s\nwant %s; seen %s", test.name, got, err, seen, test.want, test.seen)
		}
	}
	// Keys that Header.Set has not written, such as those of metadata, are the
	// server's all the same.
	for _, url := range []string{"http://theirs/", "http://" + unknown + "/"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		req.Header = http.Header{"tulle-Route": {signed}, "baggage": {"a=b,tulle-route=" + strings.ReplaceAll(signed, "=", "%3D")}}
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if seen := h.take(); strings.Contains(seen, "=") || len(req.Header) != 2 {
			t.Errorf("other keys to %s: seen %s, left %v", url, seen, req.Header)
		}
	}
	// Code overrides travel too, and those of a context that has both.
	code := route.With(t.Context(), route.Override{Service: "back", Environment: "staging"}, route.Override{Service: "a", Environment: "b"})
	if _, err := ask(code, mesh, "GET", "http://back/"); err != nil || h.take() != "staging: a=b;back=staging" {
		t.Errorf("code: %v", err)
	}
	for _, url := range []string{"http://theirs/", "http://" + unknown + "/"} {
		if _, err := ask(code, mesh, "GET", url); err != nil || strings.Contains(h.take(), "=") {
			t.Errorf("code to %s: %v, or the override was sent", url, err)
		}
	}
}

// Connections of other protocols follow overrides, and are refused where calls that
// may write are.
func TestDialOverrides(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	prod, staging := listen(), listen()
	rt := newTransport(t, transport.Config{
		Environment:  "staging",
		Environments: map[string]route.Environment{"qa": {Fallback: []string{"prod"}}},
		Services: map[string]transport.Service{"db": {Environments: map[string]transport.Destination{
			"prod": at(prod.Addr().String()), "staging": at(staging.Addr().String()),
		}}},
		Override: route.OverridePolicy{CodeProtected: true},
	})
	for env, want := range map[string]string{"": staging.Addr().String(), "prod": prod.Addr().String(), "qa": "", "nowhere": staging.Addr().String()} {
		ctx := t.Context()
		if env != "" {
			ctx = route.With(ctx, route.Override{Service: "db", Environment: env})
		}
		conn, err := rt.DialContext(ctx, "tcp", "db:5432")
		if want == "" {
			if !errors.Is(err, route.ErrReadOnly) {
				t.Errorf("%s: got %v, want ErrReadOnly", env, err)
			}
			continue
		}
		if err != nil || conn.RemoteAddr().String() != want {
			t.Errorf("%s: got %v, %v, want %s", env, conn, err, want)
			continue
		}
		_ = conn.Close()
	}
}

// A connection goes on to where its service may fall back if nobody can be reached
// at home.
func TestDialFailover(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	rt := newTransport(t, transport.Config{
		Environment:  "local",
		Environments: map[string]route.Environment{"local": {Fallback: []string{"staging"}, Failover: true}},
		Services: map[string]transport.Service{"db": {Environments: map[string]transport.Destination{
			"local": at("127.0.0.1:1"), "staging": at(l.Addr().String()),
		}}},
	})
	for i := range 3 {
		conn, err := rt.DialContext(t.Context(), "tcp", "db:5432")
		if err != nil || conn.RemoteAddr().String() != l.Addr().String() {
			t.Fatalf("%d: got %v, %v, want %v, which stands in", i, conn, err, l.Addr())
		}
		_ = conn.Close()
	}
}

// A rule that looks at nothing that a connection has not is for connections too.
func TestDialRules(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cfg := ruled(nil, route.Rule{Backends: []route.Backend{{Service: "one"}}})
	cfg.Services["one"] = transport.Service{Resolver: endpoints(l.Addr().String())}
	cfg.Services["two"] = transport.Service{Resolver: endpoints("127.0.0.1:1"), Rules: []route.Rule{{Fixed: &route.Fixed{Status: 200}}}}
	rt := newTransport(t, cfg)
	conn, err := rt.DialContext(t.Context(), "tcp", "svc:80")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	var e *transport.Error
	if _, err := rt.DialContext(t.Context(), "tcp", "two:80"); !errors.As(err, &e) || e.Service != "two" || !strings.Contains(err.Error(), "answer") {
		t.Errorf("a rule that answers: got %v", err)
	}
}

// Overrides in contexts of many calls at once do not get into each other's way.
func TestOverridesAtOnce(t *testing.T) {
	rt := newTransport(t, overridable(who, route.OverridePolicy{}))
	var callers sync.WaitGroup
	for _, env := range slices.Repeat([]string{"staging", "test"}, 8) {
		callers.Go(func() {
			ctx := route.With(context.WithoutCancel(t.Context()), route.Override{Service: "svc", Environment: env})
			for range 200 {
				if got, err := ask(ctx, rt, "GET", "http://svc/"); err != nil || got != env+":1" {
					t.Errorf("got %s, %v, want %s", got, err, env)
					return
				}
			}
		})
	}
	callers.Wait()
}
