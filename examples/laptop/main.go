// Command laptop runs one service on a laptop, and everything else in staging.
//
// It starts HTTP servers on the loopback interface: three that play the services of
// a staging environment, and one that plays the service users on the laptop of its
// developer. The file tulle.yaml beside it has the line that makes the difference.
// The program calls all services without that line, and with it; then it sends one
// request to staging all the same, and at last it stops the server on the laptop.
//
//	go run ./examples/laptop
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

//go:embed tulle.yaml
var file string

// oneLine is the line of the file that runs a service on the laptop.
var oneLine = regexp.MustCompile(`(?m)^ +(local: .*?) # the one line.*\n`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run starts the servers, and plays.
func run(ctx context.Context, out io.Writer) error {
	env := map[string]string{}
	var laptop *server
	for _, s := range []struct{ variable, is string }{
		{"STAGING_USERS", "users in staging"}, {"STAGING_ORDERS", "orders in staging"},
		{"STAGING_BILLING", "billing in staging"}, {"LAPTOP", "users on the laptop"},
	} {
		running, err := serve(s.is)
		if err != nil {
			return err
		}
		defer running.stop()
		env[s.variable], laptop = running.addr, running
	}
	lookup := func(name string) (string, bool) { addr, ok := env[name]; return addr, ok }
	return play(ctx, lookup, laptop.stop, out)
}

// play calls all services, in each of the four situations.
func play(ctx context.Context, lookup func(string) (string, bool), stopLaptop func(), out io.Writer) error {
	without, err := config.Parse("tulle.yaml", []byte(oneLine.ReplaceAllString(file, "")), config.Options{LookupEnv: lookup})
	if err != nil {
		return err
	}
	with, err := config.Parse("tulle.yaml", []byte(file), config.Options{LookupEnv: lookup})
	if err != nil {
		return err
	}
	t, err := transport.New(without.Transport)
	if err != nil {
		return err
	}
	defer t.Close()
	client := &http.Client{Transport: t}

	fmt.Fprintln(out, "Everything in staging:")
	err = callAll(ctx, client, nil, out)

	fmt.Fprintf(out, "With one line more, %s:\n", oneLine.FindStringSubmatch(file)[1])
	err = errors.Join(err, t.Update(with.Transport), callAll(ctx, client, nil, out))

	fmt.Fprintln(out, "One request with the header Tulle-Route: users=staging:")
	err = errors.Join(err, callAll(ctx, client, http.Header{"Tulle-Route": {"users=staging"}}, out))

	fmt.Fprintln(out, "The server on the laptop stops:")
	stopLaptop()
	return errors.Join(err, callAll(ctx, client, nil, out))
}

// callAll asks all services who they are.
func callAll(ctx context.Context, client *http.Client, header http.Header, out io.Writer) error {
	for _, service := range []string{"users", "orders", "billing"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service+"/v1/whoami", nil)
		if err != nil {
			return err
		}
		for name := range header {
			req.Header.Set(name, header.Get(name))
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		who, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		fmt.Fprintf(out, "  http://%-8s is answered by %s\n", service, who)
	}
	return nil
}

// server is a server that says who it is.
type server struct {
	addr string
	stop func() // may be called again
}

// serve starts one.
func serve(is string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, is) })
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(l) }) // it ends with Close
	return &server{addr: l.Addr().String(), stop: func() { _ = s.Close(); running.Wait() }}, nil
}
