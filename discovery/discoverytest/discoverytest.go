// Package discoverytest checks a discovery.Resolver against the contract of
// that interface, for tests of resolvers of your own.
//
// Most tests need [Run] alone: fill in a [Harness] that makes the resolver and
// changes what its source says. [Check] is the same without subtests, for use
// inside a testing/synctest bubble, where waiting costs no time.
//
// The suite starts each watch like an owner in production: hints may come at
// any time, the context ends at any moment, reports block for a while and
// received slices are written to. It waits for events, so it is as fast as the
// source; a source that is real and slow only needs a longer Within.
//
// What it cannot see: whether the source is asked more often than is good for
// it, and whether the endpoints are the right ones beyond their Addr.
package discoverytest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// A Harness is what the suite needs to know of a resolver. Its funcs are called
// by one goroutine at a time, also while watches run.
type Harness struct {
	// New returns a resolver over a source that works and, unless Set is
	// given, already holds what the first update should say. It is called once
	// per check, and Set, Fail and Recover mean the source of the latest
	// resolver. Clean up with t.Cleanup. Required.
	New func(t *testing.T) discovery.Resolver

	// Set makes the source hold exactly these endpoints. They carry an Addr
	// only, which is an address out of 192.0.2.0/24 with port 80, and Addr is
	// all that the suite compares. Nil skips what needs it.
	Set func(t *testing.T, set []tulle.Endpoint)

	// Fail makes the source fail until Recover is called; it then says again
	// what it said before. Fail nil skips what needs it. Recover is required
	// with Fail.
	Fail    func(t *testing.T)
	Recover func(t *testing.T)

	// Within is the longest time that each single step may take: a change of
	// the source until its report, the end of the context until the return.
	// It must be longer than the interval of a resolver that polls. Default
	// (0): 10 s.
	Within time.Duration
}

// Run checks the resolver, each rule in a subtest of its own.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if err := h.fill(); err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if !c.applies(&h) {
				t.Skip("the Harness has no func for it")
			}
			if err := c.run(&bench{Harness: h, t: t}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Check checks the resolver and returns all violations joined, nil if there is
// none. It passes t to the Harness and makes no subtests.
func Check(t *testing.T, h Harness) error {
	if err := h.fill(); err != nil {
		return err
	}
	var errs []error
	for _, c := range checks {
		if !c.applies(&h) {
			continue
		}
		if err := c.run(&bench{Harness: h, t: t}); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

// fill checks the Harness and fills the defaults in.
func (h *Harness) fill() error {
	switch {
	case h.New == nil:
		return errors.New("discoverytest: Harness.New is nil")
	case h.Fail != nil && h.Recover == nil:
		return errors.New("discoverytest: Harness.Recover is nil, but Fail is not")
	case h.Within < 0:
		return fmt.Errorf("discoverytest: Harness.Within %v: want 0 or more", h.Within)
	case h.Within == 0:
		h.Within = 10 * time.Second
	}
	return nil
}
