package telemetry_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/telemetry"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// big is a Telemetry of so many services with so many endpoints each, and what
// collects from it.
func big(t testing.TB, services, each int, perEndpoint bool) func() metricdata.ResourceMetrics {
	reader := sdkmetric.NewManualReader(sdkmetric.WithCardinalityLimitSelector(
		func(sdkmetric.InstrumentKind) (int, bool) { return 0, false })) // no limit
	tel := newTelemetry(t, telemetry.Config{
		PerEndpoint:   perEndpoint,
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	endpoints := make([]telemetry.EndpointState, each)
	for i := range endpoints {
		endpoints[i] = telemetry.EndpointState{Addr: fmt.Sprintf("10.0.%d.%d:80", i/200, i%200), State: "healthy"}
	}
	names := make([]string, services)
	for i := range names {
		names[i] = fmt.Sprint("service", i)
	}
	if err := tel.Observe(func(yield func(*telemetry.State) bool) {
		for _, name := range names {
			s := full(name)
			s.Endpoints = endpoints
			if !yield(&s) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	var rm metricdata.ResourceMetrics
	return func() metricdata.ResourceMetrics {
		if err := reader.Collect(context.Background(), &rm); err != nil {
			t.Fatal(err)
		}
		return rm
	}
}

// 1,000 services of 100 endpoints are collected within a second of the processor's
// time: that of the clock depends on what else the machine does. The best of some
// counts, as garbage of earlier tests is collected beside it. With series for each
// endpoint it is the SDK that takes the time, so there the limit leaves room for slow
// machines; the benchmark has the figures.
func TestScrape(t *testing.T) {
	if testing.Short() || forgetful() {
		t.Skip("it measures, and not the race detector")
	}
	for _, perEndpoint := range []bool{false, true} {
		collect := big(t, 1000, 100, perEndpoint)
		series := 0
		for _, m := range collect().ScopeMetrics[0].Metrics {
			series += len(points(m))
		}
		if want := map[bool]int{false: 20_000, true: 320_000}[perEndpoint]; series < want {
			t.Fatalf("per endpoint %v: got %d series, want at least %d", perEndpoint, series, want)
		}
		best, limit := time.Hour, time.Second
		if perEndpoint {
			limit = 6 * time.Second
		}
		for i := 0; i < 5 && best > limit; i++ {
			begin := processorTime(t)
			collect()
			best = min(best, processorTime(t)-begin)
		}
		t.Logf("per endpoint %v: %v", perEndpoint, best)
		if best > limit {
			t.Errorf("per endpoint %v: got %v, want at most %v", perEndpoint, best, limit)
		}
	}
}

// processorTime is what the process has used of it.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func BenchmarkScrape(b *testing.B) {
	for _, perEndpoint := range []bool{false, true} {
		b.Run(fmt.Sprint("per endpoint ", perEndpoint), func(b *testing.B) {
			collect := big(b, 1000, 100, perEndpoint)
			collect()
			b.ReportAllocs()
			for b.Loop() {
				collect()
			}
		})
	}
}
