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
// What a program does to use tulle is in this file; the others are servers to
// call, load and measurement.
package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// deadline is how long a call may take, with both clients.
const deadline = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// newTulle names the services of the program, here one whose instances stand in
// a file, and says how long a call may take. Balancing, retries and their budget
// need no settings.
func newTulle(file string, attemptTimeout time.Duration) (*transport.Transport, error) {
	return transport.New(transport.Config{
		Defaults: transport.Policy{
			Timeout:        deadline,
			AttemptTimeout: attemptTimeout, // 0, the default, is none
		},
		Services: map[string]transport.Service{
			"users": {Resolver: discovery.File{Path: file}},
		},
	})
}

// play starts servers and clients, lets everything happen and returns what came
// of it. Nothing that it starts is left when it returns.
func play(ctx context.Context, o options, text io.Writer) (*report, error) {
	dir, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &stage{options: o, phases: script(), file: filepath.Join(dir, "users.json"), turn: new(roundRobin)}
	defer s.close()
	if err := s.open(); err != nil {
		return nil, err
	}

	// With tulle, an http.Client calls services by their names.
	t, err := newTulle(s.file, o.attemptTimeout)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if err := t.Ready(ctx); err != nil {
		return nil, err
	}
	tulle := &client{
		name: "tulle",
		http: &http.Client{Transport: t},
		base: func() string { return "http://users" },
	}

	// Without it, somebody must choose an address for each call.
	pools := equalPools()
	defer pools.CloseIdleConnections()
	plain := &client{
		name: "plain",
		http: &http.Client{Transport: pools, Timeout: deadline},
		base: s.turn.next,
	}
	return s.run(ctx, t, plain, tulle, text)
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
