package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// role is the environment variable with the Job of a process.
const role = "TULLE_BENCH_SCALE"

// A Job is one measurement.
type Job struct {
	Library string
	N       int // endpoints

	// HTTP and GRPC are the ports at which a server answers, at every address
	// of 127.0.0.0/8.
	HTTP, GRPC int

	// Patience is how long a library may take to settle.
	Patience time.Duration
}

// Figures are what is measured.
type Figures struct {
	// Ready is the time from nothing to the first answer over the network.
	Ready time.Duration `json:"ready_ns"`

	// Settle is the processor time from nothing until nothing happens any
	// more, without a call. Unsettled says that the patience ended first; then
	// there are no further figures but those at rest.
	Settle    time.Duration `json:"settle_cpu_ns"`
	Unsettled bool          `json:"unsettled"`

	// AtRest is after that, Used after calls over the network to all of them.
	AtRest Footprint `json:"at_rest"`
	Used   Footprint `json:"used"`

	// Update is the processor time until nothing happens any more when a tenth
	// of the endpoints is replaced.
	Update time.Duration `json:"update_cpu_ns"`

	// Pick is the processor time of a call over a stub beyond the stub's, in
	// nanoseconds; 0 where there is no such thing.
	Pick float64 `json:"pick_ns"`
}

// A Footprint is what a library holds.
type Footprint struct {
	Heap       float64 `json:"heap_bytes"` // for each endpoint
	Resident   float64 `json:"resident_bytes"`
	Goroutines int     `json:"goroutines"` // in all
	Sockets    int     `json:"sockets"`
}

// Main does the job that this process was started for, if it was: it then does
// not return.
func Main() {
	text := os.Getenv(role)
	if text == "" {
		return
	}
	var job Job
	err := json.Unmarshal([]byte(text), &job)
	var f Figures
	if err == nil {
		f, err = job.do()
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Run does the job in a process of its own.
func (j Job) Run(ctx context.Context) (Figures, error) {
	var f Figures
	self, err := os.Executable()
	if err != nil {
		return f, fmt.Errorf("scale: %w", err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return f, fmt.Errorf("scale: %w", err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), role+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return f, fmt.Errorf("scale: %s with %d endpoints: %w", j.Library, j.N, err)
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return f, fmt.Errorf("scale: %s with %d endpoints said %q: %w", j.Library, j.N, out, err)
	}
	return f, nil
}
