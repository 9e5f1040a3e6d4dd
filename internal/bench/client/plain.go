package client

import (
	"net/http"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/rest/httpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
)

// plains are the contenders that neither find instances nor balance. They go
// round the addresses, which costs them nothing.
func plains() []Contender {
	return []Contender{
		{Name: "http.Client", OnWire: true, OnStub: true, Open: openHTTPClient(0),
			Note: "net/http's Client without a timeout"},
		{Name: "http.Client, timeout", OnWire: true, OnStub: true, Open: openHTTPClient(10 * time.Second),
			Note: "with Client.Timeout"},
		{Name: "go-retryablehttp", OnWire: true, OnStub: true, Open: openRetryable,
			Note: "its RoundTripper, logger off; retries only"},
		{Name: "failsafe-go", OnWire: true, OnStub: true, Open: openFailsafe,
			Note: "its RoundTripper with the four policies retry, circuit breaker, rate limiter and timeout"},
		{Name: "go-zero httpc", OnWire: true, OnStub: true, Open: openGoZero,
			Note: "a named service: breaker, tracing API without an SDK, log at level error"},
	}
}

// Bare is the baseline: net/http's transport, round the addresses.
func Bare() Contender {
	return Contender{
		Name: "bare http.Transport", OnWire: true, OnStub: true,
		Note: "the baseline, over the same addresses in turn; as a row, its blocks against one another, which shows the noise",
		Open: func(s Site) (*Client, error) {
			wire := s.wire()
			return over(wire, wire.RoundTrip, s.urls()...), nil
		},
	}
}

// oneAddress is the baseline with a single address.
func oneAddress() Contender {
	return Contender{
		Name: "bare, one address", OnWire: true,
		Note: "fewer connections; spreading calls over more has a price of its own that every balancer pays",
		Open: func(s Site) (*Client, error) {
			wire := s.wire()
			return over(wire, wire.RoundTrip, s.urls()[0]), nil
		},
	}
}

func openHTTPClient(limit time.Duration) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		wire := s.wire()
		c := &http.Client{Transport: wire, Timeout: limit}
		return over(wire, c.Do, s.urls()...), nil
	}
}

// newRetryable is go-retryablehttp with its defaults over wire.
func newRetryable(wire http.RoundTripper) *retryablehttp.RoundTripper {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.HTTPClient = &http.Client{Transport: wire}
	return &retryablehttp.RoundTripper{Client: c}
}

func openRetryable(s Site) (*Client, error) {
	wire := s.wire()
	return over(wire, newRetryable(wire).RoundTrip, s.urls()...), nil
}

func openFailsafe(s Site) (*Client, error) {
	wire := s.wire()
	policies := []failsafe.Policy[*http.Response]{
		failsafehttp.NewRetryPolicyBuilder().WithBackoff(25*time.Millisecond, 250*time.Millisecond).WithMaxRetries(2).Build(),
		circuitbreaker.NewBuilder[*http.Response]().WithFailureRateThreshold(0.5, 20, 10*time.Second).Build(),
		ratelimiter.NewBursty[*http.Response](plenty, time.Second),
		timeout.New[*http.Response](10 * time.Second),
	}
	return over(wire, failsafehttp.NewRoundTripper(wire, policies...).RoundTrip, s.urls()...), nil
}

// plenty is a rate limit in calls a second that is not reached.
const plenty = 1 << 30

// Quiet takes back what go-zero does in every program that links it: it writes
// to the standard output, and installs a propagator in package otel, which tulle
// and otelhttp would then use. Each process of the bench calls it first.
func Quiet() {
	logx.SetLevel(logx.ErrorLevel)
	logx.DisableStat()
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
}

func openGoZero(s Site) (*Client, error) {
	wire := s.wire()
	service := httpc.NewServiceWithClient("svc", &http.Client{Transport: wire})
	return over(wire, service.DoRequest, s.urls()...), nil
}
