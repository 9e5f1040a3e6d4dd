package http2_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A protocol is how client and servers talk.
type protocol string

const (
	http1  protocol = "http1"
	https1 protocol = "https1"
	h2     protocol = "h2"
	h2c    protocol = "h2c"
)

// secure says that the protocol has TLS.
func (p protocol) secure() bool { return p == h2 || p == https1 }

// options are what the tests vary in a client.
type options struct {
	protocol  protocol
	endpoints []string
	roots     *x509.CertPool
	policy    transport.Policy
	base      *http.Transport // nil: the library's own
}

// newClient makes the client that is tested, for one service, and returns it
// with the URL of the service. It is closed when the test ends.
func newClient(t testing.TB, o options) (client *http.Client, url string) {
	t.Helper()
	var endpoints discovery.Static
	for _, addr := range o.endpoints {
		endpoints = append(endpoints, tulle.Endpoint{Addr: addr})
	}
	service := transport.Service{Resolver: endpoints, Policy: o.policy}
	url = "http://svc/"
	if o.protocol.secure() {
		url = "https://svc/"
		service.TLS = &tls.Config{RootCAs: o.roots}
		service.TLSServerName = "example.com" // a name of httptest's certificate
	}
	if o.protocol == h2c {
		service.Protocol = transport.H2C
	}
	if o.protocol == https1 && o.base == nil {
		o.base = plainTransport(https1) // the library's own would negotiate HTTP/2
	}
	cfg := transport.Config{Services: map[string]transport.Service{"svc": service}}
	if o.base != nil {
		cfg.Base = o.base
	}
	tr, err := transport.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &http.Client{Transport: tr}, url
}

// countDials returns a base that counts the connections it opens.
func countDials(p protocol) (base *http.Transport, dials *atomic.Int64) {
	base, dials = plainTransport(p), new(atomic.Int64)
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return base, dials
}

// certificate borrows that of httptest, which is for example.com.
func certificate(t testing.TB) (server *tls.Config, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, roots
}
