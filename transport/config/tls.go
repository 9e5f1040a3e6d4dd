package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

// A memo carries from one load to the next what package transport compares by
// pointer: settings that mean the same must stay the same pointer, or
// connections are closed and breakers start anew at each reload.
type memo struct {
	tls      map[[sha256.Size]byte]*tls.Config
	breakers map[string]*breaker.Config // by path

	old *memo // of the load before
}

// next is the memo of a further load. What that does not use is forgotten.
func (m *memo) next() *memo {
	if m == nil {
		m = &memo{}
	}
	return &memo{
		tls: map[[sha256.Size]byte]*tls.Config{}, breakers: map[string]*breaker.Config{},
		old: &memo{tls: m.tls, breakers: m.breakers},
	}
}

// breaker returns the settings of the load before if they are the same. Only
// those with functions need it, the others are compared by content. At one path
// the functions are those of the same base each time.
func (m *memo) breaker(path string, c *breaker.Config) *breaker.Config {
	if c.GoodLeft == nil && c.OnChange == nil {
		return c
	}
	if was := m.old.breakers[path]; was != nil {
		a, b := *was, *c
		same := sameFunc(a.GoodLeft, b.GoodLeft) && sameFunc(a.OnChange, b.OnChange)
		a.GoodLeft, a.OnChange, b.GoodLeft, b.OnChange = nil, nil, nil, nil
		if same && reflect.DeepEqual(a, b) {
			c = was
		}
	}
	m.breakers[path] = c
	return c
}

// sameFunc says that both are the same code.
func sameFunc(a, b any) bool { return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() }

// The limit of a file of certificates, and how long before the end of a client's
// certificate there is a warning.
const (
	maxPEM      = 1 << 20
	expiresSoon = 7 * 24 * time.Hour
)

// tls makes a tls.Config, or returns that of the load before if nothing about it
// has changed. It is nil where something is wrong, or there is no section.
func (b *builder) tls(s *tlsSection, w where) *tls.Config {
	if s == nil {
		return nil
	}
	ca, caOK := b.pem(s.CAFile, where{w.key + ".caFile", w.path + ".cafile"})
	cert, certOK := b.pem(s.CertFile, where{w.key + ".certFile", w.path + ".certfile"})
	key, keyOK := b.pem(s.KeyFile, where{w.key + ".keyFile", w.path + ".keyfile"})
	if (s.CertFile == "") != (s.KeyFile == "") {
		b.probs.add(b.places[w.path], "certFile and keyFile: want both, or none of them")
		return nil
	}
	if s.InsecureSkipVerify {
		b.notes.add(b.places[w.path+".insecureskipverify"], "any certificate is accepted: want false outside of tests")
	}
	if !caOK || !certOK || !keyOK {
		return nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %v", ca, cert, key, s.MinVersion, s.InsecureSkipVerify))
	if b.memo.tls[sum] == nil {
		c := b.memo.old.tls[sum]
		if c == nil {
			c = b.newTLS(s, ca, cert, key, w)
		}
		b.memo.tls[sum] = c
	}
	c := b.memo.tls[sum]
	b.warnExpiry(c, w)
	return c
}

// pem reads a file of PEM blocks.
func (b *builder) pem(path string, w where) ([]byte, bool) {
	if path == "" {
		return nil, true
	}
	data, err := b.source.read(path, maxPEM)
	if err != nil {
		b.wrongFile(w, path, err)
	}
	return data, err == nil
}

// wrongFile notes what is wrong with a file, without what references led to.
func (b *builder) wrongFile(w where, path string, err error) {
	b.failed[w.path] = true
	at := b.places[w.path]
	if raw, has := b.raw(w.path); has {
		path = raw
		if pe := errors.Unwrap(err); pe != nil {
			err = pe
		}
	}
	b.probs.add(at, "%s: %v", shown(path), err)
}

// newTLS makes a tls.Config of what was read.
func (b *builder) newTLS(s *tlsSection, ca, cert, key []byte, w where) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.InsecureSkipVerify}
	if s.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	if s.CAFile != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(ca) {
			b.wrongFile(where{w.key + ".caFile", w.path + ".cafile"}, s.CAFile, errors.New("want certificates in PEM form"))
			return nil
		}
	}
	if s.CertFile != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			b.wrongFile(where{w.key + ".certFile", w.path + ".certfile"}, s.CertFile, err)
			return nil
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// warnExpiry warns of a client's certificate that servers refuse, or soon will.
func (b *builder) warnExpiry(c *tls.Config, w where) {
	if c == nil || len(c.Certificates) == 0 || c.Certificates[0].Leaf == nil {
		return
	}
	if end := c.Certificates[0].Leaf.NotAfter; time.Until(end) < expiresSoon {
		b.notes.add(b.places[w.path+".certfile"], "the certificate ends at %s: want a new one", end.UTC().Format(time.RFC3339))
	}
}
