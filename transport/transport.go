package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
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
	shadows   *shadows
	tel       *telemetry.Telemetry
	strangers *telemetry.Service // of hosts that are no service
	updates   updates
}

// table is a Config at work: what a call needs to find its way.
type table struct {
	cfg          Config
	services     map[string]*entry // by key
	destinations []*service        // as routes numbers them
	routes       *route.Table
	plain        http.RoundTripper // takes what passes through
}

// entry is a service as calls find it.
type entry struct {
	name   string
	handle *route.Handle
	home   *service // where calls go when nobody says otherwise; nil if nowhere
	direct bool     // nothing can change that
}

// New returns a Transport for cfg and begins to watch its services, or an error
// that names every setting that cannot be used. That a service has no endpoints
// yet, or its source cannot be reached, is no error here: see Ready.
func New(cfg Config) (*Transport, error) {
	t := &Transport{gate: destination.NewGate()}
	t.shadows = newShadows(t.gate)
	t.watching, t.stop = context.WithCancel(context.Background())
	tel, err := telemetry.New(cfg.Telemetry)
	if err != nil {
		t.stop()
		return nil, err
	}
	t.tel, t.strangers = tel, tel.Service(telemetry.Other)
	t.hosts = newHosts(t)
	t.table.Store(&table{})
	if err := t.Update(cfg); err != nil {
		t.stop()
		return nil, err
	}
	if err := t.tel.Observe(t.observe); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.watches.Go(func() { t.tel.Run(t.watching) })
	return t, nil
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.gate.Enter() {
		closeBody(req)
		return nil, ErrClosed
	}
	tb := t.table.Load()
	e, svc, err := t.find(tb, req)
	switch {
	case err != nil:
		t.gate.Exit()
		closeBody(req)
		return nil, err
	case e != nil:
		if !e.direct {
			return t.routed(tb, e, req)
		}
		svc = e.home
	case svc == nil:
		defer t.gate.Exit()
		return t.pass(tb, req)
	}
	return svc.do(req, destination.OptionsOf(req.Context()))
}

// do makes one call.
func (s *service) do(req *http.Request, options *destination.Options) (*http.Response, error) {
	w := s.watchCall(req)
	w.routed(options)
	x := newExchange(s, req, options, w.traced)
	defer x.done()
	resp, err := s.call(&x.first)
	x.replay.Finish(req)
	options.Tell(s.Name, x.endpoint, int(x.call.Attempt))
	if err != nil {
		resp, err = nil, x.fail(err)
	}
	w.returned(x, resp, err)
	return resp, err
}

// bounds says whether calls of req have any deadline, by which attempts are made
// larger.
func (s *service) bounds(req *http.Request, options *destination.Options) bool {
	if options.AttemptTimeout(s.AttemptTimeout) > 0 || options.CallTimeout(s.Timeout) > 0 {
		return true
	}
	_, has := req.Context().Deadline()
	return has
}

// find finds the service of a request. Without one, and without an error, the
// request passes through.
func (t *Transport) find(tb *table, req *http.Request) (*entry, *service, error) {
	if req.URL == nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, nil, nil // the Base knows best what is wrong with it
	}
	if e := tb.find(req.URL.Host); e != nil {
		return e, nil, nil
	}
	switch tb.cfg.Unknown {
	case Refuse:
		return nil, nil, fmt.Errorf("%w: %s", ErrUnknownService, req.URL.Host)
	case Resolve:
		if proxied(tb.plain, req) {
			return nil, nil, nil
		}
		svc, err := t.hosts.find(req)
		return nil, svc, err
	}
	return nil, nil, nil
}

// find looks a host of a URL up among the services.
func (tb *table) find(host string) *entry {
	if len(tb.services) == 0 {
		return nil
	}
	if e := tb.services[host]; e != nil {
		return e
	}
	key := canonicalHost(host)
	if e := tb.services[key]; e != nil {
		return e
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
		e := tb.find(name)
		if e == nil {
			errs = append(errs, fmt.Errorf("%w: %s", ErrUnknownService, name))
			continue
		}
		if err := e.ready(ctx); err != nil {
			errs = append(errs, fmt.Errorf("transport: service %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// ready waits for the endpoints of the destination that calls go to when nobody
// says otherwise.
func (e *entry) ready(ctx context.Context) error {
	if e.home == nil {
		return route.ErrNoDestination
	}
	engine := e.home.Engine
	if engine.Err() == nil {
		return nil
	}
	select {
	case <-engine.Ready():
		return engine.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
	t.shadows.cut() // nobody waits for their answers
	select {
	case <-t.gate.Idle():
		return t.Close()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close refuses new calls, ends all watches and waits for them, and closes the
// idle connections. Running calls go on; their connections close when they end.
// It can be called more than once. An error is that of
// the metrics SDK.
func (t *Transport) Close() error {
	t.gate.Refuse()
	t.mu.Lock() // no Update from here on, nor a new host
	t.stop()
	t.mu.Unlock()
	t.hosts.seal()
	t.watches.Wait()
	t.shadows.once.Do(t.shadows.close)
	err := t.tel.Close()
	for _, svc := range t.all() {
		svc.giveUp()
		svc.wire.close()
	}
	if tb := t.table.Load(); tb.cfg.Base == nil {
		closeIdle(tb.plain)
	}
	return err
}

// all are the services, those of unknown hosts included.
func (t *Transport) all() []*service {
	return append(slices.Clone(t.table.Load().destinations), t.hosts.all()...)
}

// closeBody keeps the promise that RoundTrip always closes the request's body.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was sent, so there is nothing to report
	}
}
