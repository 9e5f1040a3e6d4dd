package breaker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/tullemesh/tulle"
)

// A Breaker is the circuit breaker of one service. It is safe for concurrent use.
// It starts no goroutine and no timer: what time brings about is noticed by the
// next caller.
//
// While it is closed a call costs one atomic load before, and gobreaker's lock
// after. While it is open a caller is refused without a lock.
type Breaker struct {
	// word is generation<<2 | State, where each change begins a generation.
	// What follows closed is stored under gobreaker's lock, what follows any
	// other state under mu, so it never has two writers.
	word atomic.Uint64

	// refusal is what callers get until its time has come. It is stored before
	// the word that makes callers look at it.
	refusal atomic.Pointer[Error]

	cfg     Config
	key     string
	cb      *gobreaker.CircuitBreaker[bool]
	changes changes
	tripped gobreaker.Counts // guarded by gobreaker's lock: what it last opened for

	opened, held, rejected, dark, stale atomic.Uint64

	// mu comes before gobreaker's lock, and that before the one of changes.
	mu     sync.Mutex
	trials uint64 // guarded by mu: how many began; the latest has this number
	lease  lease  // guarded by mu
}

// lease is the permit of the trial that is under way.
type lease struct {
	trial    uint64 // its number; 0: none
	end      time.Time
	answered bool
}

// buckets is the number of parts that the window moves in.
const buckets = 10

// rounding is what a share may lack: 0.07 × 100 is more than 7 in floating point.
const rounding = 1e-9

// The results that gobreaker is told, other than success.
var (
	errFailure = errors.New("breaker: failure")
	errStale   = errors.New("breaker: stale result")
)

// New returns a closed Breaker for cfg, or an error that names every field that
// cannot be used.
func New(cfg Config) (*Breaker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return newBreaker(cfg.withDefaults(), ""), nil
}

// newBreaker makes a Breaker of a Config that is valid and complete.
func newBreaker(cfg Config, key string) *Breaker {
	b := &Breaker{cfg: cfg, key: key, changes: changes{tell: cfg.OnChange}}
	b.word.Store(1<<2 | uint64(Closed))
	b.cb = gobreaker.NewCircuitBreaker[bool](gobreaker.Settings{
		MaxRequests:  1,
		Interval:     cfg.Window,
		BucketPeriod: (cfg.Window + buckets - 1) / buckets,
		// It must be past its time when ours is over, and to it a time that
		// is just reached is not over.
		Timeout:       cfg.OpenFor - 1,
		ReadyToTrip:   b.ready,
		OnStateChange: b.changed,
		IsExcluded:    func(err error) bool { return err != nil && errors.Is(err, errStale) },
	})
	return b
}

// Allow asks for a call. The Ticket must be told what the call came to. The error
// is an *Error that wraps ErrOpen.
//
// When the time to be open is over one caller gets the permit of the trial; all
// others are refused until it is back.
func (b *Breaker) Allow() (Ticket, error) {
	if b.cfg.Off {
		return Ticket{}, nil
	}
	w := b.word.Load()
	if stateOf(w) == Closed {
		return Ticket{b: b, id: w}, nil
	}
	if e := b.refusal.Load(); time.Until(e.Until) > 0 {
		return b.refuse(e)
	}
	return b.admit()
}

// stateOf takes the State out of a word, or of a Ticket's id.
func stateOf(w uint64) State { return State(w & 3) }

// state is the published state.
func (b *Breaker) state() State { return stateOf(b.word.Load()) }

// refuse turns a caller away, or in the dark pretends to.
func (b *Breaker) refuse(e *Error) (Ticket, error) {
	if b.cfg.Dark {
		b.dark.Add(1)
		return Ticket{}, nil
	}
	b.rejected.Add(1)
	return Ticket{}, e
}

// admit decides for a caller that found the Breaker not closed, and no reason to
// be refused at once.
func (b *Breaker) admit() (Ticket, error) {
	defer b.changes.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.settleLocked(now)
	w := b.word.Load()
	if stateOf(w) == Closed {
		return Ticket{b: b, id: w}, nil
	}
	if e := b.refusal.Load(); now.Before(e.Until) {
		return b.refuse(e)
	}
	b.trials++
	b.lease = lease{trial: b.trials, end: now.Add(b.cfg.ProbeTimeout)}
	if stateOf(w) == Open {
		b.publish(Change{To: HalfOpen, At: now}, b.lease.end)
	} else {
		b.refuseUntil(b.lease.end) // the trial before was given back
	}
	return Ticket{b: b, id: b.trials<<2 | uint64(HalfOpen)}, nil
}

// publish makes a change known. Until is the end of the time in which nobody
// else is let in; it has no meaning for a closed Breaker.
func (b *Breaker) publish(ch Change, until time.Time) {
	w := b.word.Load()
	ch.Key, ch.From = b.key, stateOf(w)
	if ch.To == Open {
		b.opened.Add(1)
	}
	// The word comes last: as soon as others see it they may change it again,
	// and their Change must be told after this one.
	b.changes.add(ch)
	b.refuseUntil(until)
	b.word.Store((w>>2+1)<<2 | uint64(ch.To))
}

// refuseUntil makes callers be refused at once up to a time.
func (b *Breaker) refuseUntil(until time.Time) {
	b.refusal.Store(&Error{Key: b.key, Until: until})
}

// settleLocked ends a trial whose lease is over. That it failed then is not told
// to gobreaker, which has been open all along: to it a trial begins and ends when
// its result is told.
func (b *Breaker) settleLocked(now time.Time) {
	l := b.lease
	switch {
	case l.trial == 0 || now.Before(l.end):
	case l.answered:
		b.concludeLocked(tulle.Success, now)
	default:
		b.lease = lease{}
		b.publish(Change{To: Open, At: l.end}, l.end.Add(b.cfg.OpenFor))
	}
}

// concludeLocked ends the trial that is under way.
func (b *Breaker) concludeLocked(v tulle.Verdict, now time.Time) {
	b.lease = lease{}
	counted := false
	if v != tulle.Neither {
		counted, _ = b.cb.Execute(func() (bool, error) { return true, errOf(v) })
	}
	if !counted {
		// It said nothing; or, which takes a goroutine that was held up
		// between two instructions for all the time that the Breaker was open,
		// a late result has gobreaker's only slot for just this moment. Either
		// way the next caller makes another trial.
		b.refuseUntil(now)
	}
}

// errOf is a verdict in the form that gobreaker reads.
func errOf(v tulle.Verdict) error {
	if v == tulle.Failure {
		return errFailure
	}
	return nil
}

// endTrial takes the result of a trial.
func (b *Breaker) endTrial(trial uint64, v tulle.Verdict) {
	defer b.changes.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.settleLocked(now)
	if b.lease.trial == trial {
		b.concludeLocked(v, now)
	} else if v != tulle.Neither {
		b.stale.Add(1)
	}
}

// answered takes note that the trial's headers came.
func (b *Breaker) answered(trial uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settleLocked(time.Now())
	if b.lease.trial == trial {
		b.lease.answered = true
	}
}

// count takes the result of a call that was admitted at word w.
func (b *Breaker) count(w uint64, v tulle.Verdict) {
	if b.word.Load() != w || !b.tell(w, v) {
		b.stale.Add(1)
		return
	}
	if v == tulle.Failure && b.word.Load() != w {
		b.changes.flush()
	}
}

// tell gives a result to gobreaker, and reports whether it belongs to the
// generation of word w, so that it counts. gobreaker's call begins and ends here:
// it holds nothing meanwhile, and the closure stays on the stack. Looking at the
// word in there makes sure that gobreaker's generation is the one of the call, as
// it drops a result if that changes before the end.
func (b *Breaker) tell(w uint64, v tulle.Verdict) bool {
	counted, _ := b.cb.Execute(func() (bool, error) {
		if b.word.Load() != w {
			return false, errStale
		}
		return true, errOf(v)
	})
	return counted
}

// ready is gobreaker's ReadyToTrip: it looks at the window after each failure.
// Counts.Requests is of no use, as it contains results that are being told at
// this moment.
func (b *Breaker) ready(c gobreaker.Counts) bool {
	n := c.TotalSuccesses + c.TotalFailures
	if n < uint32(b.cfg.Requests) || float64(c.TotalFailures) < b.cfg.FailureShare*float64(n)-rounding {
		return false
	}
	if b.cfg.GoodLeft != nil && b.cfg.GoodLeft() {
		b.held.Add(1)
		return false
	}
	b.tripped = c
	return true
}

// changed is gobreaker's OnStateChange, called under its lock. Half-open is no
// news: gobreaker passes it on its way when it is told of a trial.
func (b *Breaker) changed(_ string, from, to gobreaker.State) {
	ch := Change{At: time.Now()}
	switch to {
	case gobreaker.StateHalfOpen:
		return
	case gobreaker.StateOpen:
		ch.To = Open
	}
	if from == gobreaker.StateClosed {
		ch.Failures = int(b.tripped.TotalFailures)
		ch.Requests = int(b.tripped.TotalSuccesses) + ch.Failures
	}
	b.publish(ch, ch.At.Add(b.cfg.OpenFor))
}

// State is what the next caller meets. It takes no lock while the Breaker is
// closed.
func (b *Breaker) State() State {
	s, _ := b.look()
	return s
}

// Refusing says whether the next caller would be refused, which in the dark nobody
// is.
func (b *Breaker) Refusing() bool {
	_, left := b.look()
	return left > 0 && !b.cfg.Dark
}

// look is the State, and how long callers are refused from now on.
func (b *Breaker) look() (State, time.Duration) {
	if b.state() == Closed {
		return Closed, 0
	}
	defer b.changes.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.settleLocked(now)
	s, left := b.state(), b.refusal.Load().Until.Sub(now)
	switch {
	case s == Closed:
		return Closed, 0
	case left <= 0:
		return HalfOpen, 0
	}
	return s, left
}

// refusing says whether callers are refused without further ado, without a lock.
func (b *Breaker) refusing(now time.Time) bool {
	return b.state() != Closed && now.Before(b.refusal.Load().Until)
}

// Stats tells what the Breaker does and has done.
func (b *Breaker) Stats() Stats {
	state, after := b.look()
	s := Stats{
		State: state, RetryAfter: after,
		Opened: b.opened.Load(), Held: b.held.Load(),
		Rejected: b.rejected.Load(), DarkRejected: b.dark.Load(), Stale: b.stale.Load(),
	}
	if state == Closed {
		b.cb.State() // moves the window, which Counts does not
		c := b.cb.Counts()
		s.Failures = int(c.TotalFailures)
		s.Requests = int(c.TotalSuccesses) + s.Failures
	}
	b.mu.Lock()
	s.Trials = b.trials
	b.mu.Unlock()
	return s
}
