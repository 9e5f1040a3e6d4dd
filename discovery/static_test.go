package discovery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

func TestStaticReportsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := discovery.Static{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80", Zone: "b", Priority: 1}}
		w := watch(t, s)
		u := w.next()
		if u.Err != nil || len(u.Endpoints) != 2 || !u.Endpoints[1].Equal(&s[1]) {
			t.Fatalf("got %v, %v, want %v", u.Endpoints, u.Err, s)
		}
		u.Endpoints[0].Addr = "changed"
		if s[0].Addr != "10.0.0.1:80" {
			t.Errorf("the literal: got %q after its report was changed, want a copy to be reported", s[0].Addr)
		}
		w.hint()
		w.quiet(24 * time.Hour)
		if err := w.stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want nil or context.Canceled", err)
		}
	})
}

func TestStaticEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []discovery.Static{nil, {}} {
			watch(t, s).want()
		}
	})
}

func TestStaticInvalid(t *testing.T) {
	for _, c := range []struct {
		set  discovery.Static
		want string
	}{
		{discovery.Static{{Addr: "a:80"}, {Addr: "a:0"}}, `discovery: static: item 2: tulle: endpoint addr "a:0"`},
		{discovery.Static{{Addr: "a:80", Weight: -1}}, "item 1: tulle: endpoint a:80: weight -1"},
		{discovery.Static{{Addr: "a:80"}, {Addr: "b:80"}, {Addr: "a:80", Zone: "z"}}, `item 3: addr "a:80" is already item 1`},
		{discovery.Static{{}}, "item 1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, c.set)
			reported := w.wantErr(c.want)
			<-w.end // by itself
			if w.err == nil || w.err.Error() != reported.Error() {
				t.Errorf("Watch: got %v, want the error that it reported, %v", w.err, reported)
			}
		})
	}
}

func TestParseStatic(t *testing.T) {
	for _, c := range []struct {
		spec string
		want []string
	}{
		{"a:80", []string{"a:80"}},
		{" a:80 ,\tb:80\n", []string{"a:80", "b:80"}},
		{"a,[::1]:80,::2", []string{"a", "[::1]:80", "::2"}},
	} {
		got, err := discovery.ParseStatic(c.spec)
		if err != nil || strings.Join(brief(got), " ") != strings.Join(c.want, " ") {
			t.Errorf("ParseStatic(%q): got %v, %v, want %v", c.spec, brief(got), err, c.want)
		}
	}
}

func TestParseStaticErrors(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"", `item 1: "" is empty`},
		{"  ", `item 1: "  " is empty`},
		{"a:80,", `item 2: "" is empty`},
		{"a:80, ,b:80", `item 2: " " is empty`},
		{"a:80,b:80,a:80", `item 3: addr "a:80" is already item 1`},
		{"a:80,b:99999", `item 2: tulle: endpoint addr "b:99999"`},
		{"a:80,http://b", `item 2: tulle: endpoint addr "http://b"`},
		{"a b:80", `item 1: tulle: endpoint addr "a b:80"`},
	} {
		got, err := discovery.ParseStatic(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseStatic(%q): got %v, %v, want an error with %q", c.spec, got, err, c.want)
		}
		if err != nil && got != nil {
			t.Errorf("ParseStatic(%q): got %v beside an error, want nil", c.spec, got)
		}
	}
}

// FuzzParseStatic: what is accepted is valid and reads back as itself.
func FuzzParseStatic(f *testing.F) {
	for _, s := range []string{"", "a:80", "a:80,b:80", " a ,b", "a,,b", "[::1]:80,::1", "a:80,a:80", "a:0", "\x00", ",", "é:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		set, err := discovery.ParseStatic(spec)
		if err != nil {
			return
		}
		if err := set.Validate(); err != nil || len(set) == 0 {
			t.Fatalf("ParseStatic(%q): got %v with %v, want a valid set", spec, set, err)
		}
		again, err := discovery.ParseStatic(strings.Join(brief(set), ","))
		if err != nil || !discovery.SameSet(set, again) {
			t.Fatalf("ParseStatic(%q) again: got %v, %v, want %v", spec, again, err, set)
		}
	})
}

// FuzzSameSet holds it against an oracle: the same when sorted. Where an Addr
// stands twice it may also say false.
func FuzzSameSet(f *testing.F) {
	f.Add("abc", "cab")
	f.Add("abc", "abd")
	f.Add("aBc", "abc")
	f.Add("", "a")
	f.Add("aab", "abb")
	f.Add("ab", "bb")
	f.Add("aab", "baa")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, uniqueX := letters(a)
		y, uniqueY := letters(b)
		want := slices.Equal(sorted(x), sorted(y))
		got := discovery.SameSet(x, y)
		if uniqueX && uniqueY && got != want {
			t.Fatalf("SameSet(%q, %q): got %v, want %v", a, b, got, want)
		}
		if got && !want {
			t.Fatalf("SameSet(%q, %q): got true, want false: a change would be lost", a, b)
		}
	})
}

// sorted tells what FuzzSameSet distinguishes.
func sorted(set []tulle.Endpoint) []string {
	var list []string
	for _, e := range set {
		list = append(list, e.Zone+" "+e.Addr)
	}
	slices.Sort(list)
	return list
}

// letters makes an endpoint of each letter; a capital is the same Addr in
// another zone.
func letters(s string) (set []tulle.Endpoint, unique bool) {
	seen := map[string]bool{}
	unique = true
	for _, r := range s {
		e := tulle.Endpoint{Addr: strings.ToLower(string(r))}
		if e.Addr != string(r) {
			e.Zone = "z"
		}
		unique = unique && !seen[e.Addr]
		seen[e.Addr] = true
		set = append(set, e)
	}
	return set, unique
}
