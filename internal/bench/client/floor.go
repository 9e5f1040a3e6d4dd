package client

import (
	"context"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// The names of the floors, which goals are held against.
const (
	FloorCopy     = "floor: copy"
	FloorRecords  = "floor: copy, 2 records"
	FloorOneSpan  = "floor: copy, 2 records, 1 span"
	FloorTwoSpans = "floor: copy, 2 records, 2 spans"
)

// floors are the rows of clients that do nothing but what cannot be left out:
// what a goal asks for below its floor is not to be had.
func floors() []Contender {
	return []Contender{
		{Name: FloorCopy, OnStub: true, Open: openFloor(none, 0),
			Note: "no client: one object with a copy of the request and of its URL, for the next instance in turn, as a RoundTripper may not change its caller's"},
		{Name: FloorRecords, OnStub: true, Open: openFloor(metrics, 0),
			Note: "the same and what the metric SDK takes for two histograms, of the call and of the attempt, with attributes made before"},
		{Name: FloorOneSpan, OnStub: true, Open: openFloor(metrics|spans, 1),
			Note: "the same and what the trace SDK takes for one exported span with six attributes, and a copy of the header with traceparent"},
		{Name: FloorTwoSpans, OnStub: true, Open: openFloor(metrics|spans, 2),
			Note: "the same with a span for the call and one for the attempt"},
	}
}

func openFloor(t telemetry, deep int) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		p := newProviders(t)
		f := &floor{wire: s.wire(), addrs: s.Addrs, deep: deep}
		if p.tracers != nil {
			f.tracer = p.tracers.Tracer("floor")
		}
		if p.meters != nil {
			meter := p.meters.Meter("floor")
			for i, name := range []string{"call", "attempt"} {
				h, err := meter.Float64Histogram(name)
				if err != nil {
					p.close()
					return nil, err
				}
				f.histograms[i] = h
			}
			f.recorded = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(floorAttributes()...))}
		}
		return over(f.wire, f.RoundTrip, named).closing(p.close), nil
	}
}

// floor sends copies of requests, and tells the SDK of them.
type floor struct {
	wire       http.RoundTripper
	addrs      []string
	turn       atomic.Uint64
	tracer     trace.Tracer // nil for none
	deep       int          // spans for a call
	histograms [2]metric.Float64Histogram
	recorded   []metric.RecordOption
}

// copied is what a call needs.
type copied struct {
	req   http.Request
	url   url.URL
	spans [2]trace.Span
	value [1]string
}

// floorAttributes are about as many as the conventions ask for.
func floorAttributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("server.address", "svc"), attribute.Int("server.port", 80),
		attribute.String("http.request.method", "GET"), attribute.Int("http.response.status_code", 200),
		attribute.String("network.peer.address", "10.0.0.1"), attribute.String("url.full", "http://svc/"),
	}
}

// floorSpan are the options of its spans.
var floorSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}

// RoundTrip implements http.RoundTripper.
func (f *floor) RoundTrip(req *http.Request) (*http.Response, error) {
	var start time.Time
	if f.recorded != nil {
		start = time.Now()
	}
	c := new(copied)
	ctx := req.Context()
	for i := range f.deep {
		ctx, c.spans[i] = f.tracer.Start(ctx, "GET", floorSpan...)
	}
	c.req = *req.WithContext(ctx)
	c.url = *req.URL
	c.req.URL = &c.url
	c.url.Host = f.addrs[f.turn.Add(1)%uint64(len(f.addrs))]
	if f.deep > 0 {
		f.announce(c, ctx)
	}
	resp, err := f.wire.RoundTrip(&c.req)
	if f.recorded != nil {
		took := time.Since(start).Seconds()
		for _, h := range f.histograms {
			h.Record(ctx, took, f.recorded...)
		}
	}
	for i := f.deep - 1; i >= 0; i-- {
		c.spans[i].SetAttributes(floorKeys...)
		c.spans[i].End()
	}
	return resp, err
}

// floorKeys are the attributes of its spans.
var floorKeys = floorAttributes()

// announce writes traceparent into a copy of the header.
func (f *floor) announce(c *copied, ctx context.Context) {
	sc := trace.SpanContextFromContext(ctx)
	traceID, spanID := sc.TraceID(), sc.SpanID()
	var buf [55]byte
	b := append(buf[:0], "00-"...)
	b = hex.AppendEncode(b, traceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, spanID[:])
	b = append(b, "-01"...)
	c.value[0] = string(b)
	h := make(http.Header, len(c.req.Header)+1)
	maps.Copy(h, c.req.Header)
	h["Traceparent"] = c.value[:]
	c.req.Header = h
}
