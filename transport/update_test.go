package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// An Update changes what it says and keeps what is known.
func TestUpdateKeepsState(t *testing.T) {
	base := fleet(func(req *http.Request, _ string) (*http.Response, error) { return answer(req, 200, ""), nil })
	cfg := service(base, transport.Policy{}, "a:1", "b:1")
	cfg.Services["gone"] = transport.Service{Resolver: endpoints("g:1")}
	rt := newTransport(t, cfg)
	for range 50 {
		if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
			t.Fatal(err)
		}
	}
	before := attempts(rt)
	next := service(base, transport.Policy{
		Timeout: time.Second, Balancer: balancer.RoundRobin{}, Retry: &retry.Config{Attempts: 2},
		Limit: &limit.Config{Rate: 1000}, Ejection: &breaker.OutlierConfig{Consecutive: 7},
	}, "a:1", "b:1", "c:1")
	next.Services["new"] = transport.Service{Resolver: endpoints("n:1")}
	if err := rt.Update(next); err != nil {
		t.Fatal(err)
	}
	if err := rt.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"svc", "new"} {
		if _, _, err := get(t.Context(), rt, "http://"+name+"/"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for addr, n := range before {
		if addr != "g:1" && attempts(rt)[addr] < n {
			t.Errorf("%s: got %d attempts remembered, want at least %d", addr, attempts(rt)[addr], n)
		}
	}
	if _, _, err := get(t.Context(), rt, "http://gone/"); err == nil {
		t.Error("a service that was removed still answers") // the fleet refuses what passes through
	}
}

// A Config that cannot be used changes nothing.
func TestUpdateRefusesWhole(t *testing.T) {
	base := fleet(func(req *http.Request, _ string) (*http.Response, error) { return answer(req, 200, ""), nil })
	rt := newTransport(t, service(base, transport.Policy{}, "a:1"))
	bad := service(base, transport.Policy{Timeout: 1}, "b:1")
	bad.Services["x"] = transport.Service{Target: "nowhere://"}
	err := rt.Update(bad)
	if err == nil || !strings.Contains(err.Error(), "Timeout") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v, want all that is wrong", err)
	}
	if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil || len(rt.Snapshot().Services) != 1 {
		t.Errorf("after a refused Update: %v", err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rt.Update(service(base, transport.Policy{}, "a:1")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

// Updates under load: no call fails, no statistics are lost. The long form of
// this is run by "make soak".
func TestUpdateUnderLoad(t *testing.T) {
	var servers []string
	for range 4 {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(s.Close)
		servers = append(servers, s.Listener.Addr().String())
	}
	config := func(i int) transport.Config {
		p := transport.Policy{Timeout: time.Duration(5+i%3) * time.Second}
		if i%4 == 3 {
			p.Balancer = balancer.LeastRequest{}
		}
		cfg := service(nil, p, servers[:2+i%3]...)
		cfg.Services[fmt.Sprint("other", i%5)] = transport.Service{Resolver: endpoints(servers[0])}
		return cfg
	}
	rt := newTransport(t, config(0))
	var calls, failed atomic.Uint64
	var callers sync.WaitGroup
	stop := make(chan struct{})
	for range 16 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				calls.Add(1)
				if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil && failed.Add(1) < 5 {
					t.Errorf("a call failed: %v", err)
				}
			}
		})
	}
	for i := range 100 {
		if err := rt.Update(config(i)); err != nil {
			t.Errorf("update %d: %v", i, err)
		}
		for n := calls.Load(); calls.Load() < n+20; {
			if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
				t.Errorf("a call failed: %v", err)
			}
			calls.Add(1)
		}
	}
	close(stop)
	callers.Wait()
	if err := rt.Update(service(nil, transport.Policy{}, servers...)); err != nil {
		t.Fatal(err)
	}
	if err := rt.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t.Context(), rt, "http://svc/"); err != nil {
		t.Fatal(err)
	}
	// The source of the last Config speaks a little later.
	for len(attempts(rt)) < len(servers) && t.Context().Err() == nil {
		runtime.Gosched()
	}
	total := uint64(0)
	for _, n := range attempts(rt) {
		total += n
	}
	if total < calls.Load() {
		t.Errorf("got %d attempts remembered of %d calls", total, calls.Load())
	}
}

// A rolling deploy: ten servers are killed and replaced in turn, under load. No
// safe call fails, no POST is executed twice, and the breaker stays closed.
func TestRollingDeploy(t *testing.T) {
	d := &deploy{executed: map[string]int{}}
	for range 10 {
		d.replace(-1)
	}
	t.Cleanup(d.close)
	clients := make([]*transport.Transport, 10)
	for i := range clients {
		feed := make(chan []tulle.Endpoint, 1)
		d.feeds = append(d.feeds, feed)
		feed <- d.set()
		clients[i] = newTransport(t, transport.Config{Services: map[string]transport.Service{"svc": {Resolver: fed(feed)}}})
	}
	var callers sync.WaitGroup
	stop := make(chan struct{})
	var calls atomic.Int64
	for i, rt := range clients {
		callers.Go(func() { d.call(t, rt, i, stop, &calls) })
	}
	for i := range 10 {
		for n := calls.Load(); calls.Load() < n+200; { // let some traffic pass
			wait := time.NewTimer(time.Millisecond)
			<-wait.C
		}
		d.replace(i)
	}
	close(stop)
	callers.Wait()
	d.mu.Lock() // what a server that was killed has begun may yet run
	for key, n := range d.executed {
		if n > 1 {
			t.Errorf("POST %s was executed %d times", key, n)
		}
	}
	d.mu.Unlock()
	for _, rt := range clients {
		if s := rt.Snapshot().Services[0]; s.BreakerOpened > 0 {
			t.Errorf("the breaker opened %d times", s.BreakerOpened)
		}
	}
	t.Logf("%d calls", calls.Load())
}

// deploy is a service whose servers are replaced one by one.
type deploy struct {
	feeds []chan []tulle.Endpoint

	mu       sync.Mutex
	servers  []*httptest.Server // guarded by mu
	executed map[string]int     // guarded by mu: POSTs by key
}

// replace starts a server and kills the one in its place, if there is one.
func (d *deploy) replace(i int) {
	s := httptest.NewServer(http.HandlerFunc(d.serve))
	d.mu.Lock()
	if i < 0 {
		d.servers = append(d.servers, s)
		d.mu.Unlock()
		return
	}
	old := d.servers[i]
	d.servers[i] = s
	d.mu.Unlock()
	_ = old.Config.Close() // with all its connections
	for _, feed := range d.feeds {
		select {
		case <-feed: // nobody has read the set before
		default:
		}
		feed <- d.set()
	}
}

func (d *deploy) serve(_ http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		d.mu.Lock()
		d.executed[r.Header.Get("X-Id")]++
		d.mu.Unlock()
	}
}

// set is the present set of endpoints.
func (d *deploy) set() []tulle.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	var eps []tulle.Endpoint
	for _, s := range d.servers {
		eps = append(eps, tulle.Endpoint{Addr: s.Listener.Addr().String()})
	}
	return eps
}

func (d *deploy) close() {
	for _, s := range d.servers {
		s.Close()
	}
}

// call makes calls, each fifth a POST, until stop.
func (d *deploy) call(t *testing.T, rt *transport.Transport, client int, stop <-chan struct{}, calls *atomic.Int64) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		method := http.MethodGet
		if n%5 == 4 {
			method = http.MethodPost
		}
		req, _ := http.NewRequestWithContext(t.Context(), method, "http://svc/", http.NoBody)
		req.Header.Set("X-Id", fmt.Sprint(client, "-", n))
		resp, err := rt.RoundTrip(req)
		calls.Add(1)
		if err != nil {
			if method == http.MethodGet {
				t.Errorf("a GET failed: %v", err)
			}
			continue
		}
		_ = resp.Body.Close()
	}
}

// fed is a resolver that reports what it is fed.
func fed(feed <-chan []tulle.Endpoint) discovery.Resolver {
	return discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
		for {
			select {
			case eps := <-feed:
				report(discovery.Update{Endpoints: eps})
			case <-ctx.Done():
				return nil
			}
		}
	})
}
