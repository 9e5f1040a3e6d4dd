package transport

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// Config says which services there are and how calls to them are treated. It is
// plain data; New copies what it needs. The zero Config is valid: every host
// passes through.
type Config struct {
	// Defaults applies to every service, and its Timeout to unknown hosts too.
	Defaults Policy

	// Services maps logical names to services: a host, such as "users" for
	// http://users/…, or a host:port, which wins over the host. Case and a
	// trailing dot do not matter. The scheme of the URL never picks the
	// service.
	Services map[string]Service

	// Environment is the environment of calls when nobody says otherwise, for
	// services that have destinations in environments. Default (""): "prod".
	Environment string

	// Environments says how environments relate: what each falls back on, and
	// which are protected. An environment without settings need not be here.
	Environments map[string]route.Environment

	// Rules say where calls to all services go, and what becomes of them; they
	// come after the rules of a service's own.
	Rules []route.Rule

	// Labels describe this process, for rules that match on their caller.
	Labels map[string]string

	// Override says which overrides from headers and code are honoured.
	// Default: none from headers, and from code those outside of protected
	// environments.
	Override route.OverridePolicy

	// Zone is the zone that this process runs in. Of services whose endpoints
	// carry zones, those in it are preferred, as Policy.Locality says. Default
	// (""): zones do not matter.
	Zone string

	// Unknown says what becomes of calls to hosts that are no services.
	// Default: Pass.
	Unknown Unknown

	// Resolvers makes resolvers for the targets of further schemes, or for
	// those that are built in: static, file, dns and srv.
	Resolvers map[string]ResolverFunc

	// RefuseAddrs are networks that no name may resolve to, for services with a
	// dns or srv target and for unknown hosts: a name that is made to point
	// into your own network (DNS rebinding) gets nowhere. Default: none;
	// discovery.NonPublic is a list for hosts that come from outside. A
	// discovery.DNS or SRV that is given as a Resolver has its own.
	RefuseAddrs []netip.Prefix

	// Telemetry says where spans, metrics and events go. Default: what the
	// application has installed in package otel, and no log. It is that of New;
	// Update does not change it.
	Telemetry telemetry.Config

	// Base sends the attempts. Nil is a tuned http.Transport. A Base of type
	// *http.Transport is cloned for each endpoint and never changed. Any other
	// Base gets the endpoint from us if it is an EndpointRoundTripper. If it is
	// not, the URL of an http request carries the endpoint's address with the
	// Host header unchanged, and https is possible only to services of one
	// endpoint, which it must find by the logical name itself.
	Base http.RoundTripper
}

// A ResolverFunc makes the resolver of a target URL.
type ResolverFunc func(target *url.URL) (discovery.Resolver, error)

// EndpointRoundTripper is a Base that can send a request to a given endpoint.
type EndpointRoundTripper interface {
	http.RoundTripper

	// RoundTripEndpoint is RoundTrip at the endpoint: it connects to ep.Addr,
	// and takes everything else (Host header, TLS server name) from req.
	RoundTripEndpoint(req *http.Request, ep tulle.Endpoint) (*http.Response, error)
}

// Unknown says what becomes of calls to hosts that are no services.
type Unknown uint8

// What becomes of calls to unknown hosts.
const (
	// Pass hands the call to the Base as it is, under Defaults.Timeout only.
	// The Base's own name look-up, proxy and dialer stay in force. Nothing is
	// retried, and no header is added.
	Pass Unknown = iota
	// Resolve makes a service of the host, under the Defaults: its addresses
	// come from DNS, or from Config.Resolvers["dns"]. Up to 1,024 hosts are
	// kept, each for 15 minutes after its last call. A call that the Base
	// would send through a proxy passes all the same.
	Resolve
	// Refuse fails the call with ErrUnknownService.
	Refuse
)

// Protocol is how attempts of a service are spoken.
type Protocol uint8

// The protocols.
const (
	// Auto is HTTP/1.1 for http and what TLS negotiates for https.
	Auto Protocol = iota
	// H2C is HTTP/2 over cleartext, with prior knowledge.
	H2C
)

// A Service is one logical name. Exactly one of Target, Resolver and Environments
// is set.
type Service struct {
	// Target is where the endpoints come from, as a URL:
	// "static://10.0.0.1:80,10.0.0.2:80", "file:///etc/tulle/users.json",
	// "dns://users.internal:8080", "srv://_http._tcp.users.internal", or a
	// scheme of Config.Resolvers.
	Target string

	// Resolver is where the endpoints come from, as a value.
	Resolver discovery.Resolver

	// Host is sent as Host header, and is the TLS server name, in place of
	// the host of the URL. A Host that the caller set on the request wins as
	// header.
	Host string

	// TLS is the client's TLS configuration for https. Default: that of the
	// Base. It is cloned. TLSServerName overrides the name that the
	// certificate is checked for.
	TLS           *tls.Config
	TLSServerName string

	// Protocol is Auto or H2C. H2C is for http URLs only.
	Protocol Protocol

	// External says that the service is not ours: no header of tulle goes to
	// it.
	External bool

	// Classify replaces the classifier of this service's attempts. It handles
	// what it cares about and leaves the rest to tulle.ClassifyHTTP. It is
	// called on the path of the call and must be safe for concurrent use.
	Classify func(tulle.HTTPFacts) tulle.Outcome

	// ClassifyGRPC is Classify for calls over gRPC; the rest it leaves to
	// tulle.ClassifyGRPC.
	ClassifyGRPC func(tulle.GRPCFacts) tulle.Outcome

	// Policy overrides Config.Defaults, field by field.
	Policy Policy

	// Environments are its destinations, one for each environment that it is
	// in. What a destination leaves out is that of the Service.
	Environments map[string]Destination

	// Environment is Config.Environment for this service.
	Environment string

	// Rules are its own, before Config.Rules. OnlyRules refuses calls that no
	// rule matches, as the Gateway API has it.
	Rules     []route.Rule
	OnlyRules bool
}

// A Destination is a service in one environment. Exactly one of Target and
// Resolver is set; the other fields are those of Service, and override them.
type Destination struct {
	// Target and Resolver are where the endpoints come from.
	Target   string
	Resolver discovery.Resolver

	// Host is what servers see.
	Host string

	// TLS and TLSServerName are how connections are secured.
	TLS           *tls.Config
	TLSServerName string

	// Protocol is how attempts are spoken. H2C of the Service stays H2C.
	Protocol Protocol

	// External says that the destination is not ours, even if the Service does
	// not say so.
	External bool

	// Policy overrides that of the Service, field by field.
	Policy Policy
}

// at is the service as it is at a destination.
func (s Service) at(d Destination) Service {
	s.Target, s.Resolver = d.Target, d.Resolver
	s.Host = cmp.Or(d.Host, s.Host)
	if d.TLS != nil {
		s.TLS = d.TLS
	}
	s.TLSServerName = cmp.Or(d.TLSServerName, s.TLSServerName)
	s.Protocol = max(d.Protocol, s.Protocol)
	s.External = s.External || d.External
	s.Policy = d.Policy.over(s.Policy)
	return s
}

// places are the destinations of the service, as services; the one of a service
// without environments is "".
func (s Service) places() map[string]Service {
	if len(s.Environments) == 0 {
		return map[string]Service{"": s}
	}
	all := make(map[string]Service, len(s.Environments))
	for env, d := range s.Environments {
		all[env] = s.at(d)
	}
	return all
}

// routing is the part of the Config that says where calls go. Keys of services are
// those that serviceKey makes.
func (c *Config) routing() route.Config {
	r := route.Config{
		Default: c.Environment, Environments: c.Environments, Rules: c.Rules, Labels: c.Labels, Override: c.Override,
		Services: make(map[string]route.Service, len(c.Services)),
	}
	for name, s := range c.Services {
		key, err := serviceKey(name)
		if err != nil {
			continue // Validate names it
		}
		r.Services[key] = route.Service{
			Environments: sortedKeys(s.Environments), Default: s.Environment, Rules: s.Rules, OnlyRules: s.OnlyRules,
		}
	}
	return r
}

// A Policy says how calls are treated. A field that is left zero in a Service
// takes the value of Config.Defaults, and one that is zero there the default
// that it names.
type Policy struct {
	// Timeout is the longest time of a call, to the end of the response body,
	// all attempts and pauses included. A 101 response or a text/event-stream
	// is not cut. Default (0): none. Negative: none, in a Service that
	// overrides Defaults. Range: 1 ms to 24 h.
	Timeout time.Duration

	// AttemptTimeout is the longest time of one attempt to the response
	// headers. Default (0): none, as slow routes are legitimate; set it to
	// what your slowest route takes, so that a call whose instance hangs can
	// move on. Negative and range: as Timeout. It must not exceed Timeout.
	AttemptTimeout time.Duration

	// DarkDeadlines counts calls whose time is up when they come, and sends them
	// all the same; timeouts stay in force. True in Config.Defaults holds for
	// every service.
	DarkDeadlines bool

	// Balancer picks the endpoints. Default (nil):
	// balancer.ShortestExpectedDelay{}.
	Balancer balancer.Policy

	// Retry says when calls are repeated. Default (nil): the zero
	// retry.Config.
	Retry *retry.Config

	// Ejection says when an endpoint is left out of picks, and when it is
	// tried again. Default (nil): the zero breaker.OutlierConfig.
	Ejection *breaker.OutlierConfig

	// Breaker says when the service as a whole is left alone; attempts are then
	// refused with breaker.ErrOpen. It does not open while some endpoint still
	// serves. Default (nil): the zero breaker.Config.
	Breaker *breaker.Config

	// Locality says how calls are shared out among the priorities and zones of
	// the endpoints. Default (nil): the zero Locality.
	Locality *Locality

	// Limit bounds the rate of calls; a call waits in it or is refused with
	// limit.ErrLimited, and repeats are not counted. Default (nil): no limit.
	Limit *limit.Config
}

const (
	minTimeout = time.Millisecond
	maxTimeout = 24 * time.Hour
)

// over is the Policy p with what it leaves out taken from d.
func (p Policy) over(d Policy) Policy {
	if p.Timeout == 0 {
		p.Timeout = d.Timeout
	}
	if p.AttemptTimeout == 0 {
		p.AttemptTimeout = d.AttemptTimeout
	}
	p.DarkDeadlines = p.DarkDeadlines || d.DarkDeadlines
	if p.Balancer == nil {
		p.Balancer = d.Balancer
	}
	if p.Retry == nil {
		p.Retry = d.Retry
	}
	if p.Ejection == nil {
		p.Ejection = d.Ejection
	}
	if p.Breaker == nil {
		p.Breaker = d.Breaker
	}
	if p.Locality == nil {
		p.Locality = d.Locality
	}
	if p.Limit == nil {
		p.Limit = d.Limit
	}
	return p
}

// withDefaults fills in what nobody set.
func (p Policy) withDefaults() Policy {
	p.Timeout, p.AttemptTimeout = max(p.Timeout, 0), max(p.AttemptTimeout, 0)
	if p.Balancer == nil {
		p.Balancer = balancer.ShortestExpectedDelay{}
	}
	if p.Retry == nil {
		p.Retry = &retry.Config{}
	}
	if p.Ejection == nil {
		p.Ejection = &breaker.OutlierConfig{}
	}
	if p.Breaker == nil {
		p.Breaker = &breaker.Config{}
	}
	if p.Locality == nil {
		p.Locality = &Locality{}
	}
	if p.Limit == nil {
		p.Limit = &limit.Config{}
	}
	return p
}
