package tulle

import (
	"context"
	"slices"
	"time"
)

// A Call is what the layers know of the call in hand. Inside the stack it
// travels as an argument; where layers stand alone it travels in the context
// ([WithCall], [CallFrom]). A Call belongs to one call of the application and
// is used by one goroutine at a time: the one that makes the attempts.
type Call struct {
	// Safe says that the call may reach an endpoint twice: its method is safe
	// (RFC 9110, 9.2.1), it carries an idempotency key, or the caller said so.
	Safe bool

	// UnsentOnly limits repeats to attempts that provably reached nobody.
	UnsentOnly bool

	// Spent says that the request cannot be sent again: what was read of its
	// body is gone.
	Spent bool

	reported bool
	barred   uint16 // a bit for each of the first 16 of Tried

	// Attempt is the number of the attempt in hand, from 1.
	Attempt int32

	// Moves counts those of the attempts that only replaced one that provably
	// reached nobody.
	Moves int32

	// Tried holds the addresses of the endpoints that failed this call, so
	// that the next attempt goes elsewhere.
	Tried []string

	// Last is the outcome of the latest finished attempt. The innermost layer
	// that classifies writes it, by Report.
	Last Outcome

	// Pool is what the engine knew of the destination when Last was reported,
	// if that was no success. It is nil where no engine took part.
	Pool *Pool
}

// Pool is what the failing path wants to know of a destination. The zero Pool
// knows nothing, like a nil one.
type Pool struct {
	// Untried is the number of endpoints that the call has not tried, Usable
	// that of those that it may still use, tried or not.
	Untried, Usable int

	// Mean and Median are of the destination's recent time to headers; 0 when
	// there is no sample.
	Mean, Median time.Duration

	// Others says how the endpoints other than the one that just failed are.
	Others Health
}

// Health is a judgement on a group of endpoints.
type Health uint8

// The healths.
const (
	// Alone: there are no others.
	Alone Health = iota
	// Unknown: there are others, and too few recent outcomes to judge them.
	Unknown
	// Healthy: at least 20 outcomes in 10 s, 90 % of them successes, and a
	// mean latency of at most 1.5 times that of the last minute.
	Healthy
	// Unhealthy: enough outcomes, and they do not meet that.
	Unhealthy
)

// Facts is what is known of the destination: Pool, or the zero Pool.
func (c *Call) Facts() Pool {
	if c.Pool == nil {
		return Pool{}
	}
	return *c.Pool
}

// Begin starts the next attempt: it counts it and forgets who reported the
// last one.
func (c *Call) Begin() {
	c.Attempt++
	c.reported = false
}

// Report says what the attempt in hand came to. The first report of an attempt
// counts, so the innermost layer decides. A nil Call ignores it.
func (c *Call) Report(o Outcome) {
	if c == nil || c.reported {
		return
	}
	c.reported = true
	c.Last = o
}

// Reported says whether some layer has classified the attempt in hand.
func (c *Call) Reported() bool { return c != nil && c.reported }

// HasTried says whether addr was tried without success.
func (c *Call) HasTried(addr string) bool { return slices.Contains(c.Tried, addr) }

// Try remembers addr as tried without success.
func (c *Call) Try(addr string) {
	if !slices.Contains(c.Tried, addr) {
		c.Tried = append(c.Tried, addr)
	}
}

// Bar remembers addr as one that the call must never be sent to again.
func (c *Call) Bar(addr string) {
	c.Try(addr)
	if i := slices.Index(c.Tried, addr); i < 16 {
		c.barred |= 1 << i
	}
}

// Barred says whether Tried[i] was barred.
func (c *Call) Barred(i int) bool { return i < 16 && c.barred>>i&1 == 1 }

// AnyBarred says whether any endpoint was.
func (c *Call) AnyBarred() bool { return c.barred != 0 }

// callKey is the context key of a Call.
type callKey struct{}

// WithCall returns a context that carries c to the layers below.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallFrom returns the Call that ctx carries, or nil.
func CallFrom(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}
