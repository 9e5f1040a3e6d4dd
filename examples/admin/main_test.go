package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// Once, the program makes its calls and prints what the page's JSON says.
func TestOnce(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"-once"}, &out)
	for range 5 { // a machine may stand still for longer than the timeouts of the example
		if !errors.Is(err, context.DeadlineExceeded) {
			break
		}
		out.Reset()
		err = run(t.Context(), []string{"-once"}, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`users +users-0 +healthy +\d+ attempts`, `orders +orders-2 +healthy`, `search +search-3 +healthy`, `payments +payments-1 +healthy`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("got\n%swant a line like %s", out.String(), want)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 14 {
		t.Errorf("got %d lines, want one for each of 14 servers", n)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"more"}, {"-addr", "nowhere:port"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v: got no error", args)
		}
	}
	if err := run(t.Context(), []string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v, want help", err)
	}
}

// address waits for the address that the program prints.
type address struct {
	once  sync.Once
	found chan string
}

// Write implements io.Writer.
func (a *address) Write(p []byte) (int, error) {
	a.once.Do(func() { a.found <- strings.Fields(string(p))[0] })
	return len(p), nil
}

// The page is served where the program says, and ends with it.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &address{found: make(chan string, 1)}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-addr", "127.0.0.1:0"}, a) }()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: base}
	url := <-a.found
	for _, path := range []string{url, strings.TrimSuffix(url, "mesh/")} {
		resp, err := client.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "shop frontend") {
			t.Errorf("%s: got %d, %v", path, resp.StatusCode, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

// Faults happen to the servers that they name, and end.
func TestFaults(t *testing.T) {
	s, err := newStage()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	users, orders := s.groups["users"][1], s.groups["orders"][0]
	addr := orders.addr
	for _, f := range s.faults {
		if err := f.begin(); err != nil || f.from >= f.to || f.to >= s.interval {
			t.Fatalf("got %v, from %v to %v", err, f.from, f.to)
		}
	}
	if !users.bad.Load() || orders.http != nil {
		t.Error("got no fault")
	}
	for _, f := range s.faults {
		if err := f.end(); err != nil {
			t.Fatal(err)
		}
	}
	if users.bad.Load() || orders.http == nil || orders.addr != addr {
		t.Errorf("got %s, want all well at %s again", orders.addr, addr)
	}
}
