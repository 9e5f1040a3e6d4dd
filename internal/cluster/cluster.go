package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/retry"
)

// ErrNoEndpoints is what a call ends with when its destination has no endpoint.
var ErrNoEndpoints = errors.New("no endpoints")

// Config is what a Cluster is made of.
type Config struct {
	// Policy picks the endpoints. Required.
	Policy balancer.Policy

	// Retrier decides on repeats and owns the destination's budget. Required.
	Retrier *retry.Retrier
}

// A Cluster is the live state of one destination. It is safe for concurrent
// use and starts no goroutine.
type Cluster struct {
	cfg   Config
	start time.Time
	view  atomic.Pointer[View]
	pool  poolStats

	// refresh holds a hint for discovery that the set may be out of date.
	refresh chan struct{}

	ready     chan struct{} // closed by the first report, good or bad
	readyOnce sync.Once
	failure   atomic.Pointer[error] // why discovery failed last, nil after a good report

	mu      sync.Mutex
	known   map[string]*state // guarded by mu: by Addr, those that left included
	gone    int               // guarded by mu: how many of known left the set
	failing time.Duration     // guarded by mu: when discovery began to fail, 0 while it does not
	emptied time.Duration     // guarded by mu: when the first of a row of empty reports came
	empties int               // guarded by mu: how many empty reports came in a row
}

// New returns a Cluster without endpoints.
func New(cfg Config) *Cluster {
	return &Cluster{
		cfg:     cfg,
		start:   time.Now(),
		refresh: make(chan struct{}, 1),
		ready:   make(chan struct{}),
		known:   make(map[string]*state),
	}
}

// Now is the time as everything in the Cluster counts it.
func (c *Cluster) Now() time.Duration { return time.Since(c.start) }

// Retrier is the destination's.
func (c *Cluster) Retrier() *retry.Retrier { return c.cfg.Retrier }

// Refresh carries hints that the set may be out of date.
func (c *Cluster) Refresh() <-chan struct{} { return c.refresh }

// Ready is closed when discovery has reported for the first time.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Admit lets a call in: it waits until there are endpoints, or until discovery
// says that there are none. Deadline is the call's, the zero Time without one.
func (c *Cluster) Admit(ctx context.Context, deadline time.Time) error {
	if c.view.Load() == nil {
		if err := c.await(ctx, deadline); err != nil {
			return err
		}
	}
	c.cfg.Retrier.Open(c.Now())
	return nil
}

// await waits for the first report.
func (c *Cluster) await(ctx context.Context, deadline time.Time) error {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	select {
	case <-c.ready:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("waiting for endpoints: %w", context.Cause(ctx))
	}
}

// Err says why there are no endpoints, or nil when there are some. Before the
// first report it is ErrNoEndpoints.
func (c *Cluster) Err() error {
	if v := c.view.Load(); v != nil && len(v.members) > 0 {
		return nil
	}
	if err := c.Failure(); err != nil {
		return fmt.Errorf("%w: %w", ErrNoEndpoints, err)
	}
	return ErrNoEndpoints
}

// Failure is the last error of discovery, nil after a good report. Endpoints may
// be there all the same: the last good set stays.
func (c *Cluster) Failure() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Fail takes note that discovery failed. The last good set stays in force.
func (c *Cluster) Fail(err error) {
	c.mu.Lock()
	if c.failing == 0 {
		c.failing = max(1, c.Now())
	}
	c.mu.Unlock()
	c.failure.Store(&err)
	c.readyOnce.Do(func() { close(c.ready) })
}

// askAgain hints to discovery that the set may be out of date.
func (c *Cluster) askAgain() {
	select {
	case c.refresh <- struct{}{}:
	default: // a hint is waiting already
	}
}

// Age is the time for which discovery has been failing, 0 while its latest report
// is a good one: a source that has nothing new to say is silent.
func (c *Cluster) Age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing == 0 {
		return 0
	}
	return c.Now() - c.failing
}

// Mean is the destination's recent mean time to headers, 0 when unknown.
func (c *Cluster) Mean(now time.Duration) time.Duration {
	w := c.pool.recent(now)
	return w.mean()
}

// Len is the number of endpoints in the set.
func (c *Cluster) Len() int {
	if v := c.view.Load(); v != nil {
		return len(v.members)
	}
	return 0
}

// poolFacts are what the failing path wants to know, after the endpoint at s
// failed the call.
func (c *Cluster) poolFacts(v *View, call *tulle.Call, s *state, now time.Duration) *tulle.Pool {
	recent, minute := c.pool.recent(now), c.pool.minute(now)
	untried, usable := c.remaining(v, call)
	return &tulle.Pool{
		Untried: untried,
		Usable:  usable,
		Mean:    recent.mean(),
		Median:  recent.quantile(0.5),
		Others:  judgeOthers(len(v.members), &recent, &minute, s.window.read(now)),
	}
}

// remaining counts the endpoints that the call has not tried, and those that are
// not barred to it.
func (c *Cluster) remaining(v *View, call *tulle.Call) (untried, usable int) {
	untried, usable = len(v.members), len(v.members)
	for i, addr := range call.Tried {
		if c.indexOf(v, addr) < 0 {
			continue
		}
		untried--
		if call.Barred(i) {
			usable--
		}
	}
	return untried, usable
}

// indexOf finds addr in v, or -1.
func (c *Cluster) indexOf(v *View, addr string) int {
	c.mu.Lock()
	s := c.known[addr]
	c.mu.Unlock()
	if s == nil {
		return -1
	}
	if i := int(s.index.Load()); i < len(v.states) && v.states[i] == s {
		return i
	}
	return -1
}
