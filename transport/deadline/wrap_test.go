package deadline_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

func TestNew(t *testing.T) {
	for _, c := range []struct {
		cfg  deadline.Config
		want string // part of the error, "" for none
	}{
		{deadline.Config{}, ""},
		{deadline.Config{Timeout: 1, AttemptTimeout: 1, Propagate: true}, ""},
		{deadline.Config{Timeout: -1}, "deadline: Timeout -1ns: want 0 or more"},
		{deadline.Config{AttemptTimeout: -time.Second}, "deadline: AttemptTimeout -1s: want 0 or more"},
	} {
		l, err := deadline.New(c.cfg)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || (l == nil) != (err != nil) {
			t.Errorf("%+v: got %v, %v, want %q", c.cfg, l, err, c.want)
		}
	}
}

// overBoth runs a test in a bubble against a real server, over HTTP/1 and
// HTTP/2.
func overBoth(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, base *http.Transport)) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "h1", true: "h2"}[h2], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base, stop := serve(h2, handler)
				defer stop()
				test(t, base)
			})
		})
	}
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// A call whose time is up is not sent.
func TestWrapPast(t *testing.T) { synctest.Test(t, testWrapPast) }

// testWrapPast runs in a bubble, so that now is now.
func testWrapPast(t *testing.T) {
	base := roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("got a request, want none")
		return nil, errors.New("sent")
	})
	for _, ago := range []time.Duration{time.Hour, 0} {
		ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-ago))
		defer cancel()
		for _, cfg := range []deadline.Config{{}, {Timeout: time.Hour, AttemptTimeout: time.Hour, Propagate: true}} {
			for _, body := range []*flag{nil, newFlag()} {
				req := get(t, ctx)
				if body != nil {
					req.Body = body
				}
				resp, err := newLimiter(t, cfg).Wrap(base).RoundTrip(req)
				if resp != nil || !errors.Is(err, deadline.ErrCall) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%+v: got %v, %v, want %v", cfg, resp, err, deadline.ErrCall)
				}
				if body != nil && body.closed() != 1 {
					t.Errorf("%+v: got %d closes of the request's body, want 1", cfg, body.closed())
				}
			}
		}
	}
}

// What waits for headers ends with the first of the limits, as a timeout, and the
// server is told.
func TestWrapTimeoutBeforeHeaders(t *testing.T) {
	for _, c := range []struct {
		cfg    deadline.Config
		parent time.Duration
		want   error
		after  time.Duration
	}{
		{deadline.Config{Timeout: 2 * time.Second}, 0, deadline.ErrCall, 2 * time.Second},
		{deadline.Config{AttemptTimeout: 3 * time.Second}, 0, deadline.ErrAttempt, 3 * time.Second},
		{deadline.Config{Timeout: 2 * time.Second, AttemptTimeout: 3 * time.Second}, 0, deadline.ErrCall, 2 * time.Second},
		{deadline.Config{Timeout: 3 * time.Second, AttemptTimeout: 2 * time.Second}, 0, deadline.ErrAttempt, 2 * time.Second},
		{deadline.Config{Timeout: 3 * time.Second, AttemptTimeout: 2 * time.Second}, time.Second, context.DeadlineExceeded, time.Second},
		{deadline.Config{}, time.Second, context.DeadlineExceeded, time.Second},
	} {
		told := make(chan struct{}, 2) // one for each protocol
		overBoth(t, func(w http.ResponseWriter, r *http.Request) { silent(w, r); told <- struct{}{} }, func(t *testing.T, base *http.Transport) {
			ctx, cancel := t.Context(), func() {}
			if c.parent > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.parent)
			}
			defer cancel()
			start := time.Now()
			resp, err := newLimiter(t, c.cfg).Wrap(base).RoundTrip(get(t, ctx))
			var timeout net.Error
			if !errors.Is(err, c.want) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%+v: got %v, %v, want %v", c.cfg, resp, err, c.want)
			}
			if took := time.Since(start); took != c.after {
				t.Errorf("%+v: got it after %v, want %v", c.cfg, took, c.after)
			}
			synctest.Wait()
		})
		if len(told) != 2 {
			t.Errorf("%+v: got %d servers told, want 2", c.cfg, len(told))
		}
	}
}

// Timeout counts to the end of the body, AttemptTimeout to the headers.
func TestWrapTimeoutInBody(t *testing.T) {
	for _, c := range []struct {
		cfg  deadline.Config
		want error
		read int // bytes, of which one comes each second
	}{
		{deadline.Config{Timeout: 2500 * time.Millisecond}, deadline.ErrCall, 3},
		{deadline.Config{Timeout: 2500 * time.Millisecond, AttemptTimeout: time.Second}, deadline.ErrCall, 3},
		{deadline.Config{AttemptTimeout: time.Second}, context.DeadlineExceeded, 10},
		{deadline.Config{Timeout: time.Hour}, context.DeadlineExceeded, 10},
	} {
		overBoth(t, trickle, func(t *testing.T, base *http.Transport) {
			ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
			defer cancel()
			resp, err := newLimiter(t, c.cfg).Wrap(base).RoundTrip(get(t, ctx))
			if err != nil {
				t.Fatalf("%+v: got %v, want a response", c.cfg, err)
			}
			text, err := io.ReadAll(resp.Body)
			var timeout net.Error
			if len(text) != c.read || !errors.Is(err, c.want) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%+v: got %d bytes, %v, want %d, %v", c.cfg, len(text), err, c.read, c.want)
			}
			if err := resp.Body.Close(); err != nil {
				t.Errorf("%+v: close: got %v, want nil", c.cfg, err)
			}
		})
	}
}

// Streams that are meant to last are not cut by the limits, only by the caller.
func TestWrapEventStream(t *testing.T) {
	for _, c := range []struct {
		contentType string
		endless     bool
	}{
		{"text/event-stream", true},
		{"text/event-stream; charset=utf-8", true},
		{"text/event-stream;charset", true}, // regression: no such parameter, but what it is stays clear
		{"Text/Event-Stream ", true},
		{"text/event-stream2", false},
		{"application/text/event-stream", false},
		{"text/plain", false},
		{"", false},
	} {
		overBoth(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			if c.contentType != "" {
				w.Header().Set("Content-Type", c.contentType)
			}
			trickle(w, r)
		}, func(t *testing.T, base *http.Transport) {
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			resp, err := newLimiter(t, deadline.Config{Timeout: 5 * time.Second, AttemptTimeout: time.Second}).Wrap(base).RoundTrip(get(t, ctx))
			if err != nil {
				t.Fatalf("%q: got %v, want a response", c.contentType, err)
			}
			want, end := 90, 90*time.Second
			if !c.endless {
				want, end = 5, 5*time.Second
			}
			start := time.Now()
			text, err := io.ReadAll(resp.Body)
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, deadline.ErrCall) == c.endless {
				t.Errorf("%q: got %v, want an end by the limit: %v", c.contentType, err, !c.endless)
			}
			// The last byte and the end come at the same instant.
			if got := len(text); got < want || got > want+1 || time.Since(start) != end {
				t.Errorf("%q: got %d bytes in %v, want %d in %v", c.contentType, got, time.Since(start), want, end)
			}
			_ = resp.Body.Close()
		})
	}
}

// An upgraded connection lasts as long as its ends want, and can be written to.
func TestWrapUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, stop := serve(false, func(w http.ResponseWriter, _ *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(c, rw)
			_ = c.Close()
		})
		defer stop()
		req := get(t, t.Context())
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, err := newLimiter(t, deadline.Config{Timeout: 5 * time.Second, AttemptTimeout: time.Second}).Wrap(base).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		conn, ok := resp.Body.(io.ReadWriteCloser)
		if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %d, %T, want 101 with a writer", resp.StatusCode, resp.Body)
		}
		lines := bufio.NewReader(conn)
		for n := range 3 {
			time.Sleep(time.Hour)
			want := fmt.Sprintf("%d\n", n)
			if _, err := io.WriteString(conn, want); err != nil {
				t.Fatal(err)
			}
			if got, err := lines.ReadString('\n'); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
		if err := conn.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	})
}

// Headers that come at the very end of the attempt's time: the caller gets a
// response that lasts or an error, and nothing between.
func TestWrapRace(t *testing.T) {
	for _, early := range []time.Duration{1, 0, -1} {
		won := 0
		for range 50 {
			synctest.Test(t, func(t *testing.T) {
				body := newFlag()
				var sent context.Context
				rt := newLimiter(t, deadline.Config{AttemptTimeout: time.Second}).Wrap(roundTripper(func(req *http.Request) (*http.Response, error) {
					sent = req.Context()
					time.Sleep(time.Second - early) // and it does not look at its context
					return &http.Response{StatusCode: 200, Body: body}, nil
				}))
				resp, err := rt.RoundTrip(get(t, t.Context()))
				if err == nil {
					won++
					time.Sleep(time.Hour)
					if sent.Err() != nil || body.closed() != 0 {
						t.Errorf("got a response that ended with %v, want it to last", sent.Err())
					}
					_ = resp.Body.Close()
				} else if !errors.Is(err, deadline.ErrAttempt) {
					t.Errorf("got %v, want %v", err, deadline.ErrAttempt)
				}
				if body.closed() != 1 || sent.Err() == nil {
					t.Errorf("after the end: got %d closes, context %v, want both over", body.closed(), sent.Err())
				}
			})
		}
		if early > 0 && won != 50 || early < 0 && won != 0 {
			t.Errorf("%v before the end: got %d of 50 responses", early, won)
		}
	}
}

// registrar is a context that counts what waits for its end.
type registrar struct {
	context.Context
	mu      sync.Mutex
	waiting int // guarded by mu
	done    chan struct{}
}

func (r *registrar) Done() <-chan struct{} { return r.done }

// AfterFunc is what package context asks a foreign context for first.
func (r *registrar) AfterFunc(f func()) (stop func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting++
	inner := context.AfterFunc(r.Context, f)
	return func() bool {
		if !inner() {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting--
		return true
	}
}

// left is how much waits for the end of the context.
func (r *registrar) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// However an exchange ends, nothing of it waits for the end of a context that
// goes on.
func TestWrapLeavesNothing(t *testing.T) {
	cfg := deadline.Config{Timeout: time.Minute, AttemptTimeout: time.Second}
	for _, c := range []struct {
		name string
		body string
		base func(*http.Request) error // an error in place of a response
		use  func(*testing.T, *http.Response)
		wait time.Duration
	}{
		{"read to the end", "hello", nil, func(t *testing.T, resp *http.Response) {
			if text, err := io.ReadAll(resp.Body); string(text) != "hello" || err != nil {
				t.Errorf("got %q, %v, want the body", text, err)
			}
		}, 0},
		{"closed early", "hello", nil, func(_ *testing.T, resp *http.Response) { _ = resp.Body.Close() }, 0},
		{"closed twice", "hello", nil, func(_ *testing.T, resp *http.Response) { _, _ = resp.Body.Close(), resp.Body.Close() }, 0},
		{"no body", "", nil, func(t *testing.T, resp *http.Response) {
			if resp.Body != http.NoBody {
				t.Errorf("got %T, want http.NoBody, as callers compare it", resp.Body)
			}
		}, 0},
		{"an error", "", func(*http.Request) error { return io.ErrUnexpectedEOF }, nil, 0},
		{"attempt timeout", "", func(req *http.Request) error { <-req.Context().Done(); return context.Cause(req.Context()) }, nil, 0},
		{"never read, until its time is up", "hello", nil, nil, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent := &registrar{Context: t.Context(), done: make(chan struct{})}
				var sent context.Context
				resp, err := newLimiter(t, cfg).Wrap(roundTripper(func(req *http.Request) (*http.Response, error) {
					if sent = req.Context(); parent.left() != 1 {
						t.Errorf("while it runs: got %d that wait for the context, want 1", parent.left())
					}
					if c.base != nil {
						return nil, c.base(req)
					}
					resp := &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(c.body))}
					if c.body == "" {
						resp.Body = http.NoBody
					}
					return resp, nil
				})).RoundTrip(get(t, parent))
				if (err != nil) != (c.base != nil) {
					t.Fatalf("got %v, want an error: %v", err, c.base != nil)
				}
				if c.use != nil {
					c.use(t, resp)
				}
				time.Sleep(c.wait)
				synctest.Wait()
				if parent.left() != 0 || sent.Err() == nil {
					t.Errorf("got %d that wait for the context, Err %v, want none, and the exchange over", parent.left(), sent.Err())
				}
			})
		})
	}
}

// A caller that drops the body and ends its context has ended the exchange.
func TestWrapForgottenBody(t *testing.T) {
	overBoth(t, trickle, func(t *testing.T, base *http.Transport) {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := newLimiter(t, deadline.Config{Timeout: time.Hour}).Wrap(base).RoundTrip(get(t, ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		// serve's stop waits for the server, and the bubble for all that is left.
	})
}

// A stub's response may have no Body at all.
func TestWrapNilBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{0, 2 * time.Second} {
			resp, err := newLimiter(t, deadline.Config{AttemptTimeout: time.Second}).Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
				time.Sleep(wait)
				return &http.Response{StatusCode: 200}, nil
			})).RoundTrip(get(t, t.Context()))
			if wait == 0 && (err != nil || resp.Body != nil) || wait > 0 && !errors.Is(err, deadline.ErrAttempt) {
				t.Errorf("after %v: got %v, %v", wait, resp, err)
			}
		}
	})
}

// What is not a matter of time passes as it is.
func TestWrapPassesOn(t *testing.T) {
	own, why := errors.New("own"), errors.New("the user has left")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
	}{{"an error", context.Background(), own}, {"a cancellation", ctx, why}} {
		resp, err := newLimiter(t, deadline.Config{Timeout: time.Hour}).Wrap(roundTripper(func(req *http.Request) (*http.Response, error) {
			if cause := context.Cause(req.Context()); cause != nil {
				return nil, cause
			}
			return nil, own
		})).RoundTrip(get(t, c.ctx))
		if resp != nil || !errors.Is(err, c.err) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, %v, want %v", c.name, resp, err, c.err)
		}
	}
	req := get(t, context.Background())
	resp, err := newLimiter(t, deadline.Config{}).Wrap(roundTripper(func(sent *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Body: http.NoBody, Request: sent}, nil
	})).RoundTrip(req)
	if err != nil || resp.Request != req {
		t.Errorf("got %v, %v, want the response to the caller's own request", resp, err)
	}
}

// http.Client has a timeout of its own. The first of the two decides, and either
// is seen as a timeout.
func TestWrapUnderClientTimeout(t *testing.T) {
	for _, c := range []struct {
		client, limit time.Duration
		handler       http.HandlerFunc
		ours          bool
		after         time.Duration
	}{
		{time.Second, time.Minute, silent, false, time.Second},
		{time.Minute, 1500 * time.Millisecond, silent, true, 1500 * time.Millisecond},
		{1500 * time.Millisecond, time.Minute, trickle, false, 1500 * time.Millisecond},
		{time.Minute, 1500 * time.Millisecond, trickle, true, 1500 * time.Millisecond},
	} {
		overBoth(t, c.handler, func(t *testing.T, base *http.Transport) {
			client := &http.Client{Timeout: c.client, Transport: newLimiter(t, deadline.Config{Timeout: c.limit}).Wrap(base)}
			start := time.Now()
			resp, err := client.Do(get(t, t.Context()))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v: got %v, want a timeout", c, err)
			}
			if errors.Is(err, deadline.ErrCall) != c.ours || time.Since(start) != c.after {
				t.Errorf("got %v after %v, want ours: %v, after %v", err, time.Since(start), c.ours, c.after)
			}
			client.CloseIdleConnections() // it reaches the base
		})
	}
}

// A nil base is the default transport, and a base without idle connections is
// asked for none.
func TestWrapNilBase(t *testing.T) {
	rt := newLimiter(t, deadline.Config{}).Wrap(nil)
	c, ok := rt.(interface{ CloseIdleConnections() })
	if !ok {
		t.Fatalf("got %T, want CloseIdleConnections", rt)
	}
	c.CloseIdleConnections()
	newLimiter(t, deadline.Config{}).Wrap(roundTripper(nil)).(interface{ CloseIdleConnections() }).CloseIdleConnections()
}
