package sim_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/sim"
)

// One of eight servers fails everything at once. What becomes of calls under the
// default policy, and under plain turns without retries?
func ExampleRun() {
	res, err := sim.Run(context.Background(), sim.Scenario{
		Name:     "one fails",
		Duration: 20 * time.Second,
		Servers:  []sim.Servers{{Count: 8, Workers: 4, Work: sim.Work{Kind: "exponential", Mean: 10 * time.Millisecond}}},
		Load:     sim.Load{Rate: 0.5, Capacity: true},
		Faults:   []sim.Fault{{Kind: "erring", Count: 1, Start: 5 * time.Second, Status: 503}},
		Variants: []sim.Variant{
			{Name: "default"},
			{Name: "turns", Policy: transport.Policy{Balancer: balancer.RoundRobin{}}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range res.Rows {
		fmt.Printf("%s: %.1f %% good\n", r.Variant, 100*r.Success())
	}
	// Output:
	// default: 100.0 % good
	// turns: 100.0 % good
}

func ExampleParse() {
	sc, err := sim.Parse([]byte(`{
		"name": "slow start",
		"duration": "10s",
		"servers": [{"count": 4, "work": {"mean": "5ms"}}],
		"load": {"kind": "ramp", "rate": 10, "to": 500},
		"policy": {"timeout": "1s", "balancer": {"name": "least_request", "choices": 3}}
	}`))
	fmt.Println(sc.Name, sc.Policy.Balancer.(balancer.LeastRequest).Choices, err)

	_, err = sim.Parse([]byte(`{"name": "x", "duration": "10s", "sevrers": []}`))
	fmt.Println(err)
	// Output:
	// slow start 3 <nil>
	// sim: sevrers: unknown key, want one of about, calls, clients, discovery, duration, faults, load, name, network, policy, seed, servers, source, variants, warmup, zones
	// sim: servers: 0: want one server at least that is there at the start
	// sim: load.rate: 0: want above 0, and up to 10000000 calls a second
}
