// Command quickstart shows the main job of tulle on one machine.
//
// It starts ten HTTP servers on the loopback interface and calls them 500 times
// a second through tulle. At the same time, and on the same schedule, a plain
// http.Client goes round-robin over ten more. While that runs, one server of
// each ten becomes slow, one answers 503, one is killed, one falls silent, and
// a new one joins. It prints what tulle sees of each server, then a table of how
// the two clients came through, and exits with 0 only if tulle handled all of
// it.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -attempt-timeout 250ms
//	go run ./examples/quickstart -json
//
// What a program does to use tulle is in this file. The other one has what calls
// and serves HTTP, and package show the load and the measurement.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/examples/internal/show"
	"github.com/tullemesh/tulle/transport"
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
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
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
		Name: "quickstart", Writes: "POSTs", Refuse: "answers 503",
		Script: []show.Phase{
			{Name: "all are well"},
			{Name: "one slows to 2s", At: 0.10, Server: 2, Becomes: show.Slow},
			{Name: "one joins", At: 0.20, Server: show.Servers, Joins: true},
			{Name: "one answers 503", At: 0.30, Server: 4, Becomes: show.Unavailable},
			{Name: "one is killed", At: 0.45, Server: 6, Becomes: show.Killed},
			{Name: "one never answers", At: 0.60, Server: 8, Becomes: show.Silent},
		},
		Host: newHost,
		Play: play,
	}
}

// newTulle names the services of the program, here one whose instances stand in
// a file, and says how long a call may take. Balancing, retries and their budget
// need no settings.
func newTulle(file string, attemptTimeout time.Duration) (*transport.Transport, error) {
	return transport.New(transport.Config{
		Defaults: transport.Policy{
			Timeout:        show.Deadline,
			AttemptTimeout: attemptTimeout, // 0, the default, is none
		},
		Services: map[string]transport.Service{
			"users": {Resolver: discovery.File{Path: file}},
		},
	})
}

// play makes the two clients and lets everything happen. Nothing that it starts is
// left when it returns.
func play(ctx context.Context, s *show.Stage) (*show.Report, error) {
	// With tulle, an http.Client calls services by their names.
	t, err := newTulle(s.File(), s.AttemptTimeout())
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if err := t.Ready(ctx); err != nil {
		return nil, err
	}
	tulle := &client{
		http: &http.Client{Transport: t},
		base: func() string { return "http://users" },
	}

	// Without it, somebody must choose an address for each call.
	pools, turn := equalPools(), new(roundRobin)
	defer pools.CloseIdleConnections()
	s.Tell(turn.set)
	plain := &client{
		http: &http.Client{Transport: pools, Timeout: show.Deadline},
		base: turn.next,
	}
	return s.Run(ctx, t, plain.send, tulle.send)
}

// equalPools is a transport for the plain client that keeps as many connections
// as tulle does, so that the comparison is not one of pool sizes.
func equalPools() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = 64
	t.IdleConnTimeout = 50 * time.Second
	return t
}
