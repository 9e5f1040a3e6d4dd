package telemetry

import (
	"context"
	"strconv"
	"time"
)

// A Trace is a set of hooks that tell what is decided about one call, in the
// manner of net/http/httptrace. Any may be nil. They run on the goroutine that
// decides, with no lock held, and must be quick; those of a call with hedges may
// run at the same time. Those of an RPC run one after another, on a goroutine that
// works on it. They may ask a stream for its context and trailer, and end it; to send
// on it waits for the decision that they are told of.
type Trace struct {
	// CallStart is called when the call begins.
	CallStart func(service string, f Facts)

	// Routed is called when it is known where the call goes.
	Routed func(Route)

	// Waited is called when the call has waited.
	Waited func(Wait)

	// Picked is called when an endpoint has been picked for an attempt.
	Picked func(Pick)

	// AttemptDone is called when an attempt has its headers or an error.
	AttemptDone func(Try)

	// RetryDecision is called when an attempt came to something that can be
	// repeated.
	RetryDecision func(Repeat)

	// BreakerRefused is called when a breaker refuses an attempt. The reason
	// is for people.
	BreakerRefused func(reason string)

	// CallDone is called when the call has ended.
	CallDone func(Result)
}

// A Route is where a call goes.
type Route struct {
	// Destination is the name of what it goes to, Rule that of the rule which
	// said so, Override what a caller asked for in place of it.
	Destination string `json:"destination,omitempty"`
	Rule        string `json:"rule,omitempty"`
	Override    string `json:"override,omitempty"`
}

// A Wait is a time in which a call was held back.
type Wait struct {
	// For is what it waited for: rate, concurrency, endpoints, retry.
	For string `json:"for"`

	// Time is how long, in nanoseconds. Error says why it gave up.
	Time  time.Duration `json:"time_ns"`
	Error string        `json:"error,omitempty"`
}

// A Pick is the choice of an endpoint.
type Pick struct {
	// Attempt is the number of the attempt, from 1.
	Attempt int `json:"attempt"`

	// Endpoint is the address of the one that was picked.
	Endpoint string `json:"endpoint"`

	// Candidates are those that could be picked, and those that were not, with
	// the reason. A record keeps the first 32.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// A Candidate is an endpoint in the eyes of a pick.
type Candidate struct {
	// Addr is its address, Cost what the balancer compares; lower is better.
	Addr string  `json:"addr"`
	Cost float64 `json:"cost"`

	// Avoided says why it was no choice: ejected, dead, probing or tried; or
	// returning, when it gets a part of its share only. Empty: it was one.
	Avoided string `json:"avoided,omitempty"`
}

// A Try is an attempt that has ended.
type Try struct {
	// Attempt is its number, from 1. Hedge says that it was made beside
	// another.
	Attempt int  `json:"attempt"`
	Hedge   bool `json:"hedge,omitempty"`

	// Endpoint is the address it went to.
	Endpoint string `json:"endpoint"`

	// Start is when it began, from the start of the call, and Time how long it
	// took, in nanoseconds.
	Start time.Duration `json:"start_ns"`
	Time  time.Duration `json:"time_ns"`

	// Outcome is its class; Status and Error are as far as there were any.
	Outcome string `json:"outcome"`
	Status  int    `json:"status,omitempty"`
	Error   string `json:"error,omitempty"`
}

// A Repeat is a decision on a repeat.
type Repeat struct {
	// Granted says that there is one. Reason is the class of what it repeats,
	// or the word of retry.Denial that says why there is none.
	Granted bool   `json:"granted"`
	Reason  string `json:"reason"`

	// Wait is the pause before it, in nanoseconds. Budget is how many repeats
	// are left.
	Wait   time.Duration `json:"wait_ns"`
	Budget float64       `json:"budget"`
}

// traceKey and recordKey are the context keys of what is wanted to be told.
type (
	traceKey  struct{}
	recordKey struct{}
)

// WithTrace returns a context whose calls are told to t, after the hooks that
// ctx has already.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	if t == nil {
		return ctx
	}
	if old, _ := ctx.Value(traceKey{}).(*Trace); old != nil {
		t = old.join(t)
	}
	return context.WithValue(ctx, traceKey{}, t)
}

// join returns hooks that call those of t and then those of o.
func (t *Trace) join(o *Trace) *Trace {
	return &Trace{
		CallStart:      both2(t.CallStart, o.CallStart),
		Routed:         both(t.Routed, o.Routed),
		Waited:         both(t.Waited, o.Waited),
		Picked:         both(t.Picked, o.Picked),
		AttemptDone:    both(t.AttemptDone, o.AttemptDone),
		RetryDecision:  both(t.RetryDecision, o.RetryDecision),
		BreakerRefused: both(t.BreakerRefused, o.BreakerRefused),
		CallDone:       both(t.CallDone, o.CallDone),
	}
}

// both calls f and then g.
func both[A any](f, g func(A)) func(A) {
	if f == nil || g == nil {
		if f == nil {
			return g
		}
		return f
	}
	return func(a A) { f(a); g(a) }
}

// both2 is both for two arguments.
func both2[A, B any](f, g func(A, B)) func(A, B) {
	if f == nil || g == nil {
		if f == nil {
			return g
		}
		return f
	}
	return func(a A, b B) { f(a, b); g(a, b) }
}

// tell calls a hook.
func tell[A any](f func(A), a A) {
	if f != nil {
		f(a)
	}
}

// lines are the candidates as an event of a span shows them.
func (p *Pick) lines() []string {
	lines := make([]string, 0, maxParts)
	for _, c := range p.Candidates[:min(len(p.Candidates), maxParts)] {
		line := c.Addr + " " + strconv.FormatFloat(c.Cost, 'g', 4, 64)
		if c.Avoided != "" {
			line += " " + c.Avoided
		}
		lines = append(lines, line)
	}
	return lines
}
