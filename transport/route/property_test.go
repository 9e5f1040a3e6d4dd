package route_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// environments is the world of the tests below.
func environments() []string { return []string{"dev", "local", "prod", "staging", "vault"} }

// randomWorld is a Config of random environments, services, rules and overrides.
func randomWorld(r *rand.Rand) route.Config {
	cfg := route.Config{
		Default: pick(r, environments()...), Environments: map[string]route.Environment{}, Services: map[string]route.Service{},
	}
	for _, name := range environments() {
		e := route.Environment{}
		for _, to := range environments() {
			if to != name && r.IntN(3) == 0 {
				e.Fallback = append(e.Fallback, to)
			}
		}
		r.Shuffle(len(e.Fallback), func(i, j int) { e.Fallback[i], e.Fallback[j] = e.Fallback[j], e.Fallback[i] })
		if len(e.Fallback) > 0 {
			e.Failover, e.SpillOver = r.IntN(2) == 0, r.IntN(4) == 0
		}
		if name == "vault" {
			e.Protected = new(true)
		}
		for _, to := range e.Fallback {
			if (to == "prod" || to == "vault") && r.IntN(3) == 0 {
				e.FallbackWrites = append(e.FallbackWrites, to)
			}
		}
		cfg.Environments[name] = e
	}
	for i := range 3 {
		s := route.Service{}
		for _, name := range environments() {
			if r.IntN(2) == 0 {
				s.Environments = append(s.Environments, name)
			}
		}
		if len(s.Environments) > 0 {
			s.Default = pick(r, append(environments(), "")...)
		}
		cfg.Services[fmt.Sprint("s", i)] = s
	}
	cfg.Override = route.OverridePolicy{Protected: r.IntN(2) == 0, CodeProtected: r.IntN(2) == 0}
	if r.IntN(3) > 0 {
		cfg.Override.Services, cfg.Override.Environments = []string{pick(r, "*", "s1")}, []string{pick(r, "*", "staging", "prod")}
	}
	return cfg
}

func isProtected(name string) bool { return name == "prod" || name == "vault" }

// TestProtection is the contract on protected environments, over random worlds:
// a step into one, that is not where the call is meant to go, has its own edge
// from the environment of the call, and serves a call that may write only if
// that edge says so.
func TestProtection(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	steps, protected := 0, 0
	for range 3000 {
		cfg := randomWorld(r)
		tb := table(t, cfg)
		for range 10 {
			in := route.Input{Service: fmt.Sprint("s", r.IntN(3)), Method: pick(r, "GET", "POST")}
			d := tb.Decide(&in)
			if d.Err != nil {
				if !errors.Is(d.Err, route.ErrNoDestination) && !errors.Is(d.Err, route.ErrReadOnly) {
					t.Fatalf("got %v, want ErrNoDestination or ErrReadOnly", d.Err)
				}
				continue
			}
			home := cfg.Services[in.Service].Default
			if home == "" {
				home = cfg.Default
			}
			from := cfg.Environments[home]
			for _, s := range d.Chain.Steps {
				steps++
				if s.Environment == home || s.Environment == "" {
					continue
				}
				if !slices.Contains(from.Fallback, s.Environment) || !s.Fallback {
					t.Fatalf("%+v\ngot %s from %s, want an edge", cfg, s.Environment, home)
				}
				if isProtected(s.Environment) {
					protected++
					if !s.Protected || in.Method == "POST" && !slices.Contains(from.FallbackWrites, s.Environment) {
						t.Fatalf("%+v\ngot a %s in %s from %s, want safe methods only", cfg, in.Method, s.Environment, home)
					}
				}
			}
		}
	}
	if steps < 10_000 || protected < 1000 {
		t.Errorf("got %d steps, %d into protected environments, want enough to mean something", steps, protected)
	}
}

// TestOverridesDoNotWidenAccess: without Protected, no override leads into a
// protected environment, away from one, or to one by fallback; and where none is
// honoured, all is as if there were none.
func TestOverridesDoNotWidenAccess(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	honoured := 0
	for range 3000 {
		cfg := randomWorld(r)
		tb := table(t, cfg)
		for range 10 {
			in := route.Input{Service: fmt.Sprint("s", r.IntN(3)), Method: pick(r, "GET", "POST")}
			plain := tb.Decide(&in)
			ctx, open := t.Context(), cfg.Override.Protected
			target := pick(r, environments()...)
			header := map[string][]string{}
			if r.IntN(2) == 0 {
				ctx, open = route.With(ctx, route.Override{Service: in.Service, Environment: target}), cfg.Override.CodeProtected
			} else {
				header = with(in.Service + "=" + target)
			}
			in.Overrides = tb.Overrides(ctx, header, now())
			d := tb.Decide(&in)
			if !d.Overridden {
				if firstOf(d) != firstOf(plain) || d.Refused == "" {
					t.Fatalf("%+v\ngot %s, refused %q, want %s as without an override", cfg, firstOf(d), d.Refused, firstOf(plain))
				}
				continue
			}
			honoured++
			home := cfg.Services[in.Service].Default
			if home == "" {
				home = cfg.Default
			}
			if !open && isProtected(home) {
				t.Fatalf("%+v\ngot a call for %s sent to %s, want it left alone", cfg, home, target)
			}
			if d.Chain == nil {
				continue // it may not write there
			}
			for _, s := range d.Chain.Steps {
				if !open && isProtected(s.Environment) || s.Environment != target && !slices.Contains(cfg.Environments[target].Fallback, s.Environment) {
					t.Fatalf("%+v\ngot %s by an override to %s", cfg, s.Environment, target)
				}
			}
		}
	}
	if honoured < 3000 {
		t.Errorf("got %d overrides honoured, want enough to mean something", honoured)
	}
}

// TestQueryIsThatOfNetURL: a parameter is read as url.ParseQuery would read it.
func TestQueryIsThatOfNetURL(t *testing.T) {
	tb := withRules(t,
		to("v1", route.Match{Query: []route.ValueMatch{{Name: "a", Exact: "1"}}}),
		to("v2", route.Match{Query: []route.ValueMatch{{Name: "a", Present: true}}}),
	)
	parts := []string{"a", "=", "&", "1", "%61", "%31", "+", ";", "%", "%zz", "b", "A", "==", "&&", "%3D", "%26"}
	if err := quick.Check(func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 0))
		query := ""
		for range r.IntN(9) {
			query += pick(r, parts...)
		}
		values, _ := url.ParseQuery(query)
		want := "echo"
		if list, has := values["a"]; has {
			if want = "v2"; list[0] == "1" {
				want = "v1"
			}
		}
		got := tb.Decide(&route.Input{Service: "echo", RawQuery: query}).Service.Name()
		if got != want {
			t.Logf("%q: got %s, want %s", query, got, want)
		}
		return got == want
	}, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

// TestCookieIsThatOfNetHTTP: what net/http writes as a cookie is found as key.
func TestCookieIsThatOfNetHTTP(t *testing.T) {
	tb := splitter(t, route.SplitKey{Cookie: "sid"}, 1, 1, 1)
	reference := splitter(t, route.SplitKey{Caller: true}, 1, 1, 1)
	for i, value := range []string{"1", "user-7", "a=b", "with space", "a,b", "x/y+z=="} {
		req := &http.Request{Header: http.Header{}}
		req.AddCookie(&http.Cookie{Name: "other", Value: "0"})
		req.AddCookie(&http.Cookie{Name: "sid", Value: value})
		req.AddCookie(&http.Cookie{Name: "sid2", Value: "0"})
		got := tb.Decide(&route.Input{Service: "echo", Header: req.Header, Random: spread(i)}).Service.Name()
		want := reference.Decide(&route.Input{Service: "echo", Key: value}).Service.Name()
		if got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

// TestAnyOtherTextIsRefused: no change of one byte in a signed text is honoured.
func TestAnyOtherTextIsRefused(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	tb := table(t, signedConfig(key()))
	for i := range text {
		for _, b := range []byte("aZ0.;@=-_ \x00\xff") {
			if text[i] == b {
				continue
			}
			forged := text[:i] + string([]byte{b}) + text[i+1:]
			for _, service := range []string{"users", "orders"} {
				d := tb.Decide(&route.Input{Service: service, Overrides: tb.Overrides(t.Context(), with(forged), now())})
				if d.Overridden {
					t.Fatalf("%q: got it honoured for %s, want it refused", forged, service)
				}
			}
		}
		cut := text[:i]
		if d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(t.Context(), with(cut), now())}); d.Overridden {
			t.Fatalf("%q: got it honoured, want it refused", cut)
		}
	}
}

// TestSharesAgainstEnvoy compares with the rule written down as Envoy's
// documentation puts it, in formulas of its own.
func TestSharesAgainstEnvoy(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		levels := make([]route.Level, 1+r.IntN(4))
		health := make([]int, len(levels))
		sum := 0
		for i := range levels {
			n := 1 + r.IntN(50)
			levels[i] = route.Level{Healthy: r.IntN(n + 1), Total: n}
			health[i] = min(100, int(1.4*100*float64(levels[i].Healthy)/float64(n)+1e-9))
			sum += health[i]
		}
		got, scarce := route.Shares(nil, levels)
		if scarce != (sum < 100) {
			t.Fatalf("%v: got scarce %v, want %v", levels, scarce, sum < 100)
		}
		if sum == 0 {
			continue
		}
		normalized, before := min(100, sum), 0
		for i := range levels {
			want := min(100-before, health[i]*100/normalized)
			before += want
			if diff := got[i] - want; diff < 0 || diff > len(levels) { // the first one gets what rounding leaves
				t.Fatalf("%v: got %v, want %d at %d", levels, got, want, i)
			}
		}
	}
}

// TestConcurrentUse: one table serves many goroutines, and one Overrides too.
func TestConcurrentUse(t *testing.T) {
	tb := table(t, overridable())
	ctx := route.With(t.Context(), route.Override{Service: "users", Environment: "staging"})
	shared := tb.Overrides(ctx, with("orders=local"), now())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				in := route.Input{Service: "users", Random: spread(g*1000 + i), Overrides: shared}
				if d := tb.Decide(&in); firstOf(d) != "users/staging" {
					t.Errorf("got %s, want users/staging", firstOf(d))
				}
				tb.Explain(&in)
				_ = shared.String()
				if o := tb.Overrides(ctx, nil, now()); o == nil || strings.Contains(o.String(), "orders") {
					t.Errorf("got %v, want the context's only", o)
				}
			}
		})
	}
	wg.Wait()
}
