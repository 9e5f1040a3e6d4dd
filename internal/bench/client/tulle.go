package client

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	tulletel "github.com/tullemesh/tulle/transport/telemetry"
)

// tulles are the rows of tulle. With their ceilings, which are the goals of the
// design where nothing else is said, the bench is a test, too.
func tulles() []Contender {
	return []Contender{
		{
			Name:    "tulle",
			Note:    "a service with the zero policy: discovery, the default balancer, ejection, service breaker, retries within a budget",
			OnWire:  true,
			OnStub:  true,
			Ceiling: &Ceiling{Allocs: 1, Bytes: 704},
			Open:    tulleWith(transport.Policy{}, none),
		},
		{
			Name:    "tulle, timeouts",
			Note:    "the same with a timeout for the call and one for the attempt, and the header that tells the server how long is left",
			OnWire:  true,
			OnStub:  true,
			Ceiling: &Ceiling{Allocs: 8, Bytes: 1600},
			Open:    tulleWith(transport.Policy{Timeout: 10 * time.Second, AttemptTimeout: 2 * time.Second}, none),
		},
		{
			Name:    "tulle, metrics",
			Note:    "the zero policy with the metric SDK and a reader that is not read",
			OnStub:  true,
			Ceiling: &Ceiling{Allocs: 1, Bytes: 704},
			Open:    tulleWith(transport.Policy{}, metrics),
		},
		{
			Name:   "tulle, span and metrics",
			Note:   "the same and every call sampled, which is a span for the call and one for the attempt, W3C header, spans dropped when they end",
			OnWire: true,
			OnStub: true,
			// The goal is 10, which is below the floor for two spans: this keeps what
			// was reached.
			Ceiling: &Ceiling{Allocs: 12},
			Open:    tulleWith(transport.Policy{}, metrics|spans),
		},
		{
			Name:    "tulle, attempt span and metrics",
			Note:    "the same without a span for the call (telemetry.Config.NoCallSpan), so that it has one span, as otelhttp",
			OnWire:  true,
			OnStub:  true,
			Ceiling: &Ceiling{Allocs: 8},
			Open:    tulleWith(transport.Policy{}, metrics|spans|oneSpan),
		},
	}
}

// tulleWith opens a Transport for one service with that policy.
func tulleWith(policy transport.Policy, recorded telemetry) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		p := newProviders(recorded)
		to := p.config()
		to.NoCallSpan = recorded&oneSpan != 0
		t, err := transport.New(transport.Config{
			Base:      s.Base,
			Services:  map[string]transport.Service{"svc": {Resolver: Endpoints(s.Addrs), Policy: policy}},
			Telemetry: to,
		})
		if err != nil {
			p.close()
			return nil, err
		}
		c := calls(t.RoundTrip, named).closing(func() { _ = t.Close() }).closing(p.close) // its Close returns nil
		if err := t.Ready(context.Background()); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}

// config has tulle use the providers, as wrapOtel has otelhttp.
func (p providers) config() tulletel.Config {
	var c tulletel.Config
	if p.meters != nil {
		c.MeterProvider = p.meters
	}
	if p.tracers != nil {
		c.TracerProvider, c.Propagator = p.tracers, propagation.TraceContext{}
	}
	return c
}

// Endpoints is the fixed list of addrs.
func Endpoints(addrs []string) discovery.Static {
	set := make(discovery.Static, len(addrs))
	for i, addr := range addrs {
		set[i] = tulle.Endpoint{Addr: addr}
	}
	return set
}
