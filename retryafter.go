package tulle

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// ParseRetryAfter reads a Retry-After value (RFC 9110, 10.2.3): a number of
// seconds, or an HTTP date, which is taken relative to now. A date in the past
// is 0. It reports false for anything else. The result is not capped: the
// caller knows what it can afford.
func ParseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if seconds, ok := parseSeconds(value); ok {
		return seconds, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(0, date.Sub(now)), true
}

// parseSeconds reads digits only: strconv would accept signs and underscores.
// A number that does not fit stands for the longest duration there is.
func parseSeconds(value string) (time.Duration, bool) {
	const most = int64(math.MaxInt64 / time.Second)
	var n int64
	for i := range len(value) {
		d := value[i]
		if d < '0' || d > '9' {
			return 0, false
		}
		if n = n*10 + int64(d-'0'); n > most {
			n = most
		}
	}
	return time.Duration(n) * time.Second, true
}
