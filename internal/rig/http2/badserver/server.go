// Package badserver is an HTTP/2 server that misbehaves by a script. It is
// written on the framing layer, so that it can break the protocol's promises at
// any point, and keeps a ledger of the requests that it has processed, so that a
// client which repeats what it must not repeat is found out.
//
// It answers with a body of 1,000 bytes that begins with the length and the
// checksum of the request's body, so that a body which was sent again from its
// middle is found out too. Unless the script closes hard, it closes politely:
// the client gets to see what was sent to it before the end.
package badserver

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// Config says what a server speaks and how it behaves.
type Config struct {
	// TLS has the certificate. Nil: cleartext HTTP/2 with prior knowledge.
	TLS *tls.Config

	// Script is the behaviour.
	Script Script

	// Ledger is shared by the servers of a test. Required.
	Ledger *Ledger
}

// A Server is one that runs.
type Server struct {
	// Addr is where it listens, on the loopback interface.
	Addr string

	cfg      Config
	listener net.Listener
	requests atomic.Int64
	vanished atomic.Bool
	broken   atomic.Pointer[error]
	wg       sync.WaitGroup // the accept loop and the connections

	mu     sync.Mutex
	conns  map[*conn]struct{} // guarded by mu; nil after Close
	opened int                // guarded by mu
	most   int                // guarded by mu: streams served at one time on a connection
}

// Start starts a server that is closed when the test ends. The test fails if the
// client broke the protocol.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("badserver: %v", err)
	}
	s := &Server{Addr: l.Addr().String(), cfg: cfg, listener: l, conns: map[*conn]struct{}{}}
	if cfg.TLS != nil {
		s.cfg.TLS = cfg.TLS.Clone()
		s.cfg.TLS.NextProtos = []string{http2.NextProtoTLS}
	}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		s.close()
		if err := s.broken.Load(); err != nil {
			t.Errorf("badserver: the client broke the protocol: %v", *err)
		}
	})
	return s
}

// Requests is the number of requests that came, processed or not.
func (s *Server) Requests() int64 { return s.requests.Load() }

// Conns is the number of connections that were opened to the server.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// MostStreams is the most streams that were served at one time on one
// connection.
func (s *Server) MostStreams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// accept serves connections until the listener closes.
func (s *Server) accept() {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		c := newConn(s, raw)
		if !s.track(c) {
			_ = raw.Close() // the server is closing
			return
		}
		s.wg.Go(func() {
			defer s.forget(c)
			s.note(c.serve())
		})
	}
}

// note keeps the first error that is the client's fault. A connection that ends
// is not: clients may go at any time.
func (s *Server) note(err error) {
	var breach protocolError
	if errors.As(err, &breach) {
		s.broken.CompareAndSwap(nil, &err)
	}
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	s.opened++
	c.number = s.opened
	return true
}

func (s *Server) forget(c *conn) {
	c.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// served notes how many streams one connection serves now.
func (s *Server) served(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = max(s.most, n)
}

// close ends everything and waits for it.
func (s *Server) close() {
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	_ = s.listener.Close() // the accept loop ends with it
	for c := range conns {
		c.close()
	}
	s.wg.Wait()
}
