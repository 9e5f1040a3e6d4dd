package tullegrpc

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
)

// Scheme is the scheme of targets that are services of a Transport.
const Scheme = "tulle"

// An Option changes what DialOptions returns.
type Option func(*settings)

// settings are what Options say.
type settings struct {
	config string
	health *string
}

// ServiceConfig is the service config of tulle targets as JSON, for the method
// configs in it (timeout, waitForReady, retryPolicy and message sizes). Its load
// balancing policy is replaced. Its retry policies are carried out by the service's
// own retries, whose budget stands in for retryThrottling. Targets of other schemes
// keep what their resolver, or grpc.WithDefaultServiceConfig, gives them.
func ServiceConfig(config string) Option { return func(s *settings) { s.config = config } }

// HealthCheck has each connection watch the standard health service of its server
// under this name, "" for the server as a whole. An endpoint that says that it is
// not serving gets no calls; one without a health service counts as serving.
func HealthCheck(service string) Option { return func(s *settings) { s.health = &service } }

// DialOptions are the options of a grpc.ClientConn whose calls go through t. They
// say nothing of transport credentials, so that grpc.NewClient fails unless the
// caller names some; see Credentials for services with TLS settings of their own.
// The options can be used for any number of connections.
//
// Targets of other schemes keep their resolver, balancer and repeats; they get the
// default timeout, CallTimeout and telemetry, in which the repeats that gRPC makes are
// one attempt.
//
// t stays the caller's, and is closed after the connections. A ServiceConfig that
// is no JSON object is reported by the calls, as codes.Unavailable.
func DialOptions(t *transport.Transport, options ...Option) []grpc.DialOption {
	var s settings
	for _, option := range options {
		option(&s)
	}
	c := &channel{t: t}
	c.configErr = c.configure(&s)
	return []grpc.DialOption{
		grpc.WithResolvers(&resolverBuilder{c}),
		grpc.WithChainUnaryInterceptor(c.unary),
		grpc.WithChainStreamInterceptor(c.stream),
	}
}

// channel is what the options of one DialOptions share.
type channel struct {
	t             *transport.Transport
	serviceConfig string // of tulle targets, as gRPC gets it
	retryConfig   string // the same with retry policies; empty if there are none
	configErr     error
	hasMethods    bool // the service config has method configs
	methods       methods
}

// service is the name of the service that a connection is for. Ok is false for
// targets of other schemes. A target in the common form means the same to gRPC as it
// stands; for others gRPC puts together a string that says what they mean.
func service(cc *grpc.ClientConn) (name string, ok bool) {
	if name, ok := strings.CutPrefix(cc.Target(), Scheme+":///"); ok && !strings.ContainsAny(name, "%?#") {
		return name, true
	}
	return serviceOf(cc.CanonicalTarget())
}

// serviceOf is the name of the service in a target, as gRPC tells it to resolvers.
// The common form is read without parsing.
func serviceOf(target string) (name string, ok bool) {
	scheme, rest, found := strings.Cut(target, ":")
	if !found || !strings.EqualFold(scheme, Scheme) {
		return "", false
	}
	rest, found = strings.CutPrefix(rest, "///")
	if !found || strings.ContainsAny(rest, "%?#") {
		if u, err := url.Parse(target); err == nil {
			return resolver.Target{URL: *u}.Endpoint(), true
		}
	}
	return rest, true
}

// destinations are where calls to a service can go.
func (c *channel) destinations(name string) ([]*destination.Destination, error) {
	all := c.t.Destinations(name)
	if len(all) == 0 {
		return nil, unavailable(fmt.Errorf("%w: %s", transport.ErrUnknownService, name))
	}
	return all, nil
}
