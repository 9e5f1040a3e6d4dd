package route

import (
	"fmt"
	"slices"
	"strings"
)

// Destination is a service in an environment.
type Destination struct {
	// Service is the key of the service, Environment where; "" for a service
	// without environments.
	Service, Environment string
}

// Chain is where a call can go: its steps in the order in which they are
// asked. It is shared by all calls and must not be changed.
type Chain struct {
	// Service is whose destinations the steps are, Environment the one that the
	// call is for.
	Service     string
	Environment string

	// Steps are the destinations. Without failover there is one. There is none
	// when Err is set.
	Steps []Step

	// SpillOver says that the steps share the calls by health. Otherwise a
	// call goes to the first that has a healthy endpoint.
	SpillOver bool

	// Err says why there are no steps: ErrNoDestination or ErrReadOnly.
	Err error
}

// Step is one destination of a Chain.
type Step struct {
	// Environment is where; "" for a service without environments.
	Environment string

	// Destination is its index in Table.Destinations.
	Destination int

	// Protected says that the environment is protected. SafeOnly says that
	// the chain has this step because the call is safe.
	Protected bool
	SafeOnly  bool

	// Fallback says that it is not the environment of the call.
	Fallback bool
}

// String explains the step.
func (s *Step) String() string {
	text := s.Environment
	if text == "" {
		text = "(no environment)"
	}
	for _, note := range []struct {
		is   bool
		text string
	}{{s.Fallback, "fallback"}, {s.Protected, "protected"}, {s.SafeOnly, "safe methods only"}} {
		if note.is {
			text += ", " + note.text
		}
	}
	return text
}

// env is an Environment at work.
type env struct {
	name      string
	fallback  []int
	writes    []bool // for each of fallback: all methods
	failover  bool
	spillOver bool
	protected bool
	allowed   bool // headers may lead to it
}

// A way is how a call may walk a chain; chains has one Chain for each.
const (
	waySafe = 1 << iota // its method is safe
	wayOpen             // it may fall back into protected environments
	ways    = 1 << iota
)

// chains are the chains of a service from one environment.
type chains [ways]*Chain

// uniform says that all calls walk alike.
func (c *chains) uniform() bool {
	return c[0] == c[1] && c[0] == c[2] && c[0] == c[3]
}

// chainsFrom makes the chains of a service from an environment. The
// destinations are those of the service: an index in Table.Destinations for
// each environment, or -1.
func (t *Table) chainsFrom(service string, from int, destinations []int) *chains {
	var c chains
	for way := range ways {
		chain := t.chainOf(service, from, destinations, way)
		same := slices.IndexFunc(c[:way], func(o *Chain) bool { return sameChain(o, chain) })
		if same >= 0 {
			chain = c[same]
		}
		c[way] = chain
	}
	return &c
}

// sameChain says that two chains of one service and environment are alike.
func sameChain(a, b *Chain) bool {
	return slices.Equal(a.Steps, b.Steps) && (a.Err == nil) == (b.Err == nil) && fmt.Sprint(a.Err) == fmt.Sprint(b.Err)
}

// chainOf makes one chain. It ends before the first step that refuses the call,
// as a call that may write must not pass over the place that its reads go to.
func (t *Table) chainOf(service string, from int, destinations []int, way int) *Chain {
	e := &t.envs[from]
	chain := &Chain{Service: service, Environment: e.name, SpillOver: e.spillOver}
	var refused *env
	if d := destinations[from]; d >= 0 {
		chain.Steps = append(chain.Steps, Step{Environment: e.name, Destination: d, Protected: e.protected})
	}
	for i, to := range e.fallback {
		f := &t.envs[to]
		if len(chain.Steps) > 0 && !e.failover {
			break
		}
		if destinations[to] < 0 || f.protected && way&wayOpen == 0 {
			continue
		}
		safeOnly := f.protected && !e.writes[i]
		if safeOnly && way&waySafe == 0 {
			refused = f
			break
		}
		chain.Steps = append(chain.Steps, Step{
			Environment: f.name, Destination: destinations[to],
			Protected: f.protected, SafeOnly: safeOnly, Fallback: true,
		})
	}
	if len(chain.Steps) == 0 {
		chain.Err = t.noChain(service, e, refused)
	}
	return chain
}

// noChain is the error of a chain without steps.
func (t *Table) noChain(service string, e *env, refused *env) error {
	if refused != nil {
		return fmt.Errorf("%w: %s has no destination in %s, and falls back into the protected %s only to read",
			ErrReadOnly, service, e.name, refused.name)
	}
	if len(e.fallback) == 0 {
		return fmt.Errorf("%w: %s has none in %s, which falls back on nothing", ErrNoDestination, service, e.name)
	}
	names := make([]string, len(e.fallback))
	for i, to := range e.fallback {
		names[i] = t.envs[to].name
	}
	return fmt.Errorf("%w: %s has none in %s, nor where it may fall back from there: %s",
		ErrNoDestination, service, e.name, strings.Join(names, ", "))
}
