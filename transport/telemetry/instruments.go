package telemetry

import (
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Attribute keys of ours. Those of semconv are used wherever they fit.
const (
	serviceKey  = attribute.Key("tulle.service")
	outcomeKey  = attribute.Key("tulle.outcome")
	endpointKey = attribute.Key("tulle.endpoint")
	stateKey    = attribute.Key("tulle.state")
	reasonKey   = attribute.Key("tulle.reason")
	resultKey   = attribute.Key("tulle.result")
	policyKey   = attribute.Key("tulle.policy")
)

// instruments are all that a Telemetry records into.
type instruments struct {
	meter metric.Meter
	errs  []error

	http    metric.Float64Histogram
	rpc     metric.Float64Histogram
	attempt metric.Float64Histogram

	retries     metric.Int64Counter
	hedges      metric.Int64Counter
	ejections   metric.Int64Counter
	breakers    metric.Int64Counter
	discoveries metric.Int64Counter
	reloads     metric.Int64Counter

	observed observables
}

// observables are read from the Source when metrics are collected.
type observables struct {
	endpoints     metric.Int64ObservableGauge
	inFlight      metric.Int64ObservableUpDownCounter
	breakerState  metric.Int64ObservableGauge
	breakerReject metric.Int64ObservableCounter
	budget        metric.Float64ObservableGauge
	decisions     metric.Int64ObservableCounter
	transparent   metric.Int64ObservableCounter
	avoided       metric.Int64ObservableCounter
	limited       metric.Int64ObservableCounter
	limitWaiting  metric.Int64ObservableUpDownCounter
	age           metric.Float64ObservableGauge
	late          metric.Int64ObservableCounter
	dark          metric.Int64ObservableCounter

	// Only with Config.PerEndpoint.
	endpointState    metric.Int64ObservableGauge
	endpointInFlight metric.Int64ObservableUpDownCounter
	endpointAttempts metric.Int64ObservableCounter

	all []metric.Observable
}

// seconds are the bounds that semconv advises for durations of calls.
var seconds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// newInstruments registers everything. The names, units and descriptions are
// those of the table in docs/metrics.md, which a test compares.
func newInstruments(m metric.Meter, perEndpoint bool) (*instruments, error) {
	in := &instruments{meter: m}
	in.http = in.histogram("http.client.request.duration", "Duration of HTTP client requests.")
	in.rpc = in.histogram("rpc.client.call.duration", "Measures the duration of an outgoing Remote Procedure Call (RPC).")
	in.attempt = in.histogram("tulle.client.attempt.duration", "Time of an attempt to headers or error.")

	in.retries = in.counter("tulle.client.retries", "{attempt}", "Attempts that repeated an earlier one.")
	in.hedges = in.counter("tulle.client.hedges", "{attempt}", "Attempts made beside one that was slow.")
	in.ejections = in.counter("tulle.client.ejection.transitions", "{transition}", "Endpoints that left use or came back.")
	in.breakers = in.counter("tulle.client.breaker.transitions", "{transition}", "Changes of a service breaker.")
	in.discoveries = in.counter("tulle.client.discovery.updates", "{report}", "Reports of discovery.")
	in.reloads = in.counter("tulle.client.config.reloads", "{reload}", "Configurations that were applied or refused.")

	o := &in.observed
	o.endpoints = in.gauge("tulle.client.endpoints", "{endpoint}", "Endpoints by state.")
	o.inFlight = in.upDown("tulle.client.active_attempts", "{attempt}", "Attempts that wait for headers or stream.")
	o.breakerState = in.gauge("tulle.client.breaker.state", "1", "1 for the present state of the service breaker, 0 for others.")
	o.breakerReject = in.total("tulle.client.breaker.rejections", "{attempt}", "Attempts that an open breaker refused.")
	o.budget = in.floatGauge("tulle.client.retry.budget", "{attempt}", "Repeats that could be made now.")
	o.decisions = in.total("tulle.client.retry.decisions", "{decision}", "Repeats that were wanted, by what was decided.")
	o.transparent = in.total("tulle.client.retry.transparent", "{attempt}", "Repeats that the sender made by itself.")
	o.avoided = in.total("tulle.client.picks.avoided", "{pick}", "Endpoints that a pick kept off, by reason.")
	o.limited = in.total("tulle.client.limit.calls", "{call}", "Calls at the limits, by what became of them.")
	o.limitWaiting = in.upDown("tulle.client.limit.waiting", "{call}", "Calls that wait at the limits.")
	o.age = in.floatGauge("tulle.client.discovery.age", "s", "Time for which discovery has been failing.")
	o.late = in.total("tulle.client.deadline.rejections", "{call}", "Calls refused as their time was up.")
	o.dark = in.total("tulle.client.dark.decisions", "{decision}", "What policies in dark mode would have done.")
	if perEndpoint {
		o.endpointState = in.gauge("tulle.client.endpoint.state", "1", "1 for the present state of the endpoint.")
		o.endpointInFlight = in.upDown("tulle.client.endpoint.active_attempts", "{attempt}", "Attempts at the endpoint now.")
		o.endpointAttempts = in.total("tulle.client.endpoint.attempts", "{attempt}", "Attempts that were made at the endpoint.")
	}
	return in, errors.Join(in.errs...)
}

// failed keeps an error of the meter.
func (in *instruments) failed(err error) {
	if err != nil {
		in.errs = append(in.errs, err)
	}
}

func (in *instruments) histogram(name, description string) metric.Float64Histogram {
	h, err := in.meter.Float64Histogram(name, metric.WithUnit("s"),
		metric.WithDescription(description), metric.WithExplicitBucketBoundaries(seconds...))
	in.failed(err)
	return h
}

func (in *instruments) counter(name, unit, description string) metric.Int64Counter {
	c, err := in.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	in.failed(err)
	return c
}

func (in *instruments) gauge(name, unit, description string) metric.Int64ObservableGauge {
	g, err := in.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	return observable(in, g, err)
}

func (in *instruments) floatGauge(name, unit, description string) metric.Float64ObservableGauge {
	g, err := in.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	return observable(in, g, err)
}

func (in *instruments) total(name, unit, description string) metric.Int64ObservableCounter {
	c, err := in.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return observable(in, c, err)
}

func (in *instruments) upDown(name, unit, description string) metric.Int64ObservableUpDownCounter {
	c, err := in.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	return observable(in, c, err)
}

// observable takes an instrument into the list that the callback may observe.
func observable[O metric.Observable](in *instruments, o O, err error) O {
	in.failed(err)
	if err == nil {
		in.observed.all = append(in.observed.all, o)
	}
	return o
}
