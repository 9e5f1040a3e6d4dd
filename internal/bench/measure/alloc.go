package measure

import (
	"math"
	"runtime"
)

// Allocs is what one call allocates in this process, whatever goroutine does it:
// the number and the bytes. The process must do nothing else; what it does all
// the same is held off by taking the least of some rounds.
func (s *Subject) Allocs(calls int) (count, bytes float64, err error) {
	const rounds = 7
	call := s.Caller()
	for range min(calls, 100) { // connections, caches, maps
		if err := call(); err != nil {
			return 0, 0, err
		}
	}
	count, bytes = math.Inf(1), math.Inf(1)
	for range rounds {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := repeat(call, calls, nil, nil); err != nil {
			return 0, 0, err
		}
		runtime.ReadMemStats(&after)
		count = min(count, float64(after.Mallocs-before.Mallocs)/float64(calls))
		bytes = min(bytes, float64(after.TotalAlloc-before.TotalAlloc)/float64(calls))
	}
	return count, bytes, nil
}

// line is the size of a cache line.
const line = 64

// Colder returns a function that reads through so many bytes, so that little of
// what was in the caches is left there.
func Colder(bytes int) func() {
	memory := make([]byte, bytes)
	sum := byte(0)
	return func() {
		for i := 0; i < len(memory); i += line {
			sum += memory[i]
			memory[i] = sum
		}
	}
}
