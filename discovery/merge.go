package discovery

import (
	"context"
	"slices"

	"github.com/tullemesh/tulle"
)

// Merge returns a Resolver whose set is the union of those of all resolvers.
// Where several name one Addr, the endpoint of the first of them counts.
//
// The first report comes when every resolver has answered or failed, or after
// 15 s of silence of one. A resolver that fails keeps its last good set in the
// union; one that has never answered counts as empty, though the union is not
// reported as empty while there is such a one. Errors of the resolvers are
// reported as Update.Err, joined, after the set if there is one, each naming
// the resolver by its place, counted from 1.
//
// Each watch runs one goroutine per resolver, restarts watches that end early
// as Keep does, and passes hints on refresh to all of them, at most one per
// 100 ms. No resolvers, or a nil one, is an error that Watch reports and
// returns.
func Merge(resolvers ...Resolver) Resolver { return merged{slices.Clone(resolvers)} }

// merged is a struct and not a Func so that owners can compare resolvers by
// content.
type merged struct{ resolvers []Resolver }

func (m merged) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	return watchAll(ctx, "merge", m.resolvers, union, report, refresh)
}

func union(sources []source) ([]tulle.Endpoint, bool) {
	total, answered := 0, true
	for i := range sources {
		if sources[i].pending() {
			return nil, false
		}
		answered = answered && sources[i].answered
		total += len(sources[i].set)
	}
	set := make([]tulle.Endpoint, 0, total)
	seen := make(map[string]bool, total)
	for i := range sources {
		for _, e := range sources[i].set {
			if !seen[e.Addr] {
				seen[e.Addr] = true
				set = append(set, e)
			}
		}
	}
	return set, answered || len(set) > 0
}
