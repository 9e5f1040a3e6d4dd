package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/tullemesh/tulle/internal/setting"
)

// Config says when a Breaker opens and for how long. The zero Config is the
// default policy.
type Config struct {
	// Requests is the least number of results in the window with which the
	// Breaker may open. Results that are neither success nor failure do not
	// count. Default (0): 20. Range: 1 to 1000000.
	Requests int

	// FailureShare is the share of failures in the window at which the Breaker
	// opens. Default (0): 0.5. Range: above 0, up to 1.
	FailureShare float64

	// Window is how long results count. It moves in tenths, so that a result
	// is forgotten after 0.9 to 1 times Window. Default (0): 10 s. Range: 10 ms
	// to 1 h.
	Window time.Duration

	// OpenFor is the time from opening to the trial. Default (0): 5 s. Range:
	// 1 ms to 1 h.
	OpenFor time.Duration

	// ProbeTimeout is the lease of a trial: one whose result has not come by
	// then has failed, unless Ticket.Answered was called. Nobody else is let
	// in that long, so it should be what a slow answer takes. Default (0): 10 s.
	// Range: 1 ms to 1 h.
	ProbeTimeout time.Duration

	// Off admits everything and counts nothing.
	Off bool

	// Dark admits everything, and counts in Stats.DarkRejected what would have
	// been refused: to try settings without harm. The results of calls that
	// would have been refused are not counted, so that the Breaker behaves as
	// it would if it meant it.
	Dark bool

	// GoodLeft keeps the Breaker closed as long as it returns true: some
	// endpoint still serves, so it is for the balancer to go there. It is not
	// asked about a Breaker that is open. It is called when the Breaker is
	// about to open, under a lock that all results pass: it must only read
	// values that others have published, and must not call the Breaker. Nil:
	// nothing keeps the Breaker closed.
	GoodLeft func() bool

	// OnChange is told of each change of state, in their order and one at a
	// time. It is called without locks, by a goroutine that is in a method of
	// the Breaker, so it may call the Breaker and must not block. That
	// goroutine need not be the one that brought the change about. A panic in
	// it goes through to the caller of that method and changes nothing in the
	// Breaker. Nil: nobody is told.
	OnChange func(Change)
}

// The defaults of Config.
const (
	defaultRequests     = 20
	defaultFailureShare = 0.5
	defaultWindow       = 10 * time.Second
	defaultOpenFor      = 5 * time.Second
	defaultProbeTimeout = 10 * time.Second
)

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &setting.Error{Package: "breaker", Field: field, Value: value, Want: want})
	}
	span := func(field string, value, least time.Duration) {
		if value != 0 && (value < least || value > time.Hour) {
			bad(field, value, fmt.Sprintf("%v to 1h, or 0 for the default", least))
		}
	}
	if c.Requests < 0 || c.Requests > 1e6 {
		bad("Requests", c.Requests, "1 to 1000000, or 0 for the default")
	}
	if !(c.FailureShare >= 0 && c.FailureShare <= 1) { // NaN too
		bad("FailureShare", c.FailureShare, "above 0 and up to 1, or 0 for the default")
	}
	span("Window", c.Window, 10*time.Millisecond)
	span("OpenFor", c.OpenFor, time.Millisecond)
	span("ProbeTimeout", c.ProbeTimeout, time.Millisecond)
	return errors.Join(errs...)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Requests == 0 {
		c.Requests = defaultRequests
	}
	if c.FailureShare == 0 {
		c.FailureShare = defaultFailureShare
	}
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.OpenFor == 0 {
		c.OpenFor = defaultOpenFor
	}
	if c.ProbeTimeout == 0 {
		c.ProbeTimeout = defaultProbeTimeout
	}
	return c
}
