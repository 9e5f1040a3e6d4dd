package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport/admin"
)

// print asks the page for its JSON, as a script would, and prints a line for each
// endpoint.
func (p *program) print(out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: p.page, ReadHeaderTimeout: 5 * time.Second}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) }) // it ends with Close
	defer running.Wait()
	defer srv.Close()

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String() + "/mesh/snapshot.json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("snapshot.json: %s", resp.Status)
	}
	var state admin.State
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		return fmt.Errorf("snapshot.json: %w", err)
	}
	for _, s := range state.Services {
		for _, e := range s.Endpoints {
			fmt.Fprintf(out, "%-9s %-8s %-9s %3d attempts\n", s.Name, e.Name, e.State, e.Attempts)
		}
	}
	return nil
}
