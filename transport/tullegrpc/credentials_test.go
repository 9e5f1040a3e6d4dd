package tullegrpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// An issuer is a certificate authority.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool // itself
}

// newIssuer makes a certificate authority.
func newIssuer(tb testing.TB) *issuer {
	tb.Helper()
	ca := &issuer{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key))))
	ca.pool.AddCert(ca.cert)
	return ca
}

// issue makes a certificate for names.
func (ca *issuer) issue(names ...string) tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// seen is what a server knows of an RPC.
type seen struct {
	authority, protocol, serverName string
	clients                         int // certificates
}

// secure starts a server with a certificate, which remembers the latest RPC. A nil
// config is a server without TLS.
func secure(tb testing.TB, config *tls.Config) (*server, *atomic.Pointer[seen]) {
	tb.Helper()
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{grpc: grpc.NewServer(grpc.Creds(creds)), addr: l.Addr().String()}
	last := new(atomic.Pointer[seen])
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		p, _ := peer.FromContext(ctx)
		now := &seen{authority: strings.Join(md[":authority"], ",")}
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			now.protocol, now.serverName, now.clients = info.State.NegotiatedProtocol, info.State.ServerName, len(info.State.PeerCertificates)
		}
		last.Store(now)
		return s.answer(), nil
	})
	testpb.RegisterTestServiceServer(s.grpc, s)
	go s.grpc.Serve(l)
	tb.Cleanup(s.grpc.Stop)
	return s, last
}

// certified is the config of a server with a certificate.
func certified(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}}
}

// secured is a connection to a service of m.
func secured(tb testing.TB, m *transport.Transport, service string, fallback credentials.TransportCredentials, options ...grpc.DialOption) testpb.TestServiceClient {
	tb.Helper()
	cc, err := grpc.NewClient("tulle:///"+service, append(append(tullegrpc.DialOptions(m),
		grpc.WithTransportCredentials(tullegrpc.Credentials(fallback))), options...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cc.Close() })
	return testpb.NewTestServiceClient(cc)
}

// Services of one Transport have authorities and names of their own, and the others
// those of the fallback.
func TestCredentials(t *testing.T) {
	a, b := newIssuer(t), newIssuer(t)
	fallback := credentials.NewTLS(&tls.Config{RootCAs: b.pool})
	for _, c := range []struct {
		name      string
		cert      tls.Certificate
		svc       transport.Service
		fallback  credentials.TransportCredentials
		sni       string
		authority string
	}{
		{"its own authority", a.issue("users"), transport.Service{TLS: &tls.Config{RootCAs: a.pool}}, fallback, "users", "users"},
		{"over an insecure fallback", a.issue("users"), transport.Service{TLS: &tls.Config{RootCAs: a.pool}}, insecure.NewCredentials(), "users", "users"},
		{"its own name", a.issue("users.internal"), transport.Service{TLS: &tls.Config{RootCAs: a.pool}, TLSServerName: "users.internal"}, fallback, "users.internal", "users"},
		{"the name of its config", a.issue("users.config"), transport.Service{TLS: &tls.Config{RootCAs: a.pool, ServerName: "users.config"}}, fallback, "users.config", "users"},
		{"its own name over that of its config", a.issue("users.internal"),
			transport.Service{TLS: &tls.Config{RootCAs: a.pool, ServerName: "users.config"}, TLSServerName: "users.internal"}, fallback, "users.internal", "users"},
		{"its host", a.issue("users.example"), transport.Service{TLS: &tls.Config{RootCAs: a.pool}, Host: "users.example:8443"}, fallback, "users.example", "users.example:8443"},
		{"its host and another name", a.issue("users.internal"),
			transport.Service{TLS: &tls.Config{RootCAs: a.pool}, Host: "users.example", TLSServerName: "users.internal"}, fallback, "users.internal", "users.example"},
		{"the fallback", b.issue("users"), transport.Service{}, fallback, "users", "users"},
		{"its own name over the fallback", b.issue("users.internal"), transport.Service{TLSServerName: "users.internal"}, fallback, "users.internal", "users"},
		{"its host over the fallback", b.issue("users.example"), transport.Service{Host: "users.example"}, fallback, "users.example", "users.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, last := secure(t, certified(c.cert))
			other, lastOther := secure(t, certified(b.issue("orders")))
			c.svc.Resolver = static(s)
			m := must(transport.New(transport.Config{Services: map[string]transport.Service{"users": c.svc, "orders": {
				Resolver: static(other), TLS: &tls.Config{RootCAs: b.pool},
			}}}))
			defer m.Close()
			if _, err := secured(t, m, "users", c.fallback).UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			if got, want := *last.Load(), (seen{authority: c.authority, protocol: "h2", serverName: c.sni}); got != want {
				t.Errorf("got %+v at the server, want %+v", got, want)
			}
			if _, err := secured(t, m, "orders", c.fallback).UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
				t.Errorf("the other service: %v", err)
			} else if got := lastOther.Load(); got.serverName != "orders" {
				t.Errorf("got %+v at the other service", got)
			}
		})
	}
}

// An insecure fallback leaves services without TLS as they are, and services with a
// client certificate show it.
func TestCredentialsFallback(t *testing.T) {
	ca := newIssuer(t)
	plain, lastPlain := secure(t, nil)
	strict := certified(ca.issue("strict"))
	strict.ClientAuth, strict.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
	mutual, lastMutual := secure(t, strict)
	m := must(transport.New(transport.Config{Services: map[string]transport.Service{
		"plain":  {Resolver: static(plain), Host: "plain.example"},
		"strict": {Resolver: static(mutual), TLS: &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.issue("client")}}},
	}}))
	defer m.Close()
	for _, name := range []string{"plain", "strict"} {
		if _, err := secured(t, m, name, insecure.NewCredentials()).UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := lastPlain.Load(); got == nil || got.protocol != "" || got.authority != "plain.example" {
		t.Errorf("plain: got %+v", got)
	}
	if got := lastMutual.Load(); got == nil || got.clients != 1 {
		t.Errorf("strict: got %+v, want a client certificate", got)
	}
}

// A certificate that is not trusted fails the call with the reason, and keeps calls
// off that endpoint where there are others.
func TestCredentialsRefused(t *testing.T) {
	trusted, stranger := newIssuer(t), newIssuer(t)
	h1 := certified(trusted.issue("users"))
	h1.NextProtos = []string{"http/1.1"}
	for _, c := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"unknown authority", certified(stranger.issue("users")), "certificate signed by unknown authority"},
		{"another name", certified(trusted.issue("orders")), "certificate is valid for orders, not users"},
		{"no TLS", nil, "tls: first record does not look like a TLS handshake"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good, _ := secure(t, certified(trusted.issue("users")))
			bad, last := secure(t, c.config)
			config := &tls.Config{RootCAs: trusted.pool}
			m := mesh(t, transport.Service{Resolver: static(bad), TLS: config})
			_, err := secured(t, m, "users", insecure.NewCredentials()).UnaryCall(within(t), &testpb.SimpleRequest{})
			if status.Code(err) != codes.Unavailable || !errors.Is(err, transport.ErrAllDown) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("alone: got %v, want Unavailable, ErrAllDown and %q", err, c.want)
			}
			m = mesh(t, transport.Service{Resolver: static(good, bad), TLS: config, Policy: transport.Policy{Balancer: balancer.RoundRobin{}}})
			users := secured(t, m, "users", insecure.NewCredentials())
			until(t, m, bad.addr, "dead", func() {
				if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
					t.Fatalf("with another endpoint: %v", err)
				}
			})
			if last.Load() != nil {
				t.Error("an RPC reached the server that is not trusted")
			}
		})
	}
	t.Run("no HTTP/2", func(t *testing.T) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", h1)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		m := mesh(t, transport.Service{Target: "static://" + l.Addr().String(), TLS: &tls.Config{RootCAs: trusted.pool}})
		_, err = secured(t, m, "users", insecure.NewCredentials()).UnaryCall(within(t), &testpb.SimpleRequest{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no application protocol") && !strings.Contains(err.Error(), "ALPN") {
			t.Errorf("got %v, want Unavailable for want of h2", err)
		}
		l.Close()
		<-done
	})
}

// The credentials say of themselves what the fallback says, and so does a clone.
func TestCredentialsInfo(t *testing.T) {
	for _, fallback := range []credentials.TransportCredentials{insecure.NewCredentials(), credentials.NewTLS(nil)} {
		c := tullegrpc.Credentials(fallback)
		for _, one := range []credentials.TransportCredentials{c, c.Clone()} {
			if got, want := one.Info().SecurityProtocol, fallback.Info().SecurityProtocol; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}
