package deadline_test

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

func TestPropagate(t *testing.T) {
	for _, c := range []struct {
		name   string
		left   time.Duration // 0: no deadline
		header http.Header
		want   http.Header // what is added or changed; nil: nothing
	}{
		{"no deadline", 0, nil, nil},
		{"no deadline, but a timeout of gRPC's", 0, http.Header{"Grpc-Timeout": {"1S"}}, nil},
		{"ours", 1500 * time.Millisecond, nil, http.Header{"Tulle-Timeout": {"1500000u"}}},
		{"ours, rounded down", 1999, nil, http.Header{"Tulle-Timeout": {"1u"}}},
		{"ours, in place of another", time.Second, http.Header{"Tulle-Timeout": {"1H"}}, http.Header{"Tulle-Timeout": {"1000000u"}}},
		{"gone", -time.Second, nil, http.Header{"Tulle-Timeout": {"0n"}}},

		{"gRPC's is longer", time.Second, http.Header{"Grpc-Timeout": {"2S"}}, http.Header{"Grpc-Timeout": {"1000000u"}}},
		{"gRPC's is shorter", time.Second, http.Header{"Grpc-Timeout": {"999m"}}, nil},
		{"gRPC's is as long", time.Second, http.Header{"Grpc-Timeout": {"1S"}}, nil},
		{"gRPC's is the longest", time.Second, http.Header{"Grpc-Timeout": {"99999999H"}}, http.Header{"Grpc-Timeout": {"1000000u"}}},
		{"gRPC's is garbage", time.Second, http.Header{"Grpc-Timeout": {"soon"}}, http.Header{"Grpc-Timeout": {"1000000u"}}},
		{"gRPC's is empty", time.Second, http.Header{"Grpc-Timeout": {}}, http.Header{"Grpc-Timeout": {"1000000u"}}},

		{"Connect's is longer", time.Second, http.Header{"Connect-Timeout-Ms": {"2000"}}, http.Header{"Connect-Timeout-Ms": {"1000"}}},
		{"Connect's is longer, rounded down", 1999 * time.Microsecond, http.Header{"Connect-Timeout-Ms": {"2"}}, http.Header{"Connect-Timeout-Ms": {"1"}}},
		{"Connect's is shorter", time.Second, http.Header{"Connect-Timeout-Ms": {"999"}}, nil},
		{"Connect's is as long", time.Second, http.Header{"Connect-Timeout-Ms": {"1000"}}, nil},
		{"Connect's is garbage", time.Second, http.Header{"Connect-Timeout-Ms": {"1s"}}, http.Header{"Connect-Timeout-Ms": {"1000"}}},
		{"Connect's is out of range", time.Second, http.Header{"Connect-Timeout-Ms": {"99999999999999999999"}}, http.Header{"Connect-Timeout-Ms": {"1000"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				var b deadline.Bound
				var call time.Time
				if c.left != 0 {
					call = now.Add(c.left)
				}
				b.Start(t.Context(), nil, now, call, time.Time{})
				defer b.Stop()
				theirs := http.Header{"A": {"b"}}
				maps.Copy(theirs, c.header)
				before := theirs.Clone()
				req := &http.Request{Header: theirs}
				b.Propagate(req, now)
				want := before.Clone()
				maps.Copy(want, c.want)
				if !reflect.DeepEqual(req.Header, want) {
					t.Errorf("got %v, want %v", req.Header, want)
				}
				if !reflect.DeepEqual(theirs, before) {
					t.Errorf("the caller's map: got %v, want it unchanged, %v", theirs, before)
				}
				if c.want == nil && reflect.ValueOf(req.Header).Pointer() != reflect.ValueOf(theirs).Pointer() {
					t.Error("got a new map with nothing new in it, want the caller's")
				}
			})
		})
	}
}

// The time that the server is told of is the attempt's, or what is left of the
// call's if that is less, or of the context's own.
func TestPropagateLeast(t *testing.T) {
	for _, c := range []struct {
		parent, call, attempt int // seconds; 0: none
		want                  string
	}{
		{0, 0, 0, ""}, {5, 0, 0, "5000000u"}, {0, 4, 0, "4000000u"}, {0, 0, 3, "3000000u"},
		{5, 4, 3, "3000000u"}, {5, 3, 4, "3000000u"}, {3, 4, 5, "3000000u"},
	} {
		synctest.Test(t, func(t *testing.T) {
			now, ctx, cancel := time.Now(), t.Context(), func() {}
			if c.parent != 0 {
				ctx, cancel = context.WithDeadline(ctx, at(now, c.parent))
			}
			defer cancel()
			var b deadline.Bound
			b.Start(ctx, nil, now, at(now, c.call), at(now, c.attempt))
			defer b.Stop()
			req := new(http.Request) // without a map
			b.Propagate(req, now)
			if got := req.Header.Get(deadline.Header); got != c.want {
				t.Errorf("%+v: got %q, want %q", c, got, c.want)
			}
			time.Sleep(time.Second)
			if b.Propagate(req, time.Now()); c.want != "" && req.Header.Get(deadline.Header) >= c.want {
				t.Errorf("%+v, a second later: got %q, want less than %q", c, req.Header.Get(deadline.Header), c.want)
			}
		})
	}
}

// A layer below that appends to the header's values does not write into the
// Bound.
func TestPropagateOwnsItsHeader(t *testing.T) {
	now := time.Now()
	var b deadline.Bound
	b.Start(context.Background(), nil, now, now.Add(time.Hour), time.Time{})
	defer b.Stop()
	first, second := new(http.Request), new(http.Request)
	b.Propagate(first, now)
	first.Header.Add(deadline.Header, "other")
	b.Propagate(second, now)
	if got := second.Header[deadline.Header]; len(got) != 1 || got[0] != "3600000m" {
		t.Errorf("got %q, want one value", got)
	}
}

// The server sees the header only where it was asked for, and the caller's
// request keeps what it had.
func TestWrapPropagate(t *testing.T) {
	for _, propagate := range []bool{false, true} {
		var seen atomic.Value
		overBoth(t, func(_ http.ResponseWriter, r *http.Request) {
			seen.Store(r.Header.Get("Tulle-Timeout"))
		}, func(t *testing.T, base *http.Transport) {
			cfg := deadline.Config{Timeout: 2 * time.Second, AttemptTimeout: time.Second, Propagate: propagate}
			req := get(t, t.Context())
			req.Header.Set("A", "b")
			resp, err := newLimiter(t, cfg).Wrap(base).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if want := map[bool]string{true: "1000000u"}[propagate]; seen.Load() != want {
				t.Errorf("got %q, want %q", seen.Load(), want)
			}
			if !reflect.DeepEqual(req.Header, http.Header{"A": {"b"}}) || resp.Request != req {
				t.Errorf("got %v, want the caller's request unchanged", req.Header)
			}
		})
	}
}

// still is a base that answers at once and allocates nothing.
type still struct{ resp http.Response }

func (s *still) RoundTrip(*http.Request) (*http.Response, error) {
	s.resp = http.Response{StatusCode: 200, Body: http.NoBody}
	return &s.resp, nil
}

// costs are the configurations whose price is of interest.
var costs = []struct {
	name string
	cfg  deadline.Config
	most float64
}{
	// The exchange, its context and the copy of the request.
	{"none", deadline.Config{}, 3},
	// And what ends it: a context with its cancel function, and a timer with
	// its own.
	{"both", deadline.Config{Timeout: time.Hour, AttemptTimeout: time.Minute}, 7},
	// And a map and a value.
	{"both, propagated", deadline.Config{Timeout: time.Hour, AttemptTimeout: time.Minute, Propagate: true}, 10},
}

func TestWrapAllocates(t *testing.T) {
	for _, c := range costs {
		rt, req := newLimiter(t, c.cfg).Wrap(new(still)), get(t, context.Background())
		got := testing.AllocsPerRun(100, func() {
			if _, err := rt.RoundTrip(req); err != nil {
				t.Fatal(err)
			}
		})
		if got > c.most {
			t.Errorf("%s: got %v allocations, want at most %v", c.name, got, c.most)
		}
	}
}

func BenchmarkWrap(b *testing.B) {
	for _, c := range costs {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			rt, req := newLimiter(b, c.cfg).Wrap(new(still)), get(b, context.Background())
			for b.Loop() {
				if _, err := rt.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBound(b *testing.B) {
	b.ReportAllocs()
	now := time.Now()
	for b.Loop() {
		var x deadline.Bound
		x.Start(context.Background(), nil, now, now.Add(time.Hour), now.Add(time.Minute))
		x.Answered()
		x.Stop()
	}
}
