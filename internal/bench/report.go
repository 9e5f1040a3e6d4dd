package main

import (
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/scale"
)

// A Report is all that a run found out. It can be kept as JSON and be shown
// again.
type Report struct {
	Facts   Facts        `json:"facts"`
	HTTP    []Overhead   `json:"http"`
	Bodies  []BodyRow    `json:"bodies"`
	GRPC    []Overhead   `json:"grpc"`
	Sidecar []SidecarRow `json:"sidecar"`
	Scale   []ScaleRow   `json:"scale"`

	// Missing are the parts that were not measured, and why.
	Missing []string `json:"missing"`
}

// Facts say where and when a run was made.
type Facts struct {
	Date       string        `json:"date"`
	Took       time.Duration `json:"took_ns"`
	Quick      bool          `json:"quick"`   // the run was too short for timings
	Machine    string        `json:"machine"` // name of the processor
	CPUs       int           `json:"cpus"`
	Procs      int           `json:"gomaxprocs"`
	Kernel     string        `json:"kernel"`
	Go         string        `json:"go"`
	LoadBefore string        `json:"load_before"`
	LoadAfter  string        `json:"load_after"`

	// Others is how many processors were at work for other programs, on
	// average.
	Others float64 `json:"others"`

	// Rounds is the number of blocks of each contender, Block how long one
	// takes.
	Rounds int           `json:"rounds"`
	Block  time.Duration `json:"block_ns"`

	// Versions are those of the peers.
	Versions []Version `json:"versions"`
}

// A Version is that of a module or a program.
type Version struct{ Name, Version string }

// An Overhead is a contender in the tables of what a call costs. What was not
// measured is nil.
type Overhead struct {
	Name string `json:"name"`
	Note string `json:"note"`

	// Stub is over a stub in place of the network, Wire over loopback.
	Stub *Cost `json:"stub,omitempty"`
	Wire *Cost `json:"wire,omitempty"`
}

// A Cost is what a call costs. Over the stub, allocations are those beyond the
// baseline's; over loopback they are all.
type Cost struct {
	Allocs float64         `json:"allocs"`
	Bytes  float64         `json:"bytes"`
	Serial *measure.Result `json:"serial,omitempty"`
	Many   *measure.Result `json:"many,omitempty"` // with many goroutines
	Cold   *measure.Result `json:"cold,omitempty"` // with cold caches, timed by the clock
}

// A BodyRow is what requests with a body allocate beyond the baseline.
type BodyRow struct {
	Name  string     `json:"name"`
	Sizes []BodyCost `json:"sizes"`
}

// A BodyCost is one size of body.
type BodyCost struct {
	Size   int     `json:"size"`
	Allocs float64 `json:"allocs"`
	Bytes  float64 `json:"bytes"`
}

// A SidecarRow is a way to an instance, at some numbers of callers.
type SidecarRow struct {
	Name string           `json:"name"`
	Note string           `json:"note"`
	At   []measure.Result `json:"at"` // as in sidecarCallers
}

// A ScaleRow is a library with that many endpoints.
type ScaleRow struct {
	Name string `json:"name"`
	N    int    `json:"n"`
	scale.Figures
}
