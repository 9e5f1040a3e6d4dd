package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/limit"
)

// A Transport is an http.RoundTripper that finds the endpoints of the services
// that it knows, balances and repeats calls to them, and keeps their deadlines.
// It is safe for concurrent use. It owns the watches of its resolvers and its
// connections; Close ends them.
type Transport struct {
	cfg      Config
	services map[string]*service // by key; never changed
	plain    http.RoundTripper   // takes what passes through
	hosts    *hosts              // services of unknown hosts, nil unless Config.Unknown is Resolve

	watching context.Context // ends with Close
	stop     context.CancelFunc
	watches  sync.WaitGroup

	// calls counts running calls; closed is added by Shutdown and Close.
	calls atomic.Int64
	idle  chan struct{} // closed when the last call ends after that
	once  sync.Once
}

// closed is the bit of Transport.calls that refuses new calls.
const closed = int64(-1) << 62

// service is a destination and what calls to it need.
type service struct {
	t              *Transport
	name           string
	host           string // Host header, empty for that of the URL
	external       bool
	timeout        time.Duration
	attemptTimeout time.Duration
	limiter        *limit.Limiter
	limitKey       func(*http.Request) string
	classify       func(tulle.HTTPFacts) tulle.Outcome
	cluster        *cluster.Cluster
	breaker        *breaker.Breaker
	resolver       discovery.Resolver
	wire           wire
	call, attempt  handler
	used           atomic.Int64 // when it was last called, for services of unknown hosts
}

// New returns a Transport for cfg and begins to watch its services, or an error
// that names every setting that cannot be used. That a service has no endpoints
// yet, or its source cannot be reached, is no error here: see Ready.
func New(cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Transport{
		cfg:      cfg,
		services: make(map[string]*service, len(cfg.Services)),
		plain:    cfg.Base,
		idle:     make(chan struct{}),
	}
	if t.plain == nil {
		p := tuned()
		p.Proxy = http.ProxyFromEnvironment
		t.plain = p
	}
	for name, s := range cfg.Services {
		key, _ := serviceKey(name) // Validate has checked it
		svc, err := t.newService(key, s)
		if err != nil {
			return nil, err
		}
		t.services[key] = svc
	}
	if cfg.Unknown == Resolve {
		t.hosts = newHosts(t)
	}
	t.watching, t.stop = context.WithCancel(context.Background())
	for _, svc := range t.services {
		t.watch(t.watching, svc)
	}
	return t, nil
}

// newService makes the destination of a service.
func (t *Transport) newService(key string, s Service) (*service, error) {
	policy := s.Policy.over(t.cfg.Defaults).withDefaults()
	resolver := s.Resolver
	if resolver == nil {
		r, err := t.cfg.resolver(s.Target)
		if err != nil {
			return nil, err
		}
		resolver = r
	}
	retrier, err := retry.New(*policy.Retry)
	if err != nil {
		return nil, err
	}
	limiter, err := limit.New(*policy.Limit)
	if err != nil {
		return nil, err
	}
	svc := &service{
		t:              t,
		name:           key,
		host:           s.Host,
		external:       s.External,
		limiter:        limiter,
		limitKey:       policy.Limit.Key,
		timeout:        policy.Timeout,
		attemptTimeout: policy.AttemptTimeout,
		classify:       s.Classify,
		resolver:       discovery.Keep(resolver),
		wire:           newWire(t.cfg.Base, &s, key),
	}
	if err := svc.build(policy, retrier); err != nil {
		return nil, err
	}
	if svc.classify == nil {
		svc.classify = tulle.ClassifyHTTP
	}
	svc.call, svc.attempt = assemble(stack())
	return svc, nil
}

// build makes the engine of a service and its breaker, which looks at the
// engine's endpoints before it opens.
func (s *service) build(policy Policy, retrier *retry.Retrier) error {
	cfg := *policy.Breaker
	inner := cfg.GoodLeft
	cfg.GoodLeft = func() bool { return s.cluster.GoodLeft() || inner != nil && inner() }
	b, err := breaker.New(cfg)
	if err != nil {
		return err
	}
	s.breaker = b
	s.cluster = cluster.New(cluster.Config{
		Policy: policy.Balancer, Ejection: *policy.Ejection, Breaker: b, Retrier: retrier,
	})
	return nil
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.enter() {
		closeBody(req)
		return nil, ErrClosed
	}
	svc, err := t.route(req)
	if err != nil {
		t.exit()
		closeBody(req)
		return nil, err
	}
	if svc == nil {
		defer t.exit()
		return t.pass(req)
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
func (t *Transport) route(req *http.Request) (*service, error) {
	if req.URL == nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, nil // the Base knows best what is wrong with it
	}
	if svc := t.find(req.URL.Host); svc != nil {
		return svc, nil
	}
	switch t.cfg.Unknown {
	case Refuse:
		return nil, fmt.Errorf("%w: %s", ErrUnknownService, req.URL.Host)
	case Resolve:
		if proxied(t.plain, req) {
			return nil, nil
		}
		return t.hosts.find(req)
	}
	return nil, nil
}

// find looks a host of a URL up among the services.
func (t *Transport) find(host string) *service {
	if len(t.services) == 0 {
		return nil
	}
	if svc := t.services[host]; svc != nil {
		return svc
	}
	key := canonicalHost(host)
	if svc := t.services[key]; svc != nil {
		return svc
	}
	if name, _, ok := splitPort(key); ok {
		return t.services[name]
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
	if len(services) == 0 {
		services = sortedKeys(t.services)
	}
	var errs []error
	for _, name := range services {
		svc := t.find(name)
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
	closeIdle(t.plain)
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
	t.stop()
	if t.hosts != nil {
		t.hosts.seal()
	}
	t.watches.Wait()
	for _, svc := range t.all() {
		svc.wire.close()
	}
	if t.cfg.Base == nil {
		closeIdle(t.plain)
	}
	return nil
}

// all are the services, those of unknown hosts included.
func (t *Transport) all() []*service {
	all := make([]*service, 0, len(t.services))
	for _, key := range sortedKeys(t.services) {
		all = append(all, t.services[key])
	}
	if t.hosts != nil {
		all = append(all, t.hosts.all()...)
	}
	return all
}

// closeBody keeps the promise that RoundTrip always closes the request's body.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was sent, so there is nothing to report
	}
}

// watch keeps the endpoints of svc up to date until ctx ends.
func (t *Transport) watch(ctx context.Context, svc *service) {
	t.watches.Go(func() {
		var drain *time.Timer
		defer func() {
			if drain != nil {
				drain.Stop()
			}
		}()
		report := func(u discovery.Update) {
			if u.Err != nil {
				svc.cluster.Fail(u.Err)
				return
			}
			if err := svc.cluster.Update(u.Endpoints); err != nil || len(u.Endpoints) > 0 {
				return
			}
			// A source that keeps saying that there is nobody is believed
			// after a while, whether or not it says so again.
			if wait := svc.cluster.Drain(); wait > 0 && drain == nil {
				drain = time.AfterFunc(wait, func() { svc.cluster.Drain() })
			}
		}
		// Keep restarts what ends early, so this ends with ctx, whose error
		// says nothing new.
		_ = svc.resolver.Watch(ctx, report, svc.cluster.Refresh())
	})
}
