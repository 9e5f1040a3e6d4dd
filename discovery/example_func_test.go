package discovery_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// polled asks a source every 30 s, and on a hint, but not more often than once
// a second. Package discoverytest finds no fault with it.
func polled(ask func(context.Context) ([]tulle.Endpoint, error)) discovery.Resolver {
	return discovery.Func(func(ctx context.Context, report func(discovery.Update), refresh <-chan struct{}) error {
		for ctx.Err() == nil {
			asking, cancel := context.WithTimeout(ctx, 10*time.Second)
			set, err := ask(asking)
			cancel()
			report(discovery.Update{Endpoints: set, Err: err})
			wait(ctx, time.Second, nil)
			wait(ctx, 29*time.Second, refresh)
		}
		return ctx.Err()
	})
}

// wait lets d pass, or less when ctx ends or a hint comes.
func wait(ctx context.Context, d time.Duration, refresh <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-refresh:
	case <-ctx.Done():
	}
}

// A resolver of your own, made of any func that can be asked for endpoints.
func ExampleFunc() {
	r := polled(func(context.Context) ([]tulle.Endpoint, error) {
		return []tulle.Endpoint{{Addr: "10.0.0.1:80", Name: "users-0"}}, nil
	})

	ctx, cancel := context.WithCancel(context.Background())
	_ = r.Watch(ctx, func(u discovery.Update) {
		fmt.Println(u.Endpoints[0].Name, u.Err)
		cancel() // one report is enough here
	}, nil)
	// Output: users-0 <nil>
}
