package breaker

import (
	"errors"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/tullemesh/tulle"
)

// Outlier is the health of one endpoint as its own answers show it: whether it
// is to be left out of picks, and when it is to be tried again. The zero
// Outlier is healthy and costs no more than its own size; a gobreaker is made at
// the first failure, one for each trip, as gobreaker's open time cannot grow.
// It is safe for concurrent use.
//
// Times are durations since any base, the same for all calls. gobreaker reads
// the wall clock, so that must go at the same pace.
type Outlier struct {
	status  atomic.Int64 // until when << 2 | OutlierState
	revived atomic.Int64 // when it last came back, 0 if never

	breaker atomic.Pointer[gobreaker.CircuitBreaker[struct{}]] // nil without failures of late

	mu      sync.Mutex
	rule    outlierRule   // guarded by mu: what ReadyToTrip looks at, and what it decided
	trips   int           // guarded by mu: ejections of late
	deaths  int           // guarded by mu: failed connects in a row, from where pauses begin
	refused bool          // guarded by mu: the last of them failed at once
	hurried time.Duration // guarded by mu: when it was last hurried, 0 if never since it came back
	reason  string        // guarded by mu: why it was last left out
	failed  time.Duration // guarded by mu: when it last failed
}

// OutlierState is where an endpoint stands.
type OutlierState uint8

// The states of an endpoint.
const (
	// OutlierHealthy: it is in use.
	OutlierHealthy OutlierState = iota
	// OutlierEjected: its answers were too bad. It is left out until its time
	// is over, and then tried by one attempt.
	OutlierEjected
	// OutlierDead: it could not be connected to. The same, for a short time.
	OutlierDead
	// OutlierProbing: one attempt is trying it.
	OutlierProbing
)

// outlierStateBits is the width of the state in Outlier.status.
const outlierStateBits = 2

// String is the state in lower case.
func (s OutlierState) String() string {
	switch s {
	case OutlierEjected:
		return "ejected"
	case OutlierDead:
		return "dead"
	case OutlierProbing:
		return "probing"
	}
	return "healthy"
}

// Evidence is what an ejection depends on besides the endpoint's own last
// answers. It is asked for under the Outlier's lock, at failures only, and must
// not call back.
type Evidence struct {
	// Requests and Success are the number of the endpoint's outcomes of late
	// and the share of successes among them.
	Requests, Success float64

	// Median is the median of the shares of success of its peers, those with
	// enough requests. HasPeers says that there are such peers.
	Median   float64
	HasPeers bool

	// Spare says that the destination can do without the endpoint.
	Spare bool
}

// A Witness gives evidence.
type Witness interface{ Evidence() Evidence }

// outlierRule is the decision of ReadyToTrip.
type outlierRule struct {
	cfg     *OutlierConfig
	witness Witness
	force   bool // trip at this failure, whatever it is
	row     bool // so many failures in a row were there
	tripped bool
}

// errOutlier is the failure that gobreaker is told of.
var errOutlier = errors.New("breaker: failure")

// State tells where the endpoint stands, and until when. It does not lock.
func (o *Outlier) State() (OutlierState, time.Duration) {
	word := o.status.Load()
	return OutlierState(word & (1<<outlierStateBits - 1)), time.Duration(word >> outlierStateBits)
}

// setLocked publishes the state.
func (o *Outlier) setLocked(s OutlierState, until time.Duration) {
	o.status.Store(int64(until)<<outlierStateBits | int64(s))
}

// Record takes in the outcome of an attempt that was no probe. It reports
// whether the endpoint's state changed. A success of an endpoint that has not
// failed of late costs two atomic loads.
func (o *Outlier) Record(v tulle.Verdict, now time.Duration, cfg *OutlierConfig, witness Witness) bool {
	if v == tulle.Neither || v == tulle.Success && o.breaker.Load() == nil && o.status.Load() == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	state, until := o.State()
	if v == tulle.Success {
		if state == OutlierDead || state == OutlierEjected && now >= until {
			// It was kept in use, as nothing else was left or in the dark, and
			// it works. Before its time is over an answer may be one to an
			// attempt of before.
			o.reviveLocked(now)
			return true
		}
		o.successLocked(now, cfg)
		return false
	}
	o.failed = now
	if state != OutlierHealthy {
		return false // an attempt that began before the ejection
	}
	return o.failLocked(now, cfg, witness)
}

// successLocked tells gobreaker, or lets go of it when the last failure is long
// past.
func (o *Outlier) successLocked(now time.Duration, cfg *OutlierConfig) {
	cb := o.breaker.Load()
	if cb == nil {
		return
	}
	if now-o.failed > cfg.Window {
		o.breaker.Store(nil)
		return
	}
	_, _ = cb.Execute(func() (struct{}, error) { return struct{}{}, nil }) // refused only while it is open
}

// failLocked tells gobreaker of a failure and takes over its decision.
func (o *Outlier) failLocked(now time.Duration, cfg *OutlierConfig, witness Witness) bool {
	length := cfg.length(o.tripsLocked(now, cfg))
	if o.breaker.Load() == nil {
		o.breaker.Store(o.newBreaker(cfg.Window, length))
	}
	o.rule = outlierRule{cfg: cfg, witness: witness}
	_, _ = o.breaker.Load().Execute(func() (struct{}, error) { return struct{}{}, errOutlier })
	tripped, row := o.rule.tripped, o.rule.row
	o.rule = outlierRule{}
	if tripped {
		o.ejectLocked(now, length)
		if o.reason = reasonShare; row {
			o.reason = reasonConsecutive
		}
	}
	return tripped
}

// The words of Reason.
const (
	reasonConsecutive = "consecutive"
	reasonShare       = "share"
	reasonConnect     = "connect"
)

// Reason says in a word why the endpoint was last left out: consecutive failures, a
// bad share of successes, or connect, as it could not be connected to. It is empty
// if it never was.
func (o *Outlier) Reason() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reason
}

// Forget makes the Outlier that of an endpoint of which nothing is known.
func (o *Outlier) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.breaker.Store(nil)
	o.trips, o.deaths, o.failed, o.reason = 0, 0, 0, ""
	o.refused, o.hurried = false, 0
	o.revived.Store(0)
	o.setLocked(OutlierHealthy, 0)
}

// newBreaker makes the breaker of one trip.
func (o *Outlier) newBreaker(window, open time.Duration) *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1,
		Interval:    window,
		Timeout:     open,
		ReadyToTrip: o.ready,
	})
}

// ready is gobreaker's ReadyToTrip. It runs under gobreaker's lock and ours.
func (o *Outlier) ready(counts gobreaker.Counts) bool {
	r := &o.rule
	r.tripped = r.force || r.cfg != nil && r.trips(int(counts.ConsecutiveFailures))
	return r.tripped
}

// trips applies the rules: many failures in a row, or a bad share; and in both
// cases worse than the peers, where there are any to compare with.
func (r *outlierRule) trips(consecutive int) bool {
	row := consecutive >= r.cfg.Consecutive
	r.row = row
	e := r.witness.Evidence()
	bad := e.Requests >= float64(r.cfg.Requests) && e.Success < r.cfg.SuccessShare
	if !e.Spare || !row && !bad {
		return false
	}
	if e.HasPeers {
		return e.Success <= e.Median-r.cfg.Behind
	}
	return row
}

// ejectLocked ejects the endpoint. Its time ends a little later than that of the
// gobreaker, which must be over when the probe reports.
func (o *Outlier) ejectLocked(now, length time.Duration) {
	o.trips++
	o.setLocked(OutlierEjected, now+length+outlierSlack)
}

// outlierSlack covers the time between our look at the clock and gobreaker's.
const outlierSlack = time.Millisecond

// tripsLocked is the number of trips that still count: one is forgotten for each
// window since the endpoint came back.
func (o *Outlier) tripsLocked(now time.Duration, cfg *OutlierConfig) int {
	if came := time.Duration(o.revived.Load()); came > 0 {
		o.trips = max(0, o.trips-int((now-came)/cfg.Window))
	}
	return o.trips
}

// Die takes in that the endpoint could not be connected to, which took so long.
// It is left out for a short time, as such an endpoint may be back any moment. A
// connect that is refused at once costs little, so that time begins with 10 ms
// there and doubles up to OutlierConfig.Unsent: a server that restarts is missed
// for about as long as it is away. Until that time is over further failures say
// nothing new, as their attempts began before it. It reports whether the state
// changed.
func (o *Outlier) Die(now, took time.Duration, cfg *OutlierConfig) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = now
	state, until := o.State()
	if state == OutlierEjected || state == OutlierProbing || state == OutlierDead && now < until {
		return false
	}
	o.dieLocked(now, took, cfg)
	return state != OutlierDead
}

// dieLocked leaves the endpoint out until it may be connected to again.
func (o *Outlier) dieLocked(now, took time.Duration, cfg *OutlierConfig) {
	pause := cfg.Unsent
	if o.refused = took < quickDeath; o.refused {
		pause = min(pause, firstDeath<<min(o.deaths, 20))
	}
	o.deaths++
	o.reason = reasonConnect
	o.setLocked(OutlierDead, now+pause)
}

// Hurry has a dead endpoint tried at once, for when no other is left: its dead time
// had grown while it was not missed. Further ones begin with 10 ms again. It does
// nothing for an endpoint whose connect was not refused at once, as that would cost
// calls their time, and no more than once in OutlierConfig.Unsent unless the endpoint
// came back in between. It reports whether it did something.
func (o *Outlier) Hurry(now time.Duration, cfg *OutlierConfig) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	state, until := o.State()
	if state != OutlierDead || !o.refused || now >= until || o.hurried != 0 && now-o.hurried < cfg.Unsent {
		return false
	}
	o.deaths, o.hurried = 0, max(1, now)
	o.setLocked(OutlierDead, now)
	return true
}

const (
	quickDeath = 50 * time.Millisecond // a connect that fails sooner was refused
	firstDeath = 10 * time.Millisecond
)

// Probe takes the lease on the one attempt that tries the endpoint, if its time
// is over. The lease ends by Settle; when it is lost it expires after
// ProbeTimeout and counts as a failure.
func (o *Outlier) Probe(now time.Duration, cfg *OutlierConfig) bool {
	if state, until := o.State(); state == OutlierHealthy || now < until {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	state, until := o.State()
	switch {
	case state == OutlierHealthy || now < until:
		return false
	case state == OutlierProbing:
		o.failProbeLocked(now, cfg)
		return false
	}
	o.setLocked(OutlierProbing, now+cfg.ProbeTimeout)
	return true
}

// Settle ends a probe. Success brings the endpoint back; failure ejects it
// again, for longer; with neither, the next attempt tries. Died says that the
// probe could not connect, which took so long. It reports whether the endpoint came back.
func (o *Outlier) Settle(v tulle.Verdict, died bool, took, now time.Duration, cfg *OutlierConfig) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if state, _ := o.State(); state != OutlierProbing {
		return false // the lease had expired
	}
	switch {
	case v == tulle.Success:
		o.reviveLocked(now)
		return true
	case died && o.trips == 0:
		o.dieLocked(now, took, cfg)
	case v == tulle.Failure:
		o.failProbeLocked(now, cfg)
	default:
		o.setLocked(OutlierEjected, now)
	}
	return false
}

// reviveLocked brings the endpoint back. Its window starts empty.
func (o *Outlier) reviveLocked(now time.Duration) {
	o.breaker.Store(nil)
	o.revived.Store(max(1, int64(now)))
	o.deaths, o.hurried = 0, 0
	o.setLocked(OutlierHealthy, 0)
}

// failProbeLocked ejects the endpoint again, with a new breaker that is open for
// longer.
func (o *Outlier) failProbeLocked(now time.Duration, cfg *OutlierConfig) {
	o.failed = now
	length := cfg.length(o.trips)
	cb := o.newBreaker(cfg.Window, length)
	o.rule = outlierRule{force: true}
	_, _ = cb.Execute(func() (struct{}, error) { return struct{}{}, errOutlier })
	o.rule = outlierRule{}
	o.breaker.Store(cb)
	o.ejectLocked(now, length)
}

// Back says whether the endpoint has ever come back, so that Share may be less
// than 1.
func (o *Outlier) Back() bool { return o.revived.Load() != 0 }

// Share is the share of its usual traffic that the endpoint should get: 1, or
// less while it is being led back in.
func (o *Outlier) Share(now time.Duration, cfg *OutlierConfig) float64 {
	came := o.revived.Load()
	if came == 0 || cfg.Ramp <= 0 {
		return 1
	}
	passed := now - time.Duration(came)
	if passed >= cfg.Ramp {
		return 1
	}
	return rampFloor + (1-rampFloor)*float64(max(passed, 0))/float64(cfg.Ramp)
}

// rampFloor is the share that an endpoint comes back with.
const rampFloor = 0.1

// length is how long the ejection lasts after so many trips: equal jitter, half
// of it fixed and half of it random.
func (c *OutlierConfig) length(trips int) time.Duration {
	most := c.Base << min(trips, 20)
	if most <= 0 || most > c.Max {
		most = c.Max
	}
	if c.Rand == nil {
		return most/2 + rand.N(most/2+1)
	}
	jitter, _ := bits.Mul64(c.Rand(), uint64(most/2+1))
	return most/2 + time.Duration(jitter)
}
