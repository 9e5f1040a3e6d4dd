package http2_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/rig/http2/badserver"
	"github.com/tullemesh/tulle/transport"
)

// A goServer is an http.Server that can be stopped and started again at its
// address.
type goServer struct {
	addr    string
	tls     *tls.Config // nil in the clear
	handler http.Handler
	http2   *http.HTTP2Config

	server *http.Server
	served sync.WaitGroup
}

// startGo starts a server that is stopped when the test ends.
func startGo(t testing.TB, s *goServer) *goServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.serve(l)
	t.Cleanup(func() {
		if err := s.server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		s.served.Wait()
	})
	return s
}

// serve starts serving on l. Each start has an http.Server of its own, as one
// that was shut down cannot serve again.
func (s *goServer) serve(l net.Listener) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s.server = &http.Server{
		Handler: s.handler, Protocols: protocols, HTTP2: s.http2,
		ErrorLog: log.New(io.Discard, "", 0), // clients that go away are part of the tests
	}
	server := s.server
	if s.tls != nil {
		server.TLSConfig = s.tls.Clone()
		s.served.Go(func() { _ = server.ServeTLS(l, "", "") }) // returns when the server stops
		return
	}
	s.served.Go(func() { _ = server.Serve(l) }) // as above
}

// grace is how long a server may take to shut down. Requests take
// milliseconds; a connection that nobody has used yet would be kept for 5 s.
const grace = 300 * time.Millisecond

// restart shuts the server down as a deployment does, running requests allowed
// to end, and starts it again at the same address.
func (s *goServer) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		if err := s.server.Close(); err != nil {
			return err
		}
	}
	s.served.Wait()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.serve(l)
	return nil
}

// answers is a handler that answers like a badserver does, after a delay.
func answers(ledger *badserver.Ledger, delay time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ledger.Touch(r.Header.Get(badserver.IDHeader))
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			return // the client has gone
		}
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
		answer := fmt.Sprintf("%d %x ", n, sum.Sum(nil))
		_, _ = io.WriteString(w, answer+strings.Repeat(".", answerSize-len(answer))) // the client checks it
	})
}

// startGoAll starts the servers of a test.
func startGoAll(t *testing.T, p protocol, delay time.Duration, cfg *http.HTTP2Config) (addrs []string, servers []*goServer, ledger *badserver.Ledger, roots *x509.CertPool) {
	t.Helper()
	ledger = new(badserver.Ledger)
	var serverTLS *tls.Config
	if p.secure() {
		serverTLS, roots = certificate(t)
	}
	for range endpoints {
		s := startGo(t, &goServer{tls: serverTLS, handler: answers(ledger, delay), http2: cfg})
		servers = append(servers, s)
		addrs = append(addrs, s.addr)
	}
	return addrs, servers, ledger, roots
}

// A rolling restart of well-behaved servers costs no safe call, and no POST is
// executed twice. A POST can meet the end of its connection, and is not sent
// again unless GOAWAY says that it was not processed. As deployments do, each restart
// waits until the one before is over: the client knows that the server is back, and
// no call has met both.
func TestRollingRestarts(t *testing.T) {
	protocols(t, allProtocols, func(t *testing.T, p protocol) {
		addrs, servers, ledger, roots := startGoAll(t, p, 20*time.Millisecond, nil)
		client, url := newClient(t, options{protocol: p, endpoints: addrs, roots: roots})
		var all []*call
		restarts := 0
		for load := 0; restarts < 3 && load < 20; load++ {
			list := calls(get, post, stream)
			for _, c := range list {
				c.id = fmt.Sprint(load, "-", c.id)
			}
			runWhile(t, client, url, list, func(ticks <-chan struct{}) {
				for range ticks {
					if !well(client) {
						continue
					}
					if err := servers[restarts%len(servers)].restart(t.Context()); err != nil {
						t.Errorf("restart: %v", err)
					}
					restarts++
					settle(list)
				}
			})
			all = append(all, list...)
		}
		if restarts < 3 {
			t.Errorf("got %d restarts during the load, want 3 or more", restarts)
		}
		t.Logf("%d restarts", restarts)
		v := verdict{ledger: ledger, postMayFail: true, streamMayFail: true, slowest: slow}
		v.judge(t, all)
	})
}

// well says that the client leaves no endpoint out.
func well(client *http.Client) bool {
	for _, e := range client.Transport.(*transport.Transport).Snapshot().Services[0].Endpoints {
		if e.State != "healthy" && e.State != "returning" {
			return false
		}
	}
	return true
}

// A server that allows few streams gets more connections, or its share goes
// elsewhere; no call fails.
func TestFewStreams(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			protocols(t, allHTTP2, func(t *testing.T, p protocol) {
				addrs, _, ledger, roots := startGoAll(t, p, 2*time.Millisecond, &http.HTTP2Config{MaxConcurrentStreams: limit})
				base, dials := countDials(p)
				client, url := newClient(t, options{protocol: p, endpoints: addrs, roots: roots, base: base})
				list := calls(get, post, stream)
				run(t, client, url, list)
				if n := dials.Load(); n <= endpoints {
					t.Errorf("got %d connections: the limit was not felt", n)
				}
				// net/http gives no proof for a connection that ends while it is
				// set up, so a POST may fail there; it must not be executed twice.
				v := verdict{ledger: ledger, postMayFail: true, streamMayFail: true, slowest: slow}
				v.judge(t, list)
			})
		})
	}
}

// gated is a handler whose answers wait for a word: those of /early after the
// headers, those of /late before. That of /first comes at once.
func gated(begun chan<- struct{}, leave <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/first":
			return
		case "/early":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush() // the client finds out if this failed
		}
		begun <- struct{}{}
		<-leave
		_, _ = io.WriteString(w, "whole") // as above
	})
}

// A call that runs while its server shuts down is answered, whether it has
// begun to send its answer or not.
func TestShutdownMidFlight(t *testing.T) {
	protocols(t, allProtocols, func(t *testing.T, p protocol) {
		begun, leave := make(chan struct{}), make(chan struct{})
		serverTLS, roots := certificate(t)
		s := &goServer{handler: gated(begun, leave)}
		if p.secure() {
			s.tls = serverTLS
		}
		startGo(t, s)
		client, url := newClient(t, options{protocol: p, endpoints: []string{s.addr}, roots: roots})
		// Both calls then share this connection. A second one that comes up
		// during the shutdown is missed by it and stays.
		if got, err := fetch(client, url+"first"); err != nil || got != "" {
			t.Fatalf("first: got %q, %v, want nothing", got, err)
		}
		var wg sync.WaitGroup
		for _, path := range []string{"early", "late"} {
			wg.Go(func() {
				if got, err := fetch(client, url+path); err != nil || got != "whole" {
					t.Errorf("%s: got %q, %v, want \"whole\"", path, got, err)
				}
			})
		}
		<-begun
		<-begun
		wg.Go(func() {
			if err := s.server.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		if err := refusesSoon(s.addr); err != nil {
			t.Error(err)
		}
		close(leave)
		wg.Wait()
	})
}

// refusesSoon waits until nobody listens at addr any more.
func refusesSoon(addr string) error {
	for range 1000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return nil
		}
		_ = c.Close() // it was only a question
	}
	return errors.New("the server still listens")
}

// fetch gets a whole body.
func fetch(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
