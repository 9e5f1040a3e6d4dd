package route_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// splitter is a table whose service echo splits by the weights to v1, v2, v3.
func splitter(t *testing.T, key route.SplitKey, weights ...int) *route.Table {
	t.Helper()
	r := route.Rule{Key: key}
	for i, w := range weights {
		r.Backends = append(r.Backends, route.Backend{Service: fmt.Sprint("v", i+1), Weight: &w})
	}
	return withRules(t, r)
}

// tally counts where n calls go; each has its own random number and key.
func tally(tb *route.Table, n int, in func(i int) route.Input) map[string]int {
	got := map[string]int{}
	for i := range n {
		one := in(i)
		one.Service = "echo"
		got[tb.Decide(&one).Service.Name()]++
	}
	return got
}

// spread is a random number for the ith call.
func spread(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }

func TestRandomSplit(t *testing.T) {
	const n = 100_000
	got := tally(splitter(t, route.SplitKey{}, 90, 10, 0), n, func(i int) route.Input { return route.Input{Random: spread(i)} })
	if math.Abs(float64(got["v1"])-0.9*n) > 0.01*n || got["v3"] != 0 || got["v1"]+got["v2"] != n {
		t.Errorf("got %v of %d, want 90 %% and 10 %%", got, n)
	}
	tb := splitter(t, route.SplitKey{}, 90, 10)
	for i := range 100 {
		in := route.Input{Service: "echo", Random: spread(i)}
		if a, b := firstOf(tb.Decide(&in)), firstOf(tb.Decide(&in)); a != b {
			t.Fatalf("got %s, then %s for one random number", a, b)
		}
	}
}

// TestStableSplit: the share is that of the weights, a key always goes to the
// same backend, and a changed weight moves only what it must.
func TestStableSplit(t *testing.T) {
	const n = 50_000
	key := route.SplitKey{Header: "X-User"}
	in := func(i int) route.Input {
		return route.Input{Random: spread(i) ^ 1, Header: map[string][]string{"X-User": {fmt.Sprint("user-", i)}}}
	}
	where := func(tb *route.Table) []string {
		list := make([]string, n)
		for i := range list {
			one := in(i)
			one.Service = "echo"
			list[i] = tb.Decide(&one).Service.Name()
			one.Random++
			if again := tb.Decide(&one).Service.Name(); again != list[i] {
				t.Fatalf("key %d: got %s, then %s", i, list[i], again)
			}
		}
		return list
	}
	before, after := where(splitter(t, key, 90, 10)), where(splitter(t, key, 80, 20))
	added, removed := where(splitter(t, key, 90, 10, 20)), where(splitter(t, key, 90, 10, 0))
	moved, wrong := 0, 0
	for i := range before {
		if before[i] != after[i] {
			moved++
			if after[i] != "v2" {
				wrong++
			}
		}
		if added[i] != before[i] && added[i] != "v3" || removed[i] != before[i] {
			wrong++
		}
	}
	if wrong != 0 {
		t.Errorf("got %d keys moved to where no weight was added, want none", wrong)
	}
	if math.Abs(float64(moved)-0.1*n) > 0.01*n {
		t.Errorf("got %d of %d keys moved from 90:10 to 80:20, want 10 %%", moved, n)
	}
}

// TestStableAcrossReleases pins the hash: processes of different releases must
// agree.
func TestStableAcrossReleases(t *testing.T) {
	tb := splitter(t, route.SplitKey{Caller: true}, 1, 1, 1)
	got := ""
	for i := range 24 {
		in := route.Input{Service: "echo", Key: fmt.Sprint(i)}
		got += tb.Decide(&in).Service.Name()[1:]
	}
	if want := goldenSplit; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSplitKeys(t *testing.T) {
	for name, test := range map[string]struct {
		key route.SplitKey
		in  func(string) route.Input
	}{
		"header": {route.SplitKey{Header: "x-user"}, func(k string) route.Input {
			return route.Input{Header: map[string][]string{"X-User": {k, "other"}}}
		}},
		"cookie": {route.SplitKey{Cookie: "sid"}, func(k string) route.Input {
			return route.Input{Header: map[string][]string{"Cookie": {"a=b; xsid=1", `c=d; sid="` + k + `"; sid=no`}}}
		}},
		"query":  {route.SplitKey{Query: "user"}, func(k string) route.Input { return route.Input{RawQuery: "a=b&user=" + k} }},
		"caller": {route.SplitKey{Caller: true}, func(k string) route.Input { return route.Input{Key: k} }},
	} {
		tb := splitter(t, test.key, 1, 1, 1)
		reference := splitter(t, route.SplitKey{Caller: true}, 1, 1, 1)
		for i := range 50 {
			k := fmt.Sprint("key", i)
			in := test.in(k)
			in.Service, in.Random = "echo", spread(i)
			want := reference.Decide(&route.Input{Service: "echo", Key: k}).Service.Name()
			if got := tb.Decide(&in).Service.Name(); got != want {
				t.Fatalf("%s %s: got %s, want %s", name, k, got, want)
			}
		}
		// Without the key it is random.
		got := tally(tb, 3000, func(i int) route.Input { return route.Input{Random: spread(i)} })
		if got["v1"] < 800 || got["v2"] < 800 || got["v3"] < 800 {
			t.Errorf("%s: got %v without a key, want a third each", name, got)
		}
	}
}

// TestSamePlaceTwice: two backends of one place split by key as well.
func TestSamePlaceTwice(t *testing.T) {
	tb := withRules(t, route.Rule{Key: route.SplitKey{Caller: true}, Backends: []route.Backend{
		{RequestHeaders: route.Headers{Set: map[string]string{"X-Arm": "a"}}},
		{RequestHeaders: route.Headers{Set: map[string]string{"X-Arm": "b"}}},
	}})
	got := map[string]int{}
	for i := range 1000 {
		d := tb.Decide(&route.Input{Service: "echo", Key: fmt.Sprint(i)})
		got[d.Backend.RequestHeaders.Set["X-Arm"]]++
	}
	if got["a"] < 400 || got["b"] < 400 {
		t.Errorf("got %v, want a half each", got)
	}
}

func TestNoWeight(t *testing.T) {
	d := splitter(t, route.SplitKey{}, 0, 0).Decide(&route.Input{Service: "echo"})
	if d.Action != route.Refuse || !errors.Is(d.Err, route.ErrNoBackend) {
		t.Errorf("got %v, %v, want it refused with ErrNoBackend", d.Action, d.Err)
	}
}

func TestMirror(t *testing.T) {
	envs := []string{"prod", "staging"}
	cfg := func(m route.Mirror, home string) route.Config {
		return route.Config{Default: home, Services: map[string]route.Service{
			"users": {Environments: envs, Rules: []route.Rule{{Mirror: &m}}}, "shadow": {Environments: envs}, "bare": {},
			"lone": {Environments: []string{"staging"}},
		}}
	}
	for _, test := range []struct {
		name   string
		mirror route.Mirror
		home   string
		method string
		want   string
	}{
		{"all", route.Mirror{Service: "shadow"}, "prod", "POST", "shadow/prod"},
		{"where the call is", route.Mirror{Service: "shadow"}, "staging", "POST", "shadow/staging"},
		{"elsewhere", route.Mirror{Environment: "staging"}, "prod", "POST", "users/staging"},
		{"no environments", route.Mirror{Service: "bare"}, "prod", "POST", "bare/"},
		{"does not fall back", route.Mirror{Service: "lone"}, "prod", "GET", "none"},
		{"into prod", route.Mirror{Environment: "prod"}, "staging", "GET", "users/prod"},
		{"no writes into prod", route.Mirror{Environment: "prod"}, "staging", "POST", "none"},
		{"onto itself", route.Mirror{Service: "users"}, "prod", "GET", "none"},
		{"none", route.Mirror{Service: "shadow", Percent: new(0.0)}, "prod", "GET", "none"},
	} {
		tb := table(t, cfg(test.mirror, test.home))
		d := tb.Decide(&route.Input{Service: "users", Method: test.method})
		got := "none"
		if d.Mirror != nil {
			got = d.Mirror.Service + "/" + d.Mirror.Steps[0].Environment
		}
		if got != test.want || d.Action != route.Send {
			t.Errorf("%s: got %s, %v, want %s", test.name, got, d.Action, test.want)
		}
	}
	tb := table(t, cfg(route.Mirror{Service: "shadow", Percent: new(25.0)}, "prod"))
	n := 0
	for i := range 10_000 {
		if tb.Decide(&route.Input{Service: "users", Random: spread(i)}).Mirror != nil {
			n++
		}
	}
	if n < 2350 || n > 2650 {
		t.Errorf("got %d of 10000 mirrored, want 25 %%", n)
	}
}

// TestFault: by percent and by header, each on its own.
func TestFault(t *testing.T) {
	tb := withRules(t, route.Rule{Fault: &route.Fault{
		Only:  &route.ValueMatch{Name: "x-fault", Present: true},
		Delay: time.Second, DelayPercent: new(50.0), AbortStatus: 503, AbortPercent: new(10.0),
	}})
	const n = 20_000
	delayed, aborted, both := 0, 0, 0
	for i := range n {
		in := route.Input{Service: "echo", Random: spread(i)}
		if d := tb.Decide(&in); d.Delay != 0 || d.Action != route.Send {
			t.Fatalf("got %+v without the header, want no fault", d)
		}
		in.Header = map[string][]string{"X-Fault": {""}}
		d := tb.Decide(&in)
		if d.Delay == time.Second {
			delayed++
		}
		if d.Action == route.Abort {
			aborted++
			if d.Chain != nil || d.Rule.Fault.AbortStatus != 503 {
				t.Fatalf("got %+v, want no chain", d)
			}
			if d.Delay > 0 {
				both++
			}
		}
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"delayed": {float64(delayed), 0.5 * n}, "aborted": {float64(aborted), 0.1 * n}, "both": {float64(both), 0.05 * n},
	} {
		if math.Abs(c.got-c.want) > 0.01*n {
			t.Errorf("%s: got %v of %d, want about %v", name, c.got, n, c.want)
		}
	}
}

// TestAnswers: what is not sent.
func TestAnswers(t *testing.T) {
	tb := withRules(t,
		route.Rule{Match: []route.Match{path("/fixed", "", "")}, Fixed: &route.Fixed{Status: 418, Headers: map[string]string{"x-a": "b"}}},
		route.Rule{Match: []route.Match{path("/moved", "", "")}, Redirect: &route.Redirect{Host: "elsewhere"}},
		route.Rule{Match: []route.Match{path("/abort", "", "")}, Fault: &route.Fault{AbortCode: "UNAVAILABLE"}},
	)
	for url, want := range map[string]route.Action{"/fixed": route.Answer, "/moved": route.Reroute, "/abort": route.Abort, "/": route.Send} {
		d := tb.Decide(&route.Input{Service: "echo", Path: url})
		if d.Action != want || (d.Chain != nil) != (want == route.Send) {
			t.Errorf("%s: got %v, chain %v, want %v", url, d.Action, d.Chain, want)
		}
		if want == route.Answer && d.Rule.Fixed.Headers["X-A"] != "b" {
			t.Errorf("got %v, want headers in canonical form", d.Rule.Fixed.Headers)
		}
	}
	for action, want := range map[route.Action]string{
		route.Send: "send", route.Answer: "answer", route.Reroute: "redirect", route.Abort: "abort", route.Refuse: "refuse", 99: "unknown",
	} {
		if got := action.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// goldenSplit is where the keys 0 to 23 go among three equal backends.
const goldenSplit = "111133322123213223132232"
