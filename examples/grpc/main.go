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
// What a program does to use tulle is in this file. The other one has what calls and
// serves RPCs, and package show the load and the measurement. Package quickstart is
// the same for HTTP.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/examples/internal/show"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process, so that tests can call it. It returns the exit
// code: 0 if everything was handled, 2 for bad flags, 1 otherwise.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o show.Options
	f := flag.NewFlagSet("grpc", flag.ContinueOnError)
	f.SetOutput(stderr)
	o.Define(f)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2 // and f has said why
	}
	return example().Run(ctx, o, f.Args(), stdout, stderr)
}

// example is what happens: the faults that a service must live with, one at a
// time, so that the table shows what each cost. The newcomer comes early, as tulle
// leaves an endpoint that appears later alone for a random time.
func example() *show.Show {
	return &show.Show{
		Name: "grpc", Writes: "writes", Refuse: "UNAVAILABLE",
		Script: []show.Phase{
			{Name: "all are well"},
			{Name: "one slows to 2s", At: 0.10, Server: 2, Becomes: show.Slow},
			{Name: "one joins", At: 0.20, Server: show.Servers, Joins: true},
			{Name: "one is UNAVAILABLE", At: 0.30, Server: 4, Becomes: show.Unavailable},
			{Name: "one is killed", At: 0.42, Server: 6, Becomes: show.Killed},
			{Name: "one never answers", At: 0.54, Server: 8, Becomes: show.Silent},
			{Name: "one is NOT_SERVING", At: 0.75, Server: 1, Becomes: show.Leaving},
		},
		Host: newHost,
		Play: play,
	}
}

// newTulle names the services of the program, here one whose instances stand in a
// file, says how long a call may take, and which methods only read, as the service
// definition does not say so. Balancing, retries and their budget need no settings.
func newTulle(file string, attemptTimeout time.Duration) (*transport.Transport, error) {
	return transport.New(transport.Config{
		Defaults: transport.Policy{
			Timeout:        show.Deadline,
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
			"methodConfig":[{"name":[{}],"timeout":"%gs"}]}`, show.Deadline.Seconds())),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// play makes the two clients and lets everything happen. Nothing that it starts is
// left when it returns.
func play(ctx context.Context, s *show.Stage) (*show.Report, error) {
	t, err := newTulle(s.File(), s.AttemptTimeout())
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

	list := new(addresses)
	s.Tell(list.set)
	without, err := connectPlain(list)
	if err != nil {
		return nil, err
	}
	defer without.Close()
	for _, cc := range []*grpc.ClientConn{through, without} {
		if err := connected(ctx, cc); err != nil {
			return nil, err
		}
	}
	return s.Run(ctx, t, sender(without), sender(through))
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
