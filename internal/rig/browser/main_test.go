package browser_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/internal/rig/browser"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

func TestMain(m *testing.M) { leak.Main(m) }

// start starts a browser, or skips the test.
func start(t *testing.T) *browser.Browser {
	t.Helper()
	path, err := browser.Find()
	if err != nil {
		t.Skipf("SKIPPED, THIS IS NOT TESTED: %v", err)
	}
	b, err := browser.Start(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// patience is how long a test may take. All that it waits for are conditions, so
// that a machine with much else to do needs more of it, and no test fails for that.
const patience = 5 * time.Minute

// limit is a context that ends with that.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A server is a real one that can fail and be killed.
type server struct {
	t       *testing.T
	addr    string
	failing atomic.Bool
	http    *http.Server
	serving sync.WaitGroup
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, addr: "127.0.0.1:0"}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start listens, at the same address each time.
func (s *server) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	s.serving.Go(func() { _ = s.http.Serve(l) }) // it ends with kill
}

// kill refuses and breaks all connections.
func (s *server) kill() {
	_ = s.http.Close()
	s.serving.Wait()
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.failing.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/v1/broken":
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Path == "/v1/missing":
		w.WriteHeader(http.StatusNotFound)
	default:
		fmt.Fprint(w, "hello")
	}
}

// A rig is a program with a page: a Transport that calls real servers all the
// time, and the page on a port of its own.
type rig struct {
	users, orders []*server
	handler       *admin.Handler
	url           string // of the page
}

// newRig starts all of it.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{}
	services := map[string]transport.Service{}
	for name, servers := range map[string]*[]*server{"users": &r.users, "orders": &r.orders} {
		var list discovery.Static
		for i := range 4 {
			s := newServer(t)
			*servers = append(*servers, s)
			list = append(list, tulle.Endpoint{Addr: s.addr, Name: fmt.Sprintf("%s-%d", name, i), Zone: string("aabb"[i])})
		}
		// Each gets its turn, so that one which fails is found out soon.
		services[name] = transport.Service{Resolver: list, Policy: transport.Policy{Balancer: balancer.RoundRobin{}}}
	}
	rt, err := transport.New(transport.Config{
		Services: services, Defaults: transport.Policy{Timeout: time.Minute}, // a slow machine is no trouble of the servers
		Telemetry: telemetry.Config{Sample: 50, Keep: 2000},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	loadedAt := time.Now()
	r.handler, err = admin.New(rt, admin.Config{
		Title: "shop", Interval: 250 * time.Millisecond, Background: true,
		ConfigStatus: func() admin.ConfigStatus { return admin.ConfigStatus{Version: "4f2a91c", LoadedAt: loadedAt} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.handler.Close() })
	r.url = "http://" + serve(t, http.StripPrefix("/mesh", r.handler)) + "/mesh/"
	r.load(t, rt)
	return r
}

// serve serves a handler and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) }) // it ends with Close
	t.Cleanup(func() {
		_ = srv.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// load calls the services until the test ends.
func (r *rig) load(t *testing.T, rt *transport.Transport) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, url := range []string{
		"http://users/v1/me", "http://users/v1/me", "http://orders/v1/open", "http://orders/v1/missing", "http://orders/v1/broken",
	} {
		running.Go(func() {
			tick := time.NewTicker(time.Duration(10+7*i) * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
				if resp, err := rt.RoundTrip(req); err == nil { // what fails is seen on the page
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// open opens a page and waits until it is kept up to date. At the end of the test
// its console must have said nothing.
func open(ctx context.Context, t *testing.T, b *browser.Browser, url string, v browser.View) *browser.Page {
	t.Helper()
	p, err := b.Open(ctx, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, problem := range p.Problems() {
			t.Errorf("console: %s", problem)
		}
	})
	if err := p.Go(ctx, url); err != nil {
		t.Fatal(err)
	}
	if !v.NoScript {
		until(ctx, t, p, "document.getElementById('state').dataset.state === 'live'")
	}
	return p
}

// until waits until an expression is true in the page.
func until(ctx context.Context, t *testing.T, p *browser.Page, expression string) {
	t.Helper()
	if err := p.Until(ctx, expression); err != nil {
		t.Fatal(err)
	}
}

// eval is the value of an expression in the page.
func eval[T any](ctx context.Context, t *testing.T, p *browser.Page, expression string) (v T) {
	t.Helper()
	if err := p.Eval(ctx, expression, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// desktop is a view.
func desktop() browser.View { return browser.View{Width: 1280, Height: 800} }
