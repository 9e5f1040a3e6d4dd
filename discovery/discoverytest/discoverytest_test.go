package discoverytest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/discovery/discoverytest"
)

func correct(s *source) discovery.Resolver { return s }

func TestRun(t *testing.T) {
	h, end := harness(correct)
	defer end()
	discoverytest.Run(t, h)
}

func TestCheckInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, end := harness(correct)
		defer end()
		if err := discoverytest.Check(t, h); err != nil {
			t.Errorf("a resolver that keeps all rules: got %v, want nil", err)
		}
	})
}

// A resolver of which nothing but New is known is checked as far as that goes.
func TestCheckWithNewOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, end := harness(correct)
		defer end()
		h.Set, h.Fail, h.Recover = nil, nil, nil
		if err := discoverytest.Check(t, h); err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}

// Checks that need a func which is not there are skipped, the others still
// find their faults.
func TestCheckWithNewOnlyFindsFaults(t *testing.T) {
	found := 0
	for _, b := range broken {
		synctest.Test(t, func(t *testing.T) {
			h, end := harness(b.of)
			h.Set, h.Fail, h.Recover = nil, nil, nil
			err := discoverytest.Check(t, h)
			end()
			if err != nil {
				found++
			}
			for _, skipped := range []string{"changes: ", "failure: ", "failure at start: "} {
				if err != nil && strings.HasPrefix(err.Error(), skipped) {
					t.Errorf("%s: got %v, want %q skipped", b.name, err, skipped)
				}
			}
		})
	}
	if found < 10 {
		t.Errorf("got %d of %d broken resolvers found without Set and Fail, want at least 10", found, len(broken))
	}
}

// Within is for slow sources: what takes 59 s passes with a minute.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(s *source) discovery.Resolver {
			return discovery.Func(func(ctx ctxT, report reportT, _ hintsT) error {
				return s.each(ctx, func(u discovery.Update) {
					timer := time.NewTimer(59 * time.Second)
					defer timer.Stop()
					select {
					case <-timer.C:
						report(u)
					case <-ctx.Done():
					}
				})
			})
		}
		h, end := harness(slow)
		h.Within = 2 * time.Minute
		err := discoverytest.Check(t, h)
		end()
		if err != nil {
			t.Errorf("Within 2m: got %v, want nil", err)
		}
		h, end = harness(slow)
		h.Within = 10 * time.Second
		err = discoverytest.Check(t, h)
		end()
		if err == nil {
			t.Error("Within 10s: got nil, want the first update to be late")
		}
	})
}

func TestHarnessErrors(t *testing.T) {
	made := func(*testing.T) discovery.Resolver { return discovery.Static{} }
	for _, c := range []struct {
		name, want string
		h          discoverytest.Harness
	}{
		{"no New", "Harness.New is nil", discoverytest.Harness{}},
		{"no Recover", "Harness.Recover is nil", discoverytest.Harness{New: made, Fail: func(*testing.T) {}}},
		{"bad Within", "Harness.Within -1s", discoverytest.Harness{New: made, Within: -time.Second}},
	} {
		if err := discoverytest.Check(t, c.h); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %q", c.name, err, c.want)
		}
	}
}

// A test of a resolver of your own: make it over a source that the test can
// change, and tell the suite how.
func ExampleRun() {
	_ = func(t *testing.T) {
		var s *source
		discoverytest.Run(t, discoverytest.Harness{
			New: func(*testing.T) discovery.Resolver {
				s = newSource()
				return s
			},
			Set:    func(_ *testing.T, set []tulle.Endpoint) { s.change(func() { s.set = set }) },
			Within: 5 * time.Second,
		})
	}
}
