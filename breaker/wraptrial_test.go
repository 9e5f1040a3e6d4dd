package breaker_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

// The permit of a trial comes back on every way out.
func TestWrapTrial(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tests := []struct {
		name string
		base answering
		use  func(*http.Response)
		want breaker.State
	}{
		{"no body", func(req *http.Request) (*http.Response, error) { return reply(req, 204, nil), nil }, nil, breaker.Closed},
		{"error", func(*http.Request) (*http.Response, error) { return nil, errBase }, nil, breaker.Open},
		{"cancelled", func(*http.Request) (*http.Response, error) { return nil, context.Canceled }, nil, breaker.HalfOpen},
		{"throttled", func(req *http.Request) (*http.Response, error) { return reply(req, 429, nil), nil }, nil, breaker.HalfOpen},
		{"panic", func(*http.Request) (*http.Response, error) { panic(errBase) }, nil, breaker.HalfOpen},
		{"nothing", func(*http.Request) (*http.Response, error) { return nil, nil }, nil, breaker.HalfOpen},
		{
			"body read", func(req *http.Request) (*http.Response, error) { return reply(req, 200, text("x", nil)), nil },
			func(resp *http.Response) { _, _ = io.ReadAll(resp.Body) }, breaker.Closed,
		},
		{
			"body closed", func(req *http.Request) (*http.Response, error) { return reply(req, 200, text("x", nil)), nil },
			func(resp *http.Response) { _ = resp.Body.Close() }, breaker.Closed,
		},
		{
			"body breaks", func(req *http.Request) (*http.Response, error) { return reply(req, 200, text("x", errBase)), nil },
			func(resp *http.Response) { _, _ = io.ReadAll(resp.Body) }, breaker.Open,
		},
		{
			"context ends", func(req *http.Request) (*http.Response, error) { return reply(req, 200, text("x", nil)), nil },
			func(*http.Response) { cancel(); synctest.Wait() }, breaker.HalfOpen,
		},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel = context.WithCancel(context.Background())
			defer cancel()
			b := opened(t, breaker.Config{OpenFor: time.Second, ProbeTimeout: time.Hour})
			time.Sleep(time.Second)
			func() {
				defer func() { _ = recover() }()
				resp, err := b.Wrap(tt.base).RoundTrip(get(t, "http://users/").WithContext(ctx))
				if tt.use != nil && err == nil {
					refused(t, b) // the trial is not over yet
					tt.use(resp)
				}
			}()
			if got := b.State(); got != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
			if tt.want == breaker.HalfOpen {
				trial(t, b)
			}
		})
	}
}

// A trial whose response streams on closes the Breaker when its lease is over.
func TestWrapTrialStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, breaker.Config{OpenFor: time.Second, ProbeTimeout: 2 * time.Second})
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		rt := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, io.NopCloser(waiting{ctx})), nil
		}))
		if _, err := rt.RoundTrip(get(t, "http://users/").WithContext(ctx)); err != nil {
			t.Fatal(err)
		}
		refused(t, b)
		time.Sleep(2 * time.Second)
		inState(t, b, breaker.Closed)
		cancel()
		synctest.Wait()
		inState(t, b, breaker.Closed)
	})
}

// watchedContext counts those who wait for its end.
type watchedContext struct {
	context.Context
	waiting int
}

func (*watchedContext) Done() <-chan struct{} { return make(chan struct{}) }

// AfterFunc is what context.AfterFunc calls where there is one.
func (c *watchedContext) AfterFunc(func()) func() bool {
	c.waiting++
	return func() bool { c.waiting--; return true }
}

// Only a trial watches its context, and only while it lasts.
func TestWrapWatchesContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, breaker.Config{OpenFor: time.Second})
		time.Sleep(time.Second)
		ctx := &watchedContext{Context: context.Background()}
		send := func() *http.Response {
			t.Helper()
			resp, err := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
				return reply(req, 200, text("x", nil)), nil
			})).RoundTrip(get(t, "http://users/").WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		resp := send()
		if ctx.waiting != 1 {
			t.Errorf("during a trial: got %d waiting, want 1", ctx.waiting)
		}
		_ = resp.Body.Close()
		if ctx.waiting != 0 {
			t.Errorf("after it: got %d waiting, want 0", ctx.waiting)
		}
		send()
		if ctx.waiting != 0 {
			t.Errorf("during another call: got %d waiting, want 0", ctx.waiting)
		}
	})
}
