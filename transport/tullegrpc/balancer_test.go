package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A channel that is new takes an endpoint that is left out, when there is none that is
// not within a second: one that says nothing is connecting for long.
func TestSettling(t *testing.T) {
	bad, good := serve(t), serve(t)
	src := newSource()
	src.set(discovery.Update{Endpoints: static(bad, good)})
	m := mesh(t, transport.Service{Resolver: src})
	bad.fails(codes.Internal)
	users := connect(t, m, "tulle:///users")
	until(t, m, bad.addr, "ejected", func() { users.UnaryCall(within(t), &testpb.SimpleRequest{}) })
	src.set(discovery.Update{Endpoints: discovery.Static{{Addr: bad.addr}, {Addr: mute(t)}}})
	for end := time.Now().Add(patience); m.Snapshot().Services[0].Endpoints[1].Addr == good.addr; {
		if time.Now().After(end) {
			t.Fatal("the endpoints did not change")
		}
	}
	ctx, cancel := context.WithTimeout(within(t), patience/2)
	defer cancel()
	_, err := connect(t, m, "tulle:///users").UnaryCall(ctx, &testpb.SimpleRequest{})
	if status.Code(err) != codes.Internal {
		t.Errorf("got %v, want the answer of the endpoint that is left out", err)
	}
}

// mute is the address of a server that accepts connections and says nothing.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts for it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// A call whose destination goes away before it is repeated ends, also if it has no
// deadline: there is nothing to wait for.
func TestDestinationGone(t *testing.T) {
	home, staging := serve(t), serve(t)
	config := func(environments map[string]transport.Destination) transport.Config {
		return transport.Config{
			Services: map[string]transport.Service{"users": {Environments: environments}},
			Override: route.OverridePolicy{Services: []string{"users"}, Environments: []string{"*"}, Protected: true, CodeProtected: true},
		}
	}
	prod := transport.Destination{Resolver: discovery.Static{tulle.Endpoint{Addr: home.addr}}}
	m, err := transport.New(config(map[string]transport.Destination{"prod": prod, "staging": {Resolver: static(staging)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users := connect(t, m, "tulle:///users")
	ctx, cancel := context.WithCancel(route.With(context.Background(), route.Override{Service: "users", Environment: "staging"}))
	defer cancel()
	staging.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		if err := m.Update(config(map[string]transport.Destination{"prod": prod})); err != nil {
			t.Error(err)
		}
		grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "200"))
		return nil, status.Error(codes.Unavailable, "on purpose")
	})
	done := make(chan error, 1)
	go func() {
		_, err := users.UnaryCall(ctx, &testpb.SimpleRequest{})
		done <- err
	}()
	select {
	case err := <-done:
		if status.Code(err) != codes.Unavailable || !errors.Is(err, transport.ErrUnknownService) {
			t.Errorf("got %v, want ErrUnknownService", err)
		}
	case <-within(t).Done():
		t.Error("the call waits for a destination that is gone")
	}
}

// A repeat that gRPC makes by itself, as the server took no part in the call, is
// counted, goes elsewhere, and is no attempt more for the caller. NoRetry allows it.
func TestTransparentRetry(t *testing.T) {
	good := serve(t)
	m := mesh(t, transport.Service{
		Resolver: discovery.Static{{Addr: refusing(t)}, {Addr: good.addr}},
		Policy:   transport.Policy{Balancer: balancer.RoundRobin{}},
	})
	users := connect(t, m, "tulle:///users")
	end := time.Now().Add(patience)
	for good.calls.Load() == 0 && time.Now().Before(end) {
		users.UnaryCall(within(t), &testpb.SimpleRequest{}) // it may have no connection yet
	}
	for before := m.Snapshot().Services[0].TransparentRetries; m.Snapshot().Services[0].TransparentRetries == before; {
		if time.Now().After(end) {
			t.Fatalf("got no repeat of gRPC's: %+v", m.Snapshot().Services[0])
		}
		var info transport.Info
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, tullegrpc.NoRetry(), tullegrpc.AttemptInfo(&info)); err != nil {
			t.Fatal(err)
		}
		if info.Attempts != 1 || info.Endpoint.Addr != good.addr {
			t.Fatalf("got %+v, want 1 attempt, the last at the one that serves", info)
		}
	}
}

// refusing is the address of an HTTP/2 server that refuses all streams.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go refuse(conn)
		}
	}()
	return l.Addr().String()
}

// refuse answers frames of HTTP/2 until the connection ends.
func refuse(conn net.Conn) {
	defer conn.Close()
	const preface, settings, headers, ping = 24, 4, 1, 6
	io.CopyN(io.Discard, conn, preface)
	conn.Write([]byte{0, 0, 0, settings, 0, 0, 0, 0, 0})
	for {
		head := make([]byte, 9) // length, type, flags, stream
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		body := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		switch acknowledged := head[4]&1 != 0; {
		case head[3] == settings && !acknowledged:
			conn.Write([]byte{0, 0, 0, settings, 1, 0, 0, 0, 0})
		case head[3] == ping && !acknowledged:
			conn.Write(append([]byte{0, 0, 8, ping, 1, 0, 0, 0, 0}, body...))
		case head[3] == headers:
			reset := append([]byte{0, 0, 4, 3, 0}, head[5:]...)
			conn.Write(append(reset, 0, 0, 0, 7)) // REFUSED_STREAM
		}
	}
}

// An endpoint that says that it is not serving gets no calls until it says otherwise.
func TestHealthCheck(t *testing.T) {
	all := fleet(t, 2)
	var told [2]*health.Server
	for i, s := range all {
		told[i] = health.NewServer()
		healthpb.RegisterHealthServer(s.grpc, told[i])
	}
	told[0].SetServingStatus("users", healthpb.HealthCheckResponse_NOT_SERVING)
	told[1].SetServingStatus("users", healthpb.HealthCheckResponse_SERVING)
	m := mesh(t, transport.Service{Resolver: static(all...), Policy: transport.Policy{Balancer: balancer.RoundRobin{}}})
	users := dial(t, "tulle:///users", tullegrpc.DialOptions(m, tullegrpc.HealthCheck("users"))...)
	call := func() {
		t.Helper()
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		call()
	}
	if got := all[0].calls.Load(); got != 0 {
		t.Errorf("got %d calls at the one that is not serving", got)
	}
	told[0].SetServingStatus("users", healthpb.HealthCheckResponse_SERVING)
	for end := time.Now().Add(patience); all[0].calls.Load() == 0; call() {
		if time.Now().After(end) {
			t.Fatal("got no call at the one that serves again")
		}
	}
}
