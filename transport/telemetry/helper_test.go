package telemetry_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// A lab is a Telemetry with an SDK in memory.
type lab struct {
	*telemetry.Telemetry
	t      testing.TB
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	tracer *sdktrace.TracerProvider
}

// newLab makes one. Change may set further fields of the Config.
func newLab(t testing.TB, change func(*telemetry.Config)) *lab {
	t.Helper()
	l := &lab{t: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	l.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans))
	cfg := telemetry.Config{
		TracerProvider: l.tracer,
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.reader)),
		Propagator:     propagation.TraceContext{},
	}
	if change != nil {
		change(&cfg)
	}
	l.Telemetry = newTelemetry(t, cfg)
	return l
}

// attributes shows attributes as text, in the order of their keys.
func attributes(kv []attribute.KeyValue) string {
	m := map[string]string{}
	for _, a := range kv {
		m[string(a.Key)] = a.Value.String()
	}
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, k+"="+m[k])
	}
	return strings.Join(s, " ")
}

// collect reads all metrics by name.
func (l *lab) collect() map[string]metricdata.Metrics {
	l.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := l.reader.Collect(context.Background(), &rm); err != nil {
		l.t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, s := range rm.ScopeMetrics {
		for _, m := range s.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// points shows the points of a metric as "attributes: value", sorted. The value
// of a histogram is its count.
func points(m metricdata.Metrics) []string {
	var s []string
	switch d := m.Data.(type) {
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			s = append(s, fmt.Sprintf("%s: %d", attributes(p.Attributes.ToSlice()), p.Count))
		}
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			s = append(s, fmt.Sprintf("%s: %d", attributes(p.Attributes.ToSlice()), p.Value))
		}
	case metricdata.Gauge[int64]:
		for _, p := range d.DataPoints {
			s = append(s, fmt.Sprintf("%s: %d", attributes(p.Attributes.ToSlice()), p.Value))
		}
	case metricdata.Gauge[float64]:
		for _, p := range d.DataPoints {
			s = append(s, fmt.Sprintf("%s: %v", attributes(p.Attributes.ToSlice()), p.Value))
		}
	}
	slices.Sort(s)
	return s
}

// equal compares lists line by line.
func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// parse is url.Parse for URLs that are right.
func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A step is an attempt of a call and what it comes to.
type step struct {
	addr   string
	result telemetry.Result
}

// play makes a call to service with these attempts; the last one's result is the
// call's.
func (l *lab) play(ctx context.Context, service string, f telemetry.Facts, steps ...step) {
	svc := l.Service(service)
	ctx, call := svc.Start(ctx, &f)
	var r telemetry.Result
	for i, s := range steps {
		e := &tulle.Endpoint{Addr: s.addr}
		actx, att := call.Attempt(ctx, e, i+1)
		r = s.result
		svc.EndAttempt(actx, att, e, &r)
	}
	r.Attempts = len(steps)
	r.Elapsed += time.Millisecond
	svc.End(ctx, call, &f, &r)
}

// ok is a result that went well.
func ok(status int) telemetry.Result {
	return telemetry.Result{Class: tulle.Answered, Status: status, Proto: "HTTP/1.1", Elapsed: time.Millisecond}
}
