// Command admin shows the live page of a program that has faults.
//
// It starts some HTTP servers on the loopback interface and calls them through
// tulle, about 150 times a second. Every half minute one of them answers 503 for
// a while, one is killed and comes back, and one becomes slow. The page shows how
// they are left out and brought back, and why each call went where it went.
//
//	go run ./examples/admin
//	go run ./examples/admin -addr localhost:9000
//	go run ./examples/admin -once
//
// What a program does to have the page is in this file; servers.go has what is
// called, and what goes wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "admin:", err)
		os.Exit(1)
	}
}

// run is main without the process, so that tests can call it.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("admin", flag.ContinueOnError)
	flags.SetOutput(out)
	addr := flags.String("addr", "localhost:8089", "where the page is served")
	once := flags.Bool("once", false, "make some calls, print what snapshot.json says of them, and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: want flags only", flags.Arg(0))
	}
	p, err := newProgram()
	if err != nil {
		return err
	}
	defer p.close()
	if *once {
		return p.once(ctx, out)
	}
	return p.serve(ctx, *addr, out)
}

// A program calls services and has a page that shows how they do.
type program struct {
	stage     *stage
	transport *transport.Transport
	client    *http.Client
	page      http.Handler
	close     func()
}

// newProgram is what a program does to have the page: a Transport that records
// some calls, and a Handler for it, mounted beside what else there is.
func newProgram() (*program, error) {
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	t, err := transport.New(transport.Config{
		Defaults:  transport.Policy{Timeout: 2 * time.Second, AttemptTimeout: time.Second},
		Services:  s.services(),
		Zone:      "a",
		Telemetry: telemetry.Config{Sample: 5}, // keep 5 calls a second, to be looked at
	})
	if err != nil {
		s.close()
		return nil, err
	}
	h, err := admin.New(t, admin.Config{
		Title:      "shop frontend",
		Background: true, // so that the charts are there when somebody comes
		ConfigStatus: func() admin.ConfigStatus { // that of a config.Loader, in a program which has one
			return admin.ConfigStatus{Version: "built in", LoadedAt: s.start}
		},
	})
	if err != nil {
		_ = t.Close()
		s.close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/mesh/", http.StripPrefix("/mesh", h))
	mux.Handle("/{$}", http.RedirectHandler("/mesh/", http.StatusFound))
	return &program{s, t, &http.Client{Transport: t}, mux, func() {
		_ = h.Close() // the page first: it looks at the transport
		_ = t.Close()
		s.close()
	}}, nil
}

// serve serves the page while calls are made and things go wrong.
func (p *program) serve(ctx context.Context, addr string, out io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: p.page, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { p.stage.play(ctx) })
	running.Go(func() { p.stage.load(ctx, p.client) })
	running.Go(func() {
		<-ctx.Done()
		_ = srv.Close()
	})
	fmt.Fprintf(out, "http://%s/mesh/ has the page, Ctrl-C ends it\n", l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// once makes some calls and prints what the page's JSON says of them.
func (p *program) once(ctx context.Context, out io.Writer) error {
	for range 20 {
		for _, c := range p.stage.calls {
			if err := c.make(ctx, p.client); err != nil {
				return err
			}
		}
	}
	return p.print(out)
}
