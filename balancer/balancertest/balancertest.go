// Package balancertest checks a balancer.Policy against the contract of that
// interface, for tests of policies of your own.
//
// Most tests need [Run] alone. [Check] is the same without subtests. The suite
// drives the policy in virtual time, as the engine would, so it waits for
// nothing. Under the race detector it also shows unsynchronised access.
//
// It looks at a Picker from outside, so it sees more of one that is a
// [balancer.Describer]: whether attempts that wait are counted out again, and
// whether statistics survive a change of the set, shows in the cost only.
//
// What it cannot see: whether Pick takes a lock, and whether the choice is a
// good one. For the first look at a mutex profile, for the second compare the
// picks with those of a slow and obvious version of the same rule.
package balancertest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tullemesh/tulle/balancer"
)

// Config is what the suite needs to know of a policy.
type Config struct {
	// Policy is the policy to check. It is used for many sets, one after the
	// other. Its source of random numbers should be the default one: some
	// checks rely on picks that differ. Required.
	Policy balancer.Policy

	// IgnoresWeights says that the policy does not promise to share traffic by
	// Endpoint.Weight, so that this is not checked. Default: it does.
	IgnoresWeights bool
}

// Run checks the policy, each rule in a subtest of its own. The test that calls
// it must not be parallel, as allocations are counted.
func Run(t *testing.T, c Config) {
	t.Helper()
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	for _, k := range checks {
		t.Run(k.name, func(t *testing.T) {
			if k.weights && c.IgnoresWeights {
				t.Skip("the policy ignores weights")
			}
			if err := k.run(c.Policy); err != nil {
				t.Error(err)
			}
		})
		if k.vital && t.Failed() {
			return
		}
	}
}

// Check checks the policy and returns all violations joined, nil if there is
// none. It must not run while other goroutines allocate, as it counts
// allocations.
func Check(c Config) error {
	if err := c.validate(); err != nil {
		return err
	}
	var errs []error
	for _, k := range checks {
		if k.weights && c.IgnoresWeights {
			continue
		}
		if err := k.run(c.Policy); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.name, err))
			if k.vital {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// validate checks the Config.
func (c *Config) validate() error {
	if c.Policy == nil {
		return errors.New("balancertest: Config.Policy is nil")
	}
	return nil
}

// check is one rule of the contract.
type check struct {
	name    string
	run     func(balancer.Policy) error
	weights bool // it is about weights
	vital   bool // no other check can run when it fails
}

// checks are all rules, the plain ones first: when many fail, the first tells
// most.
var checks = []check{
	{name: "node", run: checkNode, vital: true},
	{name: "range", run: checkRange},
	{name: "among", run: checkAmong},
	{name: "avoid", run: checkAvoid},
	{name: "use", run: checkUse},
	{name: "given up", run: checkGivenUp},
	{name: "carried nodes", run: checkCarried},
	{name: "running", run: checkRunning},
	{name: "statistics", run: checkStatistics},
	{name: "foreign nodes", run: checkForeign},
	{name: "odd input", run: checkOddInput},
	{name: "allocations", run: checkAllocations},
	{name: "concurrency", run: checkConcurrency},
	{name: "weights", run: checkWeights, weights: true},
}

// sizes are the numbers of endpoints to try: alone, few, around the width of a
// word and of the usual scan, many.
var sizes = []int{1, 2, 3, 10, 33, 65, 1000}
