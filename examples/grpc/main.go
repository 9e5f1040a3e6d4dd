// Command grpc shows the main job of tulle for a gRPC client, on one machine.
//
// It starts ten gRPC servers on the loopback interface and calls them 500 times a
// second through tulle. At the same time, and on the same schedule, a plain gRPC
// client with round_robin calls ten more. While that runs, one server of each ten
// becomes slow, one answers UNAVAILABLE, one is killed, one falls silent, one says
// through its health service that it is about to go, and a new one joins. It prints
// what tulle sees of each server, then a table of how the two clients came through,
// and exits with 0 only if tulle handled all of it.
//
//	go run ./examples/grpc
//	go run ./examples/grpc -attempt-timeout 250ms
//	go run ./examples/grpc -json
//
// What a program does to use tulle is in this file; the others are servers to call,
// load and measurement. Package quickstart is the same for HTTP.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// deadline is how long a call may take, with both clients.
const deadline = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// newTulle names the services of the program, here one whose instances stand in a
// file, says how long a call may take, and which methods only read, as the service
// definition does not say so. Balancing, retries and their budget need no settings.
func newTulle(file string, attemptTimeout time.Duration) (*transport.Transport, error) {
	return transport.New(transport.Config{
		Defaults: transport.Policy{
			Timeout:        deadline,
			AttemptTimeout: attemptTimeout, // 0, the default, is none
			Retry:          &retry.Config{Idempotent: []string{testpb.TestService_CacheableUnaryCall_FullMethodName}},
		},
		Services: map[string]transport.Service{
			"users": {Resolver: discovery.File{Path: file}},
		},
	})
}

// connectTulle is a connection to a service of t. Servers that say that they are
// not serving get no calls.
func connectTulle(t *transport.Transport) (*grpc.ClientConn, error) {
	return grpc.NewClient("tulle:///users", append(
		tullegrpc.DialOptions(t, tullegrpc.HealthCheck("")),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// connectPlain is what gRPC has without tulle: round_robin, which asks for health
// as well, and a timeout.
func connectPlain(list *addresses) (*grpc.ClientConn, error) {
	return grpc.NewClient("plain:///users",
		grpc.WithResolvers(list),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":""},
			"methodConfig":[{"name":[{}],"timeout":"%gs"}]}`, deadline.Seconds())),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// play starts servers and clients, lets everything happen and returns what came
// of it. Nothing that it starts is left when it returns.
func play(ctx context.Context, o options, text io.Writer) (*report, error) {
	dir, err := os.MkdirTemp("", "grpc")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &stage{options: o, phases: script(), file: filepath.Join(dir, "users.json"), list: new(addresses)}
	defer s.close()
	if err := s.open(); err != nil {
		return nil, err
	}
	t, err := newTulle(s.file, o.attemptTimeout)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if err := t.Ready(ctx); err != nil {
		return nil, err
	}
	through, err := connectTulle(t)
	if err != nil {
		return nil, err
	}
	defer through.Close()
	without, err := connectPlain(s.list)
	if err != nil {
		return nil, err
	}
	defer without.Close()
	for _, cc := range []*grpc.ClientConn{through, without} {
		if err := connected(ctx, cc); err != nil {
			return nil, err
		}
	}
	return s.run(ctx, t, newClient("plain", without), newClient("tulle", through), text)
}

// connected waits until cc can make calls.
func connected(ctx context.Context, cc *grpc.ClientConn) error {
	cc.Connect()
	for s := cc.GetState(); s != connectivity.Ready; s = cc.GetState() {
		if !cc.WaitForStateChange(ctx, s) {
			return ctx.Err()
		}
	}
	return nil
}
