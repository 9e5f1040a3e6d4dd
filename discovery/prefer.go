package discovery

import (
	"context"
	"slices"

	"github.com/tullemesh/tulle"
)

// Prefer returns a Resolver whose set is that of the first resolver whose last
// good set is not empty. It falls to the next while the ones before have none,
// and comes back as soon as they have. Unlike Merge it never mixes: use it for
// a main source and a spare, such as DNS and a file on disk.
//
// A resolver that has neither answered nor failed is waited for, up to 15 s, so
// that a start does not go through the spare. A resolver that fails keeps its
// last good set and so its place. The set is empty only when every resolver has
// answered so. Errors of all resolvers, also of those that are not in use, are
// reported as Update.Err as by Merge.
//
// Goroutines, restarts, hints and wrong arguments are as with Merge.
func Prefer(resolvers ...Resolver) Resolver { return preferred{slices.Clone(resolvers)} }

// preferred is a struct and not a Func so that owners can compare resolvers by
// content.
type preferred struct{ resolvers []Resolver }

func (p preferred) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	return watchAll(ctx, "prefer", p.resolvers, first, report, refresh)
}

func first(sources []source) ([]tulle.Endpoint, bool) {
	answered := true
	for i := range sources {
		s := &sources[i]
		if s.pending() {
			return nil, false
		}
		if len(s.set) > 0 {
			return s.set, true
		}
		answered = answered && s.answered
	}
	return nil, answered
}
