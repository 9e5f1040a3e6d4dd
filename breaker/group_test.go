package breaker_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

func mustGroup(t testing.TB, cfg breaker.GroupConfig) *breaker.Group {
	t.Helper()
	g, err := breaker.NewGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// keys are those that the Group has a Breaker for.
func keys(g *breaker.Group) []string {
	var all []string
	for key := range g.All() {
		all = append(all, key)
	}
	return all
}

func TestGroupKeepsApart(t *testing.T) {
	var seen []string
	g := mustGroup(t, breaker.GroupConfig{Config: breaker.Config{
		Requests: 1, OnChange: func(c breaker.Change) { seen = append(seen, c.Key+" "+c.To.String()) },
	}})
	tell(t, g.Of("a"), "f")
	tell(t, g.Of("b"), "sss")
	if got := refused(t, g.Of("a")).Key; got != "a" {
		t.Errorf("Error.Key: got %q, want a", got)
	}
	tell(t, g.Of("b"), "s")
	if got, want := fmt.Sprint(seen), "[a open]"; got != want {
		t.Errorf("changes: got %v, want %v", got, want)
	}
	if got, want := fmt.Sprint(keys(g)), "[a b]"; got != want {
		t.Errorf("keys: got %v, want %v", got, want)
	}
}

func TestGroupForgets(t *testing.T) {
	for range 20 { // as the order of a map is random
		synctest.Test(t, func(t *testing.T) {
			g := mustGroup(t, breaker.GroupConfig{Config: breaker.Config{Requests: 1, OpenFor: time.Second}, Keys: 3})
			has := func(want string) {
				t.Helper()
				if got := fmt.Sprint(keys(g)); got != want {
					t.Fatalf("got keys %v, want %v", got, want)
				}
			}
			tell(t, g.Of("down"), "f")
			g.Of("a")
			g.Of("b")
			g.Of("c") // the oldest is open, so a goes
			has("[b c down]")
			g.Of("b")
			g.Of("d")
			has("[b d down]")
			tell(t, g.Of("d"), "f")
			tell(t, g.Of("b"), "f")
			g.Of("e") // all are open, so the oldest goes
			has("[b d e]")
			g.Of("f")
			has("[b d f]")
			time.Sleep(time.Second) // their time is over: they keep nobody out
			g.Of("g")
			has("[b f g]")
			if got := g.Of("down").State(); got != breaker.Closed {
				t.Errorf("one that was forgotten: got %v, want closed", got)
			}
		})
	}
}

func TestGroupDefaultKeys(t *testing.T) {
	g := mustGroup(t, breaker.GroupConfig{})
	for i := range 3000 {
		g.Of(fmt.Sprint(i))
		if i == 1023 || i == 2999 {
			if got := len(keys(g)); got != 1024 {
				t.Errorf("after %d keys: got %d kept, want 1024", i+1, got)
			}
		}
	}
}

func TestGroupAllStops(t *testing.T) {
	g := mustGroup(t, breaker.GroupConfig{})
	g.Of("a")
	g.Of("b")
	for key, b := range g.All() {
		if key != "a" || b != g.Of("a") {
			t.Errorf("got %q first, want a", key)
		}
		g.Of("c") // the range holds no lock
		break
	}
}

// One key gets one Breaker, whoever asks first; and the bound holds.
func TestGroupConcurrent(t *testing.T) {
	g := mustGroup(t, breaker.GroupConfig{Keys: 8})
	var callers sync.WaitGroup
	for round := range 500 {
		var same [8]*breaker.Breaker
		start := make(chan struct{})
		for i := range same {
			callers.Go(func() {
				<-start
				same[i] = g.Of(fmt.Sprint("same", round))
			})
		}
		close(start)
		callers.Wait()
		for i, b := range same {
			if b != same[0] {
				t.Fatalf("round %d, caller %d: got another Breaker", round, i)
			}
		}
	}
	for i := range 16 {
		callers.Go(func() {
			for n := range 200 {
				tell(t, g.Of(fmt.Sprint(i, n%20)), "sf")
			}
		})
	}
	callers.Wait()
	if got := len(keys(g)); got != 8 {
		t.Errorf("got %d keys, want 8", got)
	}
}

func TestGroupWrap(t *testing.T) {
	base := answering(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "down" {
			return nil, errBase
		}
		return reply(req, 200, nil), nil
	})
	byHost := mustGroup(t, breaker.GroupConfig{Config: breaker.Config{Requests: 1}}).Wrap(base)
	for _, tt := range []struct {
		url  string
		want error
	}{
		{"http://down/", errBase}, {"http://down/", breaker.ErrOpen}, {"http://up/", nil}, {"http://down/x", breaker.ErrOpen},
	} {
		if _, err := byHost.RoundTrip(get(t, tt.url)); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.url, err, tt.want)
		}
	}
	g := mustGroup(t, breaker.GroupConfig{
		Config: breaker.Config{Requests: 1},
		Key:    func(req *http.Request) string { return req.Header.Get("Tenant") },
	})
	req := get(t, "http://down/")
	req.Header.Set("Tenant", "x")
	_, _ = g.Wrap(base).RoundTrip(req)
	inState(t, g.Of("x"), breaker.Open)
	inState(t, g.Of("down"), breaker.Closed)
}
