package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	serviceTime   = 5 * time.Millisecond // median of a healthy server
	serviceSpread = 0.4                  // of its logarithm: 1 % take over 12 ms
	slowTime      = 2 * time.Second
)

// A mode is how a server behaves.
type mode int32

const (
	healthy mode = iota
	slow
	unavailable
	killed
	silent
)

// String is what the report says of a server in this mode.
func (m mode) String() string {
	return [...]string{"healthy", "answers after 2s", "answers 503", "killed", "never answers"}[m]
}

// A server is one instance of the service. It is a real one: what happens to it
// reaches the clients as it would from another machine, as status codes, closed
// connections, refused ones, or nothing.
type server struct {
	name   string
	seed   uint64
	ledger *ledger
	mode   atomic.Int32 // changes while requests are at work

	addr    string // set by start
	http    http.Server
	serving sync.WaitGroup // of the goroutine that accepts
}

// start listens and serves until become(killed) or close.
func (s *server) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	s.addr = l.Addr().String()
	s.http.Handler = s
	s.serving.Go(func() {
		_ = s.http.Serve(l) // ends with ErrServerClosed; if it ended otherwise, the calls would show it
	})
	return nil
}

// become changes how the server behaves. When it is killed its port refuses and
// all its connections break.
func (s *server) become(m mode) {
	s.mode.Store(int32(m))
	if m == killed {
		s.close()
	}
}

// now is how the server behaves.
func (s *server) now() mode { return mode(s.mode.Load()) }

// close breaks all connections. Requests at work then end by themselves, as
// their contexts do.
func (s *server) close() {
	_ = s.http.Close() // of a socket on loopback
	s.serving.Wait()
}

// ServeHTTP works for some milliseconds and answers. A POST has its effect at
// the end of the work, and only if its caller is still there, so a request that
// was given up in time has none.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The server notices that its caller has gone only once the body is read.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	// A server that is out of order does not work, so it answers faster than
	// any other: the one that a balancer should not fall for.
	work := s.work(r)
	switch s.now() {
	case unavailable:
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	case slow:
		work = slowTime
	}
	post, key := r.Method == http.MethodPost, r.Header.Get("Idempotency-Key")
	if post && s.ledger.delivered(key) {
		post, work = false, 0 // the answer is stored
	}
	if !wait(r.Context(), work) {
		return
	}
	// A server that fell silent or died during the work does not finish it.
	// Like a frozen process, a silent one still has its connections, and its
	// port still accepts.
	switch s.now() {
	case silent:
		<-r.Context().Done()
		return
	case killed:
		return
	}
	if post {
		s.ledger.execute(key)
	}
	_, _ = io.WriteString(w, s.name+"\n") // whoever is not there any more needs no answer
}

// work is the service time of a request: lognormal, as service times often are,
// and a function of the request's number alone, so that both clients ask for the
// same work.
func (s *server) work(r *http.Request) time.Duration {
	number, err := strconv.ParseUint(path.Base(r.URL.Path), 10, 64)
	if err != nil {
		return serviceTime
	}
	normal := rand.New(rand.NewPCG(s.seed, number)).NormFloat64()
	return time.Duration(float64(serviceTime) * math.Exp(serviceSpread*normal))
}

// wait waits as long as the work or a pause takes. It uses no CPU, so that many
// servers fit on one machine. It returns false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// A ledger is the database that the servers of a group share. As services with
// idempotency keys do, they look a key up when a request arrives and store it
// with the effect. A repeat that comes after the effect is thus a duplicate
// delivery and does no harm. Nothing here locks a key during the work: two
// requests with one key that overlap would both have their effect, and that is
// what executedTwice counts. So a client that repeats a POST while the first
// attempt still runs is found out.
type ledger struct {
	mu         sync.Mutex
	effects    map[string]int // guarded by mu: by key
	duplicates int            // guarded by mu
}

// delivered says whether the key's effect is there already, and counts that as
// a duplicate delivery.
func (l *ledger) delivered(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.effects[key] == 0 {
		return false
	}
	l.duplicates++
	return true
}

// execute is the effect of a POST.
func (l *ledger) execute(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.effects == nil {
		l.effects = make(map[string]int)
	}
	l.effects[key]++
}

// count returns how many POSTs had their effect, how many of these more than
// once, and how many requests came after the effect.
func (l *ledger) count() (executed, twice, duplicates int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.effects {
		if n > 1 {
			twice++
		}
	}
	return len(l.effects), twice, l.duplicates
}

// A group is the servers of one client.
type group struct {
	ledger  ledger
	servers []*server // in the order in which they start
	started int       // belongs to the goroutine of stage.happen
}

// serverName is the name of the server with index i.
func serverName(i int) string { return "s" + strconv.Itoa(i+1) }

// newGroup returns a group of n servers, the first of which are started. The
// others join when start is called.
func newGroup(seed uint64, n, first int) (*group, error) {
	g := new(group)
	for i := range n {
		g.servers = append(g.servers, &server{name: serverName(i), seed: seed, ledger: &g.ledger})
	}
	for range first {
		if err := g.start(); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// start starts the next server.
func (g *group) start() error {
	if g.started == len(g.servers) {
		return errors.New("all servers are started")
	}
	if err := g.servers[g.started].start(); err != nil {
		return err
	}
	g.started++
	return nil
}

// members are the servers that were started. They stay members when they die,
// as in most registries.
func (g *group) members() []*server { return g.servers[:g.started] }

func (g *group) close() {
	for _, s := range g.members() {
		s.close()
	}
}
