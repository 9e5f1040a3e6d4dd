package tullegrpc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A program is a Transport with nodes, RPCs, and what happens meanwhile.
type program struct {
	t      *testing.T
	start  time.Time
	nodes  []*node
	source *source
	m      *transport.Transport
	cc     *grpc.ClientConn
	spans  *tracetest.SpanRecorder
	hooks  bool // RPCs have hooks
	grim   bool // the nodes do nothing well
	quick  bool // there are no pauses before repeats
	closes bool // the connection or the Transport is closed with calls in flight

	rpcs    []*rpc
	ctx     context.Context // ends with the program, and with it what is left of the RPCs
	running sync.WaitGroup
	tries   atomic.Int64 // attempts whose end was told
	granted atomic.Int64 // repeats that were told
}

// newProgram reads the parts of a program that stay.
func newProgram(t *testing.T, in *tape) *program {
	p := &program{t: t, start: time.Now(), source: newSource(), spans: tracetest.NewSpanRecorder()}
	p.hooks, p.grim, p.quick = in.n(2) == 0, in.odds(4), in.n(2) == 0
	for i := range 2 + in.n(3) {
		n := &node{addr: fmt.Sprintf("node%d:1", i), web: i%2 == 1}
		if n.refuses.Store(i > 0 && in.odds(5)); !n.refuses.Load() {
			n.up()
		}
		p.nodes = append(p.nodes, n)
	}
	p.update(p.nodes)
	p.m = must(transport.New(p.config(in)))
	p.connect(in)
	return p
}

// config reads the Config.
func (p *program) config(in *tape) transport.Config {
	cfg := transport.Config{Defaults: transport.Policy{
		Retry:    &retry.Config{Budget: retry.BudgetConfig{Ratio: ratio, PerSecond: reserve / 10}},
		Breaker:  &breaker.Config{OpenFor: 5 * time.Millisecond, ProbeTimeout: time.Hour},
		Ejection: &breaker.OutlierConfig{Consecutive: 2, Base: 100 * time.Millisecond, Max: 200 * time.Millisecond, ProbeTimeout: 10 * time.Minute},
	}}
	if p.quick {
		cfg.Defaults.Retry.MinBackoff, cfg.Defaults.Retry.MaxBackoff = 1, 1
	}
	if p.grim {
		cfg.Defaults.Breaker.Requests, cfg.Defaults.Breaker.FailureShare = 3, 0.2
	}
	if in.odds(2) {
		cfg.Defaults.Balancer = balancer.RoundRobin{}
	}
	if in.odds(3) {
		cfg.Defaults.AttemptTimeout = 10 * time.Millisecond
	}
	if in.odds(2) {
		cfg.Telemetry.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(p.spans))
	}
	users := transport.Service{Resolver: p.source}
	if in.odds(3) {
		users = transport.Service{Environments: map[string]transport.Destination{
			"local": {Resolver: discovery.Static{{Addr: p.nodes[0].addr}}}, "staging": {Resolver: p.source},
		}}
		cfg.Environment = "local"
		cfg.Environments = map[string]route.Environment{"local": {Fallback: []string{"staging"}, Failover: true}}
	}
	cfg.Services = map[string]transport.Service{"users": users}
	return cfg
}

// connect makes the connection.
func (p *program) connect(in *tape) {
	var options []tullegrpc.Option
	if in.odds(2) && !p.quick {
		options = append(options, tullegrpc.ServiceConfig(twice))
	}
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		i := slices.IndexFunc(p.nodes, func(n *node) bool { return n.addr == addr })
		return p.nodes[i].dial(ctx)
	}
	p.cc = must(grpc.NewClient("tulle:///users", append(tullegrpc.DialOptions(p.m, options...),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Millisecond, Multiplier: 2, MaxDelay: 20 * time.Millisecond}}),
		grpc.WithChainUnaryInterceptor(panicUnary), grpc.WithChainStreamInterceptor(panicStream, detachStream))...))
}

// update tells the endpoints.
func (p *program) update(all []*node) {
	var set discovery.Static
	for _, n := range all {
		set = append(set, tulle.Endpoint{Addr: n.addr})
	}
	p.source.set(discovery.Update{Endpoints: set})
}

// disturb reads something that happens once to the whole.
func (p *program) disturb(in *tape) func() {
	wait, back, n := in.pause(), in.pause(), p.nodes[in.n(len(p.nodes))]
	switch in.n(10) {
	case 8, 9:
		return func() {
			wait.pass()
			n.down(true)
			n.refuses.Store(true)
			back.pass()
			n.refuses.Store(false)
			n.kill()
			n.up()
		}
	case 0, 1:
		return func() { wait.pass(); n.kill() }
	case 2, 3:
		graceful := in.odds(2)
		return func() { wait.pass(); n.down(graceful); back.pass(); n.up() }
	case 4, 5:
		return func() { wait.pass(); p.update([]*node{n}); back.pass(); p.update(p.nodes) }
	}
	if p.closes || !in.odds(3) {
		return wait.pass
	}
	p.closes = true
	how := in.n(3)
	return func() {
		wait.pass()
		switch how {
		case 0:
			p.cc.Close()
		case 1:
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(back.millis)*time.Millisecond)
			defer cancel()
			p.m.Shutdown(ctx)
		case 2:
			p.m.Close()
		}
	}
}

// playTape plays the program that a tape has, in a bubble, and checks its accounts.
func playTape(t *testing.T, in tape) {
	p := newProgram(t, &in)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.ctx = ctx
	var plays []func()
	for range in.n(6) {
		plays = append(plays, p.disturb(&in))
	}
	workers := make([][]*rpc, 1+in.n(5))
	for i := 0; len(in) > 0; i++ {
		r := newRPC(p, &in)
		p.rpcs = append(p.rpcs, r)
		workers[i%len(workers)] = append(workers[i%len(workers)], r)
	}
	for _, all := range workers {
		plays = append(plays, func() {
			for _, r := range all {
				r.perform()
			}
		})
	}
	for _, f := range plays {
		p.running.Go(f)
	}
	p.running.Wait()
	cancel()
	synctest.Wait()
	if !t.Failed() {
		p.checkAccounts()
	}
	p.m.Close()
	p.cc.Close()
	for _, n := range p.nodes {
		n.down(false)
		n.running.Wait()
	}
}

// checkAccounts compares the accounts when all is over.
func (p *program) checkAccounts() {
	var leases, seen int64
	snap := p.m.Snapshot()
	for _, svc := range snap.Services {
		for _, e := range svc.Endpoints {
			leases += int64(e.Attempts)
			if e.Waiting != 0 || e.Streaming != 0 || e.State == breaker.OutlierProbing.String() {
				p.t.Errorf("%s %s: got %d leases that wait and %d that stream, %s, want none", svc.Environment, e.Addr, e.Waiting, e.Streaming, e.State)
			}
		}
	}
	for _, n := range p.nodes {
		seen += n.seen.Load()
	}
	if p.whole() && seen > leases {
		p.t.Errorf("got %d attempts at the nodes with %d leases", seen, leases)
	}
	if told := p.tries.Load(); p.hooks && p.whole() && told != leases {
		p.t.Errorf("got %d attempts whose end was told of %d that were made", told, leases)
	}
	if begun, ended := len(p.spans.Started()), len(p.spans.Ended()); begun != ended {
		p.t.Errorf("got %d spans that ended of %d", ended, begun)
	}
	for i, r := range p.rpcs {
		if r.finished.Load() != 1 || r.began.Load() != r.ended.Load() {
			p.t.Errorf("RPC %d, %v: got %d ends at OnFinish, want 1, and %d calls told to end of %d", i, r, r.finished.Load(), r.ended.Load(), r.began.Load())
		}
	}
	p.checkBudget(&snap)
	p.checkLater()
}

// The budget of a destination. What calls deposit is less than a token in all.
const (
	reserve = 100
	ratio   = 0.001
)

// checkBudget checks that the tokens which were spent are those of the repeats that were
// granted, and of all that were made while none is forgotten.
func (p *program) checkBudget(snap *transport.Snapshot) {
	var spent, granted, moved float64
	for _, svc := range snap.Services {
		spent += reserve - svc.RetryBudget
		granted += float64(svc.Retry.Repeats)
		moved += float64(svc.Retry.Moves)
	}
	made := 0.0
	if time.Since(p.start) < 9*time.Second {
		made = float64(p.granted.Load()) - moved
	}
	if p.hooks {
		granted = min(granted, float64(p.granted.Load()))
	}
	if spent < made-0.5 || spent > granted+0.5 {
		p.t.Errorf("got %v tokens spent, want %v to %v", spent, made, granted)
	}
}

// whole says that the Snapshot has all endpoints there were. A Transport that was closed
// hears of none that come back.
func (p *program) whole() bool {
	for _, svc := range p.m.Snapshot().Services {
		if svc.Environment != "local" && len(svc.Endpoints) < len(p.nodes) {
			return false
		}
	}
	return true
}

// checkLater checks what is held for a time: permits and tokens. Then nothing keeps the
// Transport from shutting down.
func (p *program) checkLater() {
	time.Sleep(12 * time.Second)
	for _, to := range p.m.Destinations("users") {
		var a cluster.Attempt
		var c tulle.Call
		if err := to.Engine.Begin(&a, &c, to.Engine.Now()); errors.Is(err, breaker.ErrOpen) {
			p.t.Errorf("%s: got %v, want no trial that is over to be waited for", to.Environment, err)
		} else if err == nil {
			a.Answer(&c, tulle.Outcome{Class: tulle.Ignored}, to.Engine.Now())
			a.End(tulle.Outcome{}, to.Engine.Now())
		}
	}
	for _, svc := range p.m.Snapshot().Services {
		if svc.RetryBudget != reserve {
			p.t.Errorf("got a budget of %v when all is forgotten, want %v", svc.RetryBudget, reserve)
		}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.m.Shutdown(ctx); err != nil || time.Since(began) > 0 {
		p.t.Errorf("Shutdown: got %v after %v, want none at once", err, time.Since(began))
	}
}

// taped is the tape of a seed.
func taped(seed uint64) tape {
	r := rand.NewPCG(seed, 1)
	in := make(tape, 600)
	for i := range in {
		in[i] = byte(r.Uint64() >> 32)
	}
	return in
}

// Whatever callers, servers and the network do: each lease that is taken is answered and
// ended, once, and so is whatever else a call holds or has told of. A program is played
// again by -run TestAccounts/seed=n; its goroutines may meet in another order then.
func TestAccounts(t *testing.T) {
	programs := uint64(50)
	if testing.Short() {
		programs = 8
	}
	for seed := range programs {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playTape(t, taped(seed)) })
		})
	}
}

// FuzzAccounts is TestAccounts for programs of any bytes.
func FuzzAccounts(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(taped(100)))
	f.Fuzz(func(t *testing.T, in []byte) {
		synctest.Test(t, func(t *testing.T) { playTape(t, tape(in[:min(len(in), 300)])) })
	})
}
