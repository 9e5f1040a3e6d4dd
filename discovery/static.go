package discovery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tullemesh/tulle"
)

// Static is a fixed set of endpoints as a Resolver. It must not be changed once
// it is in use. An empty Static says that there is no endpoint.
type Static []tulle.Endpoint

// ParseStatic reads a list such as "10.0.0.1:80, 10.0.0.2:80". Space around
// the items is cut. An empty item (so also an empty spec), an invalid address
// and an address that appears twice are errors that name the item, counted from
// 1, and its value.
func ParseStatic(spec string) (Static, error) {
	items := strings.Split(spec, ",")
	set := make(Static, len(items))
	for i, item := range items {
		set[i].Addr = strings.TrimSpace(item)
		if set[i].Addr == "" {
			return nil, fmt.Errorf("discovery: static list %q: item %d: %q is empty", spec, i+1, item)
		}
	}
	if err := set.Validate(); err != nil {
		return nil, err
	}
	return set, nil
}

// Validate returns an error that names the first endpoint that cannot be used,
// or whose Addr appears a second time. Items count from 1.
func (s Static) Validate() error {
	if err := validateSet(s); err != nil {
		return fmt.Errorf("discovery: static: %w", err)
	}
	return nil
}

// Watch reports a copy of s once and waits for ctx. When Validate finds an
// error, Watch reports and returns that instead. Refresh is ignored.
func (s Static) Watch(ctx context.Context, report func(Update), _ <-chan struct{}) error {
	if err := s.Validate(); err != nil {
		return refuse(report, err)
	}
	report(Update{Endpoints: slices.Clone(s)})
	<-ctx.Done()
	return ctx.Err()
}
