package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle/internal/cluster"
)

// The limits of connection pools.
const (
	idlePerEndpoint  = 64
	idleTimeout      = 50 * time.Second
	poolAge          = 5 * time.Minute // ± poolAgeJitter
	poolAgeJitter    = time.Minute
	warmPools        = 1024
	dialTimeout      = 2 * time.Second // one lost SYN is sent again after 1 s
	keepAlive        = 15 * time.Second
	handshakeTimeout = 5 * time.Second
	expectTimeout    = time.Second
	pingAfter        = 15 * time.Second
	pingTimeout      = 15 * time.Second
)

// A wire sends attempts.
type wire interface {
	send(a *attempt) (*http.Response, error)
	// closeIdle closes idle connections, close all pools for good.
	closeIdle()
	close()
}

// newWire chooses how the attempts of svc are sent.
func newWire(base http.RoundTripper, s *Service, name string) wire {
	switch b := base.(type) {
	case nil:
		return newPools(nil, s, name)
	case *http.Transport:
		return newPools(b, s, name)
	case EndpointRoundTripper:
		return &endpointWire{base: b}
	}
	return &plainWire{base: base}
}

// plainWire sends through a Base that knows no endpoints.
type plainWire struct{ base http.RoundTripper }

func (w *plainWire) send(a *attempt) (*http.Response, error) {
	if a.url.Scheme == "http" {
		a.url.Host = urlHost(a.lease.Endpoint().Addr)
	} else if a.x.svc.Engine.Len() > 1 {
		a.closeBody()
		return nil, ErrBaseCannot
	}
	return w.base.RoundTrip(&a.req)
}

func (w *plainWire) closeIdle() { closeIdle(w.base) }
func (w *plainWire) close()     {}

// endpointWire sends through a Base that takes the endpoint.
type endpointWire struct{ base EndpointRoundTripper }

func (w *endpointWire) send(a *attempt) (*http.Response, error) {
	return w.base.RoundTripEndpoint(&a.req, *a.lease.Endpoint())
}

func (w *endpointWire) closeIdle() { closeIdle(w.base) }
func (w *endpointWire) close()     {}

// closeBody closes the body of a request that is not sent.
func (a *attempt) closeBody() {
	if a.req.Body != nil {
		_ = a.req.Body.Close() // nothing was sent, so there is nothing to report
	}
}

// closeIdle closes the idle connections of a RoundTripper that has any.
func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// urlHost is an endpoint's address as the host of a URL: an IPv6 address
// without a port needs brackets there.
func urlHost(addr string) string {
	if strings.Count(addr, ":") > 1 && addr[0] != '[' {
		return "[" + addr + "]"
	}
	return addr
}

// pools sends through a pool of connections for each endpoint, a clone of one
// http.Transport, so that the connections of an endpoint can be closed when it
// leaves. A pool is made when its endpoint is first used, and replaced when it
// is old: behind a virtual address, new connections are what spreads load.
type pools struct {
	base       *http.Transport // nil: a tuned one
	tls        *tls.Config     // nil: that of base
	serverName string
	h2c        bool

	mu   sync.Mutex
	warm []*pool // guarded by mu: in use, by age
}

// newPools prepares the pools of a service.
func newPools(base *http.Transport, s *Service, name string) *pools {
	p := &pools{base: base, tls: s.TLS, serverName: s.TLSServerName, h2c: s.Protocol == H2C}
	if p.serverName == "" && (s.TLS == nil || s.TLS.ServerName == "") {
		host, _, _ := splitPort(cmp.Or(s.Host, name))
		p.serverName = strings.Trim(host, "[]")
	}
	return p
}

// A pool is the connections of one endpoint.
type pool struct {
	owner   *pools
	rt      *http.Transport
	host    string
	expires time.Duration
	used    atomic.Int64 // when it was last used
	active  atomic.Int64 // attempts that use it
	retired atomic.Bool
}

func (w *pools) send(a *attempt) (*http.Response, error) {
	p := w.pool(a)
	p.active.Add(1)
	a.pool = p
	a.url.Host = p.host
	return p.rt.RoundTrip(&a.req)
}

// pool finds the pool of the attempt's endpoint, or makes it.
func (w *pools) pool(a *attempt) *pool {
	now := a.lease.Start()
	old, _ := a.lease.Resource().(*pool)
	if old != nil && old.owner == w && now < old.expires && !old.retired.Load() {
		old.used.Store(int64(now))
		return old
	}
	p := &pool{owner: w, rt: w.transport(), host: urlHost(a.lease.Endpoint().Addr)}
	p.expires = now + poolAge - poolAgeJitter + rand.N(2*poolAgeJitter)
	p.used.Store(int64(now))
	var was cluster.Resource
	if old != nil {
		was = old
	}
	if !a.lease.Replace(was, p) {
		if won, _ := a.lease.Resource().(*pool); won != nil && won.owner == w {
			return won
		}
		// The endpoint has left, or its service was changed while this call
		// was on its way: this pool is for the one attempt.
		p.retired.Store(true)
		return p
	}
	if old != nil {
		old.Retire()
	}
	w.admit(p)
	return p
}

// admit counts p as warm, and retires the pool that was idle longest when there
// are too many.
func (w *pools) admit(p *pool) {
	w.mu.Lock()
	w.warm = slices.DeleteFunc(w.warm, func(p *pool) bool { return p.retired.Load() })
	w.warm = append(w.warm, p)
	var coldest *pool
	if len(w.warm) > warmPools {
		coldest = slices.MinFunc(w.warm, func(a, b *pool) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	}
	w.mu.Unlock()
	if coldest != nil && coldest != p {
		coldest.Retire() // its endpoint gets a new one when it is used again
	}
}

// Retire implements cluster.Resource: idle connections close now, the others
// when their calls are done.
func (p *pool) Retire() {
	p.retired.Store(true)
	p.rt.CloseIdleConnections()
}

// leave says that an attempt is done with the pool.
func (p *pool) leave() {
	if p.active.Add(-1) == 0 && p.retired.Load() {
		p.rt.CloseIdleConnections()
	}
}

func (w *pools) closeIdle() {
	for _, p := range w.all() {
		p.rt.CloseIdleConnections()
	}
}

func (w *pools) close() {
	for _, p := range w.all() {
		p.Retire()
	}
}

// all are the pools in use.
func (w *pools) all() []*pool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.warm)
}

// transport makes the http.Transport of one endpoint.
func (w *pools) transport() *http.Transport {
	var t *http.Transport
	if w.base == nil {
		t = tuned()
	} else {
		t = w.base.Clone()
		// What we set below must not switch HTTP/2 off where the Base has it.
		t.ForceAttemptHTTP2 = t.ForceAttemptHTTP2 || negotiates(w.base)
	}
	t.Proxy = nil
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = cmp.Or(t.MaxIdleConnsPerHost, idlePerEndpoint)
	t.IdleConnTimeout = cmp.Or(t.IdleConnTimeout, idleTimeout)
	if t.HTTP2 == nil {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	}
	w.secure(t)
	if w.h2c {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	tagDials(t)
	return t
}

// secure sets what the certificate is checked with and for.
func (w *pools) secure(t *http.Transport) {
	if w.tls != nil {
		t.TLSClientConfig = w.tls.Clone()
	} else if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	if w.serverName != "" && (w.base == nil || w.tls != nil || t.TLSClientConfig.ServerName == "") {
		t.TLSClientConfig.ServerName = w.serverName
	}
}

// tuned is the transport that we send with unless we are given another.
func tuned() *http.Transport {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &http.Transport{
		DialContext:         d.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: handshakeTimeout,

		ExpectContinueTimeout: expectTimeout,
		MaxIdleConnsPerHost:   idlePerEndpoint,
		IdleConnTimeout:       idleTimeout,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// negotiates says whether net/http would try HTTP/2 by itself.
func negotiates(t *http.Transport) bool {
	//lint:ignore SA1019 the old dialers count as long as they work
	return t.Protocols == nil && t.TLSClientConfig == nil && t.Dial == nil && t.DialContext == nil && t.DialTLS == nil && t.DialTLSContext == nil
}

// dialError marks an error as that of a dial, so that it is known that nothing
// was sent, whatever the dialer returns.
type dialError struct{ error }

// Unwrap leads to the dialer's own error.
func (e *dialError) Unwrap() error { return e.error }

// isDialError says whether an attempt failed before there was a connection.
func isDialError(err error) bool {
	var d *dialError
	return errors.As(err, &d)
}

// tagDials marks the errors of the transport's dialers.
func tagDials(t *http.Transport) {
	//lint:ignore SA1019 the old dialer counts as long as it works
	if t.DialContext == nil && t.Dial == nil {
		t.DialContext = new(net.Dialer).DialContext
	}
	for _, dial := range []*func(context.Context, string, string) (net.Conn, error){&t.DialContext, &t.DialTLSContext} {
		if inner := *dial; inner != nil {
			*dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := inner(ctx, network, addr)
				if err != nil {
					return nil, &dialError{err}
				}
				return c, nil
			}
		}
	}
}
