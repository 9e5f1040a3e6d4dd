package tullegrpc_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
)

// report writes a load report of a call.
func report(ctx context.Context, l tulle.Load) {
	r := orca.CallMetricsRecorderFromContext(ctx)
	r.SetCPUUtilization(l.CPU)
	r.SetMemoryUtilization(l.Memory)
	r.SetApplicationUtilization(l.Application)
	r.SetQPS(l.QPS)
	r.SetEPS(l.EPS)
	for name, v := range l.Utilization {
		r.SetNamedUtilization(name, v)
	}
	for name, v := range l.Named {
		r.SetNamedMetric(name, v)
	}
}

// loadOf is what the Snapshot knows of an endpoint's load.
func loadOf(t *testing.T, m *transport.Transport, addr string) *tulle.Load {
	t.Helper()
	for _, e := range m.Snapshot().Services[0].Endpoints {
		if e.Addr == addr {
			return e.Load
		}
	}
	t.Fatalf("no endpoint %s", addr)
	return nil
}

// What a server reports of itself with its answers is in the Snapshot, the latest
// report whole; a Snapshot that was taken before stays as it was.
func TestLoad(t *testing.T) {
	s := serve(t, orca.CallMetricsServerOption(nil))
	var mu sync.Mutex
	var next *tulle.Load // guarded by mu: nil is no report
	answer := func(ctx context.Context) {
		mu.Lock()
		defer mu.Unlock()
		if next != nil {
			report(ctx, *next)
		}
	}
	set := func(l *tulle.Load) {
		mu.Lock()
		defer mu.Unlock()
		next = l
	}
	s.onUnary(func(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		answer(ctx)
		if in.ResponseSize > 0 {
			return nil, status.Error(codes.Code(in.ResponseSize), "on purpose")
		}
		return s.answer(), nil
	})
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		answer(stream.Context())
		return nil
	}
	s.duplex.Store(&duplex)
	m := mesh(t, transport.Service{Resolver: static(s)})
	users := connect(t, m, "tulle:///users")
	unary := func(code codes.Code) {
		t.Helper()
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{ResponseSize: int32(code)}); status.Code(err) != code {
			t.Fatal(err)
		}
	}
	want := func(what string, want *tulle.Load) {
		t.Helper()
		if got := loadOf(t, m, s.addr); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	unary(codes.OK)
	want("without a report", nil)
	first := &tulle.Load{
		CPU: 0.5, Memory: 0.25, Application: 1.5, QPS: 100, EPS: 2,
		Utilization: map[string]float64{"db": 0.75}, Named: map[string]float64{"queue": 17},
	}
	set(first)
	unary(codes.OK)
	want("the first", first)
	before := loadOf(t, m, s.addr)
	kept := *before
	kept.Named = maps.Clone(before.Named)

	second := &tulle.Load{CPU: 0.9, Named: map[string]float64{"queue": 3, "users": 1}}
	set(second)
	unary(codes.Internal)
	want("with an error", second)
	third := &tulle.Load{QPS: 7}
	set(third)
	stream, err := users.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
	want("of a stream", third)
	set(nil)
	unary(codes.OK)
	want("after a call without one", third)
	if !reflect.DeepEqual(*before, kept) {
		t.Errorf("a Snapshot changed: got %+v, want %+v", *before, kept)
	}
	text := must(json.Marshal(m.Snapshot()))
	if !strings.Contains(string(text), `"load":{"qps":7}`) {
		t.Errorf("got %s, want the load", text)
	}
}

// Each endpoint has its own report, and those of servers that send none, or nonsense,
// have none.
func TestLoadOfEach(t *testing.T) {
	a, b, plain, odd := serve(t, orca.CallMetricsServerOption(nil)), serve(t, orca.CallMetricsServerOption(nil)), serve(t), serve(t)
	for i, s := range []*server{a, b} {
		s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			report(ctx, tulle.Load{CPU: float64(i + 1)})
			return s.answer(), nil
		})
	}
	odd.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		grpc.SetTrailer(ctx, metadata.Pairs("endpoint-load-metrics-bin", "\xff\xff no message"))
		return odd.answer(), nil
	})
	m := mesh(t, transport.Service{Resolver: static(a, b, plain, odd), Policy: transport.Policy{Balancer: balancer.RoundRobin{}}})
	users := connect(t, m, "tulle:///users")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
					t.Error(err)
				}
				m.Snapshot()
			}
		})
	}
	wg.Wait()
	for _, c := range []struct {
		s    *server
		want *tulle.Load
	}{{a, &tulle.Load{CPU: 1}}, {b, &tulle.Load{CPU: 2}}, {plain, nil}, {odd, nil}} {
		if got := loadOf(t, m, c.s.addr); c.s.calls.Load() == 0 || !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %+v after %d calls, want %+v", got, c.s.calls.Load(), c.want)
		}
	}
}
