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
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
)

// ErrAllDown is what a call ends with when none of its destination's endpoints
// can be connected to. Each is tried again within a second or so.
var ErrAllDown = errors.New("all endpoints are down")

// ErrNoEndpoints is what a call ends with when its destination has no endpoint.
var ErrNoEndpoints = errors.New("no endpoints")

// Config is what a Cluster is made of.
type Config struct {
	// Policy picks the endpoints. Required.
	Policy balancer.Policy

	// Ejection says when endpoints are left out of picks. Required to be valid;
	// defaults are filled in.
	Ejection breaker.OutlierConfig

	// Breaker refuses attempts when the service as a whole fails. Nil: none.
	Breaker *breaker.Breaker

	// Retrier decides on repeats and owns the destination's budget. Required.
	Retrier *retry.Retrier

	// Zone is the caller's zone, whose endpoints are preferred. Empty: zones do
	// not matter. Locality says how far; defaults are filled in.
	Zone     string
	Locality Locality

	// Changed is called after the set of endpoints was replaced, and after
	// discovery has failed, without a lock. Nil: nobody is told.
	Changed func()

	// Health is called after an endpoint was left out or is used again, without
	// a lock; the change is not kept. Nil: nobody is told.
	Health func(*HealthChange)

	// Rand returns uniform random bits; for simulations. Nil: math/rand/v2.
	Rand func() uint64
}

// A Cluster is the live state of one destination. It is safe for concurrent
// use and starts no goroutine.
type Cluster struct {
	cfg   atomic.Pointer[Config] // never changed, only replaced
	start time.Time
	view  atomic.Pointer[View]
	pool  poolStats
	zones zones

	avoided       avoided
	silent        atomic.Uint64         // repeats that the sender made by itself
	ejections     atomic.Uint64         // how often an endpoint was left out
	darkEjections atomic.Uint64         // how often one would have been, but for the dark mode
	downSince     atomic.Int64          // since when all endpoints are left out, 0 while they are not
	lastDown      atomic.Pointer[error] // why an endpoint could not be connected to

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
	empty   bool              // guarded by mu: the latest report was empty
}

// New returns a Cluster without endpoints.
func New(cfg Config) *Cluster {
	c := &Cluster{
		start:   time.Now(),
		refresh: make(chan struct{}, 1),
		ready:   make(chan struct{}),
		known:   make(map[string]*state),
		zones:   zones{lean: 1},
	}
	cfg.Ejection = cfg.Ejection.WithDefaults()
	cfg.Locality = cfg.Locality.withDefaults()
	c.cfg.Store(&cfg)
	return c
}

// Reconfigure replaces the Config and keeps all that is known. Attempts that are
// running end under the old one. Rebuild says that the Policy has changed.
func (c *Cluster) Reconfigure(cfg Config, rebuild bool) {
	c.mu.Lock()
	cfg.Ejection = cfg.Ejection.WithDefaults()
	cfg.Locality = cfg.Locality.withDefaults()
	old := c.cfg.Load()
	if old.Zone != cfg.Zone || old.Locality != cfg.Locality {
		rebuild, c.zones.lean = true, 1
	}
	c.cfg.Store(&cfg)
	before, back := c.view.Load(), []int(nil)
	if old.Ejection.Off != cfg.Ejection.Off || old.Ejection.Dark != cfg.Ejection.Dark {
		back = c.acquitLocked()
	}
	if v := c.view.Load(); rebuild && v != nil && len(v.members) > 0 {
		c.replaceLocked(v.members, c.Now()) // the members stay, so nothing is retired
	}
	c.mu.Unlock()
	for _, i := range back {
		c.tellHealth(before, i)
	}
}

// Now is the time as everything in the Cluster counts it.
func (c *Cluster) Now() time.Duration { return time.Since(c.start) }

// Retrier is the destination's.
func (c *Cluster) Retrier() *retry.Retrier { return c.cfg.Load().Retrier }

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
	c.cfg.Load().Retrier.Open(c.Now())
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
	c.tell()
}

// AskAgain hints to discovery that the set may be out of date.
func (c *Cluster) AskAgain() {
	select {
	case c.refresh <- struct{}{}:
	default: // a hint is waiting already
	}
}

// Silent counts repeats that the sender made by itself, when nothing had been
// processed.
func (c *Cluster) Silent(n int) { c.silent.Add(uint64(n)) }

// Refusing says that the breaker would refuse an attempt now.
func (c *Cluster) Refusing() bool {
	b := c.cfg.Load().Breaker
	return b != nil && b.Refusing()
}

// Breaker is the state of the breaker, Closed without one.
func (c *Cluster) Breaker() breaker.State {
	if b := c.cfg.Load().Breaker; b != nil {
		return b.State()
	}
	return breaker.Closed
}

// GoodLeft says that some endpoint still serves: of its outcomes of late, at least
// 80 % of 5 or more are successes, or all of 2 to 4. Those that fail at once get
// their outcomes first, and must not speak for the ones that work. A breaker does
// not open then.
func (c *Cluster) GoodLeft() bool {
	v := c.view.Load()
	if v == nil {
		return false
	}
	now := c.Now()
	for _, s := range v.states {
		w := s.window.read(now)
		n := w.successes + w.failures
		if n >= goodOutcomes && w.successes >= goodSuccess*n || n >= fewOutcomes && w.failures == 0 {
			return true
		}
	}
	return false
}

// What an endpoint must show to count as good.
const (
	goodOutcomes = 5
	goodSuccess  = 0.8
	fewOutcomes  = 2
)

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

// View is the set of endpoints as it is now, nil before the first report.
func (c *Cluster) View() *View { return c.view.Load() }

// Health counts the endpoints that are not left out, and all.
func (c *Cluster) Health() (healthy, total int) {
	v := c.view.Load()
	if v == nil {
		return 0, 0
	}
	return v.left(v.out.Load()), len(v.members)
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
	if untried == 0 && v.left(v.out.Load()) == 0 && !c.Restarting() {
		// In an outage a pause would only make the call fail later. One that
		// moves on finds that nobody is left, and ends.
		untried = 1
	}
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
