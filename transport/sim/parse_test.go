package sim_test

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/sim"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

// least is what every scenario needs.
const least = `"name": "n", "duration": "2s", "load": {"rate": 10}, "servers": [{"work": {"mean": "1ms"}}]`

func TestParse(t *testing.T) {
	got, err := sim.Parse([]byte(`{` + least + `, "seed": 7, "clients": 3, "warmup": "1s",
		"network": {"kind": "exponential", "mean": "1ms"},
		"calls": {"goal": "2s", "deadline": "3s", "unsafe": 0.25, "once": true},
		"faults": [{"kind": "erring", "count": 1, "share": 0.5, "start": "500ms", "status": 503}],
		"policy": {"timeout": "1s", "balancer": {"name": "least_request", "choices": 4},
			"retry": {"attempts": 4, "maxRetryAfter": "none", "idempotent": ["PUT"], "budget": {"ratio": 0, "perSecond": 5}},
			"ejection": {"off": true}, "breaker": {"openFor": "1s"}, "limit": {"rate": 100}},
		"variants": [{"name": "a"}, {"policy": {"balancer": "kratos"}, "retryAll": true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := sim.Scenario{
		Name: "n", Duration: 2 * time.Second, Seed: 7, Clients: 3, Warmup: time.Second,
		Load:    sim.Load{Rate: 10},
		Servers: []sim.Servers{{Work: sim.Work{Mean: ms}}},
		Network: sim.Work{Kind: "exponential", Mean: ms},
		Calls:   sim.Calls{Goal: 2 * time.Second, Deadline: 3 * time.Second, Unsafe: 0.25, Once: true},
		Faults:  []sim.Fault{{Kind: "erring", Count: 1, Share: 0.5, Start: 500 * ms, Status: 503}},
		Policy: transport.Policy{
			Timeout:  time.Second,
			Balancer: balancer.LeastRequest{Choices: 4},
			Retry: &retry.Config{
				Attempts: 4, MaxRetryAfter: -1, Idempotent: []string{"PUT"},
				Budget: retry.BudgetConfig{Ratio: -1, PerSecond: 5},
			},
			Ejection: &breaker.OutlierConfig{Off: true},
			Breaker:  &breaker.Config{OpenFor: time.Second},
			Limit:    &limit.Config{Rate: 100},
		},
		Variants: []sim.Variant{{Name: "a"}, {Policy: transport.Policy{Balancer: peers.Kratos{}}, RetryAll: true}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	with := func(s string) string { return `{` + least + `, ` + s + `}` }
	tests := []struct {
		name, in string
		want     []string
	}{
		{"nothing", ``, []string{"reading JSON", "unexpected EOF"}},
		{"cut off", `{"name": `, []string{"reading JSON", "unexpected EOF"}},
		{"two values", `{` + least + `} 1`, []string{"something follows"}},
		{"no object", `[]`, []string{"the scenario: got a list, want an object"}},
		{"empty", `{}`, []string{"name: ", "duration: 0s", "servers: 0: want one server", "load.rate: 0: want above 0"}},
		{"unknown key", with(`"sed": 1`), []string{"sed: unknown key, want one of about, calls,"}},
		{"unknown key below", with(`"calls": {"gaol": "1s"}`), []string{"calls.gaol: unknown key, want one of deadline, goal"}},
		{"code", with(`"policy": {"retry": {"condition": 1}}`), []string{"policy.retry.condition: unknown key"}},
		{"twice", with(`"seed": 1, "seed": 2`), []string{"seed: stands there twice"}},
		{"null", with(`"clients": null`), []string{"clients: got null, want a whole number"}},
		{"text for a number", with(`"clients": "3"`), []string{`clients: got "3", want a whole number`}},
		{"fraction", with(`"clients": 1.5`), []string{"clients: got 1.5, want a whole number"}},
		{"negative seed", with(`"seed": -1`), []string{"seed: got -1, want a whole number of 0 or more"}},
		{"number for a time", with(`"warmup": 3`), []string{`warmup: got 3, want a time such as "250ms"`}},
		{"no unit", with(`"warmup": "3"`), []string{`warmup: got "3", want a time`}},
		{"number for text", with(`"about": 3`), []string{"about: got 3, want a string"}},
		{"text for a bool", with(`"calls": {"once": "yes"}`), []string{`calls.once: got "yes", want true or false`}},
		{"object for a list", with(`"faults": {}`), []string{"faults: got an object, want a list"}},
		{"balancer", with(`"policy": {"balancer": "p2c"}`), []string{`policy.balancer: got "p2c", want one of shortest_expected_delay,`}},
		{"balancer without name", with(`"policy": {"balancer": {"choices": 3}}`), []string{`policy.balancer: got ""`}},
		{"balancer option", with(`"policy": {"balancer": {"name": "random", "choices": 3}}`), []string{"policy.balancer.choices: unknown key, want one of name"}},
		{"huge", with(`"clients": 10001, "warmup": "3s", "discovery": "-1s"`), []string{"clients: 10001", "warmup: 3s", "discovery: -1s"}},
		{"too many pairs", `{"name": "n", "duration": "2s", "load": {"rate": 10}, "clients": 5000, "servers": [{"count": 5000, "work": {"mean": "1ms"}}]}`,
			[]string{"clients: 5000: want with 5000 servers at most 200"}},
		{"too many calls", `{"name": "n", "duration": "24h", "load": {"rate": 5000}, "servers": [{"work": {"mean": "1ms"}}]}`,
			[]string{"load.rate: 5000: want at most 100000000 calls"}},
		{"too many speeds", `{"name": "n", "duration": "24h", "load": {"rate": 10}, "servers": [{"work": {"mean": "1ms"}}], "faults": [{"kind": "antagonist", "period": "1ms"}]}`,
			[]string{"faults[0].period: 1ms: want a longer one: all antagonists"}},
		{"burst", `{"name": "n", "duration": "2s", "load": {"rate": 10}, "servers": [{"workers": 4, "burst": 3, "work": {"mean": "1ms"}}]}`,
			[]string{"servers[0].burst: 3: want at least workers, up to 100000"}},
		{"too many neighbours", `{"name": "n", "duration": "24h", "load": {"rate": 10}, "servers": [{"work": {"mean": "1ms"}}], "faults": [{"kind": "crowding", "period": "1ms"}]}`,
			[]string{"faults[0].period: 1ms: want a longer one: all antagonists and neighbours"}},
		{"too much churn", `{"name": "n", "duration": "10m", "load": {"rate": 10}, "servers": [{"count": 4, "work": {"mean": "1ms"}}], "faults": [{"kind": "churn", "period": "1ms"}]}`,
			[]string{"faults[0].period: 1ms: want a longer one: all sets"}},
		{"too many told", `{"name": "n", "duration": "10m", "clients": 1000, "load": {"rate": 10}, "servers": [{"count": 100, "work": {"mean": "1ms"}}], "faults": [{"kind": "churn", "period": "1s"}]}`,
			[]string{"faults[0].period: 1s: want a longer one: clients may be told"}},
		{"too long", with(`"network": {"mean": "25h"}, "discovery": "25h", "calls": {"deadline": "25h"}, "faults": [{"kind": "fixed", "latency": "25h", "end": "25h"}]`),
			[]string{"network.mean: 25h", "discovery: 25h", "calls.deadline: 25h", "faults[0].latency: 25h", "faults[0].end: 25h"}},
		{"policy", with(`"policy": {"retry": {"attempts": 11, "replay": -1}, "breaker": {"failureShare": 2}}`),
			[]string{"policy.retry: retry: Attempts 11", "policy.retry: retry: Replay -1", "policy.breaker: breaker: FailureShare 2"}},
		{"attempt longer than call", with(`"policy": {"timeout": "1s", "attemptTimeout": "2s"}`), []string{"attemptTimeout: 2s: want at most timeout"}},
		{"variants", with(`"variants": [{"name": "a"}, {"name": "a", "policy": {"timeout": "1us"}}]`),
			[]string{`variants[1].name: "a": want a name that no other has`, "variants[1].policy.timeout: 1µs"}},
		{"fault", with(`"faults": [{"kind": "slwo"}, {"kind": "slow", "factor": -1, "servers": "x", "end": "-1s"}, {"kind": "stall", "length": "1s"}]`),
			[]string{`faults[0].kind: "slwo": want one of slow,`, "faults[1].factor: -1", `faults[1].servers: "x"`, "faults[1].end: -1s", "faults[2].period: 0s", "faults[2].length: 1s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sim.Parse([]byte(tt.in))
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got\n%v, want %q in it", err, want)
				}
			}
		})
	}
}

// TestParseErrorsOfServers has those of groups, work and load.
func TestParseErrorsOfServers(t *testing.T) {
	_, err := sim.Parse([]byte(`{"name": "n", "duration": "2s",
		"load": {"kind": "bursts", "rate": -1, "to": 5, "points": [{"at": "2s", "rate": 1}, {"at": "1s", "rate": -1}]},
		"servers": [
			{"count": -1, "workers": 1000000, "speed": -1, "full": 20, "retryAfter": -1, "weight": -1, "join": "2s", "leave": "1s", "cold": 0.5,
				"work": {"kind": "pareto", "mean": "1ms", "shape": 1}},
			{"work": {"kind": "table", "quantiles": ["2ms", "1ms"]}}, {"work": {"kind": "lognormal"}},
			{"work": {"kind": "bimodal", "mean": "1ms", "share": 2}}, {"work": {"kind": "x", "mean": "1ms", "max": "-1s"}}]}`))
	for _, want := range []string{
		"load.rate: -1", "load.period: 0s", "load.length: 0s", "load.points[1].rate: -1", "load.points: 2: want points in the order",
		"servers[0].count: -1", "servers[0].workers: 1000000", "servers[0].speed: -1", "servers[0].full: 20", "servers[0].retryAfter: -1",
		"servers[0].weight: -1", "servers[0].leave: 1s", "servers[0].cold: 0.5", "servers[0].work.shape: 1", "servers[1].work.quantiles:",
		"servers[2].work.median: 0s", "servers[3].work.slow: 0s", "servers[3].work.share: 2", `servers[4].work.kind: "x"`, "servers[4].work.max: -1s",
	} {
		if !strings.Contains(text(err), want) {
			t.Errorf("got\n%v, want %q in it", err, want)
		}
	}
}

// TestErrorsAreBounded: a file of nothing but errors is told in part, and soon.
func TestErrorsAreBounded(t *testing.T) {
	keys := make([]string, 50_000)
	for i := range keys {
		keys[i] = `"k` + strconv.Itoa(i) + `": 1`
	}
	faults := strings.Repeat(`{"kind": "x"}, `, 20_000) + `{}`
	for _, in := range []string{
		`{` + strings.Join(keys, ",") + `}`, `{` + least + `, "faults": [` + faults + `]}`,
		`{"clients": "x", "variants": [` + strings.Repeat(`{"policy": {"timeout": 1}}, `, 20_000) + `{}], "faults": [` + faults + `]}`,
	} {
		_, err := sim.Parse([]byte(in))
		if n := strings.Count(text(err), "\n") + 1; err == nil || n > 200 {
			t.Errorf("got %d errors, want some, 200 at most", n)
		}
	}
}

// TestFieldError: the path of each error can be had, to say where it stands.
func TestFieldError(t *testing.T) {
	_, err := sim.Parse([]byte(`{` + least + `, "faults": [{"kind": "x"}]}`))
	var field *sim.FieldError
	if !errors.As(err, &field) || field.Path != "faults[0].kind" {
		t.Errorf("got %#v, want the path faults[0].kind", field)
	}
}

// TestRunChecks: a scenario made in Go is checked like one that was parsed.
func TestRunChecks(t *testing.T) {
	_, err := sim.Run(t.Context(), sim.Scenario{Faults: []sim.Fault{{Kind: "x"}}})
	for _, want := range []string{"name:", "duration:", "load.rate:", "servers:", "faults[0].kind:"} {
		if !strings.Contains(text(err), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	sc := small()
	sc.Policy.Limit = &limit.Config{Source: source{}}
	if _, err := sim.Run(t.Context(), sc); !strings.Contains(text(err), "policy.limit.source") {
		t.Errorf("got %v, want an error about policy.limit.source", err)
	}
}

// source is a limit.Source.
type source struct{}

func (source) Take(context.Context, string, time.Time) (time.Duration, error) { return 0, nil }

func TestNamed(t *testing.T) {
	names := sim.Names()
	if len(names) < 30 {
		t.Errorf("got %d scenarios, want 30 and more", len(names))
	}
	for _, name := range names {
		sc, err := sim.Named(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if sc.Name != name || sc.About == "" {
			t.Errorf("%s: got name %q and about %q, want its own name, and something about it", name, sc.Name, sc.About)
		}
	}
	if _, err := sim.Named("x"); !strings.Contains(text(err), "want one of a1-stalled-replica") {
		t.Errorf("got %v, want an error that lists the names", err)
	}
}

func TestBalanced(t *testing.T) {
	for _, name := range sim.Balancers() {
		sc, err := small().Balanced(name, "random")
		if name == "random" {
			sc, err = small().Balanced(name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if sc.Variants[0].Name != name || sc.Variants[0].Policy.Balancer == nil {
			t.Errorf("got %+v, want a variant %s", sc.Variants[0], name)
		}
	}
	if _, err := small().Balanced("p2c"); !strings.Contains(text(err), `balancer "p2c": want one of`) {
		t.Errorf("got %v, want an error that lists the names", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"c7-mixed", "metastable", "d1-cold"} {
		sc, err := sim.Named(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(`{"name": "` + sc.Name + `"}`))
	}
	f.Add([]byte(`{` + least + `}`))
	f.Add([]byte(`{` + least + `, "policy": {"balancer": {"name": "prequal", "pool": 4}, "retry": {"budget": {"ratio": 0}}}}`))
	f.Add([]byte(`{"servers": [{"work": {"quantiles": ["1ms"], "kind": "table"}}], "load": {"points": [{}], "kind": "trace", "capacity": true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		sc, err := sim.Parse(data)
		if err != nil {
			if err.Error() == "" {
				t.Error("got an error without text")
			}
			return
		}
		// What is accepted once is accepted again, and can be balanced.
		if _, err := sc.Balanced("random"); err != nil {
			t.Error(err)
		}
	})
}
