package telemetry

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// A Protocol says after which conventions a call is described.
type Protocol uint8

// The protocols.
const (
	HTTP Protocol = iota
	GRPC

	protocols
)

// The bounds of what is remembered. What is over them is counted under
// otherValue.
const (
	otherValue      = "_OTHER"
	maxServices     = 10_000
	maxMethods      = 200  // of a service, for RPC; those of HTTP are known
	maxSeries       = 64   // of a method
	maxPeers        = 1000 // endpoints of a service
	outcomeClasses  = int(tulle.Ignored) + 1
	overflowClasses = 2
)

// services are the handles by name.
type services struct {
	mu     sync.RWMutex
	byName map[string]*Service // guarded by mu
}

// A Service records the calls to one service. It is safe for concurrent use.
type Service struct {
	t    *Telemetry
	name string
	host string // the name without a port
	port int    // 0 if the name has none

	methods [protocols]cache[string, *method]
	peers   cache[string, *peer]
	unnamed peer // without PerEndpoint, or one endpoint too many
	retries [outcomeClasses]atomic.Pointer[series]
	state   func() *stateSeries // made when first needed
	each    each
}

// A peer is one endpoint, or all of them.
type peer struct {
	attempts [outcomeClasses]atomic.Pointer[series]
}

// Service is the handle for the service of that name: the host that callers use,
// or host:port. It is meant to be kept by whoever makes the calls. Up to 10,000
// names have one of their own; all further ones share that of [Other].
func (t *Telemetry) Service(name string) *Service {
	all := &t.services
	all.mu.RLock()
	s := all.byName[name]
	all.mu.RUnlock()
	if s != nil {
		return s
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.byName == nil {
		all.byName = make(map[string]*Service)
	}
	if len(all.byName) >= maxServices {
		name = Other
	}
	if s = all.byName[name]; s == nil {
		s = t.newService(name)
		all.byName[name] = s
	}
	return s
}

func (t *Telemetry) newService(name string) *Service {
	s := &Service{t: t, name: name, host: name}
	if host, port, err := net.SplitHostPort(name); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			s.host, s.port = host, int(n)
		}
	}
	s.state = sync.OnceValue(func() *stateSeries { return newStateSeries(serviceKey.String(name)) })
	return s
}

// Facts are what is known of a call when it begins.
type Facts struct {
	// Protocol is that of the call. Default: HTTP.
	Protocol Protocol

	// Method is the method of the HTTP request, or that of the RPC with its
	// service and without a leading slash: "helloworld.Greeter/SayHello".
	Method string

	// URL is what the caller asked for, for HTTP. It is read until the call has
	// ended and shown without user information and signatures.
	URL *url.URL

	// Template is the path with the names of its variables, if something knows
	// it: "/users/{id}". It becomes part of the name of the spans.
	Template string

	// Mirror says that the call is a copy of another, whose span is in the
	// context. The copy starts a trace of its own and links there.
	Mirror bool
}

// A Result is what a call or an attempt came to.
type Result struct {
	// Class, Status, Err are those of the outcome. For RPC, Status is the code.
	Class  tulle.Class
	Status int
	Err    error

	// Proto is that of the response: "HTTP/1.1". Empty: unknown.
	Proto string

	// ErrorType names the error in metrics, which is one of few values.
	// Default (""): the status, or what Err is known as, or the Class.
	ErrorType string

	// Attempts is how many were made, for calls.
	Attempts int

	// Elapsed is the time of the call or the attempt.
	Elapsed time.Duration
}

// Traces says that spans are made, so that Start may return another context.
func (s *Service) Traces() bool { return s != nil && s.t.tracer() != nil }

// Measures says that calls or their attempts are measured, so that their time is worth
// taking.
func (s *Service) Measures(ctx context.Context, p Protocol) bool {
	if s == nil {
		return false
	}
	calls := s.t.in.rpc
	if p == HTTP {
		calls = s.t.in.http
	}
	return calls.Enabled(ctx) || s.t.in.attempt.Enabled(ctx)
}

// Retried counts an attempt that repeats one which came to reason.
func (s *Service) Retried(ctx context.Context, reason tulle.Class) {
	if s == nil || !s.t.in.retries.Enabled(ctx) {
		return
	}
	at := class(reason)
	o := s.retries[at].Load()
	if o == nil {
		o = newSeries(serviceKey.String(s.name), reasonKey.String(reason.String()))
		s.retries[at].Store(o)
	}
	s.t.in.retries.Add(ctx, 1, o.add...)
}

// HedgeWon counts a hedge whose answer was used.
func (s *Service) HedgeWon(ctx context.Context) {
	if s != nil && s.t.in.hedges.Enabled(ctx) {
		s.t.in.hedges.Add(ctx, 1, s.state().won.add...)
	}
}

// HedgeLost counts a hedge that was made for nothing.
func (s *Service) HedgeLost(ctx context.Context) {
	if s != nil && s.t.in.hedges.Enabled(ctx) {
		s.t.in.hedges.Add(ctx, 1, s.state().lost.add...)
	}
}

// measureAttempt records the time of an attempt.
func (s *Service) measureAttempt(ctx context.Context, e *tulle.Endpoint, r *Result) {
	h := s.t.in.attempt
	if !h.Enabled(ctx) {
		return
	}
	p := &s.unnamed
	if s.t.cfg.PerEndpoint && e != nil {
		p = s.peer(e.Addr)
	}
	at := class(r.Class)
	o := p.attempts[at].Load()
	if o == nil {
		kv := []attribute.KeyValue{serviceKey.String(s.name), outcomeKey.String(r.Class.String())}
		if s.t.cfg.PerEndpoint {
			name := otherValue
			if p != &s.unnamed {
				name = e.Addr
			}
			kv = append(kv, endpointKey.String(name))
		}
		o = newSeries(kv...)
		p.attempts[at].Store(o)
	}
	h.Record(ctx, r.Elapsed.Seconds(), o.record...)
}

// peer finds what is kept for an endpoint.
func (s *Service) peer(addr string) *peer {
	if p, ok := s.peers.get(addr); ok {
		return p
	}
	if p, ok := s.peers.add(addr, new(peer), maxPeers); ok {
		return p
	}
	return &s.unnamed
}

// class keeps the number of a class within the tables.
func class(c tulle.Class) int {
	if int(c) >= outcomeClasses {
		return 0
	}
	return int(c)
}

// A method is one that a service was called with.
type method struct {
	name   string
	series cache[seriesKey, *series]
}

// seriesKey tells the series of a method apart.
type seriesKey struct {
	errorType string
	status    int16
	version   uint8
	port      uint16
}

// method finds the one that the call is described as having.
func (s *Service) method(f *Facts) *method {
	p := min(f.Protocol, protocols-1)
	name := f.Method
	if p == HTTP {
		name = knownMethod(name)
	}
	if m, ok := s.methods[p].get(name); ok {
		return m
	}
	if m, ok := s.methods[p].add(name, &method{name: name}, maxMethods); ok {
		return m
	}
	m, _ := s.methods[p].add(otherValue, &method{name: otherValue}, maxMethods+1)
	return m
}

// measure records the time of a call.
func (s *Service) measure(ctx context.Context, f *Facts, r *Result) {
	h := s.t.in.http
	if f.Protocol != HTTP {
		h = s.t.in.rpc
	}
	if h.Enabled(ctx) {
		h.Record(ctx, r.Elapsed.Seconds(), s.series(f, r).record...)
	}
}

// series finds the attributes of a call's measurement.
func (s *Service) series(f *Facts, r *Result) *series {
	m := s.method(f)
	k := seriesKey{errorType: errorType(f.Protocol, r), status: int16(min(max(r.Status, -1), 999)), port: uint16(s.portOf(f))}
	if f.Protocol == HTTP {
		k.version = version(r.Proto)
	}
	if o, ok := m.series.get(k); ok {
		return o
	}
	if o, ok := m.series.add(k, s.newSeries(f.Protocol, m, k), maxSeries); ok {
		return o
	}
	// What comes from outside is folded, what failed stays apart from what did
	// not.
	folded := seriesKey{}
	if k.errorType != "" {
		folded.errorType = otherValue
	}
	o, _ := m.series.add(folded, s.newSeries(f.Protocol, m, folded), maxSeries+overflowClasses)
	return o
}

func (s *Service) newSeries(p Protocol, m *method, k seriesKey) *series {
	kv := make([]attribute.KeyValue, 0, 6)
	kv = append(kv, semconv.ServerAddress(s.host))
	if k.port != 0 {
		kv = append(kv, semconv.ServerPort(int(k.port)))
	}
	if p == HTTP {
		kv = append(kv, semconv.HTTPRequestMethodKey.String(m.name))
		if k.status > 0 {
			kv = append(kv, semconv.HTTPResponseStatusCode(int(k.status)))
		}
		if k.version != 0 {
			kv = append(kv, semconv.NetworkProtocolVersion(versions[k.version]))
		}
	} else {
		kv = append(kv, semconv.RPCSystemNameGRPC, semconv.RPCMethod(m.name))
		if k.errorType != otherValue {
			kv = append(kv, semconv.RPCResponseStatusCode(codeName(int(k.status))))
		}
	}
	if k.errorType != "" {
		kv = append(kv, semconv.ErrorTypeKey.String(k.errorType))
	}
	return newSeries(kv...)
}

// portOf is the port of the URL as the caller wrote it, or that of the scheme.
func (s *Service) portOf(f *Facts) int {
	switch {
	case s.port != 0:
		return s.port
	case f.Protocol != HTTP || f.URL == nil || s.name == Other:
		return 0
	}
	return urlPort(f.URL)
}
