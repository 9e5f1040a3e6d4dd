package breaker

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tullemesh/tulle/internal/setting"
)

// OutlierConfig says when an endpoint is ejected from the pool, and when it is
// tried again. The zero OutlierConfig is the default policy: Finagle's rules and
// times, with a comparison to the peers and a floor.
type OutlierConfig struct {
	// Off switches ejection off.
	Off bool

	// Dark counts what would have been ejected, and ejects nothing.
	Dark bool

	// Consecutive is the number of failures in a row that eject. Default (0):
	// 5. Range: 1 to 1000.
	Consecutive int

	// SuccessShare is the share of successes below which an endpoint is
	// ejected, once it has had Requests. Default (0): 0.8 and 5. Range: above
	// 0 up to 1, and 1 to 10000.
	SuccessShare float64
	Requests     int

	// Behind is how far an endpoint's share of successes must be below the
	// median of its peers: when all are bad, none is ejected. Default (0):
	// 0.2. Range: above 0 up to 1.
	Behind float64

	// Window is how long failures count. Default (0): 30 s. Range: 1 s to 30 s.
	Window time.Duration

	// Base and Max are the times of the first ejection and of the longest;
	// each further one is twice as long, half of it random. Default (0): 5 s
	// and 300 s. Range: 100 ms to 24 h.
	Base, Max time.Duration

	// Unsent is how long an endpoint is left out at most that could not be
	// connected to; one that refuses at once is tried again sooner at first, and
	// when no other is left.
	// Default (0): 1 s. Range: 10 ms to 1 min.
	Unsent time.Duration

	// ProbeTimeout is the lease of the attempt that tries an ejected endpoint.
	// Default (0): 10 s. Range: 10 ms to 10 min.
	ProbeTimeout time.Duration

	// Ramp is the time in which an endpoint that came back gets from a tenth
	// of its traffic to all of it. Default (0): 10 s. Negative: none.
	Ramp time.Duration

	// Rand returns uniform random bits, for the jitter; for simulations and
	// tests. Default (nil): math/rand/v2. It must be safe for concurrent use.
	Rand func() uint64
}

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c OutlierConfig) Validate() error {
	var errs []error
	within := func(field string, ok bool, value any, want string) {
		if !ok {
			errs = append(errs, &setting.Error{Package: "breaker", Field: field, Value: value, Want: want})
		}
	}
	d := c.WithDefaults()
	within("Consecutive", d.Consecutive >= 1 && d.Consecutive <= 1000, c.Consecutive, "1 to 1000")
	within("SuccessShare", d.SuccessShare > 0 && d.SuccessShare <= 1, c.SuccessShare, "above 0, up to 1")
	within("Requests", d.Requests >= 1 && d.Requests <= 10000, c.Requests, "1 to 10000")
	within("Behind", d.Behind > 0 && d.Behind <= 1, c.Behind, "above 0, up to 1")
	for _, f := range []struct {
		name               string
		value, least, most time.Duration
	}{
		{"Window", d.Window, time.Second, 30 * time.Second},
		{"Base", d.Base, 100 * time.Millisecond, 24 * time.Hour},
		{"Max", d.Max, 100 * time.Millisecond, 24 * time.Hour},
		{"Unsent", d.Unsent, 10 * time.Millisecond, time.Minute},
		{"ProbeTimeout", d.ProbeTimeout, 10 * time.Millisecond, 10 * time.Minute},
	} {
		within(f.name, f.value >= f.least && f.value <= f.most, f.value, fmt.Sprintf("%v to %v", f.least, f.most))
	}
	within("Base", d.Base <= d.Max, d.Base, fmt.Sprintf("at most Max, %v", d.Max))
	return errors.Join(errs...)
}

// WithDefaults is c with what was left out filled in.
func (c OutlierConfig) WithDefaults() OutlierConfig {
	c.Consecutive = cmp.Or(c.Consecutive, 5)
	c.SuccessShare = cmp.Or(c.SuccessShare, 0.8)
	c.Requests = cmp.Or(c.Requests, 5)
	c.Behind = cmp.Or(c.Behind, 0.2)
	c.Window = cmp.Or(c.Window, 30*time.Second)
	c.Base = cmp.Or(c.Base, 5*time.Second)
	c.Max = cmp.Or(c.Max, max(300*time.Second, c.Base))
	c.Unsent = cmp.Or(c.Unsent, time.Second)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, 10*time.Second)
	c.Ramp = cmp.Or(c.Ramp, 10*time.Second)
	return c
}
