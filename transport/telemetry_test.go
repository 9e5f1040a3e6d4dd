package transport_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// sdk is an SDK that keeps everything.
type sdk struct {
	spans  *tracetest.SpanRecorder
	reader *metric.ManualReader
	config telemetry.Config
}

func newSDK() *sdk {
	s := &sdk{spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	s.config = telemetry.Config{
		TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(s.spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(s.reader)),
		Propagator:     propagation.TraceContext{},
	}
	return s
}

// collect reads all metrics by name.
func (s *sdk) collect(t *testing.T) map[string]metricdata.Aggregation {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := s.reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]metricdata.Aggregation)
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m.Data
		}
	}
	return all
}

// attr is the value of an attribute of a span as text.
func attr(s trace.ReadOnlySpan, key attribute.Key) string {
	for _, kv := range s.Attributes() {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

// One internal span for the call, one client span for each attempt below it, whose
// context reaches the server; and metrics of both.
func TestTelemetry(t *testing.T) {
	var parents []string
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parents = append(parents, r.Header.Get("Traceparent"))
		if len(parents) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "hello")
	}))
	defer bad.Close()
	s := newSDK()
	cfg := service(nil, transport.Policy{}, bad.Listener.Addr().String())
	cfg.Telemetry = s.config
	rt := newTransport(t, cfg)
	status, _, err := get(t.Context(), rt, "http://svc/path?q=1")
	if err != nil || status != 200 {
		t.Fatalf("got %d, %v", status, err)
	}
	spans := s.spans.Ended()
	if len(spans) != 3 {
		t.Fatalf("got %d spans, want 3", len(spans))
	}
	call := spans[2]
	if call.SpanKind().String() != "internal" || call.Name() != "GET" || attr(call, "server.address") != "svc" {
		t.Errorf("got the call span %s %s %v", call.SpanKind(), call.Name(), call.Attributes())
	}
	for i, want := range []string{"503", "200"} {
		a := spans[i]
		if a.SpanKind().String() != "client" || a.Parent().SpanID() != call.SpanContext().SpanID() {
			t.Errorf("attempt %d: got %s below %s", i, a.SpanKind(), a.Parent().SpanID())
		}
		if got := attr(a, "http.response.status_code"); got != want {
			t.Errorf("attempt %d: got status %s, want %s", i, got, want)
		}
		if got := attr(a, "network.protocol.version"); got != "1.1" {
			t.Errorf("attempt %d: got network.protocol.version %q, want 1.1", i, got)
		}
		if !strings.Contains(parents[i], a.SpanContext().SpanID().String()) {
			t.Errorf("attempt %d: the server got %q, want span %s", i, parents[i], a.SpanContext().SpanID())
		}
		if peer := attr(a, "network.peer.address") + ":" + attr(a, "network.peer.port"); peer != bad.Listener.Addr().String() {
			t.Errorf("attempt %d: got peer %s", i, peer)
		}
	}
	if got := attr(spans[1], "http.request.resend_count"); got != "1" {
		t.Errorf("got resend_count %q, want 1", got)
	}
	all := s.collect(t)
	if h, ok := all["http.client.request.duration"].(metricdata.Histogram[float64]); !ok || len(h.DataPoints) != 1 || h.DataPoints[0].Count != 1 {
		t.Errorf("got %+v", all["http.client.request.duration"])
	}
	attempts, _ := all["tulle.client.attempt.duration"].(metricdata.Histogram[float64])
	n := uint64(0)
	for _, p := range attempts.DataPoints {
		n += p.Count
	}
	if n != 2 {
		t.Errorf("got %d attempts measured, want 2", n)
	}
	for _, name := range []string{"tulle.client.endpoints", "tulle.client.breaker.state"} {
		if all[name] == nil {
			t.Errorf("got no %s among %v", name, names(all))
		}
	}
}

// names are the keys of m, sorted.
func names[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// What telemetry costs a call: nothing without an SDK, no allocation for metrics,
// few for spans.
func TestTelemetryAllocations(t *testing.T) {
	spans := trace.NewTracerProvider(trace.WithSampler(trace.AlwaysSample()))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	base := -1.0
	for _, c := range []struct {
		name string
		cfg  telemetry.Config
		most float64
	}{
		{"no SDK", telemetry.Config{}, 0},
		{"metrics", telemetry.Config{MeterProvider: meters}, 0},
		{"sampled spans, header and metrics", telemetry.Config{
			TracerProvider: spans, MeterProvider: meters, Propagator: propagation.TraceContext{},
		}, 9},
	} {
		rt, err := transport.New(transport.Config{
			Base: stub{body: []byte("hello")}, Telemetry: c.cfg,
			Services: map[string]transport.Service{"svc": {Resolver: manyEndpoints(10)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close()
		if err := rt.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest(http.MethodGet, "http://svc/", nil)
		got := testing.AllocsPerRun(1000, func() {
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		})
		if base < 0 {
			base = got
		}
		t.Logf("%s: %v allocations, %v more", c.name, got, got-base)
		if got-base > c.most && !(raceDetector && c.most > 0) {
			t.Errorf("%s: got %v allocations more, want at most %v", c.name, got-base, c.most)
		}
	}
}

// dropped is a span processor that keeps nothing.
type dropped struct{}

func (dropped) OnStart(context.Context, trace.ReadWriteSpan) {}
func (dropped) OnEnd(trace.ReadOnlySpan)                     {}
func (dropped) Shutdown(context.Context) error               { return nil }
func (dropped) ForceFlush(context.Context) error             { return nil }

func BenchmarkTelemetry(b *testing.B) {
	spans := trace.NewTracerProvider(trace.WithSampler(trace.AlwaysSample()), trace.WithSpanProcessor(dropped{}))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	for _, c := range []struct {
		name string
		cfg  telemetry.Config
	}{
		{"no SDK", telemetry.Config{}},
		{"metrics", telemetry.Config{MeterProvider: meters}},
		{"spans", telemetry.Config{TracerProvider: spans, MeterProvider: meters, Propagator: propagation.TraceContext{}}},
		{"attempt spans", telemetry.Config{TracerProvider: spans, MeterProvider: meters, Propagator: propagation.TraceContext{}, NoCallSpan: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			rt, err := transport.New(transport.Config{
				Base: stub{body: []byte("hello")}, Telemetry: c.cfg,
				Services: map[string]transport.Service{"svc": {Resolver: manyEndpoints(10)}},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer rt.Close()
			if err := rt.Ready(b.Context()); err != nil {
				b.Fatal(err)
			}
			req, _ := http.NewRequest(http.MethodGet, "http://svc/", nil)
			buf := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				call(b, rt, req, buf)
			}
		})
	}
}

// Who asks for it gets the record of a call, with what was decided and why; also in
// the error.
func TestRecord(t *testing.T) {
	var addrs []string
	for range 2 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		defer s.Close()
		addrs = append(addrs, s.Listener.Addr().String())
	}
	cfg := service(nil, transport.Policy{}, addrs...)
	cfg.Telemetry.Sample = 1000
	rt := newTransport(t, cfg)
	var rec telemetry.Record
	var picks []telemetry.Pick
	ctx := telemetry.WithRecord(t.Context(), &rec)
	ctx = telemetry.WithTrace(ctx, &telemetry.Trace{Picked: func(p telemetry.Pick) { picks = append(picks, p) }})
	status, _, err := get(ctx, rt, "http://svc/x")
	if err != nil || status != http.StatusServiceUnavailable {
		t.Fatalf("got %d, %v", status, err)
	}
	if len(rec.Tries) < 3 || len(picks) != len(rec.Tries) || rec.Path != "/x" || rec.Status != http.StatusServiceUnavailable {
		t.Errorf("got %+v and %d picks", rec, len(picks))
	}
	for _, try := range rec.Tries {
		if want := "unavailable"; try.Status != 0 && try.Outcome != want {
			t.Errorf("got %+v, want it to be %s", try, want)
		}
	}
	for _, p := range picks {
		if len(p.Candidates) != 2 {
			t.Errorf("got %+v, want both candidates", p)
		}
	}
	if all := rt.Telemetry().Records(telemetry.Filter{Service: "svc"}); len(all) != 1 || len(all[0].Tries) != len(rec.Tries) {
		t.Errorf("got %d records, want the one", len(all))
	}
	down := newTransport(t, service(nil, transport.Policy{}, "127.0.0.1:1"))
	_, _, err = get(telemetry.WithRecord(t.Context(), &rec), down, "http://svc/")
	var e *transport.Error
	if !errors.As(err, &e) || e.Record == nil || len(e.Record.Tries) == 0 {
		t.Errorf("got %v, want an error with the record", err)
	}
}
