package breaker

import (
	"errors"
	"fmt"
	"time"
)

// ErrOpen is what errors.Is finds when a Breaker refused a call. Nothing was
// sent.
var ErrOpen = errors.New("breaker: open")

// Error is a refusal. All callers that are refused for the same reason get the
// same one; it is not to be changed.
type Error struct {
	// Key is that of the Breaker in its Group, or "".
	Key string

	// Until is when the next trial may be made. While one is under way it is
	// when that counts as lost; its result may come, and open or close the
	// Breaker, before.
	Until time.Time
}

// RetryAfter is how long it is until Until, 0 when that has passed.
func (e *Error) RetryAfter() time.Duration { return max(0, time.Until(e.Until)) }

// Error implements error.
func (e *Error) Error() string {
	name := ""
	if e.Key != "" {
		name = fmt.Sprintf(" for %q", e.Key)
	}
	return fmt.Sprintf("breaker: open%s, next trial in %v", name, e.RetryAfter().Round(time.Millisecond))
}

// Unwrap leads to ErrOpen.
func (e *Error) Unwrap() error { return ErrOpen }
