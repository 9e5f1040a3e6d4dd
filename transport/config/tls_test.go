package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

// certificate makes a certificate that signs itself, for a server or a client
// of that name, and its key, both in PEM form.
func certificate(t *testing.T, name string, ends time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// year is when the certificates of tests end.
func year() time.Time { return time.Now().Add(365 * 24 * time.Hour) }

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, _ := certificate(t, "server", year())
	cert, key := certificate(t, "client", year())
	other, otherKey := certificate(t, "other", time.Now().Add(time.Hour))
	write(t, dir, "ca.pem", ca, "pki/cert.pem", cert, "pki/key.pem", key, "other.pem", other, "other.key", otherKey, "text", "x")
	r, err := config.Parse(dir+"/tulle.yaml", []byte(`
defaults:
  tls: {caFile: ca.pem, serverName: common}
services:
  inherits: {target: static://a, attemptTimeout: 1s}
  own: {target: static://a, attemptTimeout: 1s, tls: {certFile: pki/cert.pem, keyFile: pki/key.pem, minVersion: 1.3, serverName: own}}
  same: {target: static://a, attemptTimeout: 1s, tls: {certFile: pki/cert.pem, keyFile: pki/key.pem, minVersion: "1.3"}}
  plain: {target: static://a, attemptTimeout: 1s, protocol: h2c}
  empty: {target: static://a, attemptTimeout: 1s, tls: {}}
  places: {environments: {prod: {target: static://a}, own: {target: static://b, tls: {serverName: o}}, clear: {target: static://c, protocol: h2c}}, attemptTimeout: 1s}
  expiring: {target: static://a, attemptTimeout: 1s, tls: {certFile: other.pem, keyFile: other.key}}
`), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Transport.Services
	if c := s["inherits"]; c.TLS == nil || c.TLS.RootCAs == nil || c.TLS.MinVersion != tls.VersionTLS12 || c.TLSServerName != "common" {
		t.Errorf("inherits: got %+v", c)
	}
	if c := s["own"]; c.TLS == nil || len(c.TLS.Certificates) != 1 || c.TLS.RootCAs != nil || c.TLS.MinVersion != tls.VersionTLS13 || c.TLSServerName != "own" {
		t.Errorf("own: got %+v", c)
	}
	if s["same"].TLS != s["own"].TLS {
		t.Error("same: got another tls.Config for the same settings")
	}
	if s["plain"].TLS != nil || s["empty"].TLS == nil || s["empty"].TLS.RootCAs != nil {
		t.Errorf("got %+v and %+v", s["plain"], s["empty"])
	}
	places := s["places"].Environments
	if places["prod"].TLS != s["inherits"].TLS || places["prod"].TLSServerName != "common" || places["own"].TLSServerName != "o" ||
		places["own"].TLS == nil || places["own"].TLS.RootCAs != nil || places["clear"].TLS != nil {
		t.Errorf("places: got %+v", places)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Error(), "services.expiring.tls.certFile: the certificate ends at ") {
		t.Errorf("got warnings %v", r.Warnings)
	}

	for text, want := range map[string]string{
		"{caFile: nowhere.pem}":                        `tls.caFile: "nowhere.pem": stat: no such file`,
		"{caFile: text}":                               `tls.caFile: "text": want certificates in PEM form`,
		"{caFile: pki}":                                `tls.caFile: "pki": mode `,
		"{certFile: pki/cert.pem}":                     "tls: certFile and keyFile: want both, or none of them",
		"{keyFile: pki/key.pem}":                       "tls: certFile and keyFile: want both, or none of them",
		"{certFile: pki/cert.pem, keyFile: other.key}": `tls.certFile: "pki/cert.pem": tls: private key does not match public key`,
		"{certFile: pki/cert.pem, keyFile: text}":      `tls.certFile: "pki/cert.pem": tls: failed to find any PEM data in key input`,
		"{minVersion: 1.1}":                            `tls.minVersion: "1.1": did you mean 1.2? Want one of 1.2, 1.3`,
		"{serverName: 'a:b'}":                          "serverName",
		"{insecureSkipVerify: 1}":                      "want true or false",
	} {
		_, err := config.Parse(dir+"/tulle.yaml", []byte("services: {s: {target: static://a, tls: "+text+"}}"), config.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// A server that wants a certificate of its clients tells which one it got. New
// certificates are used once they are there; until then, and after reloads that
// are not about them, connections stay.
func TestTLSReload(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	serverCert, serverKey := certificate(t, "users", year())
	pair, err := tls.X509KeyPair([]byte(serverCert), []byte(serverKey))
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()

	dir := t.TempDir()
	cert, key := certificate(t, "first", year())
	text := "services:\n  users:\n    target: static://" + server.Listener.Addr().String() +
		"\n    attemptTimeout: 5s\n    tls: {caFile: ca.pem, certFile: cert.pem, keyFile: key.pem}\n"
	write(t, dir, "tulle.yaml", text, "ca.pem", serverCert, "cert.pem", cert, "key.pem", key)
	reloads := make(chan config.Status, 10)
	tr, l, err := config.Open(filepath.Join(dir, "tulle.yaml"), config.Options{
		Interval: 10 * time.Millisecond, Settle: 10 * time.Millisecond, OnReload: func(s config.Status) { reloads <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	stop := run(t, l, tr.Update)
	defer stop()
	client := &http.Client{Transport: tr}
	call := func(want string) {
		t.Helper()
		resp, err := client.Get("https://users/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
			t.Errorf("got certificate %q, %v, want %q", got, err, want)
		}
	}
	call("first")
	before := l.Result().Transport.Services["users"].TLS

	replace(t, dir, "tulle.yaml", text+"    timeout: 30s\n")
	if s := <-reloads; s.LastError != nil {
		t.Fatal(s.LastError)
	}
	if l.Result().Transport.Services["users"].TLS != before {
		t.Error("a reload of something else made another tls.Config: connections were dropped")
	}
	call("first")

	// The pair is replaced file by file, so there is a moment at which the
	// certificate does not match its key. That is refused, or not seen.
	cert, key = certificate(t, "second", year())
	write(t, dir, "cert.pem", cert, "key.pem", key)
	for s := range reloads {
		if s.LastError == nil {
			break
		}
	}
	if l.Result().Transport.Services["users"].TLS == before {
		t.Error("new certificates did not make a new tls.Config")
	}
	call("second")
}

// A breaker with a function of the program is not made anew by a reload that is
// about something else: it would forget what it counted.
func TestReloadKeepsFunctions(t *testing.T) {
	dir := t.TempDir()
	text := "services:\n  users:\n    target: static://127.0.0.1:1\n    attemptTimeout: 1s\n    breaker: {requests: 7}\n"
	write(t, dir, "tulle.yaml", text)
	reloads := make(chan config.Status, 10)
	l, err := config.New(filepath.Join(dir, "tulle.yaml"), config.Options{
		Interval: 10 * time.Millisecond, Settle: time.Millisecond, OnReload: func(s config.Status) { reloads <- s },
		Base: transport.Config{Defaults: transport.Policy{Breaker: &breaker.Config{OnChange: func(breaker.Change) {}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, l, func(transport.Config) error { return nil })()
	breakerOf := func() *breaker.Config { return l.Result().Transport.Services["users"].Policy.Breaker }
	before := breakerOf()
	replace(t, dir, "tulle.yaml", text+"    timeout: 30s\n")
	<-reloads
	if breakerOf() != before || before.OnChange == nil {
		t.Errorf("got %p, want %p: the same settings", breakerOf(), before)
	}
	replace(t, dir, "tulle.yaml", strings.Replace(text, "requests: 7", "requests: 8", 1))
	<-reloads
	if breakerOf() == before || breakerOf().Requests != 8 || breakerOf().OnChange == nil {
		t.Errorf("got %+v, want new settings", breakerOf())
	}
}
