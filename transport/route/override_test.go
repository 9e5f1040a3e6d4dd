package route_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// now is some time.
func now() time.Time { return time.Unix(1_800_000_000, 0) }

// with is a header with overrides.
func with(text string) map[string][]string { return map[string][]string{route.Header: {text}} }

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"users=staging":                    "users=staging",
		"users=staging;orders=local":       "orders=local;users=staging",
		"users.shop:8080=e-1":              "users.shop:8080=e-1",
		"[::1]:80=local":                   "[::1]:80=local",
		"a_b=x":                            "a_b=x",
		"":                                 "error",
		"users":                            "error",
		"users=":                           "error",
		"=staging":                         "error",
		"users=staging;":                   "error",
		";users=staging":                   "error",
		"users=staging;users=local":        "error",
		"users = staging":                  "error",
		"Users=staging":                    "error",
		"users=Staging":                    "error",
		"users=-a":                         "error",
		"users=a-":                         "error",
		"users=a.b":                        "error",
		"users=a=b":                        "error",
		"users=staging\r\nX: y":            "error",
		"users=staging,orders=local":       "error",
		"üsers=staging":                    "error",
		"users=staging@":                   "error",
		"users=staging@k.1":                "error",
		"users=staging@k.1.AAAA":           "error",
		"users=staging@k.01." + mac():      "error",
		"users=staging@k.-1." + mac():      "error",
		"users=staging@." + "1." + mac():   "error",
		"users=staging@k.1." + mac():       "users=staging@k.1." + mac(),
		"users=staging@k.1." + mac() + "=": "error",
		"users=staging@k.1@k.1." + mac():   "error",
		strings.Repeat("a", 254) + "=x":    "error",
		"a=" + strings.Repeat("a", 64):     "error",
		pairs(16):                          pairs(16),
		pairs(17):                          "error",
		"a=b;" + strings.Repeat("c", 1024): "error",
	} {
		o, err := route.Parse(text)
		got := "error"
		if err == nil {
			got = o.String()
		}
		if got != want {
			t.Errorf("%.60q: got %q (%v), want %q", text, got, err, want)
		}
	}
}

// mac is something that looks like one.
func mac() string { return strings.Repeat("A", 43) }

// pairs are n overrides, sorted.
func pairs(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("s%02d=e", i)
	}
	return strings.Join(list, ";")
}

// TestOverridePolicy is which overrides are honoured, and why others are not.
func TestOverridePolicy(t *testing.T) {
	open := overridable()
	open.Override.Protected = true
	wide := overridable()
	wide.Override.Services, wide.Override.Environments = []string{"*"}, []string{"*"}
	off := overridable()
	off.Override = route.OverridePolicy{}
	inProd := overridable()
	inProd.Default = "prod"
	openProd := open
	openProd.Default = "prod"
	for _, test := range []struct {
		name      string
		cfg       route.Config
		text      string
		service   string
		want, why string
	}{
		{"honoured", overridable(), "users=staging", "users", "users/staging", ""},
		{"of another service", overridable(), "orders=staging", "users", "users/test", ""},
		{"off", off, "users=staging", "users", "users/test", "off"},
		{"environment not allowed", overridable(), "users=prod", "users", "users/test", "lead to"},
		{"unknown environment", overridable(), "users=nowhere", "users", "users/test", "no such"},
		{"service not allowed", overridable(), "plain=staging", "plain", "plain/", "may override"},
		{"no environments", wide, "plain=staging", "plain", "plain/", "no environments"},
		{"into prod", wide, "users=prod", "users", "users/test", "protected"},
		{"inside prod", inProd, "users=staging", "users", "users/prod", "protected"},
		{"inside prod, allowed", openProd, "users=staging", "users", "users/staging", ""},
		{"no way into prod by fallback", overridable(), "orders=staging", "orders", "orders/test", "no destination"},
		{"by fallback, allowed", open, "orders=staging", "orders", "orders/prod", ""},
		{"fallbacks do not chain", open, "orders=local", "orders", "orders/test", "no destination"},
	} {
		tb := table(t, test.cfg)
		o := tb.Overrides(t.Context(), with(test.text), now())
		d := tb.Decide(&route.Input{Service: test.service, Overrides: o})
		if got := firstOf(d); got != test.want || !strings.Contains(d.Refused, test.why) || (d.Refused == "") != (test.why == "") {
			t.Errorf("%s: got %s, refused %q, want %s, %q", test.name, got, d.Refused, test.want, test.why)
		}
		if want := test.why == "" && test.name != "of another service"; d.Overridden != want {
			t.Errorf("%s: got overridden %v, want %v", test.name, d.Overridden, want)
		}
		if x := tb.Explain(&route.Input{Service: test.service, Overrides: o}); x.Refused != d.Refused || !strings.Contains(x.Overrides, strings.Split(test.text, ";")[0]) {
			t.Errorf("%s: got explanation %+v, want it to tell the override and %q", test.name, x, d.Refused)
		}
	}
}

// TestOverrideThatMayNotWrite: a call that was sent to where it may only read
// fails, and is not sent to where it was not meant to go.
func TestOverrideThatMayNotWrite(t *testing.T) {
	cfg := overridable()
	cfg.Override.Protected = true
	tb := table(t, cfg)
	o := tb.Overrides(t.Context(), with("orders=staging"), now())
	d := tb.Decide(&route.Input{Service: "orders", Method: "POST", Overrides: o})
	if got := chainOf(d); got != "read-only" || !d.Overridden {
		t.Errorf("got %q, overridden %v, want read-only, true", got, d.Overridden)
	}
}

// TestOverrideAndRules: an override is stronger than a rule's environment, and
// that of the service that a rule sends to stronger than that of the one called.
func TestOverrideAndRules(t *testing.T) {
	cfg := overridable()
	cfg.Services["users"] = route.Service{
		Environments: cfg.Services["users"].Environments,
		Rules: []route.Rule{
			{Match: []route.Match{path("/env", "", "")}, Backends: []route.Backend{{Environment: "local"}}},
			{Match: []route.Match{path("/orders", "", "")}, Backends: []route.Backend{{Service: "orders"}}},
			{Match: []route.Match{path("/sealed", "", "")}, Backends: []route.Backend{{Service: "sealed"}}},
			{Match: []route.Match{path("/fixed", "", "")}, Fixed: &route.Fixed{Status: 200}},
		},
	}
	cfg.Services["orders"] = route.Service{Environments: []string{"local", "test", "staging"}}
	cfg.Services["sealed"] = route.Service{Environments: []string{"test", "staging"}}
	tb := table(t, cfg)
	for _, test := range []struct{ path, text, want string }{
		{"/env", "users=staging", "users/staging"},
		{"/env", "orders=staging", "users/local"},
		{"/orders", "users=staging", "orders/staging"},
		{"/orders", "users=staging;orders=local", "orders/local"},
		{"/fixed", "users=staging", "answer"},
		{"/sealed", "users=staging", "sealed/test"}, // what may not be overridden is not, by a detour either
		{"/sealed", "sealed=staging", "sealed/test"},
	} {
		d := tb.Decide(&route.Input{Service: "users", Path: test.path, Overrides: tb.Overrides(t.Context(), with(test.text), now())})
		if got := firstOf(d); got != test.want {
			t.Errorf("%s, %s: got %s, want %s", test.path, test.text, got, test.want)
		}
	}
}

// TestOverrideByDetour: the service called may not be overridden, so its override
// does not count for the one that a rule sends to either.
func TestOverrideByDetour(t *testing.T) {
	cfg := overridable()
	cfg.Services["sealed"] = route.Service{Environments: []string{"test", "staging"}, Rules: []route.Rule{to("users")}}
	tb := table(t, cfg)
	for text, want := range map[string]string{"sealed=staging": "users/test", "users=staging": "users/staging"} {
		d := tb.Decide(&route.Input{Service: "sealed", Overrides: tb.Overrides(t.Context(), with(text), now())})
		if got := firstOf(d); got != want || (d.Refused == "") != (want == "users/staging") {
			t.Errorf("%s: got %s, refused %q, want %s", text, got, d.Refused, want)
		}
	}
}

// TestWith is the override by code: it needs no list and no signature, and is
// stronger than the header's.
func TestWith(t *testing.T) {
	off := overridable()
	off.Override = route.OverridePolicy{}
	ignored, protected := off, off
	ignored.Override.IgnoreCode = true
	protected.Override.CodeProtected = true
	for _, test := range []struct {
		name      string
		cfg       route.Config
		code      string
		header    string
		want, why string
	}{
		{"honoured", off, "staging", "", "users/staging", ""},
		{"before the header", overridable(), "staging", "users=local", "users/staging", ""},
		{"refused, so the header", overridable(), "prod", "users=local", "users/local", "protected"},
		{"ignored", ignored, "staging", "", "users/test", "off"},
		{"into prod", off, "prod", "", "users/test", "protected"},
		{"into prod, allowed", protected, "prod", "", "users/prod", ""},
		{"unknown", off, "UPPER!", "", "users/test", "no such"},
	} {
		tb := table(t, test.cfg)
		ctx := route.With(t.Context(), route.Override{Service: "Users", Environment: test.code})
		header := map[string][]string{}
		if test.header != "" {
			header = with(test.header)
		}
		d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(ctx, header, now())})
		if got := firstOf(d); got != test.want || !strings.Contains(d.Refused, test.why) {
			t.Errorf("%s: got %s, refused %q, want %s, %q", test.name, got, d.Refused, test.want, test.why)
		}
	}
}

// TestContext: what contexts carry adds up, and never changes.
func TestContext(t *testing.T) {
	if o := route.From(t.Context()); o != nil || o.String() != "" {
		t.Errorf("got %v, want none", o)
	}
	outer := route.With(t.Context(), route.Override{Service: "a", Environment: "x"}, route.Override{Service: "b", Environment: "x"})
	inner := route.With(outer, route.Override{Service: "a", Environment: "y"})
	read, err := route.Parse("b=z;c=z")
	if err != nil {
		t.Fatal(err)
	}
	inbound := route.WithHeader(inner, read)
	later := route.With(inbound, route.Override{Service: "d", Environment: "w"})
	for i, test := range []struct {
		ctx  context.Context
		want string
	}{
		{outer, "a=x;b=x"},
		{inner, "a=y;b=x"},
		{inbound, "a=y;b=x;c=z"},
		{later, "a=y;b=x;c=z;d=w"},
		{route.WithHeader(outer, nil), "a=x;b=x"},
		{route.With(t.Context(), route.Override{Service: "no;good", Environment: "x"}), ""},
	} {
		if got := route.From(test.ctx).String(); got != test.want {
			t.Errorf("%d: got %q, want %q", i, got, test.want)
		}
	}
	if read.String() != "b=z;c=z" {
		t.Errorf("got %q, want what was read unchanged", read)
	}
}

// TestHeaderCountsBeforeContext: the header of the call itself is nearer to it
// than that of the request that caused it, and a bad one is not passed over.
func TestHeaderCountsBeforeContext(t *testing.T) {
	tb := table(t, overridable())
	read, err := route.Parse("users=staging")
	if err != nil {
		t.Fatal(err)
	}
	ctx := route.WithHeader(t.Context(), read)
	for _, test := range []struct {
		header    map[string][]string
		want, why string
	}{
		{nil, "users/staging", ""},
		{with("users=local"), "users/local", ""},
		{with("orders=local"), "users/test", ""},
		{with("nonsense"), "users/test", "nonsense"},
		{map[string][]string{route.Header: {"users=local", "users=staging"}}, "users/test", "more than one"},
	} {
		d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(ctx, test.header, now())})
		if got := firstOf(d); got != test.want || !strings.Contains(d.Refused, test.why) {
			t.Errorf("%v: got %s, refused %q, want %s, %q", test.header, got, d.Refused, test.want, test.why)
		}
	}
	if o := tb.Overrides(t.Context(), nil, now()); o != nil {
		t.Errorf("got %v, want none", o)
	}
}

// TestNoHeaderChangesADestination: with overrides off, and rules that look at no
// header, nothing in any header does.
func TestNoHeaderChangesADestination(t *testing.T) {
	cfg := overridable()
	cfg.Override = route.OverridePolicy{Keys: []route.SigningKey{key()}}
	cfg.Rules = []route.Rule{to("users", path("", "/u", "")), {Match: []route.Match{path("", "/split", "")},
		Backends: []route.Backend{{Environment: "test"}, {Service: "users", Environment: "staging"}}}}
	delete(cfg.Services, "plain")
	tb := table(t, cfg)
	signed, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	values := []string{"users=staging", "orders=prod;users=local", signed, "tulle-route=users%3Dstaging", "staging", ""}
	same := func(seed uint64, name, value string) bool {
		r := rand.New(rand.NewPCG(seed, 1))
		in := route.Input{Service: []string{"users", "orders"}[r.IntN(2)], Path: []string{"/u/1", "/split", "/"}[r.IntN(3)], Random: seed}
		want := firstOf(tb.Decide(&in))
		in.Header = map[string][]string{name: {value}}
		for _, known := range []string{route.Header, "Baggage", "X-Environment", "Host", "L5d-Dtab"} {
			in.Header[known] = []string{values[r.IntN(len(values))]}
		}
		in.Overrides = tb.Overrides(t.Context(), in.Header, now())
		got := tb.Decide(&in)
		return firstOf(got) == want && !got.Overridden
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}
