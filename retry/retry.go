package retry

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
)

// ErrExhausted is what errors.Is finds when a call was attempted more than once
// and its last attempt failed without a response.
var ErrExhausted = errors.New("retry: gave up")

// Error tells what became of a call that was repeated and got no response.
type Error struct {
	// Attempts is the number of attempts that were made.
	Attempts int

	// Status is that of the last response that was given up for another
	// attempt, or 0.
	Status int

	// Err is the error of the last attempt, or of the context when that ended
	// during a pause.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("retry: gave up after %d attempts and status %d: %v", e.Attempts, e.Status, e.Err)
	}
	return fmt.Sprintf("retry: gave up after %d attempts: %v", e.Attempts, e.Err)
}

// Unwrap leads to ErrExhausted and to the cause.
func (e *Error) Unwrap() []error { return []error{ErrExhausted, e.Err} }

// Timeout says whether time was the cause, as net.Error has it.
func (e *Error) Timeout() bool {
	var ne net.Error
	return errors.As(e.Err, &ne) && ne.Timeout()
}

// Temporary is part of net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

// maxMoves is how often a call moves on at once: at most three picks.
const maxMoves = 2

// unknownPause is the time between two repeats after a timeout while too little
// is known of the other endpoints.
const unknownPause = time.Second

// A Retrier decides on repeats for one destination and owns its budget. It is
// safe for concurrent use.
type Retrier struct {
	cfg Config
	*ledger
}

// ledger is what outlives a Config: the budget, what was counted, and the clock
// that both go by.
type ledger struct {
	budget *Budget
	start  time.Time    // the base of the times of all that Wrap returns, as they share the rest
	blind  atomic.Int64 // when a timeout was last repeated on too little knowledge

	repeats, moves, denied, dark atomic.Uint64
}

// Stats counts decisions since the Retrier was made.
type Stats struct {
	// Repeats were granted for a token, Moves without one.
	Repeats uint64 `json:"repeats"`
	Moves   uint64 `json:"moves"`

	// Denied had a reason and time, and found no token.
	Denied uint64 `json:"denied"`

	// Dark would have been granted, but for Config.Dark.
	Dark uint64 `json:"dark"`
}

// Stats reads the counters.
func (r *Retrier) Stats() Stats {
	return Stats{
		Repeats: r.repeats.Load(), Moves: r.moves.Load(), Denied: r.denied.Load(), Dark: r.dark.Load(),
	}
}

// New returns a Retrier for cfg, or an error that names every field that cannot
// be used.
func New(cfg Config) (*Retrier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	budget, err := NewBudget(cfg.Budget)
	if err != nil {
		return nil, err
	}
	r := &Retrier{cfg: cfg, ledger: &ledger{budget: budget, start: time.Now()}}
	r.blind.Store(-int64(unknownPause))
	return r, nil
}

// Adopt takes over the budget of another Retrier, with what was deposited and
// withdrawn, under the limits of r, and its counts. It is called before r is used.
func (r *Retrier) Adopt(other *Retrier) {
	// The limits were checked when r was made, so this cannot fail.
	_ = other.budget.Reconfigure(r.cfg.Budget)
	r.ledger = other.ledger
}

// An Override replaces parts of a Config for some of the calls. What is zero stays
// as it is; ranges are those of Config.
type Override struct {
	// Attempts is Config.Attempts.
	Attempts int

	// MinBackoff and MaxBackoff are those of Config.
	MinBackoff, MaxBackoff time.Duration

	// Condition is Config.Condition.
	Condition func(call *tulle.Call) tulle.Repetition

	// Statuses are those of outcomes (HTTP statuses or gRPC codes) that safe
	// and keyed calls repeat, besides what the Config repeats.
	Statuses []int
}

// With is a Retrier for some of the calls of r, which shares budget and counts
// with it.
func (r *Retrier) With(o Override) *Retrier {
	cfg := r.cfg
	if o.Attempts > 0 {
		cfg.Attempts = o.Attempts
	}
	if o.MinBackoff > 0 {
		cfg.MinBackoff = o.MinBackoff
	}
	if o.MaxBackoff > 0 {
		cfg.MaxBackoff = o.MaxBackoff
	}
	cfg.MaxBackoff = max(cfg.MaxBackoff, cfg.MinBackoff)
	if o.Condition != nil {
		cfg.Condition = o.Condition
	}
	if len(o.Statuses) > 0 {
		cfg.Condition = cfg.also(o.Statuses)
	}
	return &Retrier{cfg: cfg, ledger: r.ledger}
}

// also is the Config's answer to what may be repeated, with some statuses besides.
func (c Config) also(statuses []int) func(*tulle.Call) tulle.Repetition {
	condition := c.Condition
	return func(call *tulle.Call) tulle.Repetition {
		repeat := call.Last.Class.Repetition()
		if condition != nil {
			repeat = condition(call)
		}
		answered := call.Last.Class != tulle.Ignored && call.Last.Class != tulle.Truncated
		if repeat == tulle.NoRepeat && answered && slices.Contains(statuses, call.Last.Status) {
			return tulle.RepeatSafe
		}
		return repeat
	}
}

// Budget is what the repeats are paid from. Hedges draw on it too.
func (r *Retrier) Budget() *Budget { return r.budget }

// Open counts a call. It is called once for each call, before its first attempt.
func (r *Retrier) Open(now time.Duration) { r.budget.Deposit(now) }

// Safe says whether req may be sent twice: by its method (RFC 9110, 9.2.1, and
// Config.Idempotent) or by an idempotency key, as net/http has it.
func (r *Retrier) Safe(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	if req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil {
		return true
	}
	return slices.Contains(r.cfg.Idempotent, req.Method)
}

// SafeRPC says whether Config.Idempotent names the gRPC method, such as
// "/users.Users/Get", or all methods of its service, "/users.Users/*".
func (r *Retrier) SafeRPC(method string) bool {
	if len(r.cfg.Idempotent) == 0 {
		return false
	}
	service := method[:strings.LastIndexByte(method, '/')+1]
	return slices.ContainsFunc(r.cfg.Idempotent, func(m string) bool {
		return m == method || m == service+"*" && m[0] == '/'
	})
}

// Wants says whether Next could want to repeat the call after call.Last. It is
// the cheap question for the path of calls that succeed.
func (r *Retrier) Wants(call *tulle.Call) bool {
	return r.cfg.Condition != nil || call.Last.Class.Repetition() != tulle.NoRepeat
}

// Replay is Config.Replay.
func (r *Retrier) Replay() int { return r.cfg.Replay }

// A Plan is a repeat that has been decided on and paid for, or says why there is
// none.
type Plan struct {
	// Wait is the pause before it.
	Wait time.Duration

	// Denied says why there is no repeat. It is empty if there is one.
	Denied Denial

	token Token
	moved bool
	blind bool
}

// Unlimited is the time left of a call without a deadline.
const Unlimited = time.Duration(1<<63 - 1)

// Next decides whether the call may be attempted again after call.Last. Left is
// the time until the call's deadline, Unlimited without one. The Plan holds a
// token of the budget: the caller sends the attempt, or gives the Plan to
// Abandon. If there is to be no attempt, Plan.Denied says why.
func (r *Retrier) Next(call *tulle.Call, now, left time.Duration) (Plan, bool) {
	p := r.plan(call, now, left)
	switch {
	case p.Denied != "":
		return p, false
	case r.cfg.Dark:
		// The token stays spent, so that later decisions are those of a
		// Retrier that means it.
		r.dark.Add(1)
		return deny(DeniedDark), false
	case p.moved:
		r.moves.Add(1)
	default:
		r.repeats.Add(1)
	}
	return p, true
}

// plan decides.
func (r *Retrier) plan(call *tulle.Call, now, left time.Duration) Plan {
	p := r.reason(call)
	if p.Denied != "" {
		return p
	}
	return r.pay(p, call, now, left)
}

// repetition is the table's answer or the user's.
func (r *Retrier) repetition(call *tulle.Call) tulle.Repetition {
	if r.cfg.Condition != nil {
		return r.cfg.Condition(call)
	}
	return call.Last.Class.Repetition()
}

// pay checks what all repeats need, number, time and token, the token last.
func (r *Retrier) pay(p Plan, call *tulle.Call, now, left time.Duration) Plan {
	if p.moved {
		switch {
		case call.Moves >= maxMoves:
			return deny(DeniedAttempts)
		case left <= 0:
			return deny(DeniedTime)
		}
		return p
	}
	repeats := int(call.Attempt - call.Moves)
	if repeats >= r.cfg.Attempts {
		return deny(DeniedAttempts)
	}
	p.Wait = r.backoff(repeats)
	if call.Last.Hinted {
		// The server's word counts for whatever reason the call is repeated.
		if call.Last.RetryAfter > r.cfg.MaxRetryAfter {
			return deny(DeniedLongHint)
		}
		p.Wait = max(call.Last.RetryAfter, 0)
	}
	// An attempt that the pool's usual latency leaves no time for would only
	// add load.
	if left != Unlimited && left-p.Wait <= call.Facts().Median {
		return deny(DeniedTime)
	}
	token, ok := r.budget.Withdraw(now)
	if !ok {
		r.denied.Add(1)
		return deny(DeniedBudget)
	}
	if p.blind && !r.dare(now) {
		r.budget.Refund(token)
		return deny(DeniedUnknown)
	}
	p.token = token
	return p
}

// dare says whether a timeout may be repeated now though too little is known of
// the endpoints that did not time out. A timeout says too little about whether
// the work goes on; repeating it when everybody is slow is what keeps a brown-out
// going.
func (r *Retrier) dare(now time.Duration) bool {
	last := r.blind.Load()
	return now-time.Duration(last) >= unknownPause && r.blind.CompareAndSwap(last, int64(now))
}

// backoff is the pause before the nth repeat: full jitter.
func (r *Retrier) backoff(n int) time.Duration {
	most := r.cfg.MaxBackoff
	if steps := time.Duration(1)<<max(n, 1) - 1; r.cfg.MinBackoff <= most/steps {
		most = r.cfg.MinBackoff * steps
	}
	if r.cfg.Rand == nil {
		return rand.N(most)
	}
	pause, _ := bits.Mul64(r.cfg.Rand(), uint64(most))
	return time.Duration(pause)
}

// Abandon gives back what a Plan holds whose attempt is not made.
func (r *Retrier) Abandon(p Plan) { r.budget.Refund(p.token) }

// Take says that the Plan's attempt is made now. What it held is spent.
func (p *Plan) Take(call *tulle.Call) {
	if p.moved {
		call.Moves++
	}
}

// Again decides as Next does, waits and takes the Plan: it reports whether the
// next attempt is to be made now, and if not, why. It is the loop for calls that
// are not HTTP. Deadline is the end of the call, the zero Time without one; open,
// if it is not nil, is asked before the wait and after it, whether an attempt
// would be let through.
func (r *Retrier) Again(ctx context.Context, call *tulle.Call, clock Clock, deadline time.Time, open func() bool) (Denial, bool) {
	left := Unlimited
	if !deadline.IsZero() {
		left = time.Until(deadline)
	}
	switch {
	case ctx.Err() != nil:
		return DeniedEnded, false
	case !r.Wants(call):
		return DeniedOutcome, false
	}
	plan, ok := r.Next(call, clock(), left)
	if !ok {
		return plan.Denied, false
	}
	if open == nil {
		open = func() bool { return true }
	}
	why := Denial("")
	switch {
	case !open():
		why = DeniedBreaker
	case !sleep(ctx, plan.Wait):
		why = DeniedEnded
	case !open():
		why = DeniedBreaker
	}
	if why != "" {
		r.Abandon(plan)
		return why, false
	}
	plan.Take(call)
	return "", true
}

// sleep waits for d, and reports false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
