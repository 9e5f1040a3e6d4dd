package retry_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/tullemesh/tulle/retry"
)

// A drain is a sender that reads the request's body to its end and answers the
// statuses in turn. It allocates nothing of its own.
type drain struct {
	responses []*http.Response
	buf       []byte
	calls     int
}

func newDrain(statuses ...int) *drain {
	d := &drain{buf: make([]byte, 64<<10)}
	for _, s := range statuses {
		d.responses = append(d.responses, &http.Response{StatusCode: s, Header: http.Header{}, Body: http.NoBody})
	}
	return d
}

func (d *drain) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		var err error
		for err == nil {
			_, err = req.Body.Read(d.buf)
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	d.calls++
	return d.responses[(d.calls-1)%len(d.responses)], nil
}

// A rewound is a request whose body can be set back, so that a test makes no new
// one for each call.
type rewound struct {
	*http.Request
	reader *bytes.Reader
	body   []byte
}

// newRewound is a PUT of so many bytes, with GetBody or without.
func newRewound(tb testing.TB, size int, getBody bool) *rewound {
	r := &rewound{reader: bytes.NewReader(nil), body: make([]byte, size)}
	r.Request = request(tb, http.MethodPut, "http://service.test/", nil)
	if size > 0 {
		r.Body, r.ContentLength = io.NopCloser(r.reader), int64(size)
		if getBody {
			r.GetBody = func() (io.ReadCloser, error) {
				r.reader.Reset(r.body)
				return r.Body, nil
			}
		}
	}
	return r
}

// over makes one call.
func (r *rewound) over(tb testing.TB, rt http.RoundTripper) {
	r.reader.Reset(r.body)
	resp, err := rt.RoundTrip(r.Request)
	if err != nil || resp.StatusCode != 200 {
		tb.Fatalf("got %v, %v, want 200", resp, err)
	}
}

// puts repeats PUT, from a budget that does not run dry.
func puts(cfg *retry.Config) {
	cfg.Idempotent = []string{http.MethodPut}
	cfg.Budget = retry.BudgetConfig{Ratio: 1, PerSecond: 1000}
}

// A first attempt that succeeds costs the same whatever it carries: the object
// of the exchange, the context and the request that tell the layers below of
// the call, and what watches a body that cannot be had twice.
func TestWrapAllocates(t *testing.T) {
	rt := newRetrier(t, quick(puts)).Wrap(newDrain(200))
	for _, c := range []struct {
		getBody bool
		most    float64
	}{{true, 3}, {false, 5}} {
		var costs []float64
		for _, size := range []int{1, 1 << 10, 1 << 20} {
			req := newRewound(t, size, c.getBody)
			costs = append(costs, testing.AllocsPerRun(50, func() { req.over(t, rt) }))
		}
		if costs[0] > c.most || costs[1] != costs[0] || costs[2] != costs[0] {
			t.Errorf("GetBody %v: got %v allocations for 1 byte, 1 KiB and 1 MiB, want the same, at most %v", c.getBody, costs, c.most)
		}
	}
}

// Bytes, too: a body that is copied shows here even if it is copied at one go.
// The tolerance is for what the runtime allocates besides.
func TestWrapCopiesNothing(t *testing.T) {
	rt := newRetrier(t, quick(puts)).Wrap(newDrain(200))
	for _, getBody := range []bool{true, false} {
		cost := func(size int) uint64 {
			const calls = 50
			req := newRewound(t, size, getBody)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range calls {
				req.over(t, rt)
			}
			runtime.ReadMemStats(&after)
			return (after.TotalAlloc - before.TotalAlloc) / calls
		}
		if small, large := cost(1), cost(1<<20); large > small+4096 {
			t.Errorf("GetBody %v: got %d bytes allocated for 1 MiB and %d for 1 byte, want the same", getBody, large, small)
		}
	}
}

func BenchmarkWrap(b *testing.B) {
	run := func(name string, rt http.RoundTripper, size int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			req := newRewound(b, size, true)
			for b.Loop() {
				req.over(b, rt)
			}
		})
	}
	wrap := func(statuses ...int) http.RoundTripper { return newRetrier(b, quick(puts)).Wrap(newDrain(statuses...)) }
	for _, size := range []int{0, 1 << 10, 1 << 20} {
		run(fmt.Sprintf("bare/%d", size), newDrain(200), size)
		run(fmt.Sprintf("first/%d", size), wrap(200), size)
	}
	// A budget has a thousand repeats a second at most, so that a call which is
	// repeated is measured against calls that pay for it.
	run("503-then-200", wrap(503, 200), 0)
}
