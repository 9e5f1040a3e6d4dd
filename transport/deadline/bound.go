package deadline

import (
	"context"
	"sync"
	"time"
)

// ErrCall is what a call ends with when its time is up, ErrAttempt what an
// attempt ends with when no headers came in time. Both satisfy
// errors.Is(err, context.DeadlineExceeded) and are timeouts in the sense of
// net.Error.
var (
	ErrCall    error = &expired{"deadline: the call's time is up"}
	ErrAttempt error = &expired{"deadline: no headers within the attempt timeout"}
)

// expired is the type of this package's errors.
type expired struct{ text string }

func (e *expired) Error() string        { return e.text }
func (e *expired) Is(target error) bool { return target == context.DeadlineExceeded }
func (e *expired) Timeout() bool        { return true }
func (e *expired) Temporary() bool      { return true }

// A Bound ends one exchange in time: its wait for headers by an attempt
// deadline, all of it by a call deadline. It is a field of the exchange's own
// object. Where neither is tighter than what the context already has, it makes
// no context and no timer.
//
// Start is called first and once. The other methods may be called by any
// goroutine at any time.
type Bound struct {
	ctx    context.Context
	owner  Owner
	cancel context.CancelCauseFunc

	header [1]string // backs the header of Propagate, to save an allocation

	mu       sync.Mutex
	call     time.Time   // guarded by mu: when the call ends; zero: the parent decides
	due      time.Time   // guarded by mu: when the timer fires; zero: never
	timer    *time.Timer // guarded by mu; nil without a limit of our own
	answered bool        // guarded by mu
	fired    error       // guarded by mu: what ended the exchange
}

// Owner is told when a Bound has ended its exchange.
type Owner interface {
	// Expired is called once, from a goroutine of its own.
	Expired()
}

// Start begins the exchange. The zero Time as call or attempt means no limit of
// that kind; a limit that is not earlier than the parent's deadline is ignored.
// The exchange's context is then Context. Owner may be nil.
func (b *Bound) Start(parent context.Context, owner Owner, now, call, attempt time.Time) {
	b.ctx, b.owner = parent, owner
	if has, ok := parent.Deadline(); ok {
		if !call.Before(has) {
			call = time.Time{}
		}
		if !attempt.Before(has) {
			attempt = time.Time{}
		}
	}
	due := attempt
	if attempt.IsZero() || !call.IsZero() && !attempt.Before(call) {
		due = call
	}
	if due.IsZero() {
		return
	}
	// Not context.WithDeadline: the deadline moves from the attempt's to the
	// call's when headers come. Children hang on this context as on any of
	// the context package's own, without a goroutine.
	b.ctx, b.cancel = context.WithCancelCause(parent)
	b.mu.Lock()
	b.call, b.due = call, due
	b.timer = time.AfterFunc(due.Sub(now), b.expire)
	b.mu.Unlock()
}

// Context is the context of the exchange. Its Err is context.Canceled when the
// Bound ended it; Err tells the truth.
func (b *Bound) Context() context.Context { return b.ctx }

// Deadline is when the exchange ends as things are: the attempt's deadline until
// Answered, the call's from then on, and the parent's where neither is left.
func (b *Bound) Deadline() (time.Time, bool) {
	if b.cancel != nil {
		b.mu.Lock()
		due := b.due
		b.mu.Unlock()
		if !due.IsZero() {
			return due, true
		}
	}
	return b.ctx.Deadline()
}

// Err is the error of the exchange's context, with the end by a Bound shown as
// what it is, an expired deadline.
func (b *Bound) Err() error {
	err := b.ctx.Err()
	if err != nil && b.Fired() != nil {
		return context.DeadlineExceeded
	}
	return err
}

// Fired returns ErrAttempt or ErrCall once that has ended the exchange, else
// nil.
func (b *Bound) Fired() error {
	if b.cancel == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fired
}

// Answered says that headers came: from now on only the call's deadline counts.
// It reports false if it came too late; the exchange is then over.
func (b *Bound) Answered() bool {
	if b.cancel == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fired != nil || b.timer == nil {
		return b.fired == nil
	}
	b.answered = true
	if b.due.Equal(b.call) {
		return true
	}
	if !b.timer.Stop() {
		// The timer is about to run expire; it must find that nothing was
		// answered.
		b.answered = false
		b.fired = ErrAttempt
		return false
	}
	b.due = b.call
	if !b.call.IsZero() {
		b.timer.Reset(time.Until(b.call))
	}
	return true
}

// Disarm takes all limits off: the exchange has become a stream that ends when
// its ends want.
func (b *Bound) Disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
		b.due = time.Time{}
	}
}

// Stop ends the exchange and frees its timer and context. It does nothing where
// the Bound made none.
func (b *Bound) Stop() {
	if b.cancel == nil {
		return
	}
	b.Disarm()
	b.cancel(nil)
}

// expire is what the timer runs.
func (b *Bound) expire() {
	b.mu.Lock()
	if b.timer == nil {
		b.mu.Unlock()
		return
	}
	cause := b.fired
	if cause == nil {
		cause = ErrCall
		if !b.answered && !b.due.Equal(b.call) {
			cause = ErrAttempt
		}
	}
	// Under the lock, so that whoever sees the end also sees what fired; and
	// that is nothing where the parent's end came first.
	b.cancel(cause)
	fired := context.Cause(b.ctx) == cause
	if fired {
		b.fired = cause
	}
	b.mu.Unlock()
	if fired && b.owner != nil {
		b.owner.Expired()
	}
}
