package http_test

import (
	"crypto/tls"
	"net"
	. "net/http"
	"os"
	"testing"
	"time"

	rigshim "github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

// The tests of net/http reach its private parts through a file of its own
// package. This file and its neighbour hold those of them that can be done from
// outside; tests that need the others are pruned.

func TestMain(m *testing.M) {
	code := m.Run()
	rigshim.Finish()
	if code == 0 && goroutineLeaked() {
		code = 1
	}
	os.Exit(code)
}

func CondSkipHTTP2(testing.TB) {}

// ExportHttp2ConfigureServer makes a server offer HTTP/2 by ALPN; the server
// does the rest when it starts.
func ExportHttp2ConfigureServer(s *Server, _ any) error {
	if s.TLSConfig == nil {
		s.TLSConfig = new(tls.Config)
	}
	s.TLSConfig.NextProtos = append(s.TLSConfig.NextProtos, "h2", "http/1.1")
	return nil
}

func ExportHttp2ConfigureTransport(tr *Transport) error {
	tr.ForceAttemptHTTP2 = true
	return nil
}

// SetRSTAvoidanceDelay cannot be done from outside, and its users check the
// timing of the server.
func SetRSTAvoidanceDelay(t *testing.T, _ time.Duration) {
	t.Skip("sets a private delay of the server")
}

// ResponseWriterConnForTesting only adds to the evidence of the remote address.
func ResponseWriterConnForTesting(ResponseWriter) (net.Conn, bool) { return nil, false }

// NewLoggingConn logs for people only.
func NewLoggingConn(_ string, c net.Conn) net.Conn { return c }

// neverEnding is a reader of one byte, again and again.
type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// SetPendingDialHooks helps tests to wait for the end of their dials, for the
// leak checker's sake.
func SetPendingDialHooks(func(), func()) {}

// testenv stands for the package internal/testenv.
var testenv environment

type environment struct{}

func (environment) SkipFlaky(t testing.TB, issue int) { t.Skipf("known as flaky: issue %d", issue) }
func (environment) MustHaveExec(testing.TB)           {}
func (environment) Builder() string                   { return "" }
