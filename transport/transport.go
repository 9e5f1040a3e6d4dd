package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
)

// A Transport is an http.RoundTripper that finds the endpoints of the services
// that it knows, balances and repeats calls to them, and keeps their deadlines.
// It is safe for concurrent use. It owns the watches of its resolvers and its
// connections; Close ends them.
type Transport struct {
	table atomic.Pointer[table] // never changed, only replaced

	mu    sync.Mutex // held to replace the table
	hosts *hosts     // services of unknown hosts, used while Config.Unknown is Resolve

	watching context.Context // ends with Close
	stop     context.CancelFunc
	watches  sync.WaitGroup

	// calls counts running calls; closed is added by Shutdown and Close.
	calls atomic.Int64
	idle  chan struct{} // closed when the last call ends after that
	once  sync.Once
}

// table is a Config at work: what a call needs to find its way.
type table struct {
	cfg      Config
	services map[string]*service // by key
	plain    http.RoundTripper   // takes what passes through
}

// closed is the bit of Transport.calls that refuses new calls.
const closed = int64(-1) << 62

// New returns a Transport for cfg and begins to watch its services, or an error
// that names every setting that cannot be used. That a service has no endpoints
// yet, or its source cannot be reached, is no error here: see Ready.
func New(cfg Config) (*Transport, error) {
	t := &Transport{idle: make(chan struct{})}
	t.watching, t.stop = context.WithCancel(context.Background())
	t.hosts = newHosts(t)
	t.table.Store(&table{})
	if err := t.Update(cfg); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.enter() {
		closeBody(req)
		return nil, ErrClosed
	}
	tb := t.table.Load()
	svc, err := t.route(tb, req)
	if err != nil {
		t.exit()
		closeBody(req)
		return nil, err
	}
	if svc == nil {
		defer t.exit()
		return tb.pass(req)
	}
	return svc.do(req, optionsOf(req.Context()))
}

// do makes one call.
func (s *service) do(req *http.Request, options *callOptions) (*http.Response, error) {
	x := newExchange(s, req, options)
	defer x.done()
	resp, err := s.call(&x.first)
	x.replay.Finish(req)
	options.tell(x)
	if err != nil {
		return nil, x.fail(err)
	}
	return resp, nil
}

// bounds says whether calls of req have any deadline, by which attempts are made
// larger.
func (s *service) bounds(req *http.Request, options *callOptions) bool {
	if s.attemptTimeout > 0 || options.timeout(s.timeout) > 0 {
		return true
	}
	_, has := req.Context().Deadline()
	return has
}

// route finds the service of a request; nil means that it passes through.
func (t *Transport) route(tb *table, req *http.Request) (*service, error) {
	if req.URL == nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, nil // the Base knows best what is wrong with it
	}
	if svc := tb.find(req.URL.Host); svc != nil {
		return svc, nil
	}
	switch tb.cfg.Unknown {
	case Refuse:
		return nil, fmt.Errorf("%w: %s", ErrUnknownService, req.URL.Host)
	case Resolve:
		if proxied(tb.plain, req) {
			return nil, nil
		}
		return t.hosts.find(req)
	}
	return nil, nil
}

// find looks a host of a URL up among the services.
func (tb *table) find(host string) *service {
	if len(tb.services) == 0 {
		return nil
	}
	if svc := tb.services[host]; svc != nil {
		return svc
	}
	key := canonicalHost(host)
	if svc := tb.services[key]; svc != nil {
		return svc
	}
	if name, _, ok := splitPort(key); ok {
		return tb.services[name]
	}
	return nil
}

// enter counts a call in, unless the Transport is shut down.
func (t *Transport) enter() bool {
	if t.calls.Add(1) > 0 {
		return true
	}
	t.exit()
	return false
}

// exit counts a call out.
func (t *Transport) exit() {
	if t.calls.Add(-1) == closed {
		t.once.Do(func() { close(t.idle) })
	}
}

// refuse makes enter refuse.
func (t *Transport) refuse() {
	for {
		n := t.calls.Load()
		if n < 0 {
			return
		}
		if t.calls.CompareAndSwap(n, n+closed) {
			if n == 0 {
				t.once.Do(func() { close(t.idle) })
			}
			return
		}
	}
}

// Ready waits until the named services, or all that are configured, have
// endpoints or their sources have failed to name any. Its error names each
// service that has none, and why. It is for programs that would rather start
// late than answer errors; calls wait by themselves.
func (t *Transport) Ready(ctx context.Context, services ...string) error {
	tb := t.table.Load()
	if len(services) == 0 {
		services = sortedKeys(tb.services)
	}
	var errs []error
	for _, name := range services {
		svc := tb.find(name)
		if svc == nil {
			errs = append(errs, fmt.Errorf("%w: %s", ErrUnknownService, name))
			continue
		}
		err := svc.cluster.Err()
		if err != nil {
			select {
			case <-svc.cluster.Ready():
				err = svc.cluster.Err()
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("transport: service %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// CloseIdleConnections closes the connections that no call uses. The Transport
// stays usable.
func (t *Transport) CloseIdleConnections() {
	closeIdle(t.table.Load().plain)
	for _, svc := range t.all() {
		svc.wire.closeIdle()
	}
}

// Shutdown refuses new calls with ErrClosed, waits until the running ones have
// ended (for a response with a body: until that was read or closed) and then
// does what Close does. If ctx ends first it returns its error, and the calls
// go on; a call to Close then ends the rest.
func (t *Transport) Shutdown(ctx context.Context) error {
	t.refuse()
	select {
	case <-t.idle:
		return t.Close()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close refuses new calls, ends all watches and waits for them, and closes the
// idle connections. Running calls go on; their connections close when they end.
// It can be called more than once and returns nil.
func (t *Transport) Close() error {
	t.refuse()
	t.mu.Lock() // no Update from here on, nor a new host
	t.stop()
	t.mu.Unlock()
	t.hosts.seal()
	t.watches.Wait()
	for _, svc := range t.all() {
		svc.wire.close()
	}
	if tb := t.table.Load(); tb.cfg.Base == nil {
		closeIdle(tb.plain)
	}
	return nil
}

// all are the services, those of unknown hosts included.
func (t *Transport) all() []*service {
	tb := t.table.Load()
	all := make([]*service, 0, len(tb.services))
	for _, key := range sortedKeys(tb.services) {
		all = append(all, tb.services[key])
	}
	return append(all, t.hosts.all()...)
}

// closeBody keeps the promise that RoundTrip always closes the request's body.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was sent, so there is nothing to report
	}
}
