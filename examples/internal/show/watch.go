package show

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle/transport"
)

const (
	sampleEvery = 100 * time.Millisecond // fine enough to measure shares from a moment on
	shareOver   = 2 * time.Second        // what a share in the live view is of
)

// A record is how many attempts each server had got when.
type record []sample

// sample is a reading of the attempts by the name of the server.
type sample struct {
	at       time.Duration
	attempts map[string]uint64
}

// forever is later than any sample.
const forever = time.Duration(math.MaxInt64)

// before is the last sample that is not later than t.
func (r record) before(t time.Duration) sample {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].at <= t {
			return r[i]
		}
	}
	return sample{}
}

// share is the part of all attempts between two times that one server got. The
// counts only grow, so any two samples give the attempts between them.
func (r record) share(name string, from, to time.Duration) float64 {
	a, b := r.before(from), r.before(to)
	all := b.total() - a.total()
	if all == 0 {
		return 0
	}
	return float64(b.attempts[name]-a.attempts[name]) / float64(all)
}

// total is the number of attempts at all servers.
func (s sample) total() uint64 {
	var sum uint64
	for _, n := range s.attempts {
		sum += n
	}
	return sum
}

// A watch looks at tulle while it works, keeps a record and shows what it sees.
// All it knows comes from Transport.Snapshot.
type watch struct {
	stage        *Stage
	transport    *transport.Transport
	start        time.Time
	plain, tulle *client

	latest atomic.Int32 // index of the phase that began last
	record record       // belongs to run until that returns
	drawn  int          // lines on the terminal that the next view replaces
}

func newWatch(s *Stage, t *transport.Transport, start time.Time, plain, tulle *client) *watch {
	return &watch{stage: s, transport: t, start: start, plain: plain, tulle: tulle}
}

// begun takes note that phase i has begun.
func (w *watch) begun(i int) { w.latest.Store(int32(i)) }

// run looks until ctx ends. On a terminal it shows one view that changes, and
// otherwise a line each second.
func (w *watch) run(ctx context.Context, out io.Writer) {
	show, every := w.line, 10
	if isTerminal(out) {
		show, every = w.block, 2
	}
	// Every reading goes into the record, and only some are shown.
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		s := w.look()
		if n%every == 0 && n > 0 {
			show(out, s)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.look() // the last attempts count too
			return
		}
	}
}

// isTerminal says that what is written is seen by a person at once.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// look adds to the record and returns what it saw of the service.
func (w *watch) look() transport.ServiceSnapshot {
	s := w.transport.Snapshot().Services[0]
	at := time.Since(w.start)
	attempts := make(map[string]uint64, len(s.Endpoints))
	for _, e := range s.Endpoints {
		attempts[e.Name] = e.Attempts
	}
	w.record = append(w.record, sample{at, attempts})
	return s
}

// state is what tulle thinks of an endpoint, in a word. Expected and Chance are
// what the balancer goes by. They know of calls that got no answer too, which
// the mean latency of the answers does not.
func state(e *transport.EndpointSnapshot, s *transport.ServiceSnapshot) string {
	switch {
	case e.State == "ejected" || e.State == "dead" || e.State == "probing":
		return e.State
	case e.Attempts == 0:
		return "new" // left alone until it is introduced
	case s.Median > 0 && e.Expected > 5*s.Median:
		return "slow"
	case e.Chance >= 0 && e.Chance < 0.95 || // the last ten
		e.Success >= 0 && e.Success < 0.8:
		return "failing"
	}
	return "ok"
}

// recentShare is the endpoint's share of the latest attempts.
func (w *watch) recentShare(name string) float64 {
	now := w.record[len(w.record)-1].at
	return w.record.share(name, now-shareOver, now)
}

// heading tells the time, what happened last and the calls so far. It has two
// parts, as one line would be too long for a terminal.
func (w *watch) heading() (event, calls string) {
	title := w.stage.show.Script[w.latest.Load()].title()
	event = fmt.Sprintf("%4.1fs  %s", time.Since(w.start).Seconds(), title)
	for _, c := range []*client{w.plain, w.tulle} {
		calls += fmt.Sprintf("  %s: %d calls, %d failed", c.name, c.done.Load(), c.failed.Load())
	}
	return event, calls
}

// line shows the view for files and pipes: one line, with state, share, latency
// and attempts in flight of each endpoint.
func (w *watch) line(out io.Writer, s transport.ServiceSnapshot) {
	var b strings.Builder
	event, calls := w.heading()
	fmt.Fprintf(&b, "%-*s%s", width(w.stage.show.Script)+7, event, calls)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		fmt.Fprintf(&b, " | %s %s %.0f%% %s %d", e.Name, state(e, &s), 100*w.recentShare(e.Name),
			milliseconds(e.Expected), e.Waiting+e.Streaming)
	}
	fmt.Fprintln(out, b.String())
}

// block shows the view for people: it is drawn over the one before.
func (w *watch) block(out io.Writer, s transport.ServiceSnapshot) {
	const ( // what ANSI terminals understand, those of Windows too
		up   = "\x1b[%dA\r" // the cursor, by lines
		rest = "\x1b[J"     // from the cursor to the end
	)
	var b strings.Builder
	if w.drawn > 0 {
		fmt.Fprintf(&b, up+rest, w.drawn)
	}
	event, calls := w.heading()
	fmt.Fprintf(&b, "%s\n     %s\n\n", event, calls)
	fmt.Fprintf(&b, "%-9s %-17s %-8s %6s %8s %10s\n", "endpoint", "in truth", "to tulle", "share", "latency", "in flight")
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		fmt.Fprintf(&b, "%-9s %-17s %-8s %5.1f%% %8s %10d\n", e.Name, w.stage.show.describe(w.stage.users.servers[i].now()), state(e, &s),
			100*w.recentShare(e.Name), milliseconds(e.Expected), e.Waiting+e.Streaming)
	}
	w.drawn = len(s.Endpoints) + 4
	_, _ = io.WriteString(out, b.String()) // a view that cannot be shown changes nothing
}

// milliseconds is a latency for people.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
}
