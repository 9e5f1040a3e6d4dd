package client

import (
	"context"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// otels are the rows of otelhttp.
func otels() []Contender {
	return []Contender{
		{Name: "otelhttp, no SDK", OnWire: true, OnStub: true, Open: openOtel(none),
			Note: "otelhttp.NewTransport alone"},
		{Name: "otelhttp, metrics", OnStub: true, Open: openOtel(metrics),
			Note: "with the metric SDK and a reader that is not read"},
		{Name: "otelhttp, span and metrics", OnWire: true, OnStub: true, Open: openOtel(metrics | spans),
			Note: "every call sampled, W3C header, spans dropped when they end"},
	}
}

// telemetry says which parts of the OpenTelemetry SDK are in use.
type telemetry uint8

const (
	none    telemetry = 0
	metrics telemetry = 1
	spans   telemetry = 2
	oneSpan telemetry = 4 // of tulle's, with spans: that of the attempt
)

// providers are an SDK of its own for each contender, so that nothing global
// changes under the others.
type providers struct {
	meters  *sdkmetric.MeterProvider
	tracers *sdktrace.TracerProvider
}

// newProviders makes what t names. Nothing is exported: spans are dropped when
// they have ended, and metrics stay in memory.
func newProviders(t telemetry) providers {
	var p providers
	if t&metrics != 0 {
		p.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	}
	if t&spans != 0 {
		p.tracers = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(dropped{}))
	}
	return p
}

// dropped is a span processor that keeps nothing.
type dropped struct{}

func (dropped) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (dropped) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (dropped) Shutdown(context.Context) error                  { return nil }
func (dropped) ForceFlush(context.Context) error                { return nil }

// close ends the providers. Nothing of theirs can fail: they export nothing.
func (p providers) close() {
	if p.meters != nil {
		_ = p.meters.Shutdown(context.Background())
	}
	if p.tracers != nil {
		_ = p.tracers.Shutdown(context.Background())
	}
}

// wrapOtel puts otelhttp in front of wire.
func (p providers) wrapOtel(wire http.RoundTripper) http.RoundTripper {
	var options []otelhttp.Option
	if p.meters != nil {
		options = append(options, otelhttp.WithMeterProvider(p.meters))
	}
	if p.tracers != nil {
		options = append(options, otelhttp.WithTracerProvider(p.tracers), otelhttp.WithPropagators(propagation.TraceContext{}))
	}
	return otelhttp.NewTransport(wire, options...)
}

func openOtel(t telemetry) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		p, wire := newProviders(t), s.wire()
		return over(wire, p.wrapOtel(wire).RoundTrip, s.urls()...).closing(p.close), nil
	}
}
