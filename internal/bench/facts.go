package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/proxy"
)

// begin notes what is known before a run.
func (b *bench) begin() {
	b.begun, b.busy, b.own = time.Now(), measure.MachineBusy(), measure.CPU()+measure.ChildCPU()
	b.report.Facts = Facts{
		Date:       b.begun.Format("2006-01-02"),
		Quick:      b.opt.quick,
		Machine:    processor(),
		CPUs:       runtime.NumCPU(),
		Procs:      runtime.GOMAXPROCS(0),
		Kernel:     firstLine("/proc/sys/kernel/osrelease"),
		Go:         runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		LoadBefore: load(),
		Rounds:     b.opt.rounds,
		Block:      b.opt.block,
		Versions:   versions(),
	}
}

// end notes what is known after a run, when all processes of its own have ended.
func (b *bench) end() {
	f := &b.report.Facts
	f.Took = time.Since(b.begun)
	f.LoadAfter = load()
	own := measure.CPU() + measure.ChildCPU() - b.own
	f.Others = max(float64(measure.MachineBusy()-b.busy-own)/float64(f.Took), 0)
}

// processor is the name of the machine's processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// load is the load average over 1, 5 and 15 minutes.
func load() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// firstLine is that of a file, "unknown" if there is none.
func firstLine(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// compared are the modules whose versions the tables depend on.
var compared = []string{
	"github.com/bufbuild/httplb",
	"github.com/failsafe-go/failsafe-go",
	"github.com/go-kratos/kratos/v3",
	"github.com/hashicorp/go-retryablehttp",
	"github.com/sony/gobreaker/v2",
	"github.com/zeromicro/go-zero",
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
	"go.opentelemetry.io/otel/sdk",
	"golang.org/x/time",
	"google.golang.org/grpc",
}

// versions are those of the peers, as far as they can be known.
func versions() []Version {
	var all []Version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(compared, m.Path) {
				all = append(all, Version{m.Path, m.Version})
			}
		}
	}
	for _, k := range proxy.Kinds() {
		if v, err := k.Version(); err == nil {
			all = append(all, Version{k.Name, v})
		}
	}
	return all
}
