package sim_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/sim"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

// groups are the beginnings of the names of the scenarios in which balancers are
// compared.
const groups = "abcdefgh"

// defaults runs the default balancer in all of these, once for all tests.
var defaults = sync.OnceValues(func() (map[string]sim.Row, error) {
	rows := map[string]sim.Row{}
	for _, name := range sim.Names() {
		if strings.ContainsRune(groups, rune(name[0])) && name[2] == '-' {
			sc, err := sim.Named(name)
			if err != nil {
				return nil, err
			}
			res, err := sim.Run(context.Background(), sc)
			if err != nil {
				return nil, err
			}
			rows[name] = res.Rows[0]
		}
	}
	return rows, nil
})

// compared runs a scenario with several balancers.
func compared(t *testing.T, name string, balancers ...string) map[string]sim.Row {
	t.Helper()
	sc, err := sim.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(balancers) > 0 {
		if sc, err = sc.Balanced(balancers...); err != nil {
			t.Fatal(err)
		}
	}
	return rowsOf(t, sc)
}

// rowsOf runs a scenario with its variants.
func rowsOf(t *testing.T, sc sim.Scenario) map[string]sim.Row {
	t.Helper()
	res, err := sim.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]sim.Row{}
	for _, r := range res.Rows {
		rows[r.Variant] = r
	}
	return rows
}

// millis is a time for the golden file.
func millis(d time.Duration) string {
	if d == sim.Never {
		return "-"
	}
	return fmt.Sprintf("%.4g", float64(d)/float64(time.Millisecond))
}

// TestGolden: the results of the default balancer do not change unnoticed. With
// -update the file is written anew; the difference belongs into the review.
func TestGolden(t *testing.T) {
	if testing.Short() {
		t.Skip("runs all scenarios")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED: FLOATING POINT ROUNDS OTHERWISE ON THIS PROCESSOR, SO THE RUNS TAKE OTHER TURNS")
	}
	rows, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, name := range sim.Names() {
		if r, ok := rows[name]; ok {
			fmt.Fprintf(&b, "%-22s %8d calls %8.4f %% good, p50 %s p99 %s p99.9 %s ms\n",
				name, r.Calls, 100*r.Success(), millis(r.P50), millis(r.P99), millis(r.P999))
		}
	}
	file := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(b.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Errorf("line %d: got\n%s\nwant\n%s\n(go test ./transport/sim -run Golden -update, if this is meant)", i+1, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), line)
		}
	}
}

// TestAcceptance holds the default balancer to the figures that it was chosen for
// (docs/simulator.md has those that it misses, and why).
func TestAcceptance(t *testing.T) {
	if testing.Short() {
		t.Skip("runs all scenarios")
	}
	rows, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		success float64 // in percent, at least
		p999    time.Duration
	}{
		{"a1-stalled-replica", 99.93, 190 * ms},
		{"a3-stuck-multi", 99.9, 0},
		{"b1-antagonists-70", 99.99, 150 * ms},
		{"b2-antagonists-90", 99.99, 150 * ms},
		{"b3-antagonists-105", 99.99, 200 * ms},
		{"c1-fast-503", 99.97, 0},
		{"c2-some-503", 99.97, 0},
		{"c3-refused", 99.97, 0},
		{"c4-blackhole", 99.99, 0},
		{"c6-shedding", 99.9, 0},
		{"c8-fast-wrong", 87, 0}, // the share guard's eighth of the picks
		{"d1-cold", 100, 100 * ms},
		{"d2-cold-many", 99.99, 0}, // a call or two of 130,000 are chance
		{"e1-sparse", 99.9, 0},
		{"e2-sparse-503", 99.5, 0},
		{"e3-sparse-hole", 99.5, 0},
		{"f1-brownout", 85, 0},
		{"g1-unequal", 100, 0},
		{"g2-pauses", 99.83, 0},
		{"g3-brownout-two", 100, 0},
	}
	for _, tt := range tests {
		r, ok := rows[tt.name]
		if !ok {
			t.Errorf("%s: no such scenario", tt.name)
			continue
		}
		if 100*r.Success() < tt.success {
			t.Errorf("%s: got %.4f %% good, want %v %%", tt.name, 100*r.Success(), tt.success)
		}
		if tt.p999 != 0 && (r.P999 > tt.p999 || r.P999 == sim.Never) {
			t.Errorf("%s: got a 99.9th percentile of %v, want at most %v", tt.name, r.P999, tt.p999)
		}
	}
}

// TestHarmless: where nothing is wrong, or little, the default balancer costs
// nothing against the best for that.
func TestHarmless(t *testing.T) {
	if testing.Short() {
		t.Skip("runs many scenarios")
	}
	rows, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range rows {
		if name[0] != 'h' {
			continue
		}
		for peer, other := range compared(t, name, "least_loaded", "finagle") {
			if float64(r.P99) > 1.05*float64(other.P99) {
				t.Errorf("%s: got %v, want within 5 %% of the %v of %s", name, r.P99, other.P99, peer)
			}
		}
	}
}

// TestRetriesMend: with the retries of the default policy no call is lost to a
// server that fails or refuses.
func TestRetriesMend(t *testing.T) {
	for _, name := range []string{"c1-fast-503", "c2-some-503", "c3-refused"} {
		sc, err := sim.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		sc.Duration = 20 * time.Second
		sc.Policy, sc.Calls.Once = transport.Policy{}, false
		r := row(t, sc)
		if r.Good != r.Calls || float64(r.Attempts) > 1.01*float64(r.Calls) {
			t.Errorf("%s: got %d of %d good with %d attempts, want all with 1 %% more at most", name, r.Good, r.Calls, r.Attempts)
		}
	}
}

// TestLinkerd2016 reproduces the published experiment: success within a second of
// about 95, 99 and 99.9 %.
func TestLinkerd2016(t *testing.T) {
	rows := compared(t, "linkerd2016")
	for name, want := range map[string][2]float64{
		"round_robin": {95, 96}, "least_loaded": {99, 99.6}, "finagle": {99.9, 99.95}, "shortest_expected_delay": {99.93, 99.98},
	} {
		if got := 100 * rows[name].Success(); got < want[0] || got > want[1] {
			t.Errorf("%s: got %.3f %%, want %v to %v %%", name, got, want[0], want[1])
		}
	}
}

// prequalTable are the rules of the paper's table in its order, with their 99th
// percentiles in ms at 70 and at 90 % of the allotment; 5000 is the deadline, and 0 is
// not known to us.
var prequalTable = []struct {
	rule string
	at   [2]int
}{
	{"random", [2]int{}},
	{"round_robin", [2]int{5000, 5000}},
	{"weighted_round_robin", [2]int{314, 5000}},
	{"least_loaded", [2]int{1804, 2654}},
	{"least_loaded_two_choices", [2]int{}},
	{"yarp", [2]int{2642, 1169}},
	{"linear", [2]int{}},
	{"c3_probing", [2]int{299, 304}},
	{"prequal", [2]int{281, 286}},
}

// TestPrequal2024 reproduces the order of the rules in the paper's table: each pair of
// which one has the shorter 99th percentile there. YARP is behind least loaded and
// weighted round robin in the paper at 70 %. There it is also twice as long as at 90 %,
// which is the antagonists' doing and not the load's; these two pairs are held to be
// the other way round, as docs/simulator.md tells.
func TestPrequal2024(t *testing.T) {
	if testing.Short() {
		t.Skip("has a hundred clients")
	}
	sc, err := sim.Named("prequal2024")
	if err != nil {
		t.Fatal(err)
	}
	sc.Load.Rate = 0.7
	loads := []map[string]sim.Row{rowsOf(t, sc), compared(t, "prequal2024")}
	for load, rows := range loads {
		for i, a := range prequalTable {
			for _, b := range prequalTable[i+1:] {
				worse, better := a.rule, b.rule
				switch {
				case a.at[load] == b.at[load] || a.at[load] == 0 || b.at[load] == 0:
					continue
				case load == 0 && b.rule == "yarp" && a.rule != "round_robin":
				case a.at[load] < b.at[load]:
					worse, better = better, worse
				}
				if !longer(rows[worse].P99, rows[better].P99) {
					t.Errorf("at %d %%: got %v for %s and %v for %s, want more for the first one", 70+20*load, rows[worse].P99, worse, rows[better].P99, better)
				}
			}
		}
		// Those whose figures we do not know have their places in the paper's order, but
		// for the first two and the two of least loaded, which are alike here.
		for _, pair := range [][2]string{
			{"random", "weighted_round_robin"}, {"least_loaded_two_choices", "yarp"}, {"yarp", "linear"}, {"linear", "prequal"}, {"c3", "prequal"},
		} {
			if worse, better := rows[pair[0]], rows[pair[1]]; !longer(worse.P99, better.P99) {
				t.Errorf("at %d %%: got %v for %s and %v for %s, want more for the first one", 70+20*load, worse.P99, pair[0], better.P99, pair[1])
			}
		}
		// The default has no help from servers, and is as good as with it.
		if own := rows["shortest_expected_delay"]; float64(own.P99) > 1.15*float64(rows["prequal"].P99) || own.P99 >= rows["linear"].P99 || own.P99 >= rows["c3"].P99 {
			t.Errorf("at %d %%: got %v for the default, want at most 15 %% more than the %v of prequal, and less than all others", 70+20*load, own.P99, rows["prequal"].P99)
		}
	}
}

// longer says that one percentile is above another by more than is chance.
func longer(a, b time.Duration) bool {
	return b != sim.Never && (a == sim.Never || float64(a) > 1.03*float64(b))
}

// TestTwoChoices: a second choice is an exponential gain, more are a small one
// (Mitzenmacher). In queues of λ = 0.9 the share of those with k or more is
// 0.9^k with one choice and 0.9^(2^k - 1) with two.
func TestTwoChoices(t *testing.T) {
	rows := compared(t, "two-choices")
	one, two, four := rows["one"].Deepest, rows["two"].Deepest, rows["four"].Deepest
	if one < 40 || two > 12 || four > two {
		t.Errorf("got longest queues of %d, %d and %d with one, two and four choices, want 40 and more, at most 12, and no more", one, two, four)
	}
}

// TestMetastable: the brown-out that plain retries turn into an outage without end,
// and the defaults do not.
func TestMetastable(t *testing.T) {
	if testing.Short() {
		t.Skip("has half a million calls")
	}
	rows := compared(t, "metastable")
	if got := rows["unlimited"].Recovered; got != sim.Never {
		t.Errorf("unlimited retries: got %v until all was well, want never", got)
	}
	if got := rows["budget-20"].Recovered; got != sim.Never && got < 20*time.Second {
		t.Errorf("a budget of 20 %%: got %v until all was well, want 20 s and more", got)
	}
	if none, own := rows["none"], rows["default"]; own.Success() < none.Success() {
		t.Errorf("got %.3f good with the defaults, want no less than the %.3f without retries", own.Success(), none.Success())
	}
}

// TestBrownOutIsNoOutage: with the retries of the default policy, and all else of it,
// every brown-out is over within 10 s of the end of its cause, whatever its depth,
// and hardly a call is repeated.
func TestBrownOutIsNoOutage(t *testing.T) {
	tests := []struct {
		seed   uint64
		factor float64
	}{{1, 3}, {2, 6}}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, name := range []string{"f1-brownout", "metastable", "metastable-bounded", "metastable-drop"} {
		sc, err := sim.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		sc.Calls.Once = false
		sc.Policy = transport.Policy{AttemptTimeout: sc.Policy.AttemptTimeout}
		sc.Variants = []sim.Variant{{Name: "default", Policy: sc.Policy}}
		for _, tt := range tests {
			sc.Seed, sc.Faults[0].Factor = tt.seed, tt.factor
			r := row(t, sc)
			if r.Recovered == sim.Never || r.Recovered > 10*time.Second {
				t.Errorf("%s, %v times as slow, seed %d: got %v until all was well, want at most 10 s", name, tt.factor, tt.seed, r.Recovered)
			}
			if most := 1.1 * float64(r.Calls); float64(r.Attempts) > most {
				t.Errorf("%s, %v times as slow, seed %d: got %d attempts for %d calls, want at most %.0f", name, tt.factor, tt.seed, r.Attempts, r.Calls, most)
			}
		}
	}
}

// TestBestOfClientOnly: averaged over scenarios of all kinds the default balancer
// has the best tail and the best success of all that need no help from servers.
// Here that is a sample, of five scenarios and three peers. All thirty against all
// ten take some minutes:
//
//	TULLE_SIM=all go test ./transport/sim -run BestOfClientOnly -v -timeout 30m
//
// The -score of tulle-sim prints the same with the table of each scenario
// (docs/simulator.md has the command).
func TestBestOfClientOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("runs many scenarios")
	}
	names := []string{"a2-stalled-timeout", "c2-some-503", "d1-cold", "e2-sparse-503", "g3-brownout-two"}
	peers := []string{"shortest_expected_delay", "finagle", "kratos", "linkerd_biased"}
	if os.Getenv("TULLE_SIM") == "all" {
		names, peers = nil, nil
		for _, name := range sim.Names() {
			if strings.ContainsRune(groups, rune(name[0])) && name[2] == '-' {
				names = append(names, name)
			}
		}
		for _, name := range sim.Balancers() {
			if !slices.Contains([]string{"prequal", "weighted_round_robin", "yarp", "linear", "c3", "c3_probing", "peak_ewma"}, name) {
				peers = append(peers, name)
			}
		}
	}
	var results []*sim.Result
	for _, name := range names {
		sc, err := sim.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		if sc, err = sc.Balanced(peers...); err != nil {
			t.Fatal(err)
		}
		res, err := sim.Run(t.Context(), sc)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, res)
	}
	scores := sim.Scores(results)
	for _, s := range scores {
		t.Logf("%-24s tail %.3f, failures %.3f", s.Variant, s.Tail, s.Failure)
		if s.Variant != peers[0] && (s.Tail <= scores[0].Tail || s.Failure <= scores[0].Failure) {
			t.Errorf("got %+v, want worse than %+v in both", s, scores[0])
		}
	}
	if scores[0].Variant != peers[0] {
		t.Errorf("got %s first, want %s", scores[0].Variant, peers[0])
	}
}

// TestOwnBalancer: a policy of the user takes part like those with a name.
func TestOwnBalancer(t *testing.T) {
	sc := small()
	sc.Variants = []sim.Variant{{Policy: transport.Policy{Balancer: balancer.LeastRequest{Choices: 3}}}, {Name: "own", Policy: transport.Policy{
		Balancer: balancer.PolicyFunc(func(m balancer.Members) balancer.Picker { return balancer.Random{}.Build(m) }),
	}}}
	res, err := sim.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	if res.Rows[0].Variant != "least_request" || res.Rows[1].Variant != "own" || res.Rows[1].Good != res.Rows[1].Calls {
		t.Errorf("got %+v, want least_request and own, with all calls good", res.Rows)
	}
}
