package discoverytest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/discovery/discoverytest"
)

type (
	ctxT    = context.Context
	reportT = func(discovery.Update)
	hintsT  = <-chan struct{}
)

// broken are resolvers with one fault each, the check that must find it, and
// what that check must say.
var broken = []struct {
	name, check, says string
	of                func(*source) discovery.Resolver
}{
	{"says nothing", "first update", "no report at all", func(*source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, _ reportT, _ hintsT) error {
			<-ctx.Done()
			return nil
		})
	}},
	{"looks once and returns", "first update", "before its context was done", func(s *source) discovery.Resolver {
		return discovery.Func(func(_ ctxT, report reportT, _ hintsT) error {
			u, _ := s.now()
			report(u)
			return nil
		})
	}},
	{"looks once and waits", "changes", "nothing within 1s", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			u, _ := s.now()
			report(u)
			<-ctx.Done()
			return nil
		})
	}},
	{"needs a hint to look", "changes", "nothing within 1s", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, refresh hintsT) error {
			for {
				u, _ := s.now()
				report(u)
				select {
				case <-refresh:
				case <-ctx.Done():
					return nil
				}
			}
		})
	}},
	{"reports bad endpoints", "first update", "not valid", altered(func(u *discovery.Update) {
		if len(u.Endpoints) > 0 {
			u.Endpoints[0].Weight = -1
		}
	})},
	{"reports one twice", "first update", "twice in one set", altered(func(u *discovery.Update) {
		u.Endpoints = append(u.Endpoints, u.Endpoints...)
	})},
	{"empties on errors", "failure", "want an error alone", altered(func(u *discovery.Update) { u.Err = nil })},
	{"empties on errors at start", "failure at start", "want an error", altered(func(u *discovery.Update) { u.Err = nil })},
	{"hides errors", "failure", "want an error", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return s.each(ctx, func(u discovery.Update) {
				if u.Err == nil {
					report(u)
				}
			})
		})
	}},
	{"gives up at an error", "failure", "the source is down", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			down := false
			return s.each(ctx, func(u discovery.Update) {
				if !down {
					report(u)
				}
				down = down || u.Err != nil
			})
		})
	}},
	{"does not end an error", "failure", "nothing within 1s", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			var last []tulle.Endpoint
			return s.each(ctx, func(u discovery.Update) {
				if u.Err != nil || !slices.EqualFunc(last, u.Endpoints, func(a, b tulle.Endpoint) bool { return a.Equal(&b) }) {
					report(u)
				}
				if u.Err == nil {
					last = slices.Clone(u.Endpoints)
				}
			})
		})
	}},
	{"does not see its context", "cancelled before", "has not returned", func(s *source) discovery.Resolver {
		return discovery.Func(func(_ ctxT, report reportT, _ hintsT) error {
			u, _ := s.now()
			report(u)
			<-s.release
			return nil
		})
	}},
	{"blames the cancellation", "first update", "want nil or the error of its context", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			_ = s.each(ctx, report)
			return errors.New("interrupted")
		})
	}},
	{"leaves its report behind", "blocked report", "while report was still running", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			u, _ := s.now()
			go report(u)
			<-ctx.Done()
			return nil
		})
	}},
	{"reports from many goroutines", "blocked report", "other calls of it were running", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			var wg sync.WaitGroup
			defer wg.Wait()
			return s.each(ctx, func(u discovery.Update) { wg.Go(func() { report(u) }) })
		})
	}},
	{"reports after the end", "late report", "after Watch had returned", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			life, end := context.WithCancel(context.WithoutCancel(ctx))
			go func() {
				<-s.release
				end()
			}()
			go func() { _ = s.each(life, report) }()
			<-ctx.Done()
			return nil
		})
	}},
	{"serves one watch at a time", "concurrent watches", "no report at all", func(s *source) discovery.Resolver {
		free := make(chan struct{}, 1)
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			defer func() { <-free }()
			return s.each(ctx, report)
		})
	}},
	{"ends all watches with one", "concurrent watches", "has returned", func(s *source) discovery.Resolver {
		var once sync.Once
		down := make(chan struct{})
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			ctx, end := context.WithCancel(ctx)
			defer end()
			defer once.Do(func() { close(down) })
			go func() {
				select {
				case <-down:
				case <-ctx.Done():
				}
				end()
			}()
			return s.each(ctx, report)
		})
	}},
	{"hands out one slice to all", "slices", "spoiled.invalid", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return s.each(ctx, func(u discovery.Update) {
				s.mu.Lock()
				u.Endpoints = s.set
				s.mu.Unlock()
				report(u)
			})
		})
	}},
	{"uses its slice again", "changes", "changed afterwards", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			buf := make([]tulle.Endpoint, 0, 8)
			return s.each(ctx, func(u discovery.Update) {
				u.Endpoints = append(buf[:0], u.Endpoints...)
				report(u)
			})
		})
	}},
	{"changes labels later", "changes", "changed afterwards", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			labels := map[string]string{}
			return s.each(ctx, func(u discovery.Update) {
				maps.Copy(labels, map[string]string{"size": strings.Repeat("x", len(u.Endpoints))})
				for i := range u.Endpoints {
					u.Endpoints[i].Labels = labels
				}
				report(u)
			})
		})
	}},
	{"wants hints", "nil refresh", "refresh is nil", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, refresh hintsT) error {
			if refresh == nil {
				return errors.New("refresh is nil")
			}
			return s.each(ctx, report)
		})
	}},
	{"has enough of hints", "flooded refresh", "too many hints", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, refresh hintsT) error {
			for n := 0; n < 100; {
				u, changed := s.now()
				report(u)
				select {
				case <-changed:
				case <-refresh:
					n++
				case <-ctx.Done():
					return nil
				}
			}
			return errors.New("too many hints")
		})
	}},
	{"leaves a goroutine", "goroutines", "1 goroutines of the watch are left", func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			go func() { <-s.release }()
			return s.each(ctx, report)
		})
	}},
}

// altered is a resolver that keeps all rules but for what f does to updates.
func altered(f func(*discovery.Update)) func(*source) discovery.Resolver {
	return func(s *source) discovery.Resolver {
		return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
			return s.each(ctx, func(u discovery.Update) {
				f(&u)
				report(u)
			})
		})
	}
}

// TestFindsFaults proves that the suite can fail, check by check.
func TestFindsFaults(t *testing.T) {
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, end := harness(b.of)
				err := discoverytest.Check(t, h)
				end()
				if err == nil {
					t.Fatalf("got no violation, want one of %q", b.check)
				}
				if got := finding(err, b.check); !strings.Contains(got, b.says) {
					t.Errorf("check %q: got %q, want it to say %q; all: %v", b.check, got, b.says, err)
				}
			})
		})
	}
}

// finding is what one check said.
func finding(err error, check string) string {
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		if rest, ok := strings.CutPrefix(e.Error(), check+": "); ok {
			return rest
		}
	}
	return ""
}

// TestEachCheckCanFail makes sure that no check is in the suite without a
// resolver that it refuses.
func TestEachCheckCanFail(t *testing.T) {
	covered := map[string]bool{}
	for _, b := range broken {
		covered[b.check] = true
	}
	for _, name := range discoverytest.CheckNames() {
		if !covered[name] {
			t.Errorf("check %q: got no broken resolver for it, want one", name)
		}
	}
}
