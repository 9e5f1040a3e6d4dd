// path: retry/good.go

package retry

import "time"

// Only the algorithm packages are barred from the clock.
func now() time.Time { return time.Now() }
