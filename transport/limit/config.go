package limit

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/tullemesh/tulle/internal/setting"
)

// Config says how many calls are let through. The zero Config sets no limit.
type Config struct {
	// Rate is the number of calls a second that are let through, on average.
	// Default (0): no limit. Range: 0.000001 to 1000000.
	Rate float64

	// Burst is how many calls may come at once after a rest. Default (0): the
	// calls of one second, which is Rate rounded up. Range: 1 to 1000000. Calls
	// that wait may be let through some milliseconds late, as timers are, and
	// then come so much closer together.
	Burst int

	// MaxWait is the longest that a call waits for its turn. Default (0): none
	// waits, what is over the limit is refused at once. Negative: an error.
	// No call waits that could not be let through in that time and before its
	// deadline: it is refused at once.
	MaxWait time.Duration

	// MaxWaiters is how many calls may wait at a time, for each key. Default
	// (0): 100. Range: 1 to 100000.
	MaxWaiters int

	// Key names the limiter that a request falls under; each key has Rate and
	// Burst of its own. Nil, and the key "": the one limiter that has no key.
	// It is called once for each request, before anything else, and must be
	// safe for concurrent use. Wrap asks it; Acquire is told the key.
	Key func(*http.Request) string

	// Keys is how many keys are remembered. Default (0): 1024. Range: 1 to
	// 1000000. One more makes the Limiter forget the key that was not used for
	// the longest time, which then starts anew with a full Burst. Keys that
	// calls wait for are never forgotten, be they more than this.
	Keys int

	// Source decides in place of Rate and Burst, which must be 0 then.
	// Default (nil): none.
	Source Source

	// Dark lets every call through at once and only counts what would have
	// become of it, so that a limit can be tried out on real traffic.
	Dark bool
}

// The limits and defaults of Config. At the highest rate the nanosecond, which
// is as fine as times get, is a thousandth of a token.
const (
	minRate           = 1e-6
	maxRate           = 1e6
	maxBurst          = 1_000_000
	defaultMaxWaiters = 100
	maxMaxWaiters     = 100_000
	defaultKeys       = 1024
	maxKeys           = 1_000_000
)

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &setting.Error{Package: "limit", Field: field, Value: value, Want: want})
	}
	switch {
	case c.Source != nil && c.Rate != 0:
		bad("Rate", c.Rate, "0 with a Source, which knows its own")
	case c.Rate != 0 && !(c.Rate >= minRate && c.Rate <= maxRate): // so that NaN is refused
		bad("Rate", c.Rate, fmt.Sprintf("%f to %.0f, or 0 for no limit", minRate, maxRate))
	}
	switch {
	case c.Source != nil && c.Burst != 0:
		bad("Burst", c.Burst, "0 with a Source, which knows its own")
	case c.Burst < 0 || c.Burst > maxBurst:
		bad("Burst", c.Burst, fmt.Sprintf("1 to %d, or 0 for the calls of one second", maxBurst))
	}
	if c.MaxWait < 0 {
		bad("MaxWait", c.MaxWait, "0 or more")
	}
	if c.MaxWaiters < 0 || c.MaxWaiters > maxMaxWaiters {
		bad("MaxWaiters", c.MaxWaiters, fmt.Sprintf("1 to %d, or 0 for the default", maxMaxWaiters))
	}
	if c.Keys < 0 || c.Keys > maxKeys {
		bad("Keys", c.Keys, fmt.Sprintf("1 to %d, or 0 for the default", maxKeys))
	}
	return errors.Join(errs...)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Burst == 0 {
		c.Burst = max(1, int(math.Ceil(c.Rate)))
	}
	if c.MaxWaiters == 0 {
		c.MaxWaiters = defaultMaxWaiters
	}
	if c.Keys == 0 {
		c.Keys = defaultKeys
	}
	return c
}

// off says that there is nothing to limit.
func (c *Config) off() bool { return c.Rate == 0 && c.Source == nil }
