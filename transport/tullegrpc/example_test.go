package tullegrpc_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// Two instances of a service, one of which is down. The client knows neither.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer(tullegrpc.ServerOptions(transport.InboundConfig{})...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	t, err := transport.New(transport.Config{
		Defaults: transport.Policy{Timeout: 2 * time.Second},
		Services: map[string]transport.Service{
			"users": {Resolver: discovery.Static{{Addr: l.Addr().String()}, {Addr: "127.0.0.1:1"}}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	conn, err := grpc.NewClient("tulle:///users",
		append(tullegrpc.DialOptions(t), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()

	var info transport.Info
	reply, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{}, tullegrpc.AttemptInfo(&info))
	fmt.Println(reply.GetStatus(), err, info.Service)
	// Output: SERVING <nil> users
}

// A retryPolicy that a service config had for gRPC itself goes on to hold, under the
// retry budget of the service; endpoints that say that they do not serve get no calls.
func ExampleDialOptions() {
	t, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"users": {Target: "dns://users.internal:8443"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	options := tullegrpc.DialOptions(t,
		tullegrpc.HealthCheck(""),
		tullegrpc.ServiceConfig(`{"methodConfig": [{
			"name": [{"service": "users.Users", "method": "Get"}],
			"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["ABORTED"]}
		}]}`))
	conn, err := grpc.NewClient("tulle:///users", append(options, grpc.WithTransportCredentials(credentials.NewTLS(nil)))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conn.Target(), conn.Close())
	// Output: tulle:///users <nil>
}

// Services with certificates of their own on one Transport, all others by the roots
// of the system.
func ExampleCredentials() {
	t, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"users": {Target: "dns://users.internal:8443", TLSServerName: "users.internal"},
		"bank":  {Target: "dns://bank.example:443", Host: "bank.example", TLS: &tls.Config{MinVersion: tls.VersionTLS13}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	options := append(tullegrpc.DialOptions(t), grpc.WithTransportCredentials(tullegrpc.Credentials(credentials.NewTLS(nil))))
	for _, name := range []string{"users", "bank"} {
		conn, err := grpc.NewClient("tulle:///"+name, options...)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(conn.Target(), conn.Close())
	}
	// Output:
	// tulle:///users <nil>
	// tulle:///bank <nil>
}

// A server that takes part in the mesh: it believes peers in its own network, and
// serves 500 calls a second, in which up to 100 wait for their turn for 200 ms.
func ExampleServerOptions() {
	l, err := limit.New(limit.Config{Rate: 500, MaxWait: 200 * time.Millisecond, MaxWaiters: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer(tullegrpc.ServerOptions(transport.InboundConfig{
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Limit:   l,
	})...)
	defer server.Stop()
}

// One layer alone, on a connection of one's own.
func ExampleUnaryRetry() {
	r, err := retry.New(retry.Config{Idempotent: []string{"/users.Users/*"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := grpc.NewClient("dns:///users.internal:8443",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		grpc.WithDisableRetry(), // or the numbers multiply
		grpc.WithChainUnaryInterceptor(tullegrpc.UnaryRetry(r)),
		grpc.WithChainStreamInterceptor(tullegrpc.StreamRetry(r)))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conn.Target(), conn.Close())
	// Output: dns:///users.internal:8443 <nil>
}

// A stream is sent again until its first message has come.
func ExampleStreamRetry() {
	r, err := retry.New(retry.Config{Attempts: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = []grpc.DialOption{grpc.WithDisableRetry(), grpc.WithChainStreamInterceptor(tullegrpc.StreamRetry(r))}
}

// A server that is down is asked three times and then left alone.
func ExampleUnaryBreaker() {
	b, err := breaker.New(breaker.Config{Requests: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:1", // nobody is there
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(tullegrpc.UnaryBreaker(b)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	for range 5 {
		_, _ = healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	}
	fmt.Println(b.State(), b.Stats().Rejected)
	// Output: open 2
}

// One breaker for the unary RPCs and the streams of a connection.
func ExampleStreamBreaker() {
	b, err := breaker.New(breaker.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(tullegrpc.UnaryBreaker(b)), grpc.WithChainStreamInterceptor(tullegrpc.StreamBreaker(b)),
	}
}

// At most 50 calls a second, in which a call waits for up to a second.
func ExampleUnaryLimit() {
	l, err := limit.New(limit.Config{Rate: 50, MaxWait: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = []grpc.DialOption{grpc.WithChainUnaryInterceptor(tullegrpc.UnaryLimit(l))}
}

// At most ten streams are opened a second.
func ExampleStreamLimit() {
	l, err := limit.New(limit.Config{Rate: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = []grpc.DialOption{grpc.WithChainStreamInterceptor(tullegrpc.StreamLimit(l))}
}

// All layers alone, in the order of the stack: a call waits once, and each of its
// attempts asks the breaker.
func ExampleUnaryDeadline() {
	d, err1 := deadline.New(deadline.Config{Timeout: 2 * time.Second})
	l, err2 := limit.New(limit.Config{Rate: 50})
	r, err3 := retry.New(retry.Config{})
	b, err4 := breaker.New(breaker.Config{})
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	_ = []grpc.DialOption{
		grpc.WithDisableRetry(),
		grpc.WithChainUnaryInterceptor(tullegrpc.UnaryDeadline(d), tullegrpc.UnaryLimit(l), tullegrpc.UnaryRetry(r), tullegrpc.UnaryBreaker(b)),
	}
}

// Streams that come too late are not opened.
func ExampleStreamDeadline() {
	d, err := deadline.New(deadline.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = []grpc.DialOption{grpc.WithChainStreamInterceptor(tullegrpc.StreamDeadline(d))}
}

// Options change how one call is treated, and tell where it went.
func ExampleAttemptInfo() {
	t, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"users": {Target: "static://127.0.0.1:1"}, // nobody is there
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = t.Close() }()
	conn, err := grpc.NewClient("tulle:///users",
		append(tullegrpc.DialOptions(t), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	var info transport.Info
	_, err = healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{},
		tullegrpc.CallTimeout(time.Second), tullegrpc.NoRetry(), tullegrpc.Idempotent(), tullegrpc.AttemptInfo(&info))
	fmt.Println(info.Service, info.Attempts, err != nil)
	// Output: users 0 true
}
