// Command config shows a program whose services stand in a file.
//
// It starts two HTTP servers on the loopback interface, one that plays a staging
// environment and one that plays the laptop of a developer. The file tulle.yaml
// beside it has every key there is; one line of it runs the service users on the
// laptop. The program calls users, moves that service to staging by changing the
// line while it runs, and calls again.
//
//	go run ./examples/config
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, filepath.Join("examples", "config", "tulle.yaml"), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run works on a copy of the file, as it changes it.
func run(ctx context.Context, path string, out io.Writer) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tulle-config")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "tulle.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	env := map[string]string{"ZONE": "a"}
	for _, name := range []string{"STAGING", "LAPTOP"} {
		addr, stop, err := serve(strings.ToLower(name))
		if err != nil {
			return err
		}
		defer stop()
		env[name] = addr
	}
	lookup := func(name string) (string, bool) { addr, ok := env[name]; return addr, ok }
	return play(ctx, file, lookup, out)
}

// play is what a program does: open the file, and keep up with it.
func play(ctx context.Context, file string, lookup func(string) (string, bool), out io.Writer) error {
	reloaded := make(chan config.Status, 8)
	t, loader, err := config.Open(file, config.Options{
		LookupEnv: lookup, // os.LookupEnv by default
		Interval:  50 * time.Millisecond,
		OnReload:  func(s config.Status) { reloaded <- s },
	})
	if err != nil {
		return err
	}
	defer t.Close()
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { _ = loader.Run(ctx, t.Update) }) // it ends with ctx

	client := &http.Client{Transport: t}
	if err := call(ctx, client, out); err != nil {
		return err
	}
	fmt.Fprintln(out, "now without the line environment: local")
	if err := edit(file, "    environment: local\n", ""); err != nil {
		return err
	}
	select {
	case s := <-reloaded:
		if s.LastError != nil {
			return s.LastError
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return call(ctx, client, out)
}

// call asks users who it is.
func call(ctx context.Context, client *http.Client, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/v1/me", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	who, err := io.ReadAll(resp.Body)
	fmt.Fprintf(out, "users is answered by %s\n", who)
	return err
}

// edit replaces a text in a file at one stroke, as editors and mounted ConfigMaps
// do.
func edit(file, old, new string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), old) {
		return fmt.Errorf("%s: no line %q", file, old)
	}
	if err := os.WriteFile(file+".new", []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// serve starts a server that tells its name.
func serve(name string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }), ReadHeaderTimeout: time.Second}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(l) }) // it ends with Close
	return l.Addr().String(), func() { _ = s.Close(); running.Wait() }, nil
}
