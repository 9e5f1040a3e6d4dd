package transport

import (
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
)

// A Snapshot is the state of a Transport at a moment. It is made of copies and
// can be kept.
type Snapshot struct {
	// Services are sorted by name, services of unknown hosts after those that
	// are configured.
	Services []ServiceSnapshot `json:"services"`

	// Config tells of updates.
	Config ConfigSnapshot `json:"config"`

	// Mirrored counts the calls that were sent to a mirror too, since the start;
	// MirrorSkipped those that were not although their rule said so, as too many
	// were on their way, or their body could not be had twice.
	Mirrored      uint64 `json:"mirrored"`
	MirrorSkipped uint64 `json:"mirror_skipped"`
}

// ConfigSnapshot tells what became of new configurations.
type ConfigSnapshot struct {
	// Applied counts those that were put in force, that of New included,
	// Refused those that could not be used.
	Applied uint64 `json:"applied"`
	Refused uint64 `json:"refused"`

	// Error says why the latest was refused, "" if it was put in force.
	Error string `json:"error,omitempty"`
}

// ServiceSnapshot is the state of one service, or of one destination of it.
type ServiceSnapshot struct {
	// Name is the logical name. A service with environments is there once for
	// each; Environment is "" for one without.
	Name        string `json:"name"`
	Environment string `json:"environment,omitempty"`

	// Endpoints are in the order of discovery.
	Endpoints []EndpointSnapshot `json:"endpoints"`

	// Shares is how calls are shared out among priorities and zones, in order of
	// preference; none where the endpoints are all of one kind.
	Shares []ShareSnapshot `json:"shares,omitempty"`

	// DiscoveryAge is the time for which discovery has been failing, in
	// nanoseconds, 0 while it works; DiscoveryError is why it fails.
	DiscoveryAge   time.Duration `json:"discovery_age_ns"`
	DiscoveryError string        `json:"discovery_error,omitempty"`

	// Mean and Median are of the time to headers over the last 10 s, in
	// nanoseconds; 0 without a sample.
	Mean   time.Duration `json:"mean_ns"`
	Median time.Duration `json:"median_ns"`

	// Spread has more of that time's distribution.
	Spread SpreadSnapshot `json:"spread"`

	// Successes and Failures are the outcomes of attempts over the last 10 s.
	// They need not be whole numbers, as they are read from slices of 10 s, of
	// which the earlier one counts in part.
	Successes float64 `json:"successes"`
	Failures  float64 `json:"failures"`

	// RetryBudget is the number of repeats that could be made now.
	RetryBudget float64 `json:"retry_budget"`

	// Retry counts decisions on repeats, Deadline calls that came too late.
	Retry    retry.Stats    `json:"retry"`
	Deadline deadline.Stats `json:"deadline"`

	// TransparentRetries counts repeats that net/http (to the same endpoint) and
	// gRPC (elsewhere) made by themselves, as nothing had been processed.
	TransparentRetries uint64 `json:"transparent_retries"`

	// Ejections is how often an endpoint was left out of picks since the
	// start, DarkEjections how often one would have been, but for the dark mode
	// of ejection.
	Ejections     uint64 `json:"ejections"`
	DarkEjections uint64 `json:"dark_ejections"`

	// Avoided counts the picks that kept off endpoints.
	Avoided AvoidedSnapshot `json:"avoided"`

	// Breaker is closed, open or half_open; BreakerOpened is how often it
	// opened, BreakerRejected how many attempts it refused. BreakerDark says that
	// it is in dark mode and refuses nothing, whatever its state;
	// BreakerDarkRejected is how many attempts it would have refused.
	Breaker             string `json:"breaker"`
	BreakerOpened       uint64 `json:"breaker_opened"`
	BreakerRejected     uint64 `json:"breaker_rejected"`
	BreakerDark         bool   `json:"breaker_dark"`
	BreakerDarkRejected uint64 `json:"breaker_dark_rejected"`

	// Limit counts what became of calls at the rate limit.
	Limit limit.Stats `json:"limit"`
}

// SpreadSnapshot is how the time to headers is spread over the last 10 s: the
// least, the quantiles in percent (P995 is 99.5), the most, all in nanoseconds
// and within an eighth of the true value; 0 without a sample.
type SpreadSnapshot struct {
	// Min and Max are the least and the most.
	Min time.Duration `json:"min_ns"`
	Max time.Duration `json:"max_ns"`

	// P25 to P995 are the quantiles.
	P25  time.Duration `json:"p25_ns"`
	P75  time.Duration `json:"p75_ns"`
	P90  time.Duration `json:"p90_ns"`
	P95  time.Duration `json:"p95_ns"`
	P99  time.Duration `json:"p99_ns"`
	P995 time.Duration `json:"p995_ns"`
}

// AvoidedSnapshot counts picks by why they kept off some endpoints. A pick can be
// in several.
type AvoidedSnapshot struct {
	// Out: some were left out.
	Out uint64 `json:"out"`

	// Tried: some had failed the call before.
	Tried uint64 `json:"tried"`

	// Returning: one that came back had had enough.
	Returning uint64 `json:"returning"`
}

// EndpointSnapshot is the state of one endpoint.
type EndpointSnapshot struct {
	tulle.Endpoint

	// State is healthy, ejected (for its answers), dead (it could not be
	// connected to), probing (one attempt tries it) or returning (it came back
	// and is led into its share). Until is the time until it may be tried
	// again, in nanoseconds, 0 while it is in use.
	State string        `json:"state"`
	Until time.Duration `json:"until_ns"`

	// Attempts is the number of attempts since the endpoint was first seen.
	Attempts uint64 `json:"attempts"`

	// Waiting is the number of attempts that have no headers yet, Streaming
	// that of responses whose body has not ended.
	Waiting   int `json:"waiting"`
	Streaming int `json:"streaming"`

	// Latency is the mean time to headers over the last 10 s, in nanoseconds;
	// 0 without a sample.
	Latency time.Duration `json:"latency_ns"`

	// Success is the share of successes over the last 10 s, -1 without an
	// outcome.
	Success float64 `json:"success"`

	// Load is the latest report of the endpoint on itself (ORCA), where it sends
	// such reports with its answers.
	Load *tulle.Load `json:"load,omitempty"`

	// Cost is what the balancer compares; lower is better. Expected is its
	// estimate of the time to headers, in nanoseconds, and Chance that of
	// success, -1 where the policy has none.
	Cost     float64       `json:"cost"`
	Expected time.Duration `json:"expected_ns"`
	Chance   float64       `json:"chance"`
}

// Snapshot reads the present state. It takes time linear in the number of
// endpoints and disturbs no call.
func (t *Transport) Snapshot() Snapshot {
	services := t.all()
	snap := Snapshot{
		Services: make([]ServiceSnapshot, len(services)),
		Mirrored: t.shadows.sent.Load(), MirrorSkipped: t.shadows.skipped.Load(),
		Config: ConfigSnapshot{Applied: t.updates.applied.Load(), Refused: t.updates.refused.Load()},
	}
	if err := t.updates.failure.Load(); err != nil {
		snap.Config.Error = (*err).Error()
	}
	for i, svc := range services {
		snap.Services[i] = svc.snapshot()
	}
	return snap
}

// snapshot reads one service.
func (s *service) snapshot() ServiceSnapshot {
	status := s.Engine.Status()
	b := s.breaker.Stats()
	snap := ServiceSnapshot{
		Name:               s.Name,
		Environment:        s.Environment,
		Shares:             shares(status.Groups),
		DiscoveryAge:       status.Age,
		Mean:               status.Mean,
		Median:             status.Median,
		Spread:             SpreadSnapshot(status.Spread),
		Successes:          status.Successes,
		Failures:           status.Failures,
		RetryBudget:        status.Budget,
		Ejections:          status.Ejections,
		DarkEjections:      status.Dark,
		TransparentRetries: status.Silent,
		Limit:              s.Limiter.Stats(),
		Retry:              s.Engine.Retrier().Stats(),
		Deadline:           s.Late.Stats(),

		Breaker: b.State.String(), BreakerOpened: b.Opened, BreakerRejected: b.Rejected,
		BreakerDark: s.from.Policy.Breaker.Dark, BreakerDarkRejected: b.DarkRejected,
		Avoided:   AvoidedSnapshot(status.Avoided),
		Endpoints: make([]EndpointSnapshot, len(status.Endpoints)),
	}
	if status.Failure != nil {
		snap.DiscoveryError = status.Failure.Error()
	}
	for i, e := range status.Endpoints {
		snap.Endpoints[i] = EndpointSnapshot{
			Endpoint:  e.Endpoint,
			State:     e.State,
			Until:     e.Until,
			Attempts:  e.Attempts,
			Waiting:   e.Waiting,
			Streaming: e.Streaming,
			Latency:   e.Latency,
			Success:   e.Success,
			Load:      e.Load,
			Cost:      e.Policy.Cost,
			Expected:  e.Policy.Latency,
			Chance:    e.Policy.Success,
		}
	}
	return snap
}
