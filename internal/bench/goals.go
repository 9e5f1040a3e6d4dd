package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tullemesh/tulle/internal/bench/client"
)

// A goal is a figure that tulle is meant to reach.
type goal struct {
	what string
	want float64
	unit func(float64) string

	// got finds the figure; false if it was not measured.
	got figure

	// floor finds what the same costs a client that does nothing else; nil: no
	// such client was measured.
	floor figure
}

// goals are those of the design.
func goals() []goal {
	return slices.Concat(stubGoals(), wireGoals(), sidecarGoals(), scaleGoals())
}

// The rows of tulle that have goals, and the one of otelhttp that they are held
// against.
const (
	plain     = "tulle"
	timeouts  = "tulle, timeouts"
	measured  = "tulle, metrics"
	twoSpans  = "tulle, span and metrics"
	attempts  = "tulle, attempt span and metrics"
	otelhttp  = "otelhttp, span and metrics"
	roundGRPC = "round_robin"
)

// Parts of a Cost.
func allocs(c *Cost) float64     { return c.Allocs }
func bytesOf(c *Cost) float64    { return c.Bytes }
func cpu(c *Cost) float64        { return c.Serial.CPUAdded.Median }
func cpuRatio(c *Cost) float64   { return c.Serial.CPURatio.Median }
func cpuRatio64(c *Cost) float64 { return c.Many.CPURatio.Median }

// stubGoals are what tulle itself may cost.
func stubGoals() []goal {
	return []goal{
		{"over a stub: allocations", 1, count, stub(plain, allocs), stub(client.FloorCopy, allocs)},
		{"over a stub: bytes", 704, amount, stub(plain, bytesOf), stub(client.FloorCopy, bytesOf)},
		{"over a stub: CPU, 10 endpoints", 1000, nanos, stub(plain, cpu), stub(client.FloorCopy, cpu)},
		{"over a stub, timeouts and headers: allocations", 8, count, stub(timeouts, allocs), nil},
		{"metrics: allocations beyond", 0, count, beyondPlain(measured, allocs), beyondCopy(client.FloorRecords, allocs)},
		{"metrics: CPU beyond", 350, nanos, beyondPlain(measured, cpu), beyondCopy(client.FloorRecords, cpu)},
		{"span and metrics: allocations beyond", 9, count, beyondPlain(twoSpans, allocs), beyondCopy(client.FloorTwoSpans, allocs)},
		{"span and metrics: CPU", 4000, nanos, stub(twoSpans, cpu), stub(client.FloorTwoSpans, cpu)},
		{"span and metrics, beyond: CPU to that of otelhttp", 0.5, share,
			over(beyondPlain(twoSpans, cpu), stub(otelhttp, cpu)), over(beyondCopy(client.FloorTwoSpans, cpu), stub(otelhttp, cpu))},
		{"attempt span and metrics: allocations beyond", 9, count, beyondPlain(attempts, allocs), beyondCopy(client.FloorOneSpan, allocs)},
		{"attempt span and metrics: CPU", 4000, nanos, stub(attempts, cpu), stub(client.FloorOneSpan, cpu)},
		{"attempt span and metrics, beyond: CPU to that of otelhttp", 0.5, share,
			over(beyondPlain(attempts, cpu), stub(otelhttp, cpu)), over(beyondCopy(client.FloorOneSpan, cpu), stub(otelhttp, cpu))},
		{"a body of 1 MiB: bytes more than without", 0, amount, body(plain), nil},
	}
}

// wireGoals are what it may cost beside the network.
func wireGoals() []goal {
	return []goal{
		{"loopback, 1 goroutine: CPU", 1.05, ratio, wire(plain, cpuRatio), nil},
		{"loopback, 64 goroutines: CPU", 1.05, ratio, wire(plain, cpuRatio64), nil},
		{"loopback, span and metrics, 1 goroutine: CPU", 1.20, ratio, wire(twoSpans, cpuRatio), nil},
		{"loopback, span and metrics, 64 goroutines: CPU", 1.20, ratio, wire(twoSpans, cpuRatio64), nil},
		{"loopback, attempt span and metrics, 1 goroutine: CPU", 1.20, ratio, wire(attempts, cpuRatio), nil},
		{"loopback, attempt span and metrics, 64 goroutines: CPU", 1.20, ratio, wire(attempts, cpuRatio64), nil},
		{"gRPC: allocations beyond round_robin", 8, count, less(grpc(plain, allocs), grpc(roundGRPC, allocs)), nil},
		{"gRPC, 1 goroutine: CPU to round_robin", 1.10, ratio, grpc(plain, cpuRatio), nil},
		{"gRPC, 64 goroutines: CPU to round_robin", 1.10, ratio, grpc(plain, cpuRatio64), nil},
	}
}

// sidecarGoals are what it may add, as a part of what a proxy adds.
func sidecarGoals() []goal {
	return []goal{
		{"added p50 to that of haproxy", 0.1, share, sidecar(plain, "haproxy", p50Added), nil},
		{"added p50 to that of nginx", 0.1, share, sidecar(plain, "nginx", p50Added), nil},
		{"added CPU to that of haproxy", 0.125, share, sidecar(plain, "haproxy", cpuAdded), nil},
		{"added CPU to that of nginx", 0.125, share, sidecar(plain, "nginx", cpuAdded), nil},
		{"span and metrics: added p50 to that of haproxy", 0.25, share, sidecar(twoSpans, "haproxy", p50Added), nil},
		{"attempt span and metrics: added p50 to that of haproxy", 0.25, share, sidecar(attempts, "haproxy", p50Added), nil},
	}
}

// scaleGoals are what many endpoints may cost.
func scaleGoals() []goal {
	const most = 10000
	return []goal{
		{"over a stub: CPU, 10,000 endpoints", 1500, nanos, scaled(plain, most, func(r ScaleRow) float64 { return r.Pick }), nil},
		{"10,000 endpoints at rest: heap each", 1024, amount, scaled(plain, most, func(r ScaleRow) float64 { return r.AtRest.Heap }), nil},
		{"10,000 endpoints at rest: goroutines", 2, count, scaled(plain, most, func(r ScaleRow) float64 { return float64(r.AtRest.Goroutines) }), nil},
		{"10,000 endpoints at rest: sockets", 0, count, scaled(plain, most, func(r ScaleRow) float64 { return float64(r.AtRest.Sockets) }), nil},
		{"10,000 endpoints: CPU of an update", 100e6, nanos, scaled(plain, most, func(r ScaleRow) float64 { return float64(r.Update) }), nil},
	}
}

// share is a part of a whole.
func share(f float64) string { return fmt.Sprintf("%.3g %%", 100*f) }

// goalTable are the goals and whether they are met. What was not measured is
// left out.
func (r *Report) goalTable() *table {
	t := &table{head: []string{"tulle", "goal", "measured", "floor", "met"}}
	for _, g := range goals() {
		got, ok := g.got(r)
		if !ok {
			continue
		}
		met := "yes"
		if got > g.want+g.tolerance() {
			met = "**no**"
		}
		floor := "–"
		if g.floor != nil {
			if f, ok := g.floor(r); ok {
				floor = g.unit(f)
			}
		}
		t.add(g.what, "≤ "+g.unit(g.want), g.unit(got), floor, met)
	}
	return t
}

// tolerance is what a count of allocations may be off.
func (g goal) tolerance() float64 {
	switch {
	case strings.Contains(g.what, "bytes"):
		return slackBytes
	case strings.Contains(g.what, "allocations"):
		return slack
	}
	return 0
}
