package main

import (
	"errors"
	"fmt"

	"github.com/tullemesh/tulle/internal/bench/client"
)

// slack is for what the runtime allocates now and then.
const slack = 0.5

// slackBytes is the same in bytes.
const slackBytes = 16

// judge fails if a contender with a ceiling allocates more. Timings are not
// judged: those of a short run on a machine that others use mean nothing.
func (r *Report) judge() error {
	var errs []error
	for _, c := range client.HTTP() {
		if c.Ceiling == nil {
			continue
		}
		cost := r.stub(c.Name)
		if cost == nil {
			continue // that table was not asked for
		}
		if cost.Allocs > c.Ceiling.Allocs+slack {
			errs = append(errs, fmt.Errorf("bench: %s: %.1f allocations beyond the bare transport's, want at most %v", c.Name, cost.Allocs, c.Ceiling.Allocs))
		}
		if c.Ceiling.Bytes > 0 && cost.Bytes > c.Ceiling.Bytes+slackBytes {
			errs = append(errs, fmt.Errorf("bench: %s: %.0f bytes beyond the bare transport's, want at most %v", c.Name, cost.Bytes, c.Ceiling.Bytes))
		}
		errs = append(errs, r.judgeBodies(c))
	}
	return errors.Join(errs...)
}

// judgeBodies fails if a body makes a call allocate more.
func (r *Report) judgeBodies(c client.Contender) error {
	for _, row := range r.Bodies {
		if row.Name != c.Name {
			continue
		}
		for _, s := range row.Sizes {
			if s.Allocs > c.Ceiling.Allocs+slack || c.Ceiling.Bytes > 0 && s.Bytes > c.Ceiling.Bytes+slackBytes {
				return fmt.Errorf("bench: %s: with a body of %d bytes %.1f allocations of %.0f bytes, want at most %v of %v",
					c.Name, s.Size, s.Allocs, s.Bytes, c.Ceiling.Allocs, c.Ceiling.Bytes)
			}
		}
	}
	return nil
}

// stub is what a contender costs over the stub, or nil.
func (r *Report) stub(name string) *Cost {
	for _, row := range r.HTTP {
		if row.Name == name {
			return row.Stub
		}
	}
	return nil
}
