package retry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/setting"
)

// Config says when calls are repeated. The zero Config is the default policy.
type Config struct {
	// Attempts is the most attempts of a call, the first included. Default
	// (0): 3. Range: 1 to 10. 1 means that nothing is repeated but attempts
	// that provably reached nobody. Those moves to another endpoint are not
	// counted here; there are at most two of them.
	Attempts int

	// MinBackoff and MaxBackoff bound the pause before a repeat: a random time
	// between 0 and MinBackoff × (2^n − 1), at most MaxBackoff, before the
	// nth. Default (0): 25 ms and 250 ms. Negative: an error.
	MinBackoff time.Duration
	MaxBackoff time.Duration

	// MaxRetryAfter is the longest Retry-After that is waited for. A longer
	// one, and one that the call's deadline does not leave time for, ends the
	// call with the response that carries it. Default (0): 300 s. Negative:
	// none is waited for.
	MaxRetryAfter time.Duration

	// Idempotent names methods that may be sent twice, such as "PUT" and
	// "DELETE", besides GET, HEAD, OPTIONS and TRACE; for gRPC by their full
	// names, "/users.Users/Get", or "/users.Users/*".
	Idempotent []string

	// Replay is the most bytes of a request body without GetBody that are kept
	// for another attempt. Default (0): none; such a body is sent again only
	// when nothing of it was read. Range: up to 65536.
	Replay int

	// Condition replaces the outcome table's answer to whether a finished
	// attempt may be repeated; call.Last has its outcome. Budget, attempts and
	// time still apply. Nil: call.Last.Class.Repetition(). It is called on the
	// path of a failing call and must not block.
	Condition func(call *tulle.Call) tulle.Repetition

	// Dark decides and counts (Stats.Dark), and repeats nothing: to see what
	// retries would do before they do it.
	Dark bool

	// Budget limits the repeats of all calls together.
	Budget BudgetConfig

	// Rand returns uniform random bits, for the pauses; for simulations and
	// tests. Default (nil): math/rand/v2. It must be safe for concurrent use.
	Rand func() uint64
}

// maxReplay is the limit of Config.Replay, that of Linkerd's replay buffer.
const maxReplay = 64 << 10

// The defaults of Config.
const (
	defaultAttempts      = 3
	defaultMinBackoff    = 25 * time.Millisecond
	defaultMaxBackoff    = 250 * time.Millisecond
	defaultMaxRetryAfter = 300 * time.Second
)

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &setting.Error{Package: "retry", Field: field, Value: value, Want: want})
	}
	if c.Attempts < 0 || c.Attempts > 10 {
		bad("Attempts", c.Attempts, "1 to 10, or 0 for the default")
	}
	if c.MinBackoff < 0 {
		bad("MinBackoff", c.MinBackoff, "0 or more")
	}
	if c.MaxBackoff < 0 {
		bad("MaxBackoff", c.MaxBackoff, "0 or more")
	}
	if d := c.withDefaults(); d.MinBackoff > d.MaxBackoff && c.MinBackoff >= 0 && c.MaxBackoff >= 0 {
		bad("MinBackoff", d.MinBackoff, fmt.Sprintf("at most MaxBackoff, %v", d.MaxBackoff))
	}
	if c.Replay < 0 || c.Replay > maxReplay {
		bad("Replay", c.Replay, fmt.Sprintf("0 to %d", maxReplay))
	}
	for _, m := range c.Idempotent {
		if !isMethod(m) {
			bad("Idempotent", fmt.Sprintf("%q", m), "an HTTP method, or /service/method of gRPC")
		}
	}
	return errors.Join(append(errs, c.Budget.validate())...)
}

// isMethod knows a method of HTTP, and the full name of one of gRPC.
func isMethod(m string) bool {
	if full, ok := strings.CutPrefix(m, "/"); ok {
		service, method, ok := strings.Cut(full, "/")
		return ok && service != "" && method != "" && !strings.ContainsFunc(service+method, notInToken)
	}
	return m != "" && !strings.ContainsFunc(m, notInToken)
}

// notInToken tells what cannot stand in a method (RFC 9110, 5.6.2).
func notInToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Attempts == 0 {
		c.Attempts = defaultAttempts
	}
	if c.MinBackoff == 0 {
		c.MinBackoff = defaultMinBackoff
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = max(defaultMaxBackoff, c.MinBackoff)
	}
	if c.MaxRetryAfter == 0 {
		c.MaxRetryAfter = defaultMaxRetryAfter
	}
	c.Idempotent = slices.Clone(c.Idempotent)
	return c // NewBudget fills in the Budget: done twice, "none" would become the default
}
