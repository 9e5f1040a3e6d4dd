package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
)

// A Kind is a kind of event.
type Kind uint8

// The kinds of events.
const (
	// EndpointOut: an endpoint is left out of picks. State is ejected or dead.
	EndpointOut Kind = iota
	// EndpointBack: it is used again. State is returning or healthy.
	EndpointBack
	// BreakerChanged: a service breaker has the State open, half_open or
	// closed.
	BreakerChanged
	// DiscoveryUpdated: discovery has reported a set. N is its size.
	DiscoveryUpdated
	// DiscoveryFailed: discovery has reported an error, the last good set stays.
	DiscoveryFailed
	// DiscoveryRecovered: it works again after an error.
	DiscoveryRecovered
	// ConfigApplied and ConfigRefused: a new configuration is in force, or
	// not.
	ConfigApplied
	ConfigRefused

	kinds
)

// An Event is a change of state.
type Event struct {
	// Kind says which. Service and Endpoint are the name and address that it
	// is about, empty where it is about neither.
	Kind     Kind
	Service  string
	Endpoint string

	// State is the new one. Reason says why, in one of few words.
	State  string
	Reason string

	// For is how long it is to last, N a size, Err the cause, as far as they
	// are known.
	For time.Duration
	N   int
	Err error
}

// kind is what is done with events of a kind.
type kind struct {
	text  string
	level slog.Level
}

// kindTable has a row for each.
var kindTable = [kinds]kind{
	EndpointOut:        {"endpoint is left out", slog.LevelWarn},
	EndpointBack:       {"endpoint is back", slog.LevelInfo},
	BreakerChanged:     {"breaker changed", slog.LevelWarn},
	DiscoveryUpdated:   {"discovery updated", slog.LevelDebug},
	DiscoveryFailed:    {"discovery failed", slog.LevelWarn},
	DiscoveryRecovered: {"discovery recovered", slog.LevelInfo},
	ConfigApplied:      {"configuration applied", slog.LevelInfo},
	ConfigRefused:      {"configuration refused", slog.LevelError},
}

// level is that of the event's line.
func (e *Event) level() slog.Level {
	if e.Kind == BreakerChanged && e.State == "closed" {
		return slog.LevelInfo
	}
	return kindTable[e.Kind].level
}

// The bounds of what waits to be logged, and of what is remembered for limits.
const (
	maxQueue  = 256
	maxLimits = 4096
)

// events limits and queues what is to be logged.
type events struct {
	logger *slog.Logger
	limit  int
	queue  chan entry // nil without a logger; never closed

	mu    sync.Mutex
	seen  map[topic]*count // guarded by mu
	lost  int              // guarded by mu: the queue was full, since the last line
	since time.Time        // guarded by mu: when seen was last swept
}

// topic is what lines are counted by.
type topic struct {
	kind    Kind
	service string
}

// count is how many lines a topic has had in a minute.
type count struct {
	begin              time.Time
	logged, suppressed int
}

// entry is an event on its way to the log.
type entry struct {
	e                Event
	at               time.Time
	suppressed, lost int
}

func (v *events) init(cfg *Config) {
	v.logger, v.limit = cfg.Logger, cfg.EventsPerMinute
	if v.logger != nil {
		v.queue = make(chan entry, maxQueue)
		v.seen = make(map[topic]*count)
	}
}

// Event counts the event and queues it for the log. It never waits for the
// logger, and drops what finds the queue full. An unknown Kind is ignored.
func (t *Telemetry) Event(ctx context.Context, e Event) {
	if e.Kind >= kinds {
		return
	}
	t.in.count(ctx, &e)
	v := &t.events
	if v.logger != nil && v.logger.Enabled(ctx, e.level()) {
		v.offer(e, time.Now())
	}
}

// count moves the counter of the event's kind.
func (in *instruments) count(ctx context.Context, e *Event) {
	c, key, value := in.discoveries, resultKey, "ok"
	kv := make([]attribute.KeyValue, 0, 3)
	switch e.Kind {
	case EndpointOut, EndpointBack:
		c, key, value = in.ejections, stateKey, e.State
	case BreakerChanged:
		c, key, value = in.breakers, stateKey, e.State
	case DiscoveryFailed:
		value = "error"
	case DiscoveryRecovered:
		return // the report that it is about has been counted
	case ConfigApplied:
		c, value = in.reloads, "applied"
	case ConfigRefused:
		c, value = in.reloads, "refused"
	}
	if !c.Enabled(ctx) {
		return
	}
	if e.Service != "" {
		kv = append(kv, serviceKey.String(e.Service))
	}
	if key == stateKey && e.Reason != "" {
		kv = append(kv, reasonKey.String(e.Reason))
	}
	c.Add(ctx, 1, newSeries(append(kv, key.String(value))...).add...)
}

// offer queues the event unless there were too many like it.
func (v *events) offer(e Event, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sweepLocked(now)
	at := topic{e.Kind, e.Service}
	c := v.seen[at]
	if c == nil {
		if len(v.seen) >= maxLimits {
			at = topic{kind: e.Kind} // one limit for all others
			if c = v.seen[at]; c == nil {
				c = new(count)
			}
		} else {
			c = new(count)
		}
		v.seen[at] = c
	}
	if now.Sub(c.begin) >= time.Minute {
		c.begin, c.logged = now, 0
	}
	if c.logged >= v.limit {
		c.suppressed++
		return
	}
	select {
	case v.queue <- entry{e, now, c.suppressed, v.lost}:
		c.logged++
		c.suppressed, v.lost = 0, 0
	default:
		v.lost++
	}
}

// sweepLocked forgets topics that were quiet and have nothing to report.
func (v *events) sweepLocked(now time.Time) {
	if now.Sub(v.since) < time.Minute {
		return
	}
	v.since = now
	for at, c := range v.seen {
		if c.suppressed == 0 && now.Sub(c.begin) >= time.Minute {
			delete(v.seen, at)
		}
	}
}

// Run logs events until ctx ends, and then those that are still queued. Without
// a Logger it returns at once. Whoever makes a Telemetry with a Logger runs it on
// a goroutine of its own.
func (t *Telemetry) Run(ctx context.Context) {
	v := &t.events
	if v.queue == nil {
		return
	}
	for {
		select {
		case e := <-v.queue:
			v.log(e)
			continue
		default:
		}
		select {
		case e := <-v.queue:
			v.log(e)
		case <-ctx.Done():
			return
		}
	}
}

// log writes one line, with the time of the event.
func (v *events) log(n entry) {
	e := &n.e
	r := slog.NewRecord(n.at, e.level(), "tulle: "+kindTable[e.Kind].text, 0)
	text := func(key, value string) {
		if value != "" {
			r.AddAttrs(slog.String(key, value))
		}
	}
	number := func(key string, value int) {
		if value != 0 {
			r.AddAttrs(slog.Int(key, value))
		}
	}
	text("service", e.Service)
	text("endpoint", e.Endpoint)
	text("state", e.State)
	text("reason", e.Reason)
	if e.For != 0 {
		r.AddAttrs(slog.Duration("for", e.For))
	}
	number("n", e.N)
	if e.Err != nil {
		r.AddAttrs(slog.String("error", e.Err.Error()))
	}
	number("suppressed", n.suppressed)
	number("lost", n.lost)
	_ = v.logger.Handler().Handle(context.Background(), r) // a logger's own failure has nowhere to go
}
