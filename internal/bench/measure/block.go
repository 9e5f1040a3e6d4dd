package measure

import (
	"errors"
	"sync"
	"time"
)

// A Subject is something that can be called by many at a time.
type Subject struct {
	Name string

	// Caller makes a caller, which one goroutine uses. Its error means that
	// the call did not do what it should, and ends the measurement.
	Caller func() func() error

	// Helpers are processes that work for the calls, such as a proxy.
	Helpers []int
}

// A Load says how a subject is called.
type Load struct {
	Goroutines int           // at least 1
	Block      time.Duration // about how long a block takes
	Rounds     int           // how many blocks of each peer

	// Timed says that each call is timed, which takes two readings of the
	// clock, about 0.1 µs.
	Timed bool

	// Cold, if not nil, runs before each call, and its time does not count. It
	// is for one goroutine, and Timed.
	Cold func()
}

// A Block is what came of calling one subject for a while.
type Block struct {
	Calls   int
	CPU     time.Duration   // of this process
	Helpers time.Duration   // CPU of the subject's helpers
	Wall    time.Duration   //
	Times   []time.Duration // of the calls, if Timed
}

// perCall is a time for each call, in nanoseconds.
func (b *Block) perCall(d time.Duration) float64 { return float64(d) / float64(b.Calls) }

// Run calls the subject about so many times and waits for all of it.
func (s *Subject) Run(load Load, calls int) (Block, error) {
	each := max(calls/load.Goroutines, 1)
	callers := make([]func() error, load.Goroutines)
	times := make([][]time.Duration, load.Goroutines)
	for i := range callers {
		callers[i] = s.Caller()
		if load.Timed {
			times[i] = make([]time.Duration, each)
		}
	}
	errs := make([]error, load.Goroutines)
	helpers := ProcessCPU(s.Helpers...)
	begun, cpu := time.Now(), CPU()
	if load.Goroutines == 1 {
		errs[0] = repeat(callers[0], each, times[0], load.Cold)
	} else {
		var all sync.WaitGroup
		for i, call := range callers {
			all.Go(func() { errs[i] = repeat(call, each, times[i], nil) })
		}
		all.Wait()
	}
	b := Block{Calls: each * load.Goroutines, CPU: CPU() - cpu, Wall: time.Since(begun)}
	b.Helpers = ProcessCPU(s.Helpers...) - helpers
	for _, t := range times {
		b.Times = append(b.Times, t...)
	}
	return b, errors.Join(errs...)
}

// repeat calls n times, and times the calls if there is room for the times.
func repeat(call func() error, n int, times []time.Duration, cold func()) error {
	if times == nil {
		for range n {
			if err := call(); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range times {
		if cold != nil {
			cold()
		}
		begun := time.Now()
		err := call()
		times[i] = time.Since(begun)
		if err != nil {
			return err
		}
	}
	return nil
}

// warm calls the subject until its blocks take about as long as they should,
// and returns how many calls that is.
func (s *Subject) warm(load Load) (int, error) {
	calls := load.Goroutines * 8
	for range 20 {
		b, err := s.Run(load, calls)
		if err != nil {
			return 0, err
		}
		if b.Wall >= load.Block/2 {
			return max(int(float64(b.Calls)*float64(load.Block)/float64(b.Wall)), load.Goroutines), nil
		}
		calls = b.Calls * int(min(max(load.Block/(b.Wall+1), 2), 16))
	}
	return calls, nil
}
