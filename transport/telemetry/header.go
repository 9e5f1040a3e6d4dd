package telemetry

import (
	"context"
	"encoding/hex"
	"maps"
	"net/http"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The names of the headers, in the two spellings in use.
const (
	parentHeader  = "Traceparent"
	stateHeader   = "Tracestate"
	baggageHeader = "Baggage"
	parentKey     = "traceparent"
	stateKeyLower = "tracestate"
	baggageKey    = "baggage"
)

// Header returns h with the trace context and baggage of ctx: h itself if there
// is nothing to write, else a copy that shares its values, so that h is never
// changed. Ctx is what Attempt returned, a may be nil. Whether the server may
// see it is for the caller to decide.
func (t *Telemetry) Header(ctx context.Context, a *Attempt, h http.Header) http.Header {
	return t.inject(ctx, a, h, spelling{parentHeader, stateHeader, baggageHeader})
}

// Metadata is Header for the metadata of gRPC, whose keys are in lower case.
func (t *Telemetry) Metadata(ctx context.Context, a *Attempt, md map[string][]string) map[string][]string {
	return t.inject(ctx, a, md, spelling{parentKey, stateKeyLower, baggageKey})
}

// spelling is how the headers are written.
type spelling struct{ parent, state, baggage string }

// inject writes to a copy of h.
func (t *Telemetry) inject(ctx context.Context, a *Attempt, h map[string][]string, as spelling) map[string][]string {
	p := t.propagator()
	if p.off {
		return h
	}
	c := carrier{header: h, as: as}
	if p.own && p.trace {
		c.writeTrace(ctx, a)
	}
	if p.own && (!p.baggage || baggage.FromContext(ctx).Len() == 0) {
		return c.header
	}
	// The others take an interface, so the carrier they get is on the heap.
	var kept *carrier
	if a != nil {
		kept = &a.carrier
	} else {
		kept = new(carrier)
	}
	*kept = c
	if p.own {
		propagation.Baggage{}.Inject(ctx, kept)
	} else {
		p.propagator.Inject(ctx, kept)
	}
	h = kept.header
	*kept = carrier{}
	return h
}

// carrier is a header that is copied when it is first written to.
type carrier struct {
	header map[string][]string
	as     spelling
	copied bool
}

var _ propagation.TextMapCarrier = (*carrier)(nil)

// own makes sure that the header may be written to.
func (c *carrier) own() {
	if c.copied {
		return
	}
	h := make(map[string][]string, len(c.header)+2)
	maps.Copy(h, c.header)
	c.header, c.copied = h, true
}

// name is the key under which the header has what a propagator calls key.
func (c *carrier) name(key string) string {
	switch key {
	case parentKey:
		return c.as.parent
	case stateKeyLower:
		return c.as.state
	case baggageKey:
		return c.as.baggage
	}
	if c.as.parent == parentHeader {
		return http.CanonicalHeaderKey(key)
	}
	return key
}

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(key string) string {
	if v := c.header[c.name(key)]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (c *carrier) Set(key, value string) {
	c.own()
	c.header[c.name(key)] = []string{value}
}

// Keys implements propagation.TextMapCarrier.
func (c *carrier) Keys() []string {
	keys := make([]string, 0, len(c.header))
	for k := range c.header {
		keys = append(keys, k)
	}
	return keys
}

// parentLen is the length of a traceparent of version 00.
const parentLen = len("00-00000000000000000000000000000000-0000000000000000-00")

// writeTrace writes traceparent and tracestate. A tracestate that belongs to
// another traceparent goes.
func (c *carrier) writeTrace(ctx context.Context, a *Attempt) {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return
	}
	c.own()
	if ts := sc.TraceState(); ts.Len() > 0 {
		c.header[c.as.state] = []string{ts.String()}
	} else {
		delete(c.header, c.as.state)
	}
	var buf [512]byte
	b := appendParent(buf[:0], sc)
	if a == nil {
		c.header[c.as.parent] = []string{string(b)}
		return
	}
	// The span will need the URL, too: one string has room for both.
	if u := a.call.facts.URL; a.span != nil && u != nil {
		b = appendURL(b, u)
	}
	both := string(b)
	a.value[0], a.fullURL = both[:parentLen], both[parentLen:]
	c.header[c.as.parent] = a.value[:1:1]
}

// appendParent adds the traceparent of sc, with the flags that the
// recommendation knows.
func appendParent(b []byte, sc trace.SpanContext) []byte {
	traceID, spanID := sc.TraceID(), sc.SpanID()
	flags := [1]byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))}
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, traceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, spanID[:])
	b = append(b, '-')
	return hex.AppendEncode(b, flags[:])
}
