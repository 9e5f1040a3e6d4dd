// Package otelrig tests tulle's telemetry against real systems: an OpenTelemetry
// Collector, servers in another process with otelhttp and otelgrpc on their side,
// and a Prometheus that scrapes. It is a module of its own for the sake of its
// requirements.
package otelrig
