package deadline

import (
	"fmt"
	"strconv"
	"time"
)

// Header carries the time that is left for a request, in the syntax of
// grpc-timeout. It is relative, so that clocks need not agree.
const Header = "Tulle-Timeout"

// maxDigits is the limit of grpc-timeout's TimeoutValue.
const maxDigits = 8

// units are those of grpc-timeout, finest first.
var units = [...]struct {
	letter byte
	length time.Duration
}{
	{'n', time.Nanosecond},
	{'u', time.Microsecond},
	{'m', time.Millisecond},
	{'S', time.Second},
	{'M', time.Minute},
	{'H', time.Hour},
}

// Format writes d in the syntax of grpc-timeout: at most 8 digits and a unit,
// in the finest unit that fits, rounded down, so that a receiver never
// believes that it has longer than the sender will wait. Nothing is written
// finer than a microsecond. Zero and less is "0n".
func Format(d time.Duration) string {
	if d <= 0 {
		return "0n"
	}
	var buf [maxDigits + 1]byte
	for _, u := range units[1:] {
		if n := int64(d / u.length); n < 1e8 {
			return string(append(strconv.AppendInt(buf[:0], n, 10), u.letter))
		}
	}
	return "99999999H"
}

// Parse reads the syntax of grpc-timeout: 1 to 8 digits and one of the units
// n, u, m, S, M, H. A time longer than time.Duration can hold is cut to that.
func Parse(s string) (time.Duration, error) {
	if len(s) < 2 || len(s) > maxDigits+1 {
		return 0, fmt.Errorf("deadline: timeout %q: want 1 to 8 digits and one of n, u, m, S, M, H", s)
	}
	var n int64
	for i := range len(s) - 1 {
		d := s[i]
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("deadline: timeout %q: %q is no digit", s, d)
		}
		n = n*10 + int64(d-'0')
	}
	for _, u := range units {
		if u.letter == s[len(s)-1] {
			const most = time.Duration(1<<63 - 1)
			if n > int64(most/u.length) {
				return most, nil
			}
			return time.Duration(n) * u.length, nil
		}
	}
	return 0, fmt.Errorf("deadline: timeout %q: unit %q: want one of n, u, m, S, M, H", s, s[len(s)-1])
}
