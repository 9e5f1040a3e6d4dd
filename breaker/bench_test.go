package breaker_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// The outcomes that most tests need.
var (
	good    = tulle.Outcome{Class: tulle.Answered}
	bad     = tulle.Outcome{Class: tulle.Unavailable}
	ignored = tulle.Outcome{Class: tulle.Ignored}
)

// must makes a Breaker of a Config that is valid.
func must(t testing.TB, cfg breaker.Config) *breaker.Breaker {
	t.Helper()
	b, err := breaker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opened makes a Breaker that is open.
func opened(t testing.TB, cfg breaker.Config) *breaker.Breaker {
	t.Helper()
	cfg.Requests = 1
	b := must(t, cfg)
	ticket, err := b.Allow()
	if err != nil {
		t.Fatal(err)
	}
	ticket.Done(bad)
	return b
}

// hot are the paths that calls take while nothing changes.
func hot(t testing.TB) map[string]func() {
	closed := must(t, breaker.Config{Requests: 1e6})
	open := opened(t, breaker.Config{OpenFor: time.Hour})
	dark := opened(t, breaker.Config{OpenFor: time.Hour, Dark: true})
	off := must(t, breaker.Config{Off: true})
	call := func(b *breaker.Breaker, o tulle.Outcome) func() {
		return func() {
			ticket, err := b.Allow()
			if err == nil {
				ticket.Done(o)
			}
		}
	}
	return map[string]func(){
		"closed/success": call(closed, good),
		"closed/failure": call(closed, bad),
		"closed/neither": call(closed, ignored),
		"open":           call(open, good),
		"open/dark":      call(dark, good),
		"off":            call(off, good),
	}
}

func TestAllocations(t *testing.T) {
	for name, call := range hot(t) {
		if got := testing.AllocsPerRun(1000, call); got != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, got)
		}
	}
}

func BenchmarkBreaker(b *testing.B) {
	for name, call := range hot(b) {
		b.Run(name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call()
				}
			})
		})
	}
}

// stub answers without a body, at no cost.
type stub struct{ resp *http.Response }

func (s stub) RoundTrip(*http.Request) (*http.Response, error) { return s.resp, nil }

func BenchmarkWrap(b *testing.B) {
	group, err := breaker.NewGroup(breaker.GroupConfig{})
	if err != nil {
		b.Fatal(err)
	}
	base := stub{&http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
	req, err := http.NewRequest(http.MethodGet, "http://users/", nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, rt := range map[string]http.RoundTripper{
		"breaker": must(b, breaker.Config{}).Wrap(base),
		"group":   group.Wrap(base),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rt.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
