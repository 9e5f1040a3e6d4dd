package cluster

import (
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
)

// EndpointStatus is what the engine knows of one endpoint at a moment.
type EndpointStatus struct {
	Endpoint  tulle.Endpoint // as discovery gave it
	Attempts  uint64         // begun since the endpoint was first seen
	Waiting   int            // attempts without headers
	Streaming int            // attempts with headers and an unfinished body
	Latency   time.Duration  // mean time to headers over the last 10 s
	Success   float64        // share of successes over the last 10 s, -1 without outcomes
	Policy    balancer.Stat  // what the balancer thinks of it
	Load      *tulle.Load    // the latest that it reported, or nil
	State     string         // healthy, ejected, dead, probing or returning
	Until     time.Duration  // when it may be tried again, from now; 0 while it is in use
}

// avoided counts picks by why they kept off endpoints.
type avoided struct{ out, tried, returning atomic.Uint64 }

// Avoided is those counts at a moment.
type Avoided struct {
	Out       uint64 // some endpoints were left out
	Tried     uint64 // some had failed the call
	Returning uint64 // one that came back had had enough
}

// Status is what the engine knows of the destination at a moment.
type Status struct {
	Endpoints []EndpointStatus // in the order of discovery
	Age       time.Duration    // for which discovery has been failing
	Failure   error            // the last error of discovery, nil after a good report
	Mean      time.Duration    // mean time to headers over the last 10 s
	Median    time.Duration
	Successes float64 // outcomes over the last 10 s
	Failures  float64
	Spread    Spread  // of the time to headers over the last 10 s
	Budget    float64 // repeats that could be made now
	Ejections uint64  // how often an endpoint was left out
	Dark      uint64  // how often one would have been, but for the dark mode of ejection
	Avoided   Avoided
	Silent    uint64        // repeats that senders made by themselves
	Groups    []GroupStatus // how calls are shared out among priorities and zones, nil if there is one group
}

// Spread is how the time to headers is spread: the least, the most, the quantiles in
// percent. Each is the middle of a step of the histogram, of which
// four make a doubling.
type Spread struct {
	Min, Max, P25, P75, P90, P95, P99, P995 time.Duration // in this order
}

// spread reads the quantiles.
func (t *tally) spread() Spread {
	const all = 1 - 1e-9 // sums of fractions may miss the last one
	return Spread{
		t.quantile(0), t.quantile(all), t.quantile(0.25), t.quantile(0.75), t.quantile(0.9),
		t.quantile(0.95), t.quantile(0.99), t.quantile(0.995),
	}
}

// Status reads the present state. The parts are read one after the other while
// calls go on.
func (c *Cluster) Status() Status {
	now := c.Now()
	recent := c.pool.recent(now)
	s := Status{
		Age:       c.Age(),
		Failure:   c.Failure(),
		Mean:      recent.mean(),
		Median:    recent.quantile(0.5),
		Successes: recent.successes,
		Failures:  recent.failures,
		Spread:    recent.spread(),
		Budget:    c.cfg.Load().Retrier.Budget().Balance(now),
		Ejections: c.ejections.Load(),
		Dark:      c.darkEjections.Load(),
		Avoided:   Avoided{c.avoided.out.Load(), c.avoided.tried.Load(), c.avoided.returning.Load()},
		Silent:    c.silent.Load(),
	}
	v := c.view.Load()
	if v == nil {
		return s
	}
	s.Groups = v.groups()
	d, _ := v.picker.(balancer.Describer)
	s.Endpoints = make([]EndpointStatus, len(v.members))
	for i := range v.members {
		s.Endpoints[i] = v.states[i].status(&v.members[i], now)
		s.Endpoints[i].State, s.Endpoints[i].Until = c.health(v.states[i], now)
		s.Endpoints[i].Policy.Success = -1
		if d != nil {
			s.Endpoints[i].Policy = d.Describe(i, now)
		}
	}
	return s
}

// status reads one endpoint. What ended is read before what began, so that no
// difference is negative.
func (s *state) status(ep *tulle.Endpoint, now time.Duration) EndpointStatus {
	ended := s.ended.Load()
	answered := s.answered.Load()
	begun := s.begun.Load()
	recent := s.window.read(now)
	success := -1.0
	if n := recent.successes + recent.failures; n > 0 {
		success = recent.successes / n
	}
	return EndpointStatus{
		Endpoint:  *ep,
		Load:      s.load.Load(),
		Attempts:  begun,
		Waiting:   int(begun - answered),
		Streaming: int(answered - ended),
		Latency:   recent.mean(),
		Success:   success,
	}
}

// health tells where an endpoint stands. In the dark all are in use, whatever the
// rules say.
func (c *Cluster) health(s *state, now time.Duration) (string, time.Duration) {
	if c.cfg.Load().Ejection.Dark {
		return breaker.OutlierHealthy.String(), 0
	}
	state, until := s.outlier.State()
	if state == breaker.OutlierHealthy {
		if s.outlier.Share(now, &c.cfg.Load().Ejection) < 1 {
			return "returning", 0
		}
		return state.String(), 0
	}
	return state.String(), max(0, until-now)
}
