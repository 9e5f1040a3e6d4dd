package tullegrpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A source is a Resolver that says what the test wants.
type source struct {
	mu     sync.Mutex
	update discovery.Update // guarded by mu
	next   chan struct{}    // guarded by mu: closed when update is replaced
}

func newSource() *source { return &source{next: make(chan struct{})} }

// set reports a set of endpoints.
func (s *source) set(u discovery.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update = u
	close(s.next)
	s.next = make(chan struct{})
}

// Watch implements discovery.Resolver.
func (s *source) Watch(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
	for {
		s.mu.Lock()
		u, next := s.update, s.next
		s.mu.Unlock()
		if u.Endpoints != nil || u.Err != nil {
			report(u)
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Endpoints that come are used, those that go are not, and calls that run on them
// end well.
func TestUpdates(t *testing.T) {
	all := fleet(t, 3)
	src := newSource()
	src.set(discovery.Update{Endpoints: static(all[0], all[1])})
	m := mesh(t, transport.Service{Resolver: src, Policy: transport.Policy{Balancer: balancer.RoundRobin{}}})
	users := connect(t, m, "tulle:///users")
	call := func() {
		t.Helper()
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		call()
	}
	stream, err := users.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&testpb.StreamingOutputCallRequest{})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	src.set(discovery.Update{Endpoints: static(all[2])})
	for end := time.Now().Add(patience); all[2].calls.Load() == 0; call() {
		if time.Now().After(end) {
			t.Fatal("the new endpoint got no call")
		}
	}
	before := all[0].calls.Load() + all[1].calls.Load()
	for range 50 {
		call()
	}
	if got := all[0].calls.Load() + all[1].calls.Load() - before; got != 0 {
		t.Errorf("got %d calls at endpoints that left", got)
	}
	stream.CloseSend()
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.OK && err.Error() != "EOF" {
		t.Errorf("got %v, want the stream on an endpoint that left to end well", err)
	}
	src.set(discovery.Update{Err: errors.New("the source is down")})
	for range 20 {
		call()
	}
}

// What is known of endpoints survives gRPC's idle mode, in which it forgets its
// balancer.
func TestIdle(t *testing.T) {
	all := fleet(t, 2)
	m := mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{
		Balancer: balancer.RoundRobin{},
		Ejection: &breaker.OutlierConfig{Base: time.Hour, Max: time.Hour}, // no probe comes while the test runs
	}})
	cc, err := grpc.NewClient("tulle:///users", append(tullegrpc.DialOptions(m),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(200*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	users := testpb.NewTestServiceClient(cc)
	all[0].fails(codes.Internal)
	until(t, m, all[0].addr, "ejected", func() { users.UnaryCall(within(t), &testpb.SimpleRequest{}) })
	ctx := within(t)
	for s := cc.GetState(); s != connectivity.Idle; s = cc.GetState() {
		if !cc.WaitForStateChange(ctx, s) {
			t.Fatal("the connection did not become idle")
		}
	}
	before := all[0].calls.Load()
	for range 20 {
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := all[0].calls.Load() - before; got > 0 {
		t.Errorf("after idle: got %d of 20 calls at an ejected endpoint, want none", got)
	}
}

// A panic that goes through a call leaves nothing behind: no attempt in flight, and
// nothing that Shutdown waits for.
func TestPanic(t *testing.T) {
	unary := func(users testpb.TestServiceClient, options ...grpc.CallOption) {
		users.UnaryCall(within(t), &testpb.SimpleRequest{}, options...)
	}
	stream := func(users testpb.TestServiceClient, options ...grpc.CallOption) {
		users.FullDuplexCall(context.Background(), options...)
	}
	for _, c := range []struct {
		name string
		call func(testpb.TestServiceClient, ...grpc.CallOption)
		opts []grpc.CallOption
	}{
		{"encoding", unary, []grpc.CallOption{grpc.ForceCodec(panicking{})}},
		{"decoding", unary, []grpc.CallOption{grpc.ForceCodec(panicking{decoding: true})}},
		{"interceptor, before", unary, []grpc.CallOption{panicking{before: true}}},
		{"interceptor, after", unary, []grpc.CallOption{panicking{after: true}}},
		{"stream interceptor, before", stream, []grpc.CallOption{panicking{before: true}}},
		{"stream interceptor, after", stream, []grpc.CallOption{panicking{after: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := mesh(t, transport.Service{Resolver: static(serve(t)), Policy: transport.Policy{AttemptTimeout: time.Minute}})
			users := connect(t, m, "tulle:///users", grpc.WithChainUnaryInterceptor(panicUnary), grpc.WithChainStreamInterceptor(panicStream))
			ended := make(chan error, 1)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("got no panic")
					}
				}()
				c.call(users, append(c.opts, grpc.OnFinish(func(err error) { ended <- err }))...)
			}()
			if err := <-ended; status.Code(err) != codes.Internal {
				t.Errorf("got the end %v, want Internal", err)
			}
			see(t, m, "after the panic", 0, 0)
			if err := m.Shutdown(within(t)); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

// panicking is a codec that panics, or an option by which interceptors do.
type panicking struct {
	grpc.EmptyCallOption
	decoding, before, after bool
}

func (p panicking) Marshal(any) ([]byte, error) {
	if p.decoding {
		return nil, nil
	}
	panic("encoding")
}

func (panicking) Unmarshal([]byte, any) error { panic("decoding") }

func (panicking) Name() string { return "proto" }

// panicAt panics if an option says so.
func panicAt(opts []grpc.CallOption, at func(panicking) bool) {
	for _, o := range opts {
		if p, ok := o.(panicking); ok && at(p) {
			panic("interceptor")
		}
	}
}

func panicUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	panicAt(opts, func(p panicking) bool { return p.before })
	err := invoker(ctx, method, req, reply, cc, opts...)
	panicAt(opts, func(p panicking) bool { return p.after })
	return err
}

func panicStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	panicAt(opts, func(p panicking) bool { return p.before })
	stream, err := streamer(ctx, desc, cc, method, opts...)
	panicAt(opts, func(p panicking) bool { return p.after })
	return stream, err
}

// A call that waits for the connection gets through when there is one.
func TestWaitForReady(t *testing.T) {
	s := serve(t)
	src := newSource()
	src.set(discovery.Update{Err: errors.New("nobody knows")})
	m := mesh(t, transport.Service{Resolver: src})
	users := connect(t, m, "tulle:///users")
	if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); !errors.Is(err, transport.ErrNoEndpoints) || status.Code(err) != codes.Unavailable {
		t.Errorf("without waiting: got %v, want ErrNoEndpoints", err)
	}
	done := make(chan error, 1)
	ctx := within(t)
	go func() {
		_, err := users.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.WaitForReady(true))
		done <- err
	}()
	src.set(discovery.Update{Endpoints: static(s)})
	if err := <-done; err != nil {
		t.Errorf("got %v", err)
	}
}

// A service that a later Config brings is found, and one that it takes away is not.
func TestService(t *testing.T) {
	s := serve(t)
	m := mesh(t, transport.Service{Resolver: static(s)})
	orders := connect(t, m, "tulle:///orders:8080")
	call := func() error {
		_, err := orders.UnaryCall(within(t), &testpb.SimpleRequest{})
		return err
	}
	if err := call(); !errors.Is(err, transport.ErrUnknownService) {
		t.Fatalf("got %v, want ErrUnknownService", err)
	}
	with := transport.Config{Services: map[string]transport.Service{"orders": {Resolver: static(s)}}}
	for range 3 {
		if err := m.Update(with); err != nil {
			t.Fatal(err)
		}
		var err error
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if err = call(); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("after Update: got %v", err)
		}
		if err := m.Update(transport.Config{}); err != nil {
			t.Fatal(err)
		}
		if err := call(); !errors.Is(err, transport.ErrUnknownService) {
			t.Errorf("got %v, want ErrUnknownService", err)
		}
	}
}

// Targets of other schemes and dialers of their own work as without tulle.
func TestOtherTargets(t *testing.T) {
	all := fleet(t, 1)
	_, port, _ := net.SplitHostPort(all[0].addr)
	l := bufconn.Listen(1 << 16)
	local := &server{grpc: grpc.NewServer(), addr: "bufconn"}
	testpb.RegisterTestServiceServer(local.grpc, local)
	go local.grpc.Serve(l)
	defer local.grpc.Stop()
	m := mesh(t, transport.Service{Resolver: static(all...)})
	for _, c := range []struct {
		target string
		opts   []grpc.DialOption
		want   string
	}{
		{"passthrough:///" + all[0].addr, nil, all[0].addr},
		{"dns:///localhost:" + port, nil, all[0].addr},
		{"dns:///127.0.0.1:" + port, []grpc.DialOption{grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`)}, all[0].addr},
		{"passthrough:///bufconn", []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return l.DialContext(ctx)
		})}, "bufconn"},
	} {
		users := connect(t, m, c.target, c.opts...)
		reply, err := users.UnaryCall(within(t), &testpb.SimpleRequest{})
		if err != nil || reply.Hostname != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.target, reply, err, c.want)
		}
		stream, err := users.FullDuplexCall(within(t))
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		stream.Send(&testpb.StreamingOutputCallRequest{})
		if _, err := stream.Recv(); err != nil {
			t.Errorf("%s: %v", c.target, err)
		}
		stream.CloseSend()
		stream.Recv()
	}
	for _, target := range []string{"tulle://authority/users", "tulle:///"} {
		users := connect(t, m, target)
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v, want Unavailable", target, err)
		}
	}
}

// An endpoint may serve gRPC on another port, and is one endpoint all the same.
func TestGRPCPort(t *testing.T) {
	web, rpc := serve(t), serve(t)
	host, port, _ := net.SplitHostPort(rpc.addr)
	e := tulle.Endpoint{Addr: web.addr}
	if _, err := fmt.Sscan(port, &e.GRPCPort); err != nil || host != "127.0.0.1" {
		t.Fatal(host, err)
	}
	m := mesh(t, transport.Service{Resolver: discovery.Static{e}})
	reply, err := connect(t, m, "tulle:///users").UnaryCall(within(t), &testpb.SimpleRequest{})
	if err != nil || reply.Hostname != rpc.addr {
		t.Errorf("got %v, %v, want %s", reply, err, rpc.addr)
	}
	if got := m.Snapshot().Services[0].Endpoints[0].Attempts; got != 1 {
		t.Errorf("got %d attempts at the endpoint, want 1", got)
	}
}

// Calls, streams, updates and failures at once: nothing fails that could have been
// served, and nothing is left running.
func TestChaos(t *testing.T) {
	all := fleet(t, 6)
	src := newSource()
	src.set(discovery.Update{Endpoints: static(all...)})
	m := mesh(t, transport.Service{Resolver: src, Policy: transport.Policy{
		Retry: &retry.Config{Attempts: 8, Budget: retry.BudgetConfig{Ratio: 1, PerSecond: 1000}},
	}})
	users := connect(t, m, "tulle:///users")
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	enough := time.Now().Add(2 * time.Second)
	var calls, failed atomic.Int64
	var first atomic.Pointer[error]
	note := func(err error) {
		calls.Add(1)
		if err != nil {
			failed.Add(1)
			first.CompareAndSwap(nil, &err)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, tullegrpc.Idempotent())
				note(err)
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				stream, err := users.FullDuplexCall(within(t), tullegrpc.Idempotent())
				if err == nil {
					stream.Send(&testpb.StreamingOutputCallRequest{})
					_, err = stream.Recv()
					stream.CloseSend()
					for e := error(nil); e == nil; {
						_, e = stream.Recv()
					}
				}
				note(err)
			}
		})
	}
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			a, b := i%6, (i+1)%6
			src.set(discovery.Update{Endpoints: static(all[a], all[b], all[(i+2)%6], all[(i+3)%6])})
			all[a].fails(codes.Unavailable)
			timer := time.NewTimer(20 * time.Millisecond)
			<-timer.C
			all[a].unary.Store(nil)
			if i >= 12 && calls.Load() > 100 && time.Now().After(enough) {
				cancel()
			}
		}
	})
	wg.Wait()
	if calls.Load() <= 100 {
		t.Errorf("got %d calls within %v, want many", calls.Load(), patience)
	}
	if n := failed.Load(); n > calls.Load()/100 {
		t.Errorf("got %d of %d calls failed, such as %v", n, calls.Load(), *first.Load())
	}
	for end := time.Now().Add(patience); ; {
		busy := 0
		for _, e := range m.Snapshot().Services[0].Endpoints {
			busy += e.Waiting + e.Streaming
		}
		if busy == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("got %d attempts that have not ended", busy)
		}
	}
}
