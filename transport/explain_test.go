package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// explain asks what would become of a call with a body that must not be touched.
func explain(ctx context.Context, t *testing.T, rt *transport.Transport, method, url string, headers ...string) transport.Explanation {
	t.Helper()
	body := &closing{Reader: untouched{t}}
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	before := req.Clone(t.Context())
	x := rt.Explain(ctx, req)
	if body.closed.Load() || len(req.Header) != len(before.Header) || *req.URL != *before.URL {
		t.Errorf("%s %s: Explain changed the request", method, url)
	}
	return x
}

// untouched is a body that is not to be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// Explain says what a call would do; the call then does it.
func TestExplain(t *testing.T) { synctest.Test(t, testExplain) }

func testExplain(t *testing.T) {
	var sent atomic.Int64
	base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
		if addr != "plain:1" { // the mirror's, which takes its time
			sent.Add(1)
		}
		return answer(req, 200, addr), nil
	})
	cfg := overridable(base, route.OverridePolicy{Services: []string{"svc"}, Environments: []string{"staging", "mine"}})
	svc := cfg.Services["svc"]
	svc.Rules = []route.Rule{
		{Name: "gone", Match: under("/gone"), Fixed: &route.Fixed{Status: 410}},
		{Name: "moved", Match: under("/moved"), Redirect: &route.Redirect{Host: "x"}},
		{Name: "broken", Match: under("/broken"), Fault: &route.Fault{AbortCode: "UNAVAILABLE"}},
		{Name: "nobody", Match: under("/nobody"), Backends: []route.Backend{{Weight: ptr(0)}}},
		{Name: "other", Match: under("/other"), File: "rules.yaml", Line: 7, Backends: []route.Backend{{Service: "other"}}, Mirror: &route.Mirror{Service: "plain"}},
	}
	cfg.Services["svc"] = svc
	cfg.Services["far"] = transport.Service{Environments: places("prod")}
	rt, err := transport.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	if err := rt.Ready(t.Context(), "svc", "other", "plain"); err != nil {
		t.Fatal(err)
	}
	far := rt.Ready(t.Context(), "far")
	if !errors.Is(far, route.ErrNoDestination) {
		t.Errorf("Ready: got %v, want ErrNoDestination", far)
	}
	synctest.Wait() // for the endpoints of those that are not home, too
	code := route.With(t.Context(), route.Override{Service: "svc", Environment: "prod"})
	for _, test := range []struct {
		name            string
		ctx             context.Context
		url, header     string
		rule, env, addr string
		status          int
		text            string // somewhere in the JSON
	}{
		{"home", t.Context(), "http://svc/", "", "", "test", "test:1", 0, `"considered"`},
		{"override", t.Context(), "http://svc/", "svc=staging", "", "staging", "staging:1", 0, `"overridden":true`},
		{"override that falls back", t.Context(), "http://svc/", "svc=mine", "", "staging", "staging:1", 0, `"fallback":true`},
		{"override refused", t.Context(), "http://svc/", "svc=prod", "", "test", "test:1", 0, `"refused":"the environment is not one that headers may lead to"`},
		{"code refused", code, "http://svc/", "", "", "test", "test:1", 0, `"refused":"the environment is protected"`},
		{"rule", t.Context(), "http://svc/other", "", "other", "test", "other:1", 0, `"line":7`},
		{"mirror", t.Context(), "http://svc/other", "", "other", "test", "other:1", 0, `"mirror":{"service":"plain"}`},
		{"fixed", t.Context(), "http://svc/gone", "", "gone", "", "", 410, `"action":"answer"`},
		{"redirect", t.Context(), "http://svc/moved", "", "moved", "", "", 302, `"action":"redirect"`},
		{"abort", t.Context(), "http://svc/broken", "", "broken", "", "", 503, `"action":"abort"`},
		{"no weight", t.Context(), "http://svc/nobody", "", "nobody", "", "", 500, `"action":"refuse"`},
		{"no destination", t.Context(), "http://far/", "", "", "", "", 0, `no destination`},
		{"plain", t.Context(), "http://plain/", "", "", "", "plain:1", 0, `"state":"healthy"`},
	} {
		var headers []string
		if test.header != "" {
			headers = []string{"Tulle-Route", test.header}
		}
		x := explain(test.ctx, t, rt, "POST", test.url, headers...)
		rule, env, addr := "", "", ""
		if x.Route == nil {
			t.Errorf("%s: got %+v", test.name, x)
			continue
		}
		if x.Route.Rule != nil {
			rule = x.Route.Rule.Name
		}
		if x.Destination != nil {
			env, addr = x.Destination.Environment, x.Destination.Endpoints[0].Addr
		}
		text, err := json.Marshal(x)
		if err != nil || rule != test.rule || env != test.env || addr != test.addr || x.Status != test.status || !strings.Contains(string(text), test.text) {
			t.Errorf("%s: got rule %q, environment %q, endpoint %q, status %d, %v\n%s\nwant %+v", test.name, rule, env, addr, x.Status, err, text, test)
		}
		if sent.Load() != 0 {
			t.Fatalf("%s: Explain sent something", test.name)
		}
		got, err := ask(test.ctx, rt, "POST", test.url, headers...)
		switch {
		case x.Error != "":
			if err == nil || err.Error() != x.Error {
				t.Errorf("%s: the call got %v, explained was %s", test.name, err, x.Error)
			}
		case err != nil || addr != "" && got != addr || test.status != 0 && !strings.HasPrefix(got, strconv.Itoa(test.status)):
			t.Errorf("%s: the call got %s, %v", test.name, got, err)
		}
		sent.Store(0)
	}
}

// nowhere is a source that knows nothing.
func nowhere(*url.URL) (discovery.Resolver, error) { return endpoints(), nil }

// Hosts that are no services are explained too.
func TestExplainUnknown(t *testing.T) {
	for unknown, want := range map[transport.Unknown]transport.Explanation{
		transport.Pass:    {},
		transport.Refuse:  {Error: "transport: unknown service: 127.0.0.1:1"},
		transport.Resolve: {Service: "127.0.0.1:1"},
	} {
		rt, err := transport.New(transport.Config{Unknown: unknown, Resolvers: map[string]transport.ResolverFunc{"dns": nowhere}})
		if err != nil {
			t.Fatal(err)
		}
		x := explain(t.Context(), t, rt, "GET", "http://127.0.0.1:1/")
		if x.Service != want.Service || x.Error != want.Error || x.Route != nil || (x.Destination != nil) != (want.Service != "") {
			t.Errorf("%v: got %+v, want %+v", unknown, x, want)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}
