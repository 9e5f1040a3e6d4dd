package sim

import (
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport/sim/peers"
)

// namedBalancer is a balancer that a scenario can name.
type namedBalancer struct {
	name   string
	policy balancer.Policy
}

// namedBalancers are the balancers of package balancer, then those of others.
func namedBalancers() []namedBalancer {
	return []namedBalancer{
		{"shortest_expected_delay", balancer.ShortestExpectedDelay{}},
		{"peak_ewma", balancer.PeakEWMA{}},
		{"least_request", balancer.LeastRequest{}},
		{"round_robin", balancer.RoundRobin{}},
		{"random", balancer.Random{}},
		{"finagle", peers.Finagle{}},
		{"linkerd", peers.Linkerd{}},
		{"linkerd_biased", peers.Linkerd{Biased: true}},
		{"go_zero", peers.GoZero{}},
		{"kratos", peers.Kratos{}},
		{"grpc_least_request", peers.GRPCLeastRequest{}},
		{"least_loaded", peers.LeastLoaded{}},
		{"prequal", peers.Prequal{}},
		{"weighted_round_robin", peers.WeightedRoundRobin{}},
		{"yarp", peers.YARP{}},
		{"linear", peers.Linear{}},
		{"c3", peers.C3{}},
		{"c3_probing", peers.C3{Probing: true}},
	}
}

// Balancers are the names of the balancers that a scenario can name: those of
// package balancer, then those of package peers.
func Balancers() []string {
	var names []string
	for _, b := range namedBalancers() {
		names = append(names, b.name)
	}
	return names
}

// balancerOf finds a balancer by its name.
func balancerOf(name string) (balancer.Policy, bool) {
	for _, b := range namedBalancers() {
		if b.name == name {
			return b.policy, true
		}
	}
	return nil, false
}

// among is a balancer that knows how many clients there are, if it asks for that.
func among(b balancer.Policy, clients int) balancer.Policy {
	if c, ok := b.(peers.C3); ok && c.Clients == 0 {
		c.Clients = clients
		return c
	}
	return b
}

// Balanced is the scenario with one variant for each of the balancers named, under
// the scenario's Policy in all else. It returns an error for a name that none has.
func (s Scenario) Balanced(names ...string) (Scenario, error) {
	s.Variants = nil
	for _, name := range names {
		p, ok := balancerOf(name)
		if !ok {
			return s, unknownBalancer(name)
		}
		v := Variant{Name: name, Policy: s.Policy}
		v.Policy.Balancer = p
		s.Variants = append(s.Variants, v)
	}
	return s, nil
}
