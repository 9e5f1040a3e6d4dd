package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/route"
)

// ruled is a Config whose services svc, one and two have a destination each; rules
// are svc's own.
func ruled(base http.RoundTripper, rules ...route.Rule) transport.Config {
	return transport.Config{Base: base, Services: map[string]transport.Service{
		"svc": {Resolver: endpoints("svc:1"), Rules: rules},
		"one": {Resolver: endpoints("one:1")}, "two": {Resolver: endpoints("two:1")},
	}}
}

// under is a match by a path's prefix.
func under(prefix string) []route.Match {
	return []route.Match{{Path: route.PathMatch{Prefix: prefix}}}
}

// ptr is a pointer to a value, for the settings whose zero means something.
func ptr[T any](v T) *T { return &v }

// Calls are split by weight, and by key always in the same way.
func TestRuleSplits(t *testing.T) {
	backends := []route.Backend{{Service: "one", Weight: ptr(3)}, {Service: "two", Weight: ptr(1)}}
	rt := newTransport(t, ruled(who,
		route.Rule{Match: under("/random"), Backends: backends},
		route.Rule{Match: under("/header"), Backends: backends, Key: route.SplitKey{Header: "X-User"}},
		route.Rule{Match: under("/cookie"), Backends: backends, Key: route.SplitKey{Cookie: "user"}},
		route.Rule{Match: under("/caller"), Backends: backends, Key: route.SplitKey{Caller: true}},
		route.Rule{Match: under("/off"), Backends: []route.Backend{{Service: "one", Weight: ptr(0)}, {Service: "two"}}},
	))
	const calls = 2000
	for _, path := range []string{"/random", "/header", "/cookie", "/caller", "/off"} {
		to := map[string]int{}
		first := map[int]string{}
		for i := range calls {
			key := i % 400
			ctx := transport.WithCall(t.Context(), transport.RouteKey(fmt.Sprint("k", key)))
			got, err := ask(ctx, rt, "GET", "http://svc"+path, "X-User", fmt.Sprint(key), "Cookie", fmt.Sprint("a=b; user=u", key))
			if err != nil {
				t.Fatal(err)
			}
			to[got]++
			if path != "/random" && first[key] != "" && first[key] != got {
				t.Fatalf("%s: key %d went to %s and to %s", path, key, first[key], got)
			}
			first[key] = got
		}
		share := float64(to["one:1"]) / calls
		want := [2]float64{0.66, 0.84}
		if path == "/off" {
			want = [2]float64{0, 0}
		}
		if share < want[0] || share > want[1] || to["one:1"]+to["two:1"] != calls {
			t.Errorf("%s: got %v, want a share of %v for one", path, to, want)
		}
	}
}

// What a rule says of time and repeats goes before what the service says.
func TestRuleTimesAndRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts int
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			attempts++
			if strings.HasPrefix(req.URL.Path, "/418") {
				return answer(req, 418, addr), nil
			}
			return answer(req, 200, addr), sleep(req, time.Hour)
		})
		cfg := ruled(base,
			route.Rule{Match: under("/call"), Timeout: time.Second},
			route.Rule{Match: under("/attempt"), AttemptTimeout: 2 * time.Second},
			route.Rule{Match: under("/none"), Timeout: -1, AttemptTimeout: -1},
			route.Rule{Match: under("/418/often"), Retry: &route.Retry{Attempts: 5, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond, Statuses: []int{418}}},
			route.Rule{Match: under("/418/twice"), Retry: &route.Retry{Attempts: 2, Statuses: []int{418}, Codes: []string{"ABORTED"}}},
			route.Rule{Match: under("/418/slow"), Timeout: 20 * time.Hour, Retry: &route.Retry{Attempts: 2, MinBackoff: time.Hour, MaxBackoff: time.Hour, Statuses: []int{418}}},
		)
		svc := cfg.Services["svc"]
		svc.Resolver = endpoints("a:1", "b:1", "c:1", "d:1", "e:1", "f:1")
		svc.Policy = transport.Policy{Timeout: 10 * time.Second, AttemptTimeout: 9 * time.Second, Retry: &retry.Config{Budget: retry.BudgetConfig{PerSecond: 1000}}}
		cfg.Services["svc"] = svc
		rt := newTransport(t, cfg)
		for _, test := range []struct {
			method, path string
			least, most  time.Duration
			attempts     int
			err          error
		}{
			{"GET", "/call", time.Second, time.Second, 1, deadline.ErrCall},
			{"POST", "/attempt", 2 * time.Second, 2 * time.Second, 1, deadline.ErrAttempt},
			{"POST", "/none", time.Hour, time.Hour, 1, nil},
			{"POST", "/else", 9 * time.Second, 9 * time.Second, 1, deadline.ErrAttempt},
			{"GET", "/418/often", 0, 4 * time.Millisecond, 5, nil},
			{"POST", "/418/often", 0, 0, 1, nil},
			{"GET", "/418/twice", 0, 250 * time.Millisecond, 2, nil},
			{"GET", "/418/slow", time.Second, 20 * time.Hour, 2, nil},
			{"GET", "/418", 0, 0, 1, nil},
		} {
			attempts = 0
			begun := time.Now()
			_, err := ask(t.Context(), rt, test.method, "http://svc"+test.path)
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%s %s: got %v, want %v", test.method, test.path, err, test.err)
			}
			took := time.Since(begun)
			if attempts != test.attempts || took < test.least || took > test.most {
				t.Errorf("%s %s: got %d attempts in %v, want %d in %v to %v",
					test.method, test.path, attempts, took, test.attempts, test.least, test.most)
			}
		}
		// The caller's own word goes before that of the rule.
		begun := time.Now()
		ctx := transport.WithCall(t.Context(), transport.CallTimeout(100*time.Millisecond))
		if _, err := ask(ctx, rt, "GET", "http://svc/call"); !errors.Is(err, deadline.ErrCall) || time.Since(begun) != 100*time.Millisecond {
			t.Errorf("CallTimeout: got %v after %v", err, time.Since(begun))
		}
	})
}

// Headers, host and path of what is sent are those that the rule says; the caller's
// request stays as it was.
func TestRuleEdits(t *testing.T) {
	var seen *http.Request
	base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
		seen = req
		resp := answer(req, 200, "")
		resp.Header = http.Header{"Server": {"x"}, "X-Kept": {"1"}}
		if req.URL.Path == "/bare" {
			resp.Header = nil
		}
		return resp, nil
	})
	edits := route.Headers{Set: map[string]string{"x-set": "new"}, Add: map[string]string{"x-add": "more"}, Remove: []string{"x-gone"}}
	answers := route.Headers{Set: map[string]string{"X-Answer": "1"}, Remove: []string{"server"}}
	cfg := ruled(base,
		route.Rule{Match: under("/old"), Rewrite: &route.Rewrite{Host: "new.example", Path: route.PathEdit{Prefix: "/new"}},
			RequestHeaders: edits, ResponseHeaders: answers},
		route.Rule{Match: under("/full"), Rewrite: &route.Rewrite{Path: route.PathEdit{Full: "/bare"}}, ResponseHeaders: answers},
		route.Rule{Match: under("/backend"), RequestHeaders: edits, Backends: []route.Backend{{Service: "one",
			RequestHeaders: route.Headers{Set: map[string]string{"x-set": "backend"}}, ResponseHeaders: answers}}},
	)
	rt := newTransport(t, cfg)
	send := func(url string) (*http.Request, *http.Response) {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		req.Header = http.Header{"X-Set": {"old"}, "X-Add": {"one"}, "X-Gone": {"1"}}
		before := req.Clone(t.Context())
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(resp); err != nil {
			t.Error(err)
		}
		if !maps.EqualFunc(req.Header, before.Header, func(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") }) ||
			*req.URL != *before.URL || req.Host != before.Host || resp.Request != req {
			t.Errorf("%s: the caller's request was changed", url)
		}
		return seen, resp
	}
	got, resp := send("http://svc/old/a%2Fb?q=1")
	if got.Host != "new.example" || got.URL.EscapedPath() != "/new/a%2Fb" || got.URL.RawQuery != "q=1" {
		t.Errorf("rewrite: got %s at %s", got.URL, got.Host)
	}
	if h := got.Header; h.Get("X-Set") != "new" || len(h["X-Add"]) != 2 || h["X-Gone"] != nil {
		t.Errorf("request headers: got %v", h)
	}
	if h := resp.Header; h.Get("X-Answer") != "1" || h["Server"] != nil || h.Get("X-Kept") != "1" {
		t.Errorf("response headers: got %v", h)
	}
	if got, resp = send("http://svc/full/x"); got.URL.Path != "/bare" || got.Host != "svc" || resp.Header.Get("X-Answer") != "1" {
		t.Errorf("full path: got %s at %s, header %v", got.URL, got.Host, resp.Header)
	}
	if got, _ = send("http://svc/backend"); got.Header.Get("X-Set") != "backend" || len(got.Header["X-Add"]) != 2 {
		t.Errorf("backend: got %v", got.Header)
	}
}

// What is answered here is a whole response, reaches nobody, and closes the body.
func TestRuleAnswers(t *testing.T) {
	base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
		t.Errorf("%s was sent", req.URL)
		return answer(req, 200, ""), nil
	})
	cfg := ruled(base,
		route.Rule{Match: under("/gone"), Fixed: &route.Fixed{Status: 410, Headers: map[string]string{"content-type": "text/plain"}, Body: "gone"},
			ResponseHeaders: route.Headers{Set: map[string]string{"x-by": "rule"}}},
		route.Rule{Match: under("/empty"), Fixed: &route.Fixed{Status: 204}},
		route.Rule{Match: under("/moved"), Redirect: &route.Redirect{Scheme: "https", Host: "new.example", Path: route.PathEdit{Prefix: "/at"}, Status: 308}},
		route.Rule{Match: under("/abort"), Name: "chaos", Fault: &route.Fault{AbortStatus: 503}},
		route.Rule{Match: under("/code"), Fault: &route.Fault{AbortCode: "NOT_FOUND"}},
		route.Rule{Match: under("/nobody"), Backends: []route.Backend{{Service: "one", Weight: ptr(0)}}},
	)
	svc := cfg.Services["svc"]
	svc.OnlyRules = true
	cfg.Services["svc"] = svc
	rt := newTransport(t, cfg)
	for _, test := range []struct {
		path   string
		status int
		body   string
		header string
		value  string
	}{
		{"/gone", 410, "gone", "Content-Type", "text/plain"},
		{"/gone", 410, "gone", "X-By", "rule"},
		{"/empty", 204, "", "Content-Length", ""},
		{"/moved/x?q=1", 308, "", "Location", "https://new.example/at/x?q=1"},
		{"/abort", 503, `fault injected by rule chaos`, "Content-Type", "text/plain; charset=utf-8"},
		{"/code", 404, "fault injected by rule without a name", "Content-Length", "37"},
		{"/nobody", 500, "route: no backend has a weight", "Content-Type", "text/plain; charset=utf-8"},
		{"/other", 404, "route: no rule matches", "Content-Type", "text/plain; charset=utf-8"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			body := &closing{Reader: strings.NewReader("x")}
			info := transport.Info{Attempts: 9}
			req, _ := http.NewRequestWithContext(transport.WithCall(t.Context(), transport.AttemptInfo(&info)), method, "http://svc"+test.path, body)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Errorf("%s %s: %v", method, test.path, err)
				continue
			}
			text, err := readAll(resp)
			if err != nil || resp.StatusCode != test.status || resp.Header.Get(test.header) != test.value ||
				!strings.HasPrefix(resp.Status, fmt.Sprint(test.status, " ")) || resp.Request != req || !body.closed.Load() {
				t.Errorf("%s %s: got %s, header %v, %v, body closed %v", method, test.path, resp.Status, resp.Header, err, body.closed.Load())
			}
			if method == "HEAD" && text != "" || method != "HEAD" && (!strings.HasPrefix(text, test.body) || int64(len(text)) != resp.ContentLength) {
				t.Errorf("%s %s: got a body %q of %d, want %q", method, test.path, text, resp.ContentLength, test.body)
			}
			if info.Service != "svc" || info.Attempts != 0 {
				t.Errorf("%s %s: got info %+v", method, test.path, info)
			}
		}
	}
	if err := rt.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v: a call that was answered still counts", err)
	}
}

// An http.Client follows what a rule redirects.
func TestRuleRedirectIsFollowed(t *testing.T) {
	rt := newTransport(t, ruled(who, route.Rule{Match: under("/moved"), Redirect: &route.Redirect{Host: "two"}}))
	resp, err := (&http.Client{Transport: rt}).Get("http://svc/moved")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := readAll(resp); err != nil || text != "two:1" {
		t.Errorf("got %s, %v", text, err)
	}
}

// A delay is part of the call's time, whatever becomes of the call after it.
func TestRuleDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ruled(who,
			route.Rule{Match: under("/short"), Timeout: 30 * time.Second, Fault: &route.Fault{Delay: 2 * time.Second}},
			route.Rule{Match: under("/long"), Timeout: time.Second, Fault: &route.Fault{Delay: time.Minute}},
			route.Rule{Match: under("/abort/short"), Fault: &route.Fault{Delay: 2 * time.Second, AbortStatus: 503}},
			route.Rule{Match: under("/abort/long"), Timeout: time.Second, Fault: &route.Fault{Delay: time.Minute, AbortStatus: 503}},
			route.Rule{Match: under("/some"), Fault: &route.Fault{Delay: time.Minute, Only: &route.ValueMatch{Name: "X-Slow", Present: true}}},
		)
		cfg.Defaults.Timeout = 10 * time.Second
		rt := newTransport(t, cfg)
		for _, test := range []struct {
			path, want string
			took       time.Duration
			err        error
		}{
			{"/short", "svc:1", 2 * time.Second, nil},
			{"/long", "", time.Second, deadline.ErrCall},
			{"/abort/short", "503 fault injected by rule without a name", 2 * time.Second, nil},
			{"/abort/long", "", time.Second, deadline.ErrCall},
			{"/some", "svc:1", 0, nil},
		} {
			begun := time.Now()
			got, err := ask(t.Context(), rt, "GET", "http://svc"+test.path)
			if took := time.Since(begun); got != test.want || !errors.Is(err, test.err) || took != test.took {
				t.Errorf("%s: got %s, %v after %v, want %s, %v after %v", test.path, got, err, took, test.want, test.err, test.took)
			}
		}
		// Who does not wait any more is not kept waiting, and its body is closed.
		for _, path := range []string{"/short", "/abort/short"} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			begun, body := time.Now(), &closing{Reader: strings.NewReader("x")}
			req, _ := http.NewRequestWithContext(ctx, "POST", "http://svc"+path, body)
			if _, err := rt.RoundTrip(req); !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second || !body.closed.Load() {
				t.Errorf("%s: got %v after %v, body closed %v", path, err, time.Since(begun), body.closed.Load())
			}
		}
	})
}

// A call that cannot be sent is an error, which closes the body.
func TestRefusedClosesBody(t *testing.T) {
	rt, err := transport.New(transport.Config{
		Base: who, Environment: "test", Environments: map[string]route.Environment{"test": {Fallback: []string{"prod"}}},
		Services: map[string]transport.Service{"svc": {Environments: places("prod")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	body := &closing{Reader: io.MultiReader()}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://svc/", body)
	if _, err := rt.RoundTrip(req); !errors.Is(err, route.ErrReadOnly) || !body.closed.Load() {
		t.Errorf("got %v, body closed %v", err, body.closed.Load())
	}
}

// Rules for all services come after a service's own.
func TestGlobalRules(t *testing.T) {
	cfg := ruled(who, route.Rule{Match: under("/own"), Backends: []route.Backend{{Service: "one"}}})
	cfg.Labels = map[string]string{"team": "quality"}
	cfg.Rules = []route.Rule{
		{Match: []route.Match{{Path: route.PathMatch{Exact: "/own"}}}, Backends: []route.Backend{{Service: "two"}}},
		{Match: []route.Match{{Caller: map[string]string{"team": "quality"}, Path: route.PathMatch{Prefix: "/all"}}}, Fixed: &route.Fixed{Status: 200, Body: "all"}},
		{Match: []route.Match{{Caller: map[string]string{"team": "sales"}}}, Fixed: &route.Fixed{Status: 200, Body: "sales"}},
	}
	rt := newTransport(t, cfg)
	for url, want := range map[string]string{
		"http://svc/own": "one:1", "http://svc/all": "all", "http://one/own": "two:1", "http://two/all/x": "all", "http://two/": "two:1",
	} {
		if got, err := ask(t.Context(), rt, "GET", url); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", url, got, err, want)
		}
	}
}
