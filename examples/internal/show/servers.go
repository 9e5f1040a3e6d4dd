package show

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
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

// A Mode is how a server behaves.
type Mode int32

// The modes.
const (
	Healthy     Mode = iota
	Slow             // it answers after two seconds
	Unavailable      // it refuses each call at once
	Killed           // its connections break and its port refuses
	Silent           // it never answers
	Leaving          // it serves, and says that it is about to go
)

// describe is what the view says of a server in mode m.
func (s *Show) describe(m Mode) string {
	return [...]string{"healthy", "answers after 2s", s.Refuse, "killed", "never answers", "NOT_SERVING"}[m]
}

// A Host serves the calls of one server. An *http.Server is one.
type Host interface {
	// Serve accepts connections until Close is called.
	Serve(net.Listener) error

	// Close closes the listener and breaks all connections, also those of
	// calls that are at work.
	Close() error
}

// A Server is one instance of the service. It is a real one: what happens to it
// reaches the clients as it would from another machine, as status codes, closed
// connections, refused ones, or nothing. Its methods may be called by many
// goroutines at once.
type Server struct {
	// Changed is called after each change of mode but Killed, if a Host has set
	// it.
	Changed func(Mode)

	name   string
	seed   uint64
	ledger *ledger
	mode   atomic.Int32 // changes while calls are at work

	newHost func(*Server) Host
	addr    string         // set by Start
	host    Host           // set by Start
	serving sync.WaitGroup // of the goroutine that accepts
}

// NewServer returns a server of its own, which belongs to no stage. The seed is that
// of its service times.
func NewServer(name string, seed uint64, host func(*Server) Host) *Server {
	return &Server{name: name, seed: seed, newHost: host, ledger: new(ledger)}
}

// Name is the name of the server, such as "s1".
func (s *Server) Name() string { return s.name }

// Addr is host and port of the server. There is none before Start.
func (s *Server) Addr() string { return s.addr }

// Start listens on a free port and serves until Become(Killed) or Close.
func (s *Server) Start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	s.addr = l.Addr().String()
	s.host = s.newHost(s)
	s.serving.Go(func() {
		_ = s.host.Serve(l) // if it ended otherwise than by Close, the calls would show it
	})
	return nil
}

// Become changes how the server behaves. When it is killed its port refuses and
// all its connections break.
func (s *Server) Become(m Mode) {
	s.mode.Store(int32(m))
	if m == Killed {
		s.Close()
	} else if s.Changed != nil {
		s.Changed(m)
	}
}

// now is how the server behaves.
func (s *Server) now() Mode { return Mode(s.mode.Load()) }

// Close breaks all connections. Calls at work then end by themselves, as their
// contexts do.
func (s *Server) Close() {
	if s.host != nil {
		_ = s.host.Close() // of a socket on loopback
	}
	s.serving.Wait()
}

// ErrUnavailable is what a server that is out of order answers.
var ErrUnavailable = errors.New("out of order")

// Work does the work of the call with a number, which takes some milliseconds. A
// write, which has a key, has its effect at the end of the work, and only if its
// caller is still there, so a call that was given up in time has none. Any error
// but ErrUnavailable is one of a context, and means that nobody hears an answer.
func (s *Server) Work(ctx context.Context, number, key string) error {
	// A server that is out of order does not work, so it answers faster than
	// any other: the one that a balancer should not fall for.
	work := s.work(number)
	switch s.now() {
	case Unavailable:
		return ErrUnavailable
	case Slow:
		work = slowTime
	}
	write := key != ""
	if write && s.ledger.delivered(key) {
		write, work = false, 0 // the answer is stored
	}
	if !wait(ctx, work) {
		return ctx.Err()
	}
	// A server that fell silent or died during the work does not finish it.
	// Like a frozen process, a silent one still has its connections, and its
	// port still accepts.
	switch s.now() {
	case Silent:
		<-ctx.Done()
		return ctx.Err()
	case Killed:
		return context.Canceled
	}
	if write {
		s.ledger.execute(key)
	}
	return nil
}

// work is the service time of a call: lognormal, as service times often are, and a
// function of the call's number alone, so that both clients ask for the same work.
func (s *Server) work(call string) time.Duration {
	number, err := strconv.ParseUint(call, 10, 64)
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

// A group is the servers of one client.
type group struct {
	ledger  ledger
	servers []*Server // in the order in which they start
	started int       // belongs to the goroutine of Stage.happen
}

// serverName is the name of the server with index i.
func serverName(i int) string { return "s" + strconv.Itoa(i+1) }

// newGroup returns a group of n servers, the first of which are started. The
// others join when start is called.
func newGroup(host func(*Server) Host, seed uint64, n, first int) (*group, error) {
	g := new(group)
	for i := range n {
		g.servers = append(g.servers, &Server{name: serverName(i), seed: seed, newHost: host, ledger: &g.ledger})
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
	if err := g.servers[g.started].Start(); err != nil {
		return err
	}
	g.started++
	return nil
}

// begin lets the event of a phase happen.
func (g *group) begin(p *Phase) error {
	if p.Joins {
		return g.start()
	}
	g.servers[p.Server].Become(p.Becomes)
	return nil
}

// members are the servers that were started. They stay members when they die,
// as in most registries.
func (g *group) members() []*Server { return g.servers[:g.started] }

// addrs are the addresses of the members.
func (g *group) addrs() []string {
	var all []string
	for _, s := range g.members() {
		all = append(all, s.addr)
	}
	return all
}

func (g *group) close() {
	for _, s := range g.members() {
		s.Close()
	}
}
