package route_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// naive decides which rule of a list applies, in the plainest way: it asks each
// match, and compares those that fit by the published order, one line each.
func naive(rules []route.Rule, in *route.Input) int {
	best, bestKey := -1, []int(nil)
	for i, r := range rules {
		if len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(p int) bool { return strings.HasSuffix(in.Address, fmt.Sprint(":", p)) }) {
			continue
		}
		for j, m := range r.Match {
			for _, host := range append(slices.Clone(r.Hosts), "")[:max(1, len(r.Hosts))] {
				if !naiveHost(host, in.Host) || !naiveFits(m, in) {
					continue
				}
				key := []int{
					naiveCount(host != "" && host[0] != '*', len(host)), naiveCount(host != "", len(host)),
					naiveCount(m.Path.Exact != "", 1), naiveCount(m.Path.Regex != "", len(m.Path.Regex)),
					naiveCount(true, max(1, len(m.Path.Prefix))), naiveCount(m.Method != "", 1), len(m.Headers), len(m.Query),
					-i, -j,
				}
				if best < 0 || slices.Compare(key, bestKey) > 0 {
					best, bestKey = i, key
				}
			}
		}
	}
	return best
}

func naiveCount(is bool, n int) int {
	if is {
		return n
	}
	return 0
}

func naiveHost(pattern, host string) bool {
	if rest, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(host, rest) && host != rest
	}
	return pattern == "" || pattern == host
}

func naiveFits(m route.Match, in *route.Input) bool {
	fits := m.Method == "" || m.Method == in.Method
	switch p := m.Path; {
	case p.Exact != "":
		fits = fits && in.Path == p.Exact
	case p.Regex != "":
		fits = fits && regexp.MustCompile("^(?:"+p.Regex+")$").MatchString(in.Path)
	default:
		fits = fits && strings.HasPrefix(in.Path+"/", strings.TrimSuffix(p.Prefix, "/")+"/")
	}
	for _, h := range m.Headers {
		fits = fits && slices.Contains(in.Header[h.Name], h.Exact)
	}
	for _, q := range m.Query {
		fits = fits && strings.Contains("&"+in.RawQuery+"&", "&"+q.Name+"="+q.Exact+"&")
	}
	return fits
}

// pick chooses one of the values.
func pick(r *rand.Rand, values ...string) string { return values[r.IntN(len(values))] }

// randomMatch is a match from a small world, so that much of it collides.
func randomMatch(r *rand.Rand) route.Match {
	m := route.Match{Method: pick(r, "", "", "GET", "POST")}
	switch r.IntN(4) {
	case 0:
		m.Path.Exact = pick(r, "/a", "/a/b", "/a/b/c", "/b")
	case 1:
		m.Path.Prefix = pick(r, "/", "/a", "/a/", "/a/b", "/b")
	case 2:
		m.Path.Regex = pick(r, "/a.*", "/a/[bc]", "/.")
	}
	for _, name := range []string{"X", "Y", "Z"} {
		if r.IntN(4) == 0 {
			m.Headers = append(m.Headers, route.ValueMatch{Name: name, Exact: pick(r, "1", "2")})
		}
		if r.IntN(6) == 0 {
			m.Query = append(m.Query, route.ValueMatch{Name: name, Exact: pick(r, "1", "2")})
		}
	}
	return m
}

// crowdedMatch is a match from a world of many rules of two kinds, which are
// indexed: by one header, now and then with another condition, and by prefixes of
// several lengths.
func crowdedMatch(r *rand.Rand) route.Match {
	m := route.Match{}
	if r.IntN(3) == 0 {
		m.Path.Prefix = pick(r, "/a", "/a/", "/a/b", "/ab", "/b", "/a/b/c")
	} else {
		m.Headers = []route.ValueMatch{{Name: pick(r, "X", "X", "X", "Y"), Exact: pick(r, "1", "2", "3")}}
	}
	if r.IntN(4) == 0 {
		m.Method = pick(r, "GET", "POST")
	}
	if r.IntN(6) == 0 {
		m.Query = []route.ValueMatch{{Name: "X", Exact: pick(r, "1", "2")}}
	}
	return m
}

// TestAgainstOracle: the sorted and indexed list finds what the naive search
// does, over many small worlds.
func TestAgainstOracle(t *testing.T) {
	againstOracle(t, randomMatch)
}

// TestIndexAgainstOracle is the same where lists are indexed by a header.
func TestIndexAgainstOracle(t *testing.T) {
	againstOracle(t, crowdedMatch)
}

func againstOracle(t *testing.T, randomMatch func(*rand.Rand) route.Match) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	matched := 0
	for range 1500 {
		rules := make([]route.Rule, 1+r.IntN(12))
		for i := range rules {
			for range 1 + r.IntN(3) {
				rules[i].Match = append(rules[i].Match, randomMatch(r))
			}
			for range r.IntN(3) / 2 * (1 + r.IntN(2)) {
				rules[i].Hosts = append(rules[i].Hosts, pick(r, "a.x", "*.x", "b.a.x", "*.a.x"))
			}
			if r.IntN(6) == 0 {
				rules[i].Ports = [][]int{{1}, {2, 3}}[r.IntN(2)]
			}
			rules[i].Name = fmt.Sprint(i)
		}
		tb := withRules(t, rules...)
		for range 40 {
			in := &route.Input{
				Service: "echo", Method: pick(r, "GET", "POST", "PUT"), Path: pick(r, "/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/ab"),
				Address:  pick(r, "x:1", "x:2", "x:3"),
				Host:     pick(r, "a.x", "x", "b.a.x", "c.a.x", "other"),
				RawQuery: pick(r, "", "X=1", "X=2&Y=1", "Z=1&Y=2"), Header: map[string][]string{"X": {pick(r, "1", "2", "3")}, "Y": {pick(r, "1", "3"), "2"}},
			}
			switch r.IntN(8) {
			case 0:
				in.Header["X"] = []string{pick(r, "2", "3"), pick(r, "1", "2")}
			case 1:
				delete(in.Header, "X")
			}
			want, got := naive(rules, in), -1
			d := tb.Decide(in)
			if d.Rule != nil {
				matched++
				if _, err := fmt.Sscan(d.Rule.Name, &got); err != nil {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Fatalf("%+v\nwith %+v\ngot rule %d, want %d", rules, in, got, want)
			}
			if x := tb.Explain(in); (x.Rule != nil) != (d.Rule != nil) || x.Rule != nil && x.Rule.Name != d.Rule.Name {
				t.Fatalf("%+v\nwith %+v\ngot %+v explained, want rule %d", rules, in, x, want)
			}
		}
	}
	if matched < 10_000 {
		t.Errorf("got %d matches, want enough to mean something", matched)
	}
}
