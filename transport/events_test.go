package transport_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// logger logs to l without times.
func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "for" {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// about are the lines that have a text.
func (l *lines) about(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// moved are the points of a counter, as text.
func moved(t *testing.T, s *sdk, name string) (points []string) {
	t.Helper()
	sum, _ := s.collect(t)[name].(metricdata.Sum[int64])
	for _, p := range sum.DataPoints {
		text := ""
		for _, kv := range p.Attributes.ToSlice() {
			text += kv.Value.String() + " "
		}
		points = append(points, fmt.Sprint(text, p.Value))
	}
	slices.Sort(points)
	return points
}

// What becomes of endpoints is told to the log and to metrics, with the reason:
// nothing of it was, as nobody called the hook that tells.
func TestEndpointEvents(t *testing.T) {
	for _, dark := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, s := new(lines), newSDK()
			trouble := true
			base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
				switch {
				case trouble && addr == "bad:1":
					return answer(req, http.StatusServiceUnavailable, ""), nil
				case trouble && addr == "dead:1":
					return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
				}
				return answer(req, http.StatusOK, ""), nil
			})
			cfg := service(base, transport.Policy{
				Balancer: balancer.RoundRobin{}, Retry: &retry.Config{Attempts: 1},
				Ejection: &breaker.OutlierConfig{Dark: dark, Base: time.Second, Max: time.Second},
			}, "a:1", "bad:1", "c:1", "d:1", "dead:1")
			cfg.Telemetry = s.config
			cfg.Telemetry.Logger = log.logger()
			rt := newTransport(t, cfg)
			for n := range 1000 {
				trouble = n < 500
				_, _, _ = get(t.Context(), rt, "http://svc/")
				time.Sleep(20 * time.Millisecond)
			}
			synctest.Wait()
			consecutive, connect, back := "consecutive", "connect", "level=INFO msg=\"tulle: endpoint is back\" service=svc endpoint=bad:1 state=returning"
			if dark {
				consecutive, connect, back = "dark", "dark", "level=INFO msg=\"tulle: endpoint is back\" service=svc endpoint=bad:1 state=healthy reason=dark"
			}
			want := []string{"level=WARN msg=\"tulle: endpoint is left out\" service=svc endpoint=bad:1 state=ejected reason=" + consecutive, back}
			if got := log.about("bad:1"); !slices.Equal(got, want) {
				t.Errorf("dark %v: got\n%s\nwant\n%s", dark, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if got := log.about("endpoint=dead:1 state=dead reason=" + connect); len(got) != 1 {
				t.Errorf("dark %v: got %q", dark, got)
			}
			points := strings.Join(moved(t, s, "tulle.client.ejection.transitions"), ", ")
			for _, want := range []string{consecutive + " svc ejected 1", connect + " svc dead 1"} {
				if !strings.Contains(points, want) {
					t.Errorf("dark %v: got %q, want %q in it", dark, points, want)
				}
			}
			decided := moved(t, s, "tulle.client.dark.decisions")
			if want := []string{"ejection svc 2"}; dark && !slices.Equal(decided, want) || !dark && decided != nil {
				t.Errorf("dark %v: got %q", dark, decided)
			}
		})
	}
}

// So are the breaker, discovery and configurations.
func TestOtherEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := new(lines), newSDK()
		base := fleet(func(req *http.Request, _ string) (*http.Response, error) {
			return answer(req, http.StatusServiceUnavailable, ""), nil
		})
		cfg := service(base, transport.Policy{Breaker: &breaker.Config{Requests: 5}}, "a:1")
		cfg.Telemetry = s.config
		cfg.Telemetry.Logger = log.logger()
		rt := newTransport(t, cfg)
		for range 20 {
			_, _, _ = get(t.Context(), rt, "http://svc/")
		}
		cfg.Services = map[string]transport.Service{"svc": {Resolver: endpoints("a:1"), Policy: transport.Policy{Timeout: -7}}, "": {}}
		if err := rt.Update(cfg); err == nil {
			t.Error("got no error of an update that cannot be used")
		}
		synctest.Wait()
		for _, want := range []string{
			"level=WARN msg=\"tulle: breaker changed\" service=svc state=open",
			"msg=\"tulle: discovery updated\" service=svc n=1",
			"msg=\"tulle: configuration applied\"",
			"level=ERROR msg=\"tulle: configuration refused\"",
		} {
			if got := log.about(want); len(got) != 1 {
				t.Errorf("got %q of %s", got, want)
			}
		}
		if got, want := moved(t, s, "tulle.client.breaker.transitions"), []string{"svc open 1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := moved(t, s, "tulle.client.config.reloads"), []string{"applied 1", "refused 1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
