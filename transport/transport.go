package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/tullemesh/tulle/internal/destination"
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

	gate      *destination.Gate // counts running calls
	followers followers
}

// table is a Config at work: what a call needs to find its way.
type table struct {
	cfg      Config
	services map[string]*service // by key
	plain    http.RoundTripper   // takes what passes through
}

// New returns a Transport for cfg and begins to watch its services, or an error
// that names every setting that cannot be used. That a service has no endpoints
// yet, or its source cannot be reached, is no error here: see Ready.
func New(cfg Config) (*Transport, error) {
	t := &Transport{gate: destination.NewGate()}
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
	if !t.gate.Enter() {
		closeBody(req)
		return nil, ErrClosed
	}
	tb := t.table.Load()
	svc, err := t.route(tb, req)
	if err != nil {
		t.gate.Exit()
		closeBody(req)
		return nil, err
	}
	if svc == nil {
		defer t.gate.Exit()
		return tb.pass(req)
	}
	return svc.do(req, destination.OptionsOf(req.Context()))
}

// do makes one call.
func (s *service) do(req *http.Request, options *destination.Options) (*http.Response, error) {
	x := newExchange(s, req, options)
	defer x.done()
	resp, err := s.call(&x.first)
	x.replay.Finish(req)
	options.Tell(s.Name, x.endpoint, int(x.call.Attempt))
	if err != nil {
		return nil, x.fail(err)
	}
	return resp, nil
}

// bounds says whether calls of req have any deadline, by which attempts are made
// larger.
func (s *service) bounds(req *http.Request, options *destination.Options) bool {
	if s.AttemptTimeout > 0 || options.CallTimeout(s.Timeout) > 0 {
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
		err := svc.Engine.Err()
		if err != nil {
			select {
			case <-svc.Engine.Ready():
				err = svc.Engine.Err()
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
	t.gate.Refuse()
	select {
	case <-t.gate.Idle():
		return t.Close()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close refuses new calls, ends all watches and waits for them, and closes the
// idle connections. Running calls go on; their connections close when they end.
// It can be called more than once and returns nil.
func (t *Transport) Close() error {
	t.gate.Refuse()
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
