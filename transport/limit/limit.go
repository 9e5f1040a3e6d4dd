package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLimited is what errors.Is finds when a call was refused because of the
// limit.
var ErrLimited = errors.New("limit: rate limit reached")

// Error tells why a call was refused.
type Error struct {
	// Key is the one that the call fell under. It does not stand in the text,
	// as it may be a secret, such as the token of a user.
	Key string

	// RetryAfter is the time until the call could have been let through, as
	// things stood; 0 when that is not known.
	RetryAfter time.Duration

	// Waiting is the number of other calls with that key that were waiting.
	Waiting int
}

// Error implements error.
func (e *Error) Error() string {
	text := ErrLimited.Error()
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(", retry after %v", e.RetryAfter)
	}
	if e.Waiting > 0 {
		text += fmt.Sprintf(", %d calls wait", e.Waiting)
	}
	return text
}

// Unwrap leads to ErrLimited.
func (e *Error) Unwrap() error { return ErrLimited }

// Stats counts what became of calls. Each call that was not left alone by a
// Limiter without a limit is in exactly one of the counters.
type Stats struct {
	// Admitted were let through at once, Waited after a wait.
	Admitted uint64 `json:"admitted"`
	Waited   uint64 `json:"waited"`

	// Refused got ErrLimited. Abandoned ended, by context or deadline, before
	// they were let through.
	Refused   uint64 `json:"refused"`
	Abandoned uint64 `json:"abandoned"`

	// DarkWaited and DarkRefused were let through at once as Config.Dark says,
	// and would have waited or been refused.
	DarkWaited  uint64 `json:"dark_waited"`
	DarkRefused uint64 `json:"dark_refused"`

	// Failed were let through because the Source failed.
	Failed uint64 `json:"failed"`

	// Waiting is how many calls wait now.
	Waiting int `json:"waiting"`

	// Keys is how many keys are remembered now.
	Keys int `json:"keys"`
}

// A Limiter applies a Config. It is safe for concurrent use and starts no
// goroutine.
type Limiter struct {
	// cfg is changed under mu. Those who hold mu see one Config throughout.
	cfg atomic.Pointer[Config]

	// mu is never held while a Source or Config.Key runs.
	mu    sync.Mutex
	lanes lanes // guarded by mu
	stats Stats // guarded by mu; Keys is filled in by Stats
}

// New returns a Limiter for cfg, or an error that names every field that cannot
// be used.
func New(cfg Config) (*Limiter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Limiter{lanes: lanes{byKey: make(map[string]*lane)}}
	cfg = cfg.withDefaults()
	l.cfg.Store(&cfg)
	return l, nil
}

// Acquire lets a call through, at once or after a wait: then it returns nil.
// Key is "" where there are no keys. Deadline is the end of the call, the zero
// Time without one; that of the context counts as well.
//
// A call that has to wait longer than it may, or would be one too many, is
// refused at once with an *Error, which is an ErrLimited. A call whose context
// or deadline ends first gets the error of that. Both take nothing from the
// others. Calls of one key that wait are let through in the order in which they
// came.
func (l *Limiter) Acquire(ctx context.Context, key string, deadline time.Time) error {
	return l.acquire(query{ctx: ctx, key: key, deadline: deadline})
}

// query is a call that asks to be let through.
type query struct {
	ctx      context.Context
	canceled <-chan struct{} // http.Request.Cancel, or nil
	key      string
	deadline time.Time
}

// acquire is Acquire. It takes the query by value, so that calls which need not
// wait leave nothing on the heap.
func (l *Limiter) acquire(q query) error {
	if l.cfg.Load().off() {
		return nil
	}
	now := time.Now()
	l.mu.Lock()
	cfg := l.cfg.Load()
	if cfg.off() {
		l.mu.Unlock()
		return nil
	}
	if err := q.ended(now); err != nil && !cfg.Dark {
		l.stats.Abandoned++
		l.mu.Unlock()
		return err
	}
	ln := l.lanes.find(q.key, cfg)
	if cfg.Source != nil {
		busy := ln.queue.Len() > 0
		l.mu.Unlock()
		return l.acquireFrom(q, cfg, busy)
	}
	now = ln.at(now)
	l.serveLocked(ln, now)
	if ln.queue.Len() == 0 && ln.tokens.AllowN(now, 1) {
		l.stats.Admitted++
		l.mu.Unlock()
		return nil
	}
	if cfg.Dark {
		l.rehearseLocked(cfg, ln, &q, now)
		l.mu.Unlock()
		return nil
	}
	w, err := l.joinLocked(cfg, ln, &q, now, ln.waitAt(ln.queue.Len(), now))
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.await(q, ln, w)
}

// rehearseLocked counts what would have become of a call that has no token. One
// that would have waited books the token that it would have got, as if it
// waited: so the next one finds the queue that there would be.
func (l *Limiter) rehearseLocked(cfg *Config, ln *lane, q *query, now time.Time) {
	wait := ln.waitAt(0, now)
	if ln.debt(now) >= cfg.MaxWaiters || !cfg.fits(wait, now, now, q.end()) {
		l.stats.DarkRefused++
		return
	}
	ln.tokens.ReserveN(now, 1)
	l.stats.DarkWaited++
}

// fits says whether a call that came at since, and at now has to wait for so
// long yet, may do that. A token at the very deadline is of no use.
func (c *Config) fits(wait time.Duration, now, since, deadline time.Time) bool {
	if now.Sub(since) > c.MaxWait-wait {
		return false
	}
	return deadline.IsZero() || now.Add(wait).Before(deadline)
}

// textEnded is how the errors of calls begin that ended by themselves.
const textEnded = "limit: the call ended before its turn"

// ended says why the call is over, or nil while it is not.
func (q *query) ended(now time.Time) error {
	if q.ctx.Err() != nil { // Cause is slower
		return fmt.Errorf("%s: %w", textEnded, context.Cause(q.ctx))
	}
	if !q.deadline.IsZero() && !now.Before(q.deadline) {
		return fmt.Errorf("%s: %w", textEnded, context.DeadlineExceeded)
	}
	return nil
}

// end is the deadline of the call, zero without one.
func (q *query) end() time.Time {
	if has, ok := q.ctx.Deadline(); ok && (q.deadline.IsZero() || has.Before(q.deadline)) {
		return has
	}
	return q.deadline
}

// Stats returns the counters as they are now.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Keys = len(l.lanes.byKey)
	return s
}
