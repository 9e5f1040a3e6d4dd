package route_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// busy is 100 services with 20 rules each, of mixed kinds.
func busy(tb testing.TB) *route.Table {
	tb.Helper()
	cfg := route.Config{Services: map[string]route.Service{}}
	for i := range 100 {
		s := route.Service{Environments: []string{"prod", "staging"}}
		for j := range 20 {
			s.Rules = append(s.Rules, busyRule(j))
		}
		cfg.Services[fmt.Sprintf("service-%d", i)] = s
	}
	return table(tb, cfg)
}

// busyRule is the jth rule: 5 exact paths, 9 prefixes, 5 with headers, one with
// a query parameter.
func busyRule(j int) route.Rule {
	m := route.Match{}
	switch {
	case j < 5:
		m.Path.Exact = fmt.Sprintf("/v1/exact/%d", j)
	case j < 14:
		m.Path.Prefix = fmt.Sprintf("/v1/resource-%d", j)
	case j < 19:
		m.Headers = []route.ValueMatch{{Name: "X-Version", Exact: fmt.Sprint("v", j)}}
	default:
		m.Query = []route.ValueMatch{{Name: "beta", Present: true}}
	}
	return route.Rule{
		Name: fmt.Sprint("rule ", j), Match: []route.Match{m},
		Backends: []route.Backend{{Weight: new(90)}, {Environment: "staging", Weight: new(10)}},
	}
}

// calls are inputs for the tables of busy.
func calls(t *route.Table, in route.Input) []route.Input {
	in.Header = map[string][]string{"X-Version": {"v18"}, "Accept": {"*/*"}, "User-Agent": {"test"}}
	list := make([]route.Input, 100)
	for i := range list {
		list[i] = in
		list[i].Handle = t.Service(fmt.Sprintf("service-%d", i))
		list[i].Random = uint64(i) * 0x9e3779b97f4a7c15
	}
	return list
}

func BenchmarkDecide(b *testing.B) {
	tb := busy(b)
	plain := table(b, route.Config{Services: map[string]route.Service{"users": {}}})
	for _, bench := range []struct {
		name string
		list []route.Input
		tb   *route.Table
	}{
		{"exact", calls(tb, route.Input{Path: "/v1/exact/3"}), tb},
		{"prefix", calls(tb, route.Input{Path: "/v1/resource-13/17"}), tb},
		{"header", calls(tb, route.Input{Path: "/v2/other"}), tb},
		{"query", calls(tb, route.Input{Path: "/v2/other", RawQuery: "page=2&beta=1"}), tb},
		{"none", []route.Input{{Handle: plain.Service("users"), Path: "/v1/me"}}, plain},
	} {
		b.Run(bench.name, func(b *testing.B) {
			if bench.name == "query" {
				for i := range bench.list {
					bench.list[i].Header = map[string][]string{"Accept": {"*/*"}}
				}
			}
			b.ReportAllocs()
			n, i := 0, 0
			for b.Loop() {
				d := bench.tb.Decide(&bench.list[i])
				n += len(d.Chain.Steps)
				if i++; i == len(bench.list) {
					i = 0
				}
			}
			if n == 0 {
				b.Fatal("got no steps, want some")
			}
		})
	}
}

func BenchmarkOverride(b *testing.B) {
	tb := table(b, overridable())
	o, err := route.Parse("users=staging")
	if err != nil {
		b.Fatal(err)
	}
	in := route.Input{Service: "users", Path: "/v1/me", Overrides: tb.Overrides(b.Context(), map[string][]string{route.Header: {o.String()}}, time.Unix(1, 0))}
	b.ReportAllocs()
	for b.Loop() {
		if d := tb.Decide(&in); !d.Overridden {
			b.Fatalf("got %q, want it overridden", d.Refused)
		}
	}
}

// TestInputStaysOnTheStack: a caller makes its Input anew for each call, and that
// costs nothing either, with all kinds of conditions.
func TestInputStaysOnTheStack(t *testing.T) {
	tb := withRules(t, route.Rule{
		Hosts: []string{"*.x"},
		Match: []route.Match{{
			Path: route.PathMatch{Regex: "/a/[0-9]+"}, Headers: []route.ValueMatch{{Name: "x-a", Regex: "b+"}, {Name: "host", Present: true}},
			Query: []route.ValueMatch{{Name: "q", Regex: "[0-9]"}},
		}},
		Key: route.SplitKey{Cookie: "sid"}, Backends: []route.Backend{{Service: "v1"}, {Service: "v2"}},
	})
	header := map[string][]string{"X-A": {"bbb"}, "Cookie": {"a=b; sid=7"}}
	h := tb.Service("echo")
	if got := testing.AllocsPerRun(200, func() {
		in := route.Input{Handle: h, Path: "/a/12", RawQuery: "p=1&q=2", Host: "a.x:80", Header: header}
		if d := tb.Decide(&in); d.Backend == nil {
			t.Fatal("got no backend, want one")
		}
	}); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	tb := busy(t)
	for name, in := range map[string]route.Input{
		"exact":  {Path: "/v1/exact/3"},
		"prefix": {Path: "/v1/resource-13/17"},
		"header": {Path: "/v2/other"},
		"query":  {Path: "/v2/other", RawQuery: "page=2&beta=1"},
	} {
		list := calls(tb, in)
		i := 0
		if got := testing.AllocsPerRun(200, func() {
			d := tb.Decide(&list[i%len(list)])
			if d.Rule == nil || d.Backend == nil || len(d.Chain.Steps) != 1 {
				t.Fatalf("%s: got %+v, want a rule and a backend", name, d)
			}
			i++
		}); got != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, got)
		}
	}
}
