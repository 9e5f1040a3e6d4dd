package main

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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	serviceTime   = 5 * time.Millisecond // median of a healthy server
	serviceSpread = 0.4                  // of its logarithm: 1 % take over 12 ms
	slowTime      = 2 * time.Second
)

// keyHeader is the metadata of a write with its idempotency key.
const keyHeader = "idempotency-key"

// A mode is how a server behaves.
type mode int32

const (
	healthy mode = iota
	slow
	unavailable
	killed
	silent
	leaving
)

// String is what the report says of a server in this mode.
func (m mode) String() string {
	return [...]string{"healthy", "answers after 2s", "UNAVAILABLE", "killed", "never answers", "NOT_SERVING"}[m]
}

// A server is one instance of the service. It is a real one: what happens to it
// reaches the clients as it would from another machine, as status codes, closed
// connections, refused ones, or nothing. The service is one of gRPC's own, so that
// the example needs no generated code.
type server struct {
	testpb.UnimplementedTestServiceServer
	name   string
	seed   uint64
	ledger *ledger
	mode   atomic.Int32 // changes while calls are at work

	addr    string // set by start
	grpc    *grpc.Server
	health  *health.Server
	serving sync.WaitGroup // of the goroutine that accepts
}

// start listens and serves until become(killed) or close.
func (s *server) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	s.addr = l.Addr().String()
	s.health = health.NewServer()
	s.grpc = grpc.NewServer(grpc.WaitForHandlers(true))
	healthpb.RegisterHealthServer(s.grpc, s.health)
	testpb.RegisterTestServiceServer(s.grpc, s)
	s.serving.Go(func() {
		_ = s.grpc.Serve(l) // if it ended otherwise than by close, the calls would show it
	})
	return nil
}

// become changes how the server behaves. When it is killed its port refuses and
// all its connections break. One that is leaving says so through its health
// service, and the others do not: what is wrong with them they do not know.
func (s *server) become(m mode) {
	s.mode.Store(int32(m))
	switch m {
	case killed:
		s.close()
	case leaving:
		s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	}
}

// now is how the server behaves.
func (s *server) now() mode { return mode(s.mode.Load()) }

// close breaks all connections and waits for the calls at work, whose contexts end
// with that.
func (s *server) close() {
	s.grpc.Stop()
	s.serving.Wait()
}

// CacheableUnaryCall is the method that reads.
func (s *server) CacheableUnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return s.answer(ctx, in, "")
}

// UnaryCall is the method that writes. Its caller gives each write a key.
func (s *server) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	keys := metadata.ValueFromIncomingContext(ctx, keyHeader)
	if len(keys) != 1 || keys[0] == "" {
		return nil, status.Errorf(codes.InvalidArgument, "%s %q: want one", keyHeader, keys)
	}
	return s.answer(ctx, in, keys[0])
}

// answer works for some milliseconds and answers. A write, which has a key, has its
// effect at the end of the work, and only if its caller is still there, so a call
// that was given up in time has none.
func (s *server) answer(ctx context.Context, in *testpb.SimpleRequest, key string) (*testpb.SimpleResponse, error) {
	// A server that is out of order does not work, so it answers faster than
	// any other: the one that a balancer should not fall for.
	work := s.work(in)
	switch s.now() {
	case unavailable:
		return nil, status.Error(codes.Unavailable, "out of order")
	case slow:
		work = slowTime
	}
	write := key != ""
	if write && s.ledger.delivered(key) {
		write, work = false, 0 // the answer is stored
	}
	if !wait(ctx, work) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	// A server that fell silent or died during the work does not finish it.
	// Like a frozen process, a silent one still has its connections, and its
	// port still accepts.
	switch s.now() {
	case silent:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case killed:
		return nil, status.Error(codes.Canceled, "killed") // nobody hears it
	}
	if write {
		s.ledger.execute(key)
	}
	return &testpb.SimpleResponse{Hostname: s.name}, nil
}

// work is the service time of a call: lognormal, as service times often are, and a
// function of the call's number alone, so that both clients ask for the same work.
func (s *server) work(in *testpb.SimpleRequest) time.Duration {
	number, err := strconv.ParseUint(string(in.GetPayload().GetBody()), 10, 64)
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
// idempotency keys do, they look a key up when a call arrives and store it
// with the effect. A repeat that comes after the effect is thus a duplicate
// delivery and does no harm. Nothing here locks a key during the work: two
// calls with one key that overlap would both have their effect, and that is
// what executedTwice counts. So a client that repeats a write while the first
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

// execute is the effect of a write.
func (l *ledger) execute(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.effects == nil {
		l.effects = make(map[string]int)
	}
	l.effects[key]++
}

// count returns how many writes had their effect, how many of these more than
// once, and how many calls came after the effect.
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
