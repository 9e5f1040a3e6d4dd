package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	_ "github.com/zeromicro/go-zero/zrpc" // registers p2c_ewma
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/leastrequest" // registers least_request_experimental
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	_ "google.golang.org/grpc/xds" // registers outlier_detection_experimental
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tullemesh/tulle/internal/bench/server"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// Rotating is the baseline of the gRPC table.
func Rotating() Contender {
	return Contender{
		Name: "round_robin", OnWire: true, Open: openGRPC(`{"round_robin":{}}`),
		Note: "the baseline; as a row, its blocks against one another",
	}
}

// GRPC are the contenders of the gRPC table, besides Rotating.
func GRPC() []Contender {
	return []Contender{
		{Name: "pick_first", OnWire: true, Open: openGRPC(`{"pick_first":{}}`),
			Note: "grpc-go's default: one connection to one address"},
		{Name: "round_robin, timeout", OnWire: true, Open: openGRPC(`{"round_robin":{}}`, `{"name":[{}],"timeout":"10s"}`),
			Note: "with a timeout for the call, from its service config"},
		{Name: "least_request", OnWire: true, Open: openGRPC(`{"least_request_experimental":{"choiceCount":2}}`),
			Note: "two choices"},
		{Name: "outlier detection over round_robin", OnWire: true, Open: openGRPC(outlier(`{"round_robin":{}}`)),
			Note: "success rate and failure percentage ejection at their defaults"},
		{Name: "outlier detection over least_request", OnWire: true, Open: openGRPC(outlier(`{"least_request_experimental":{"choiceCount":2}}`)),
			Note: "the same; what comes nearest to tulle in grpc-go"},
		{Name: "go-zero p2c", OnWire: true, Open: openGRPC(`{"p2c_ewma":{}}`),
			Note: "its balancer alone, without the interceptors of zrpc"},
		{Name: "tulle", OnWire: true, Open: tulleGRPC(transport.Policy{}),
			Note: "tullegrpc.DialOptions and a service with the zero policy: balancer, ejection, service breaker, retries within a budget"},
		{Name: "tulle, timeouts", OnWire: true, Open: tulleGRPC(transport.Policy{Timeout: 10 * time.Second, AttemptTimeout: 2 * time.Second}),
			Note: "the same with a timeout for the call and one for the attempt"},
	}
}

// tulleGRPC opens a channel to one service of a Transport.
func tulleGRPC(policy transport.Policy) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		t, err := transport.New(transport.Config{
			Services: map[string]transport.Service{"svc": {Resolver: Endpoints(s.Addrs), Policy: policy}},
		})
		if err != nil {
			return nil, err
		}
		conn, err := DialTulle(t)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		c, err := overConn(conn)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		return c.closing(func() { _ = t.Close() }), nil // its Close returns nil
	}
}

// DialTulle is a channel to the service svc of t.
func DialTulle(t *transport.Transport) (*grpc.ClientConn, error) {
	return grpc.NewClient("tulle:///svc",
		append(tullegrpc.DialOptions(t), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// outlier is outlier detection over a policy.
func outlier(child string) string {
	return fmt.Sprintf(`{"outlier_detection_experimental":{"successRateEjection":{},"failurePercentageEjection":{},"childPolicy":[%s]}}`, child)
}

// openGRPC opens a channel with a load balancing policy and method configs.
func openGRPC(policy string, methods ...string) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		r := manual.NewBuilderWithScheme("bench")
		r.InitialState(GRPCState(s.Addrs))
		conn, err := DialGRPC(r, policy, methods...)
		if err != nil {
			return nil, err
		}
		return overConn(conn)
	}
}

// DialGRPC is a channel with a load balancing policy and method configs to what r
// resolves.
func DialGRPC(r *manual.Resolver, policy string, methods ...string) (*grpc.ClientConn, error) {
	return grpc.NewClient("bench:///svc",
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[`+policy+`],"methodConfig":[`+strings.Join(methods, ",")+`]}`))
}

// GRPCState is a list of addresses as grpc-go has it. Balancers of before
// endpoints know Addresses only; grpc-go makes the endpoints of them.
func GRPCState(addrs []string) resolver.State {
	var s resolver.State
	for _, addr := range addrs {
		s.Addresses = append(s.Addresses, resolver.Address{Addr: addr})
	}
	return s
}

// overConn calls the echo method over a channel. The first call waits for the
// connections; its error is that of the channel.
func overConn(conn *grpc.ClientConn) (*Client, error) {
	c := &Client{}
	c.closing(func() { _ = conn.Close() }) // nothing is left to be lost
	c.caller = func() func() error {
		in := wrapperspb.Bytes(server.Body)
		return func() error { return Echo(conn, in) }
	}
	if err := Echo(conn, wrapperspb.Bytes(server.Body), grpc.WaitForReady(true)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Echo makes one call and checks the answer.
func Echo(conn *grpc.ClientConn, in *wrapperspb.BytesValue, options ...grpc.CallOption) error {
	out := new(wrapperspb.BytesValue)
	if err := conn.Invoke(context.Background(), server.EchoMethod, in, out, options...); err != nil {
		return err
	}
	if !bytes.Equal(out.GetValue(), in.GetValue()) {
		return fmt.Errorf("%w: %d bytes", errAnswer, len(out.GetValue()))
	}
	return nil
}
