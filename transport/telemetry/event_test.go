package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/telemetry"
)

// logged runs f with a Telemetry that logs, and returns the lines without their
// times.
func logged(t *testing.T, level slog.Level, perMinute int, f func(*telemetry.Telemetry)) []string {
	var out bytes.Buffer
	tel := newTelemetry(t, telemetry.Config{
		EventsPerMinute: perMinute,
		Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
	})
	f(tel)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	tel.Run(ctx) // logs what is queued
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func TestEventLines(t *testing.T) {
	bg := context.Background()
	send := func(tel *telemetry.Telemetry) {
		tel.Event(bg, telemetry.Event{Kind: telemetry.EndpointOut, Service: "users", Endpoint: "a:1", State: "ejected", Reason: "consecutive", For: 5 * time.Second})
		tel.Event(bg, telemetry.Event{Kind: telemetry.EndpointBack, Service: "users", Endpoint: "a:1", State: "returning"})
		tel.Event(bg, telemetry.Event{Kind: telemetry.BreakerChanged, Service: "users", State: "open"})
		tel.Event(bg, telemetry.Event{Kind: telemetry.BreakerChanged, Service: "users", State: "closed"})
		tel.Event(bg, telemetry.Event{Kind: telemetry.DiscoveryUpdated, Service: "users", N: 3})
		tel.Event(bg, telemetry.Event{Kind: telemetry.DiscoveryFailed, Service: "users", Err: errors.New("no such host")})
		tel.Event(bg, telemetry.Event{Kind: telemetry.DiscoveryRecovered, Service: "users", For: time.Minute})
		tel.Event(bg, telemetry.Event{Kind: telemetry.ConfigApplied})
		tel.Event(bg, telemetry.Event{Kind: telemetry.ConfigRefused, Err: errors.New("bad field")})
		tel.Event(bg, telemetry.Event{Kind: 200})
	}
	all := []string{
		`level=WARN msg="tulle: endpoint is left out" service=users endpoint=a:1 state=ejected reason=consecutive for=5s`,
		`level=INFO msg="tulle: endpoint is back" service=users endpoint=a:1 state=returning`,
		`level=WARN msg="tulle: breaker changed" service=users state=open`,
		`level=INFO msg="tulle: breaker changed" service=users state=closed`,
		`level=DEBUG msg="tulle: discovery updated" service=users n=3`,
		`level=WARN msg="tulle: discovery failed" service=users error="no such host"`,
		`level=INFO msg="tulle: discovery recovered" service=users for=1m0s`,
		`level=INFO msg="tulle: configuration applied"`,
		`level=ERROR msg="tulle: configuration refused" error="bad field"`,
	}
	equal(t, "debug", logged(t, slog.LevelDebug, 0, send), all)
	equal(t, "warn", logged(t, slog.LevelWarn, 0, send), []string{all[0], all[2], all[5], all[8]})
}

func TestEventMetrics(t *testing.T) {
	m := everything(t).collect()
	equal(t, "ejections", points(m["tulle.client.ejection.transitions"]), []string{"tulle.reason=r tulle.service=users tulle.state=s: 2"})
	equal(t, "breakers", points(m["tulle.client.breaker.transitions"]), []string{"tulle.reason=r tulle.service=users tulle.state=s: 1"})
	equal(t, "discovery", points(m["tulle.client.discovery.updates"]),
		[]string{"tulle.result=error tulle.service=users: 1", "tulle.result=ok tulle.service=users: 1"})
	equal(t, "reloads", points(m["tulle.client.config.reloads"]), []string{"tulle.result=applied: 1", "tulle.result=refused: 1"})
}

// So many lines a minute of one kind for one service; the next says how many were
// left out.
func TestEventLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logged(t, slog.LevelInfo, 2, func(tel *telemetry.Telemetry) {
			out := func(service string, i int) {
				tel.Event(context.Background(), telemetry.Event{Kind: telemetry.EndpointOut, Service: service, State: fmt.Sprint(i)})
			}
			for i := range 10 {
				out("a", i)
			}
			out("b", 0)
			time.Sleep(61 * time.Second)
			out("a", 10)
			out("a", 11)
			time.Sleep(61 * time.Second)
			out("b", 1)
		})
		const out = `level=WARN msg="tulle: endpoint is left out" service=`
		equal(t, "lines", lines, []string{
			out + "a state=0", out + "a state=1", out + "b state=0",
			out + "a state=10 suppressed=8", out + "a state=11", out + "b state=1",
		})
	})
}

// A logger that hangs holds up no call: what does not fit into the queue is lost,
// and the next line that does says so.
func TestEventNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{hang: make(chan struct{})}
		tel := newTelemetry(t, telemetry.Config{Logger: slog.New(h), EventsPerMinute: 1_000_000})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tel.Run(ctx)
		}()
		for range 1000 {
			tel.Event(ctx, telemetry.Event{Kind: telemetry.ConfigApplied})
		}
		synctest.Wait() // Run hangs in the logger
		close(h.hang)
		synctest.Wait()
		tel.Event(ctx, telemetry.Event{Kind: telemetry.ConfigApplied})
		cancel()
		<-done
		if n := len(h.lines); n < 256 || n > 258 {
			t.Errorf("got %d lines, want the 256 that fit into the queue and up to 2", n)
		}
		lost := 0
		for _, line := range h.lines {
			n := 0
			if line != "" {
				if _, err := fmt.Sscanf(line, "lost=%d", &n); err != nil {
					t.Fatalf("got line %q, want lost=... or nothing", line)
				}
			}
			lost += n
		}
		if lost+len(h.lines) != 1001 {
			t.Errorf("got %d lines that tell of %d lost, want 1001 in all", len(h.lines), lost)
		}
	})
}

// hanging is a handler that hangs until its channel is closed.
type hanging struct {
	hang  chan struct{}
	lines []string
}

func (h *hanging) Enabled(context.Context, slog.Level) bool { return true }
func (h *hanging) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *hanging) WithGroup(string) slog.Handler            { return h }
func (h *hanging) Handle(_ context.Context, r slog.Record) error {
	<-h.hang
	line := ""
	r.Attrs(func(a slog.Attr) bool { line += a.String(); return true })
	h.lines = append(h.lines, line)
	return errors.New("cannot be written")
}

// Topics are bounded: names of services that come and go share a limit then.
func TestEventTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := logged(t, slog.LevelInfo, 1, func(tel *telemetry.Telemetry) {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { tel.Run(ctx) })
			for i := range 5000 {
				tel.Event(ctx, telemetry.Event{Kind: telemetry.EndpointOut, Service: fmt.Sprint("s", i)})
				if i%100 == 0 {
					synctest.Wait()
				}
			}
			cancel()
			wg.Wait()
		})
		if len(lines) != 4097 {
			t.Errorf("got %d lines, want 4096 and one for all others", len(lines))
		}
	})
}

// Without a logger there is nothing to run.
func TestRunWithoutLogger(t *testing.T) {
	tel := newTelemetry(t, telemetry.Config{})
	tel.Event(context.Background(), telemetry.Event{Kind: telemetry.ConfigApplied})
	tel.Run(context.Background())
}
