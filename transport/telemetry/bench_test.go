package telemetry_test

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A mode is what an application has installed.
type mode struct {
	name   string
	cfg    telemetry.Config
	allocs float64 // of a call with one attempt and header
}

// none is a span processor that does nothing, so that spans are finished as for
// an exporter.
type none struct{}

func (none) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (none) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (none) Shutdown(context.Context) error                  { return nil }
func (none) ForceFlush(context.Context) error                { return nil }

func modes() []mode {
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	tracer := func(s sdktrace.Sampler) *sdktrace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSampler(s))
	}
	return []mode{
		{"no SDK", telemetry.Config{}, 0},
		{"no SDK, propagator", telemetry.Config{Propagator: w3c}, 1},
		{"metrics", telemetry.Config{MeterProvider: meter}, 0},
		{"not sampled", telemetry.Config{MeterProvider: meter, Propagator: w3c, TracerProvider: tracer(sdktrace.NeverSample())}, 7},
		{"sampled", telemetry.Config{MeterProvider: meter, Propagator: w3c, TracerProvider: tracer(sdktrace.AlwaysSample())}, 10},
		{"sampled, exported", telemetry.Config{MeterProvider: meter, Propagator: w3c, TracerProvider: sdktrace.NewTracerProvider(
			sdktrace.WithSpanProcessor(none{}))}, 12},
		{"attempts only, exported", telemetry.Config{MeterProvider: meter, Propagator: w3c, NoCallSpan: true,
			TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(none{}))}, 8},
	}
}

// oneCall makes a call of one attempt, as a transport does.
func oneCall(tel *telemetry.Telemetry, svc *telemetry.Service, f *telemetry.Facts, e *tulle.Endpoint, h http.Header) http.Header {
	r := telemetry.Result{Class: tulle.Answered, Status: 200, Proto: "HTTP/1.1", Attempts: 1, Elapsed: 3 * time.Millisecond}
	ctx, call := svc.Start(context.Background(), f)
	actx, att := call.Attempt(ctx, e, 1)
	h = tel.Header(actx, att, h)
	svc.EndAttempt(actx, att, e, &r)
	svc.End(ctx, call, f, &r)
	return h
}

// benchCall is the call of the benchmarks.
func benchCall() (*telemetry.Facts, *tulle.Endpoint, http.Header) {
	u, _ := url.Parse("http://users/v1/me?full=1")
	return &telemetry.Facts{Method: "GET", URL: u}, &tulle.Endpoint{Addr: "10.0.0.1:8080"},
		http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}}
}

func TestAllocations(t *testing.T) {
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			tel := newTelemetry(t, m.cfg)
			svc := tel.Service("users")
			f, e, h := benchCall()
			if m.cfg.TracerProvider != nil && forgetful() {
				t.Skip("pools forget under the race detector")
			}
			got := testing.AllocsPerRun(1000, func() { oneCall(tel, svc, f, e, h) })
			if got > m.allocs {
				t.Errorf("got %v allocations, want at most %v", got, m.allocs)
			}
		})
	}
}

// forgetful says that a sync.Pool drops what it is given, as it does under the
// race detector.
func forgetful() bool {
	var p sync.Pool
	for range 100 {
		p.Put(&p)
		if p.Get() == nil {
			return true
		}
	}
	return false
}

func BenchmarkCall(b *testing.B) {
	for _, m := range modes() {
		b.Run(m.name, func(b *testing.B) {
			tel := newTelemetry(b, m.cfg)
			svc := tel.Service("users")
			f, e, h := benchCall()
			b.ReportAllocs()
			for b.Loop() {
				oneCall(tel, svc, f, e, h)
			}
		})
	}
}

// newTelemetry makes a Telemetry that is closed with the test.
func newTelemetry(t testing.TB, cfg telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Close(); err != nil {
			t.Error(err)
		}
	})
	return tel
}
