package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// endpoints is the number of instances.
const endpoints = 10

// recorder is a stub that notes where requests go and whether they are those of
// the caller.
type recorder struct {
	client.Stub
	mu    sync.Mutex
	hosts map[string]int
	sent  int64
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != "/" || req.URL.Scheme != "http" {
		return nil, errors.New("not the request of the caller: " + req.URL.String())
	}
	r.mu.Lock()
	r.hosts[req.URL.Host]++
	r.sent += max(req.ContentLength, 0)
	r.mu.Unlock()
	return r.Stub.RoundTrip(req)
}

// instances is how many had a request.
func (r *recorder) instances() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.hosts)
}

// each runs a test for every contender of HTTP that is wanted.
func each(t *testing.T, want func(client.Contender) bool, test func(*testing.T, client.Contender)) {
	for _, c := range append([]client.Contender{client.Bare()}, client.HTTP()...) {
		if want(c) {
			t.Run(c.Name, func(t *testing.T) { test(t, c) })
		}
	}
}

func onStub(c client.Contender) bool { return c.OnStub }
func onWire(c client.Contender) bool { return c.OnWire }

// open sets a contender up for the time of the test.
func open(t *testing.T, c client.Contender, site client.Site) *client.Client {
	t.Helper()
	cl, err := c.Open(site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Over the stub each call of a contender becomes one request, and all
// instances get some.
func TestStub(t *testing.T) {
	each(t, onStub, func(t *testing.T, c client.Contender) {
		r := &recorder{hosts: map[string]int{}}
		addrs := client.StubAddrs(endpoints)
		cl := open(t, c, client.Site{Base: r, Addrs: addrs})
		const calls = 400
		for _, call := range []func() error{cl.Caller(), cl.Caller()} {
			for range calls / 2 {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Httplb warms instances up on goroutines of its own, and may have few so far.
		want, call := calls, cl.Caller()
		for end := time.Now().Add(20 * time.Second); r.instances() < endpoints && time.Now().Before(end); want++ {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		}
		total := 0
		for host, n := range r.hosts {
			if !slices.Contains(addrs, host) {
				t.Errorf("got a request for %s, want the instances only", host)
			}
			total += n
		}
		if total != want || len(r.hosts) != endpoints {
			t.Errorf("got %d requests at %d instances, want %d at %d", total, len(r.hosts), want, endpoints)
		}
	})
}

// A body arrives whole, and does so again and again.
func TestPoster(t *testing.T) {
	each(t, onStub, func(t *testing.T, c client.Contender) {
		for _, size := range []int{0, 1, 100_000} {
			r := &recorder{hosts: map[string]int{}}
			cl := open(t, c, client.Site{Base: r, Addrs: client.StubAddrs(endpoints)})
			call := cl.Poster(bytes.Repeat([]byte{'x'}, size))
			if call == nil {
				if c.Name != "kratos Invoke" {
					t.Error("it sends no body")
				}
				return
			}
			for range 3 {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			}
			if r.sent != int64(3*size) {
				t.Errorf("got %d bytes for 3 bodies of %d", r.sent, size)
			}
		}
	})
}

// Over loopback the server answers every call that a contender counts.
func TestWire(t *testing.T) {
	srv := startServer(t)
	each(t, onWire, func(t *testing.T, c client.Contender) {
		answered(t, srv, open(t, c, client.Site{Addrs: srv.HTTP(endpoints)}))
	})
}

func TestGRPC(t *testing.T) {
	srv := startServer(t)
	for _, c := range append([]client.Contender{client.Rotating()}, client.GRPC()...) {
		t.Run(c.Name, func(t *testing.T) {
			answered(t, srv, open(t, c, client.Site{Addrs: srv.GRPC(endpoints)}))
		})
	}
}

// answered calls from several goroutines, and wants the server to have counted
// as many calls.
func answered(t *testing.T, srv *server.Process, cl *client.Client) {
	t.Helper()
	before, err := srv.Count()
	if err != nil {
		t.Fatal(err)
	}
	const goroutines, calls = 8, 25
	var all sync.WaitGroup
	for range goroutines {
		call := cl.Caller()
		all.Go(func() {
			for range calls {
				if err := call(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	after, err := srv.Count()
	if err != nil {
		t.Fatal(err)
	}
	if got := after - before; got != goroutines*calls {
		t.Errorf("the server answered %d calls, want %d", got, goroutines*calls)
	}
}

// startServer starts a server that ends with the test.
func startServer(t *testing.T) *server.Process {
	t.Helper()
	srv, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("the end of the server: %v", err)
		}
	})
	return srv
}

// answer is a Base that gives one answer.
type answer struct {
	status int
	body   string
}

func (a answer) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(a.body)), ContentLength: int64(len(a.body)),
	}, nil
}

// No contender passes a wrong answer for a call.
func TestWrongAnswer(t *testing.T) {
	each(t, onStub, func(t *testing.T, c client.Contender) {
		for _, a := range []answer{
			{http.StatusNotFound, string(server.Body)},
			{http.StatusOK, ""},
			{http.StatusOK, string(server.Body[1:])},
			{http.StatusOK, string(server.Body) + "more"},
			{http.StatusOK, strings.Repeat(string(server.Body), 10)},
		} {
			cl := open(t, c, client.Site{Base: a, Addrs: client.StubAddrs(endpoints)})
			if err := cl.Caller()(); err == nil {
				t.Errorf("status %d, %d bytes: got no error", a.status, len(a.body))
			}
		}
	})
}

// The stub does not take a request whose body is cut.
func TestStubRefuses(t *testing.T) {
	req, err := http.NewRequest(http.MethodPost, "http://10.0.0.0/", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 6
	if resp, err := (client.Stub{}).RoundTrip(req); err == nil {
		t.Errorf("got %v, want an error", resp.Status)
	}
}

func TestNames(t *testing.T) {
	for _, all := range [][]client.Contender{append(client.HTTP(), client.Bare()), append(client.GRPC(), client.Rotating())} {
		seen := map[string]bool{}
		for _, c := range all {
			if c.Name == "" || c.Note == "" || seen[c.Name] || !c.OnStub && !c.OnWire || strings.HasSuffix(c.Note, ".") {
				t.Errorf("%q, %q: want a name of its own, a note without a full stop, and a place", c.Name, c.Note)
			}
			seen[c.Name] = true
		}
	}
}

func TestStubAddrs(t *testing.T) {
	got := client.StubAddrs(70000)
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 70000 {
		t.Errorf("got %d addresses that differ, want 70000", n)
	}
}
