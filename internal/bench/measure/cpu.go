package measure

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CPU is the processor time that this process has used, user and system, its
// garbage collector included.
func CPU() time.Duration { return usage(syscall.RUSAGE_SELF) }

// ChildCPU is the processor time of the children that have ended and been waited
// for.
func ChildCPU() time.Duration { return usage(syscall.RUSAGE_CHILDREN) }

// usage is user and system time. It is 0 where the system does not say, which
// shows in every table.
func usage(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tick is the unit of /proc/<pid>/stat, which is 1/100 s on every Linux that Go
// runs on.
const tick = 10 * time.Millisecond

// ProcessCPU is the processor time that other processes have used: to the
// nanosecond where the kernel tells it for each thread, as long as no thread
// ends, otherwise to 10 ms. A process that has ended counts nothing.
func ProcessCPU(pids ...int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		threads, _ := filepath.Glob(dir + "/task/*/schedstat") // the pattern is well-formed
		exact := schedCPU(threads)
		if exact > 0 {
			sum += exact
		} else if stat, err := os.ReadFile(dir + "/stat"); err == nil {
			sum += statCPU(string(stat))
		}
	}
	return sum
}

// schedCPU sums the first field of schedstat files. Those that cannot be read
// count nothing.
func schedCPU(files []string) time.Duration {
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64) // the kernel writes a number
		sum += time.Duration(n)
	}
	return sum
}

// statCPU takes user and system time from the text of a stat file. The second
// field is a name in brackets that may hold anything.
func statCPU(stat string) time.Duration {
	const user, system = 11, 12 // counted from the first field after the name
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= system {
		return 0
	}
	u, _ := strconv.ParseInt(fields[user], 10, 64)   // the kernel writes numbers
	s, _ := strconv.ParseInt(fields[system], 10, 64) // here
	return time.Duration(u+s) * tick
}

// Children are the processes that pid has started and that still run.
func Children(pid int) []int {
	// Each thread has a list of its own.
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children") // the pattern is well-formed
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// MachineBusy is the time for which the processors of the machine have been at
// work since its start, summed over them, and that which other machines took
// from it.
func MachineBusy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return statBusy(string(text))
}

// statBusy sums all but the idle times of the first line of /proc/stat. Guests
// are in user time already.
func statBusy(stat string) time.Duration {
	line, _, _ := strings.Cut(stat, "\n")
	const idle, wait, guest = 4, 5, 9
	var sum int64
	for i, f := range strings.Fields(line) {
		if i == 0 || i == idle || i == wait || i >= guest {
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64) // the kernel writes numbers here
		sum += n
	}
	return time.Duration(sum) * tick
}
