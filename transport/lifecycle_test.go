package transport_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// late is a resolver that has its first answer after a time.
func late(after time.Duration, u discovery.Update) discovery.Resolver {
	return discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
		t := time.NewTimer(after)
		defer t.Stop()
		select {
		case <-t.C:
			report(u)
			<-ctx.Done()
		case <-ctx.Done():
		}
		return nil
	})
}

// A call waits for the first endpoints, no longer than its deadline; once
// discovery says that it has none, calls fail at once with the reason.
func TestFirstEndpoints(t *testing.T) {
	base := fleet(func(req *http.Request, _ string) (*http.Response, error) { return answer(req, 200, ""), nil })
	set := discovery.Update{Endpoints: []tulle.Endpoint{{Addr: "a:1"}}}
	broken := discovery.Update{Err: errors.New("source is down")}
	for _, test := range []struct {
		name   string
		update discovery.Update
		limit  time.Duration
		took   time.Duration
		want   error
	}{
		{"in time", set, 5 * time.Second, time.Second, nil},
		{"too late", set, 100 * time.Millisecond, 100 * time.Millisecond, context.DeadlineExceeded},
		{"failed", broken, 5 * time.Second, time.Second, transport.ErrNoEndpoints},
		{"empty", discovery.Update{}, 5 * time.Second, time.Second, transport.ErrNoEndpoints},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, err := transport.New(transport.Config{Base: base, Services: map[string]transport.Service{
					"svc": {Resolver: late(time.Second, test.update), Policy: transport.Policy{Timeout: test.limit}},
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = rt.Close() }()
				begun := time.Now()
				_, _, err = get(t.Context(), rt, "http://svc/")
				if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if took := time.Since(begun); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				if test.want == nil {
					return
				}
				time.Sleep(2 * time.Second)
				begun = time.Now()
				_, _, err = get(t.Context(), rt, "http://svc/")
				if took := time.Since(begun); took != 0 {
					t.Errorf("the next call took %v (%v), want none", took, err)
				}
			})
		})
	}
}

// Ready waits for those that it is asked for and names those that have none.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, err := transport.New(transport.Config{Services: map[string]transport.Service{
			"good":  {Resolver: late(time.Second, discovery.Update{Endpoints: []tulle.Endpoint{{Addr: "a:1"}}})},
			"bad":   {Resolver: late(time.Second, discovery.Update{Err: errors.New("no access")})},
			"never": {Resolver: late(time.Hour, discovery.Update{})},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rt.Close() }()
		if err := rt.Ready(t.Context(), "good"); err != nil {
			t.Errorf("good: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = rt.Ready(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, transport.ErrNoEndpoints) {
			t.Errorf("all: got %v, want the deadline of one and no endpoints of another", err)
		}
		if err := rt.Ready(t.Context(), "unheard"); !errors.Is(err, transport.ErrUnknownService) {
			t.Errorf("unheard: got %v, want ErrUnknownService", err)
		}
	})
}

// Shutdown lets running calls finish, to the end of their bodies, and refuses
// new ones.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
			resp := answer(req, 200, "")
			resp.Body = &slowBody{ctx: req.Context(), step: time.Second, left: 10, err: io.EOF}
			return resp, nil
		})
		rt := newTransport(t, service(base, transport.Policy{}, "a:1"))
		req, _ := http.NewRequest(http.MethodGet, "http://svc/", nil)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := rt.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown with a call running: got %v, want its context's error", err)
		}
		body := &closeWatch{}
		again, _ := http.NewRequest(http.MethodPost, "http://svc/", nil)
		again.Body = body
		if _, err := rt.RoundTrip(again); !errors.Is(err, transport.ErrClosed) || !body.closed.Load() {
			t.Errorf("a new call: got %v (body closed: %v), want ErrClosed and a closed body", err, body.closed.Load())
		}
		done := make(chan error, 1)
		begun := time.Now()
		go func() { done <- rt.Shutdown(context.Background()) }()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("the running call: %v", err)
		}
		_ = resp.Body.Close()
		if err := <-done; err != nil || time.Since(begun) != 10*time.Second {
			t.Errorf("Shutdown: got %v after %v, want nil after the body's 10 s", err, time.Since(begun))
		}
	})
}

// Close twice is once.
func TestCloseTwice(t *testing.T) {
	rt, err := transport.New(transport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := rt.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// A dead dependency, or a source that ends early, fails no New, and the watch
// is taken up again.
func TestWatchIsTakenUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watches := 0
		r := discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
			if watches++; watches < 3 {
				return errors.New("connection lost")
			}
			report(discovery.Update{Endpoints: []tulle.Endpoint{{Addr: "a:1"}}})
			<-ctx.Done()
			return nil
		})
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) { return answer(req, 200, ""), nil })
		rt, err := transport.New(transport.Config{Base: base, Services: map[string]transport.Service{"svc": {Resolver: r}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rt.Close() }()
		time.Sleep(time.Minute)
		if status, _, err := get(t.Context(), rt, "http://svc/"); err != nil || status != 200 {
			t.Errorf("got %d, %v after %d watches", status, err, watches)
		}
	})
}

// A source that says that there is nobody is believed ten minutes later, not
// before, as the set it had may be better than none.
func TestEmptySetDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updates := make(chan []tulle.Endpoint)
		r := discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
			for {
				select {
				case eps := <-updates:
					report(discovery.Update{Endpoints: eps})
				case <-ctx.Done():
					return nil
				}
			}
		})
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) { return answer(req, 200, ""), nil })
		rt, err := transport.New(transport.Config{Base: base, Services: map[string]transport.Service{"svc": {Resolver: r}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rt.Close() }()
		updates <- []tulle.Endpoint{{Addr: "a:1"}}
		updates <- nil
		time.Sleep(9 * time.Minute)
		if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
			t.Errorf("nine minutes after an empty answer: %v, want the last good set", err)
		}
		updates <- []tulle.Endpoint{{Addr: "a:1"}}
		time.Sleep(time.Hour)
		if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
			t.Errorf("an hour after it was taken back: %v", err)
		}
		updates <- nil
		time.Sleep(5 * time.Minute)
		updates <- nil
		time.Sleep(6 * time.Minute)
		if _, _, err := get(t.Context(), rt, "http://svc/"); !errors.Is(err, transport.ErrNoEndpoints) {
			t.Errorf("eleven minutes after the first empty answer: got %v, want ErrNoEndpoints", err)
		}
		updates <- []tulle.Endpoint{{Addr: "b:1"}}
		synctest.Wait()
		if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
			t.Errorf("after it came back: %v", err)
		}
	})
}

// Unknown hosts pass through untouched, are resolved, or are refused.
func TestUnknownHosts(t *testing.T) {
	var asked []*http.Request
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req)
		return answer(req, 200, ""), nil
	})
	dns := map[string]transport.ResolverFunc{"dns": func(u *url.URL) (discovery.Resolver, error) {
		return endpoints("10.9.9.9:" + u.Port()), nil
	}}
	t.Run("pass", func(t *testing.T) {
		asked = nil
		rt := newTransport(t, transport.Config{Base: base})
		req, _ := http.NewRequest(http.MethodGet, "http://host:81/", nil)
		if _, err := rt.RoundTrip(req); err != nil || len(asked) != 1 || asked[0] != req {
			t.Errorf("got %v; want the Base to get the caller's own request", err)
		}
	})
	t.Run("resolve", func(t *testing.T) {
		asked = nil
		rt := newTransport(t, transport.Config{Base: base, Unknown: transport.Resolve, Resolvers: dns})
		for _, test := range []struct{ url, want string }{
			{"http://host/", "10.9.9.9:80"},
			{"http://HOST.:80/", "10.9.9.9:80"},
			{"http://host:81/", "10.9.9.9:81"},
			{"http://[::1]:81/", "10.9.9.9:81"},
		} {
			if _, _, err := get(t.Context(), rt, test.url); err != nil {
				t.Errorf("%s: %v", test.url, err)
				continue
			}
			if got := asked[len(asked)-1].URL.Host; got != test.want {
				t.Errorf("%s: went to %s, want %s", test.url, got, test.want)
			}
		}
		if got := len(rt.Snapshot().Services); got != 3 {
			t.Errorf("got %d services, want 3", got)
		}
	})
	t.Run("refuse", func(t *testing.T) {
		rt := newTransport(t, transport.Config{Base: base, Unknown: transport.Refuse})
		if _, _, err := get(t.Context(), rt, "http://host/"); !errors.Is(err, transport.ErrUnknownService) {
			t.Errorf("got %v, want ErrUnknownService", err)
		}
	})
}

// roundTripper is a func as a RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Services of unknown hosts go after a quarter of an hour without a call, and
// are at most 1,024.
func TestUnknownHostsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := roundTripper(func(req *http.Request) (*http.Response, error) { return answer(req, 200, ""), nil })
		rt := newTransport(t, transport.Config{
			Base: base, Unknown: transport.Resolve,
			Resolvers: map[string]transport.ResolverFunc{"dns": func(u *url.URL) (discovery.Resolver, error) {
				return endpoints(u.Host), nil
			}},
		})
		call := func(host string) {
			if _, _, err := get(t.Context(), rt, "http://"+host+"/"); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		call("often")
		call("once")
		time.Sleep(10 * time.Minute)
		call("often")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := rt.Snapshot().Services; len(got) != 1 || got[0].Name != "often:80" {
			t.Errorf("after 20 minutes: got %d services, want the one in use", len(got))
		}
		for i := range 1100 {
			time.Sleep(time.Millisecond)
			call("h" + string(rune('a'+i%26)) + time.Duration(i).String())
		}
		if got := len(rt.Snapshot().Services); got != 1024 {
			t.Errorf("got %d services, want 1024", got)
		}
	})
}

// A call that the Base would send through a proxy passes through.
func TestProxyWins(t *testing.T) {
	var host string
	proxy := start(t, func(w http.ResponseWriter, r *http.Request) {
		host = r.URL.Host
		ok(w, r)
	})
	base := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})}
	t.Cleanup(base.CloseIdleConnections)
	rt := newTransport(t, transport.Config{Base: base, Unknown: transport.Resolve})
	if _, _, err := get(t.Context(), rt, "http://far.example/"); err != nil || host != "far.example" {
		t.Errorf("got %v; the proxy saw %q, want far.example", err, host)
	}
	if got := len(rt.Snapshot().Services); got != 0 {
		t.Errorf("got %d services, want none", got)
	}
}

// A Base that knows no endpoints can send http to any of them, https only to
// the one that it finds by itself.
func TestOtherBase(t *testing.T) {
	var hosts []string
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		hosts = append(hosts, req.URL.Host+" for "+req.Host)
		return answer(req, 200, ""), nil
	})
	rt := newTransport(t, transport.Config{Base: base, Services: map[string]transport.Service{
		"one": {Resolver: endpoints("a:1")},
		"two": {Resolver: endpoints("a:1", "b:1")},
	}})
	if _, _, err := get(t.Context(), rt, "http://one/"); err != nil || hosts[0] != "a:1 for one" {
		t.Errorf("http: got %v, %v", hosts, err)
	}
	if _, _, err := get(t.Context(), rt, "https://one/"); err != nil || hosts[1] != "one for one" {
		t.Errorf("https to one: got %v, %v", hosts, err)
	}
	if _, _, err := get(t.Context(), rt, "https://two/"); !errors.Is(err, transport.ErrBaseCannot) {
		t.Errorf("https to one of two: got %v, want ErrBaseCannot", err)
	}
}

// Chain puts the first wrapper outermost.
func TestChain(t *testing.T) {
	order := ""
	mark := func(name string) transport.Wrapper {
		return func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				order += name
				return next.RoundTrip(req)
			})
		}
	}
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		order += "c"
		return answer(req, 200, ""), nil
	})
	if _, _, err := get(t.Context(), transport.Chain(base, mark("a"), mark("b")), "http://x/"); err != nil || order != "abc" {
		t.Errorf("got order %q, %v; want abc", order, err)
	}
}
