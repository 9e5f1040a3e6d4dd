package scale

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
)

// state is what the process holds.
type state struct {
	heap, resident      uint64
	goroutines, sockets int
}

// look collects garbage and looks.
func look() state {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return state{m.HeapAlloc, resident(), runtime.NumGoroutine(), sockets()}
}

// since is what has been added, for n endpoints.
func (s state) since(before state, n int) Footprint {
	return Footprint{
		Heap:       (float64(s.heap) - float64(before.heap)) / float64(n),
		Resident:   (float64(s.resident) - float64(before.resident)) / float64(n),
		Goroutines: s.goroutines - before.goroutines,
		Sockets:    s.sockets - before.sockets,
	}
}

// resident is the memory of the process; 0 if the system does not say.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64) // the kernel writes a number
	return pages * uint64(os.Getpagesize())
}

// sockets counts the open ones, those of the runtime's poller not among them.
func sockets() int {
	const dir = "/proc/self/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink(dir + e.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// A process is quiet when in each of so many windows it has used less than calm
// of processor time, and the number of its goroutines has stayed as it was: on a
// machine that others keep busy it may want to work and not be let.
const (
	window = 50 * time.Millisecond
	calm   = 3 * time.Millisecond
	quiet  = 8
)

// settle waits until the process is quiet, and returns the processor time that
// it has used since from, to the end of the last window that was not, or of the
// first; false means that it was not quiet in time.
func settle(from time.Duration, patience time.Duration) (time.Duration, bool) {
	tick := time.NewTicker(window)
	defer tick.Stop()
	begun, last, goroutines := time.Now(), measure.CPU(), runtime.NumGoroutine()
	var used time.Duration
	for still := 0; still < quiet; {
		<-tick.C
		now, running := measure.CPU(), runtime.NumGoroutine()
		busy := now-last >= calm || running != goroutines
		if used == 0 || busy {
			used = now - from
		}
		still++
		if busy {
			still = 0
		}
		last, goroutines = now, running
		if time.Since(begun) > patience {
			return used, false
		}
	}
	return used, true
}
