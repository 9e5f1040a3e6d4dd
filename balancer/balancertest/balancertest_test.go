package balancertest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/balancer/balancertest"
)

// Every policy of the library has its row here. Variants are there for settings
// that pick in another way.
var policies = []struct {
	name   string
	config balancertest.Config
}{
	{"ShortestExpectedDelay", balancertest.Config{Policy: balancer.ShortestExpectedDelay{}}},
	{"ShortestExpectedDelay of 4", balancertest.Config{Policy: balancer.ShortestExpectedDelay{Choices: 4}}},
	{"PeakEWMA", balancertest.Config{Policy: balancer.PeakEWMA{}}},
	{"LeastRequest", balancertest.Config{Policy: balancer.LeastRequest{}}},
	{"LeastRequest of 3", balancertest.Config{Policy: balancer.LeastRequest{Choices: 3}}},
	{"LeastRequest of 32", balancertest.Config{Policy: balancer.LeastRequest{Choices: 32}}},
	{"RoundRobin", balancertest.Config{Policy: balancer.RoundRobin{}}},
	{"Random", balancertest.Config{Policy: balancer.Random{}}},
}

func TestPolicies(t *testing.T) {
	for _, p := range policies {
		t.Run(p.name, func(t *testing.T) { balancertest.Run(t, p.config) })
	}
}

func TestNoPolicy(t *testing.T) {
	err := balancertest.Check(balancertest.Config{})
	if err == nil || !strings.Contains(err.Error(), "Config.Policy is nil") {
		t.Errorf("got %v, want an error that names Config.Policy", err)
	}
}

func TestIgnoresWeights(t *testing.T) {
	c := balancertest.Config{Policy: balancer.PolicyFunc(newFirst), IgnoresWeights: true}
	if err := balancertest.Check(c); err != nil {
		t.Errorf("a policy that ignores weights, and says so: got %v, want nil", err)
	}
	c.IgnoresWeights = false
	if err := balancertest.CheckOne("weights", c); err == nil || !strings.Contains(err.Error(), "endpoint of weight") {
		t.Errorf("a policy that ignores weights, and does not say so: got %v, want an error on weights", err)
	}
}

// The test of a policy of your own is one line.
func ExampleRun() {
	_ = func(t *testing.T) {
		balancertest.Run(t, balancertest.Config{Policy: balancer.PolicyFunc(newFirst), IgnoresWeights: true})
	}
}

func ExampleCheck() {
	err := balancertest.Check(balancertest.Config{Policy: balancer.PolicyFunc(newFirst)})
	fmt.Println(err)
	// Output: weights: endpoint of weight 0: got 5000 of 60000 calls, want 3750 ± 15 %
}
