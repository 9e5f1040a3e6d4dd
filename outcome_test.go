package tulle_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

// TestOutcomeTable is the design's table, class by class, written a second time
// so that no change of the one goes unnoticed.
func TestOutcomeTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []struct {
		class      tulle.Class
		name, want string
	}{
		{0, "unclassified", "- | - | - | no"},
		{tulle.Answered, "answered", "sample | success | success | no"},
		{tulle.Throttled, "throttled", "- | - | - | hinted"},
		{tulle.Failed, "failed", "- | failure | failure | no"},
		{tulle.Unavailable, "unavailable", "- | failure | failure | safe"},
		{tulle.Unsent, "unsent", "- | failure | failure | moved"},
		{tulle.Lost, "lost", "- | failure | failure | safe"},
		{tulle.Truncated, "truncated", "sample | failure | failure | no"},
		{tulle.Insecure, "insecure", "- | failure | failure | elsewhere"},
		{tulle.TimedOut, "timed_out", "censored | failure | failure | healthy"},
		{tulle.Ignored, "ignored", "- | - | - | no"},

		// A user's classifier may return what is none.
		{tulle.Ignored + 1, "unclassified", "- | - | - | no"},
		{255, "unclassified", "- | - | - | no"},
	} {
		if got := c.class.String(); got != c.name {
			t.Errorf("class %d: got %q, want %q", c.class, got, c.name)
		}
		if got := columns(c.class); got != c.want {
			t.Errorf("%v: got %s, want %s", c.class, got, c.want)
		}
		if c.class > 0 && c.class <= tulle.Ignored && seen[c.name] {
			t.Errorf("%q: got two classes, want one", c.name)
		}
		seen[c.name] = true
	}
}

// The classifier looks at status and headers. The body is the caller's.
func TestClassifyLeavesBodyAlone(t *testing.T) {
	for _, status := range []int{200, 429, 503} {
		resp := respond(status, "1")
		resp.Body = untouchable{t}
		f := tulle.HTTPFacts{Response: resp, Elapsed: time.Second, Now: noon}
		if o := tulle.ClassifyHTTP(f); o.Status != status || o.Elapsed != time.Second || o.Err != nil {
			t.Errorf("%d: got %+v, want its status, the time and no error", status, o)
		}
	}
}

// untouchable is a body that nobody may use.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func (u untouchable) Close() error {
	u.t.Error("the body was closed")
	return nil
}

// The facts of an attempt are in its outcome, whatever the class.
func TestClassifyStatusOnError(t *testing.T) {
	o := tulle.ClassifyHTTP(tulle.HTTPFacts{Response: respond(200), Err: io.ErrUnexpectedEOF, InBody: true})
	if o.Status != 200 || o.Class != tulle.Truncated || !errors.Is(o.Err, io.ErrUnexpectedEOF) {
		t.Errorf("got %+v, want the status of the body that broke, and its error", o)
	}
}

// Regression: alerts of crypto/tls have no type that errors.As finds, so one was
// taken for a dial that failed. What would be wrong the other way round is an
// alert on a connection that has carried the request: a POST could go out twice.
func TestClassifyNeverMovesWhatWasSent(t *testing.T) {
	for _, s := range []section{
		{"TLS", tlsFacts(t)}, {"streams", streamFacts(t)}, {"broken", brokenFacts(t)},
	} {
		for _, f := range s.facts {
			if f.f.Reach != tulle.HadConnection || f.name == "refused" {
				continue // RFC 9113, 8.7: a refused stream was not processed
			}
			switch o := tulle.ClassifyHTTP(f.f); o.Class.Repetition() {
			case tulle.RepeatMoved, tulle.RepeatElsewhere:
				t.Errorf("%s: got %v, which any call may repeat, want a class that only safe ones may", f.name, o.Class)
			}
		}
	}
}

func BenchmarkClassifyHTTP(b *testing.B) {
	for name, f := range map[string]tulle.HTTPFacts{
		"200":     {Response: respond(http.StatusOK)},
		"503":     {Response: respond(http.StatusServiceUnavailable, "1")},
		"expired": {Err: context.DeadlineExceeded, Ended: context.DeadlineExceeded, Elapsed: time.Second},
		"reset":   {Err: io.EOF, Reach: tulle.HadConnection},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tulle.ClassifyHTTP(f)
			}
		})
	}
}

// What succeeds must cost nothing.
func TestClassifyAllocates(t *testing.T) {
	f := tulle.HTTPFacts{Response: respond(http.StatusOK)}
	if got := testing.AllocsPerRun(100, func() { tulle.ClassifyHTTP(f) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
