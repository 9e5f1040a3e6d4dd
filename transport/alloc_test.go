package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// stub answers at once, without a wire. It reads and closes the body as any
// sender does.
type stub struct{ body []byte }

func (s stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	return &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Body: &stubBody{left: len(s.body)}, Request: req}, nil
}

// stubBody is a body of so many bytes.
type stubBody struct{ left int }

func (b *stubBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

func (b *stubBody) Close() error { return nil }

// manyEndpoints are n endpoints that nobody dials.
func manyEndpoints(n int) discovery.Static {
	s := make(discovery.Static, n)
	for i := range s {
		s[i] = tulle.Endpoint{Addr: fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255)}
	}
	return s
}

// overStub is a Transport over a stub, ready for calls to http://svc/.
func overStub(tb testing.TB, n int, p transport.Policy) *transport.Transport {
	tb.Helper()
	t, err := transport.New(transport.Config{
		Base:     stub{body: []byte("hello")},
		Services: map[string]transport.Service{"svc": {Resolver: manyEndpoints(n), Policy: p}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = t.Close() })
	if err := t.Ready(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return t
}

// call makes one call and reads its answer.
func call(tb testing.TB, rt http.RoundTripper, req *http.Request, buf []byte) {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	if err := resp.Body.Close(); err != nil {
		tb.Fatal(err)
	}
}

func TestAllocations(t *testing.T) {
	limits := transport.Policy{Timeout: time.Minute, AttemptTimeout: 30 * time.Second}
	for _, n := range []int{10, 1000, 10000} {
		for _, size := range []int{0, 1 << 10, 1 << 20} {
			for _, test := range []struct {
				name   string
				policy transport.Policy
				most   float64
				bytes  int64
			}{{"plain", transport.Policy{}, 1, 704}, {"timeouts", limits, 8, 1600}} {
				t.Run(fmt.Sprintf("%s/endpoints=%d/body=%d", test.name, n, size), func(t *testing.T) {
					rt := overStub(t, n, test.policy)
					payload, buf := bytes.Repeat([]byte{'x'}, size), make([]byte, 64)
					reader := bytes.NewReader(payload)
					req, err := http.NewRequest(http.MethodPost, "http://svc/", reader)
					if err != nil {
						t.Fatal(err)
					}
					once := func(rt http.RoundTripper) func() {
						return func() { reader.Reset(payload); call(t, rt, req, buf) }
					}
					got := testing.AllocsPerRun(200, once(rt)) - testing.AllocsPerRun(200, once(stub{body: []byte("hello")}))
					if got > test.most {
						t.Errorf("got %v allocations above the stub, want at most %v", got, test.most)
					}
					bytes := bytesPerRun(once(rt)) - bytesPerRun(once(stub{body: []byte("hello")}))
					if bytes > test.bytes {
						t.Errorf("got %d bytes above the stub, want at most %d", bytes, test.bytes)
					}
				})
			}
		}
	}
}

// bytesPerRun is what one run allocates, whatever else the process does at the
// time: the least of some rounds.
func bytesPerRun(f func()) int64 {
	const runs, rounds = 100, 5
	least := int64(math.MaxInt64)
	for range rounds {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			f()
		}
		runtime.ReadMemStats(&after)
		least = min(least, int64(after.TotalAlloc-before.TotalAlloc)/runs)
	}
	return least
}

// copier is the least that a RoundTripper can do which may not change its
// caller's request: one object with a copy of the request and of its URL.
type copier struct{ base http.RoundTripper }

func (c copier) RoundTrip(req *http.Request) (*http.Response, error) {
	o := new(struct {
		req http.Request
		url url.URL
	})
	o.req = *req.WithContext(req.Context())
	o.url = *req.URL
	o.req.URL = &o.url
	resp, err := c.base.RoundTrip(&o.req)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func BenchmarkStub(b *testing.B) {
	buf := make([]byte, 64)
	req, _ := http.NewRequest(http.MethodGet, "http://svc/", nil)
	run := func(name string, rt http.RoundTripper) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(b, rt, req, buf)
			}
		})
	}
	run("bare", stub{body: []byte("hello")})
	run("copy", copier{stub{body: []byte("hello")}})
	for _, n := range []int{10, 1000, 10000} {
		run(fmt.Sprintf("endpoints=%d", n), overStub(b, n, transport.Policy{}))
	}
	run("timeouts", overStub(b, 10, transport.Policy{Timeout: time.Minute, AttemptTimeout: 30 * time.Second}))
}
