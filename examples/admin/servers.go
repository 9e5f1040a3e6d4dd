package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// A server is an instance of a service. It is a real one, and what goes wrong with
// it is as well.
type server struct {
	name, zone, addr string
	time             time.Duration // that an answer takes, about
	bad, slow        atomic.Bool

	mu      sync.Mutex
	http    *http.Server // guarded by mu: nil while it is killed
	serving sync.WaitGroup
}

// start listens, at the address it had before if it had one.
func (s *server) start() error {
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	s.addr = l.Addr().String()
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	s.mu.Lock()
	s.http = srv
	s.mu.Unlock()
	s.serving.Go(func() { _ = srv.Serve(l) }) // it ends with kill
	return nil
}

// kill makes the port refuse and breaks all connections.
func (s *server) kill() {
	s.mu.Lock()
	if s.http != nil {
		_ = s.http.Close()
		s.http = nil
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// ServeHTTP answers after a while, and not always well.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := time.Duration((0.6 + rand.ExpFloat64()*0.4) * float64(s.time))
	if s.slow.Load() {
		d *= 12
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return
	}
	if s.bad.Load() {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == "/v1/missing" {
		http.NotFound(w, r)
		return
	}
	fmt.Fprintf(w, "%s\n", s.name)
}

// A stage is the servers, what goes wrong with them, and what is called.
type stage struct {
	start    time.Time
	groups   map[string][]*server
	calls    []call
	faults   []fault
	interval time.Duration // of one round of faults
}

// A fault begins and ends at times in a round.
type fault struct {
	from, to   time.Duration
	begin, end func() error
}

// newStage starts the servers.
func newStage() (*stage, error) {
	s := &stage{start: time.Now(), groups: map[string][]*server{}, interval: 30 * time.Second}
	for _, g := range []struct {
		service string
		zones   []string
		time    time.Duration
	}{
		{"users", []string{"a", "a", "a", "b", "b"}, 4 * time.Millisecond},
		{"orders", []string{"a", "a", "b"}, 9 * time.Millisecond},
		{"search", []string{"", "", "", ""}, 15 * time.Millisecond},
		{"payments", []string{"", ""}, 25 * time.Millisecond},
	} {
		for i, zone := range g.zones {
			srv := &server{name: fmt.Sprintf("%s-%d", g.service, i), zone: zone, time: g.time}
			if err := srv.start(); err != nil {
				s.close()
				return nil, err
			}
			s.groups[g.service] = append(s.groups[g.service], srv)
		}
	}
	users, orders, search := s.groups["users"][1], s.groups["orders"][0], s.groups["search"][2]
	s.faults = []fault{
		{4 * time.Second, 14 * time.Second, set(&users.bad, true), set(&users.bad, false)},
		{10 * time.Second, 20 * time.Second, func() error { orders.kill(); return nil }, orders.start},
		{16 * time.Second, 26 * time.Second, set(&search.slow, true), set(&search.slow, false)},
	}
	s.calls = []call{
		{"http://users/v1/me", 14 * time.Millisecond}, {"http://users/v1/missing", 190 * time.Millisecond},
		{"http://orders/v1/open", 30 * time.Millisecond}, {"http://search/v1/find", 25 * time.Millisecond},
		{"http://payments/v1/limits", 90 * time.Millisecond},
	}
	return s, nil
}

// set is a fault that is a flag.
func set(flag *atomic.Bool, to bool) func() error {
	return func() error { flag.Store(to); return nil }
}

// services name the servers for a Transport.
func (s *stage) services() map[string]transport.Service {
	all := map[string]transport.Service{}
	for name, servers := range s.groups {
		var list discovery.Static
		for _, srv := range servers {
			list = append(list, tulle.Endpoint{Addr: srv.addr, Name: srv.name, Zone: srv.zone})
		}
		all[name] = transport.Service{Resolver: list}
	}
	// By default the balancer keeps off a server that fails before it is left out,
	// and there is less to see. Here each gets its turn.
	users := all["users"]
	users.Policy.Balancer = balancer.RoundRobin{}
	all["users"] = users
	return all
}

// close ends the servers.
func (s *stage) close() {
	for _, servers := range s.groups {
		for _, srv := range servers {
			srv.kill()
		}
	}
}

// play lets things go wrong, round after round.
func (s *stage) play(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, f := range s.faults {
		running.Go(func() {
			for wait(ctx, f.from) && f.begin() == nil && wait(ctx, f.to-f.from) && f.end() == nil && wait(ctx, s.interval-f.to) {
			}
		})
	}
}

// wait says whether a time has passed and the context not ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A call is made again and again.
type call struct {
	url   string
	every time.Duration
}

// make makes the call once. What the service answers is its own affair.
func (c call) make(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// load makes all calls, each at its own pace whether the one before has ended or
// not, until the context ends.
func (s *stage) load(ctx context.Context, client *http.Client) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, c := range s.calls {
		running.Go(func() {
			for wait(ctx, time.Duration((0.5+rand.Float64())*float64(c.every))) {
				running.Go(func() { _ = c.make(ctx, client) }) // the page shows what failed
			}
		})
	}
}
