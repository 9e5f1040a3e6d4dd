package transport_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// labels are the values of an attribute over the points of a histogram.
func labels(t *testing.T, s *sdk, name, key string) (values []string) {
	t.Helper()
	h, _ := s.collect(t)[name].(metricdata.Histogram[float64])
	for _, p := range h.DataPoints {
		for _, kv := range p.Attributes.ToSlice() {
			if string(kv.Key) == key {
				values = append(values, kv.Value.String())
			}
		}
	}
	slices.Sort(values)
	return values
}

// Calls to hosts that nobody configured have spans and are measured, under one name;
// the host gets neither trace nor baggage.
func TestPassedTelemetry(t *testing.T) {
	var headers http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers = r.Header
		io.WriteString(w, "hello")
	}))
	defer srv.Close()
	s := newSDK()
	var rec telemetry.Record
	rt := newTransport(t, transport.Config{Telemetry: s.config})
	req, _ := http.NewRequestWithContext(telemetry.WithRecord(t.Context(), &rec), http.MethodGet, srv.URL+"/path", nil)
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.Request != req {
		t.Fatalf("got %v, %v", resp, err)
	}
	if n := len(s.spans.Ended()); n != 0 {
		t.Errorf("got %d spans that ended before the body", n)
	}
	if text, err := io.ReadAll(resp.Body); string(text) != "hello" || err != nil || resp.Body.Close() != nil {
		t.Errorf("got %q, %v", text, err)
	}
	spans := s.spans.Ended()
	if len(spans) != 2 || spans[0].SpanKind().String() != "client" || spans[1].SpanKind().String() != "internal" ||
		spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() {
		t.Fatalf("got %d spans, want one of the attempt below one of the call", len(spans))
	}
	for _, span := range spans {
		if attr(span, "server.address") != "127.0.0.1" || attr(span, "http.response.status_code") != "200" {
			t.Errorf("got %v", span.Attributes())
		}
	}
	if got := attr(spans[0], "url.full"); got != srv.URL+"/path" {
		t.Errorf("got url.full %s", got)
	}
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
		if headers.Get(name) != "" {
			t.Errorf("the host got %s", name)
		}
	}
	if len(rec.Tries) != 1 || rec.Service != telemetry.Other || rec.Status != 200 {
		t.Errorf("got the record %+v", rec)
	}
	srv.Close()
	if _, _, err := get(context.Background(), rt, srv.URL); err == nil {
		t.Error("got no error of a server that is gone")
	}
	if got := labels(t, s, "http.client.request.duration", "server.address"); !slices.Equal(got, []string{"_other", "_other"}) {
		t.Errorf("got server.address %q", got)
	}
	if got := labels(t, s, "tulle.client.attempt.duration", "tulle.outcome"); !slices.Equal(got, []string{"answered", "unsent"}) {
		t.Errorf("got outcomes %q", got)
	}
	if got := labels(t, s, "http.client.request.duration", "error.type"); !slices.Equal(got, []string{"unsent"}) {
		t.Errorf("got error.type %q", got)
	}
}

// What passes through costs nothing more where nobody listens, and no allocation
// where calls are only measured.
func TestPassedAllocations(t *testing.T) {
	base := stub{body: []byte("hello")}
	s := newSDK()
	measured := telemetry.Config{MeterProvider: s.config.MeterProvider}
	req, _ := http.NewRequest(http.MethodGet, "http://stranger/", nil)
	call := func(rt http.RoundTripper) float64 {
		return testing.AllocsPerRun(1000, func() {
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		})
	}
	bare := call(base)
	for name, cfg := range map[string]telemetry.Config{"nobody": {}, "metrics": measured} {
		rt := newTransport(t, transport.Config{Base: base, Telemetry: cfg})
		if got := call(rt); got > bare && !raceDetector {
			t.Errorf("%s: got %v allocations, %v without", name, got, bare)
		}
	}
}
