package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scopeName is the instrumentation scope of everything that is recorded.
const scopeName = "github.com/tullemesh/tulle/transport/telemetry"

// Other is the name of the service that stands for all hosts which nobody
// configured. It keeps their names out of metrics.
const Other = "_other"

// Config says where telemetry goes. The zero Config uses what the application
// has installed in package otel, logs nothing and keeps no records.
type Config struct {
	// TracerProvider makes the spans. Default (nil): otel.GetTracerProvider at
	// the time of each call, so that one that is set later is used.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. Default (nil): otel.GetMeterProvider,
	// which passes on to the first one that is set later.
	MeterProvider metric.MeterProvider

	// Propagator writes the context of a span into the headers of an attempt.
	// Default (nil): otel.GetTextMapPropagator at the time of each attempt.
	// That of W3C, alone or with baggage, is written without its help.
	Propagator propagation.TextMapPropagator

	// Attributes are added to the instrumentation scope, to tell several
	// Transports of one program apart. Default: none.
	Attributes []attribute.KeyValue

	// Logger gets changes of state. Default (nil): nothing is logged. It is
	// called by Run only.
	Logger *slog.Logger

	// EventsPerMinute is how many events of one kind are logged for a service
	// in a minute; the next one says how many were left out. Default (0): 6.
	// Range: 1 to 1000000.
	EventsPerMinute int

	// EarlyAttributes gives spans what is known of the call when they begin, for
	// samplers that look at it. Spans get all attributes when they end in any
	// case, which saves 4 allocations.
	EarlyAttributes bool

	// NoCallSpan leaves out the internal span of the call, which is half of the
	// cost of traces: the spans of attempts become children of the caller's, and
	// http.request.resend_count tells repeats. A call that makes no attempt has
	// one internal span that says why. Waits, repeats and refusals are events of
	// the call's span, so they show in records, hooks and metrics only.
	NoCallSpan bool

	// PerEndpoint adds series for each endpoint, up to 1000 for each service.
	// It makes their number grow with that of the endpoints.
	PerEndpoint bool

	// Sample is how many calls a second are recorded for Records, at the most.
	// Default (0): none. Range: 0.001 to 100000.
	Sample float64

	// Keep is how many records are kept, the latest. Default (0): 256. Range: 1
	// to 65536.
	Keep int
}

// The limits and defaults of Config.
const (
	minSample        = 0.001
	maxSample        = 100_000
	defaultKeep      = 256
	maxKeep          = 65_536
	defaultPerMinute = 6
	maxPerMinute     = 1_000_000
)

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c Config) Validate() error {
	var errs []error
	if c.Sample != 0 && !(c.Sample >= minSample && c.Sample <= maxSample) { // so that NaN is refused
		errs = append(errs, fmt.Errorf("telemetry: Sample %v: want %v to %d, or 0 for none", c.Sample, minSample, maxSample))
	}
	if c.Keep < 0 || c.Keep > maxKeep {
		errs = append(errs, fmt.Errorf("telemetry: Keep %d: want 1 to %d, or 0 for the default", c.Keep, maxKeep))
	}
	if c.EventsPerMinute < 0 || c.EventsPerMinute > maxPerMinute {
		errs = append(errs, fmt.Errorf("telemetry: EventsPerMinute %d: want 1 to %d, or 0 for the default",
			c.EventsPerMinute, maxPerMinute))
	}
	return errors.Join(errs...)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	if c.EventsPerMinute == 0 {
		c.EventsPerMinute = defaultPerMinute
	}
	return c
}

// A Telemetry records for one Transport. It is safe for concurrent use.
type Telemetry struct {
	cfg      Config
	in       *instruments
	tracing  atomic.Pointer[tracing]
	headers  atomic.Pointer[headers]
	services services
	scratch  sync.Pool // of *scratch
	start    time.Time

	records ring
	every   time.Duration // between two records, 0 without any
	due     atomic.Int64  // when the next call is to be recorded, since start

	events events

	mu       sync.Mutex
	observed metric.Registration // guarded by mu: nil before Observe
	closed   bool                // guarded by mu
}

// New returns a Telemetry for cfg, or an error that names every field that
// cannot be used, or that of the MeterProvider.
func New(cfg Config) (*Telemetry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	provider := cfg.MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	in, err := newInstruments(provider.Meter(scopeName,
		metric.WithSchemaURL(semconv.SchemaURL), metric.WithInstrumentationAttributes(cfg.Attributes...)), cfg.PerEndpoint)
	if err != nil {
		return nil, fmt.Errorf("telemetry: instruments: %w", err)
	}
	t := &Telemetry{cfg: cfg, in: in, start: time.Now()}
	t.scratch.New = func() any { return &scratch{make([]attribute.KeyValue, 0, 16)} }
	t.records.slots = make([]atomic.Pointer[Record], cfg.Keep)
	if cfg.Sample > 0 {
		t.every = time.Duration(math.Round(float64(time.Second) / cfg.Sample))
	}
	t.events.init(&cfg)
	return t, nil
}

// ErrClosed is what Observe returns after Close.
var ErrClosed = errors.New("telemetry: closed")

// Close ends the observation of the Source. Spans and metrics of calls that are
// still running are recorded all the same. Further calls of Close do nothing.
func (t *Telemetry) Close() error {
	t.mu.Lock()
	r := t.observed
	t.observed, t.closed = nil, true
	t.mu.Unlock()
	if r == nil {
		return nil
	}
	if err := r.Unregister(); err != nil {
		return fmt.Errorf("telemetry: unregister: %w", err)
	}
	return nil
}

// sampled says whether the call that begins now is to be recorded. The calls
// between two records pay for one load.
func (t *Telemetry) sampled() bool {
	if t.every == 0 {
		return false
	}
	due, now := t.due.Load(), int64(time.Since(t.start))
	return now >= due && t.due.CompareAndSwap(due, now+int64(t.every))
}
