package breaker

import (
	"fmt"
	"sync"
	"time"
)

// A State says whom a Breaker lets in.
type State uint8

// The states.
const (
	// Closed: everybody.
	Closed State = iota
	// Open: nobody.
	Open
	// HalfOpen: one caller, whose result decides. The time to be open is over,
	// or that caller is on its way.
	HalfOpen
)

// String is the state in lower case, as it appears in metrics.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A Change is one step of a Breaker from state to state. The steps are Closed to
// Open, Open to HalfOpen when a trial begins, and HalfOpen to Closed or Open when
// it ends.
type Change struct {
	// Key is that of the Breaker in its Group, or "".
	Key string

	// From and To are the states before and after.
	From, To State

	// At is when it happened. A lost trial is noticed by the next caller, and
	// then At is in the past.
	At time.Time

	// Requests and Failures are the window that opened a closed Breaker; else
	// 0.
	Requests, Failures int
}

// Stats is a Breaker at one moment. The counters only grow.
type Stats struct {
	// State is what the next caller meets.
	State State

	// RetryAfter is how long callers are refused from now on unless a trial
	// that is under way ends earlier; 0 when Closed.
	RetryAfter time.Duration

	// Requests and Failures are those of the window that have ended. An open
	// Breaker has none.
	Requests, Failures int

	// Opened is how often it opened, after failed and lost trials too. Held is
	// how often Config.GoodLeft kept it from opening.
	Opened, Held uint64

	// Rejected is how many calls were refused, DarkRejected how many would
	// have been but for Config.Dark.
	Rejected, DarkRejected uint64

	// Trials is how many trials began.
	Trials uint64

	// Stale is how many results came too late to count: the state in which
	// their calls were admitted was over.
	Stale uint64
}

// changes hands Changes to Config.OnChange, in order. They are added under the
// locks that guard the state, and told when those are released.
type changes struct {
	tell func(Change) // nil: nobody is told

	mu      sync.Mutex
	queue   []Change // guarded by mu
	telling bool     // guarded by mu: somebody is in tell, and will go on with the queue
}

// add appends to the queue. It is called under other locks and takes none but
// its own.
func (c *changes) add(ch Change) {
	if c.tell == nil {
		return
	}
	c.mu.Lock()
	c.queue = append(c.queue, ch)
	c.mu.Unlock()
}

// flush tells what is in the queue. It does nothing while another goroutine, or
// this one further up its stack, is at it.
func (c *changes) flush() {
	if c.tell == nil {
		return
	}
	for {
		next, ok := c.take()
		if !ok {
			return
		}
		c.call(next)
	}
}

// take begins to tell the next Change, if there is one.
func (c *changes) take() (Change, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.telling || len(c.queue) == 0 {
		return Change{}, false
	}
	next := c.queue[0]
	c.queue = c.queue[1:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.telling = true
	return next, true
}

// call tells one. Should that panic, the rest is told at the next occasion.
func (c *changes) call(ch Change) {
	defer func() {
		c.mu.Lock()
		c.telling = false
		c.mu.Unlock()
	}()
	c.tell(ch)
}
