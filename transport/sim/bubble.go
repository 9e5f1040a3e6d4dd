package sim

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f in virtual time: all that reads the clock below f sees a time
// that stands still while there is work and jumps when everybody sleeps. F must
// leave no goroutine behind. A panic in it, and a sleep that nothing ends, are
// errors.
//
// The clock is that of testing/synctest, which wants a testing.T. The zero T is
// enough for it: it only keeps the books of a test that nobody reports. No flag
// is registered and nothing is printed.
func bubble(f func() error) error {
	ended := make(chan error, 1)
	go func() {
		err := fmt.Errorf("sim: the run ended early")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("sim: %v", p)
			}
			ended <- err
		}()
		synctest.Test(new(testing.T), func(*testing.T) { err = shielded(f) })
	}()
	return <-ended
}

// shielded calls f and turns a panic into an error, as there it would end the
// program.
func shielded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sim: %v", p)
		}
	}()
	return f()
}

// clock is the time of a run. That of the model runs ahead of that of the bubble,
// which is brought up only where code looks that reads the wall clock: a sleep is
// what costs most in a run.
type clock struct {
	base time.Time // when the run began
	at   int64     // now, in nanoseconds since then
	wall int64     // the bubble's now
}

// sync brings the bubble's time up.
func (c *clock) sync() {
	if c.at > c.wall {
		time.Sleep(time.Duration(c.at - c.wall))
		c.wall = c.at
	}
}
