package discoverytest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/discovery/discoverytest"
)

// allowed are resolvers that are unusual and keep the contract all the same. A
// suite that refused them would teach its users to switch checks off.
var allowed = []struct {
	name string
	of   func(*source) discovery.Resolver
}{
	{"returns nil at the end", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			_ = s.each(ctx, report)
			return nil
		})
	}},
	{"wraps the error of its context", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return fmt.Errorf("watching: %w", s.each(ctx, report))
		})
	}},
	{"returns at once when the context is done", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.each(ctx, report)
		})
	}},
	// Its owner calls it again: that is what errors of Watch are for.
	{"ends by a failure", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			ctx, end := context.WithCancelCause(ctx)
			defer end(nil)
			_ = s.each(ctx, func(u discovery.Update) {
				if u.Err != nil {
					end(u.Err)
					return
				}
				report(u)
			})
			return context.Cause(ctx)
		})
	}},
	{"reports everything twice", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return s.each(ctx, func(u discovery.Update) {
				again := u
				again.Endpoints = append([]tulle.Endpoint(nil), u.Endpoints...)
				report(u)
				report(again)
			})
		})
	}},
	// Endpoints beside an error are ignored, so they may be anything.
	{"leaves endpoints beside errors", altered(func(u *discovery.Update) {
		if u.Err != nil {
			u.Endpoints = []tulle.Endpoint{{}, {}}
		}
	})},
	{"knows more of its endpoints", altered(func(u *discovery.Update) {
		for i := range u.Endpoints {
			u.Endpoints[i].Zone, u.Endpoints[i].Labels = "b", map[string]string{"version": "1"}
		}
	})},
	{"turns the order round", altered(func(u *discovery.Update) {
		for i, j := 0, len(u.Endpoints)-1; i < j; i, j = i+1, j-1 {
			u.Endpoints[i], u.Endpoints[j] = u.Endpoints[j], u.Endpoints[i]
		}
	})},
	// Changes that are slow to come in may pass through sets in between.
	{"reports in steps", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return s.each(ctx, func(u discovery.Update) {
				if u.Err == nil && len(u.Endpoints) > 1 {
					report(discovery.Update{Endpoints: append([]tulle.Endpoint(nil), u.Endpoints[:1]...)})
				}
				report(u)
			})
		})
	}},
	{"discards hints", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, refresh hintsT) error {
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				for {
					select {
					case <-refresh:
					case <-ctx.Done():
						return
					}
				}
			})
			return s.each(ctx, report)
		})
	}},
	// One goroutine at a time need not be the same one.
	{"reports from a new goroutine each time", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return s.each(ctx, func(u discovery.Update) {
				var wg sync.WaitGroup
				wg.Go(func() { report(u) })
				wg.Wait()
			})
		})
	}},
	// What lets its goroutines end at last, after its return has begun.
	{"ends slowly", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			err := s.each(ctx, report)
			t := time.NewTimer(900 * time.Millisecond)
			defer t.Stop()
			<-t.C
			return err
		})
	}},
}

func TestAllows(t *testing.T) {
	for _, a := range allowed {
		t.Run(a.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, end := harness(a.of)
				defer end()
				if err := discoverytest.Check(t, h); err != nil {
					t.Errorf("got %v, want nil", err)
				}
			})
		})
	}
}

// Goroutines of others are not the watch's, be they started while it runs.
func TestOthersGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, end := harness(correct)
		defer end()
		set := h.Set
		var wg sync.WaitGroup
		over := make(chan struct{})
		h.Set = func(t *testing.T, eps []tulle.Endpoint) {
			wg.Go(func() { <-over })
			set(t, eps)
		}
		if err := discoverytest.Check(t, h); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		close(over)
		wg.Wait()
	})
}

// A resolver over HTTP, in real time, with the connections of the caller's
// client: those stay open after a watch and are no leak of it.
func TestHTTPSource(t *testing.T) {
	var mu sync.Mutex
	var set []tulle.Endpoint
	down := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(set)
	}))
	defer server.Close()
	change := func(f func()) {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
	discoverytest.Run(t, discoverytest.Harness{
		New: func(t *testing.T) discovery.Resolver {
			client := &http.Client{Transport: &http.Transport{}} // its connections begin in this watch
			t.Cleanup(client.CloseIdleConnections)
			return poll{client, server.URL}
		},
		Set:     func(_ *testing.T, eps []tulle.Endpoint) { change(func() { set, down = eps, false }) },
		Fail:    func(*testing.T) { change(func() { down = true }) },
		Recover: func(*testing.T) { change(func() { down = false }) },
	})
}

// poll asks a server for a JSON array of endpoints, again and again.
type poll struct {
	client *http.Client
	url    string
}

func (p poll) Watch(ctx context.Context, report func(discovery.Update), refresh <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		set, err := p.ask(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		report(discovery.Update{Endpoints: set, Err: err})
		select {
		case <-tick.C:
		case <-refresh:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p poll) ask(ctx context.Context) (set []tulle.Endpoint, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("poll: status %d", resp.StatusCode)
	}
	err = json.NewDecoder(resp.Body).Decode(&set)
	return set, err
}
