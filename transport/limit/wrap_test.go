package limit_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/limit"
)

// serve starts a real server and counts what reaches it.
func serve(t *testing.T) (url string, reached *atomic.Int64) {
	t.Helper()
	reached = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(s.Close)
	return s.URL, reached
}

// base is a RoundTripper that keeps what it gets.
type base struct {
	requests []*http.Request
	idle     int // calls of CloseIdleConnections
}

func (b *base) RoundTrip(req *http.Request) (*http.Response, error) {
	b.requests = append(b.requests, req)
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return &http.Response{StatusCode: 204, Body: http.NoBody, Request: req}, nil
}

func (b *base) CloseIdleConnections() { b.idle++ }

// body is a request body that knows whether it was closed.
type body struct {
	io.Reader
	closed atomic.Int32
}

func (b *body) Close() error {
	b.closed.Add(1)
	return nil
}

func newBody(text string) *body { return &body{Reader: strings.NewReader(text)} }

// newRequest is a request that must be good.
func newRequest(t *testing.T, ctx context.Context, url string, b io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, b)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestWrapOverServer(t *testing.T) {
	url, reached := serve(t)
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 2})
	client := &http.Client{Transport: l.Wrap(nil)}
	defer client.CloseIdleConnections() // of http.DefaultTransport
	for i := range 5 {
		b := newBody("hello")
		resp, err := client.Do(newRequest(t, t.Context(), url, b))
		if i >= 2 {
			if !errors.Is(err, limit.ErrLimited) {
				t.Errorf("call %d: got %v, want %v", i, err, limit.ErrLimited)
			}
			if b.closed.Load() == 0 {
				t.Errorf("call %d: got an open request body, want it closed", i)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(text) != "hello" || err != nil {
			t.Errorf("call %d: got %q, %v, want the body back", i, text, err)
		}
	}
	if got := reached.Load(); got != 2 {
		t.Errorf("got %d calls at the server, want 2", got)
	}
}

// Calls over the rate wait for real, too: five at 100 a second, and one at once,
// take 50 ms.
func TestWrapWaitsOverServer(t *testing.T) {
	url, reached := serve(t)
	l := newLimiter(t, limit.Config{Rate: 100, Burst: 1, MaxWait: time.Minute})
	server := new(http.Transport)
	defer server.CloseIdleConnections()
	client := &http.Client{Transport: l.Wrap(server)}
	begin := time.Now()
	together(6, func(int) {
		resp, err := client.Do(newRequest(t, t.Context(), url, nil))
		if err != nil {
			t.Error(err)
			return
		}
		_ = resp.Body.Close()
	})
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("got 6 calls in %v, want them in 50ms or more", took)
	}
	if got := reached.Load(); got != 6 {
		t.Errorf("got %d calls at the server, want 6", got)
	}
}

// The base sees the very request of the caller.
func TestWrapChangesNothing(t *testing.T) {
	b := new(base)
	rt := newLimiter(t, limit.Config{Rate: 100}).Wrap(b)
	req := newRequest(t, t.Context(), "http://users/", newBody("x"))
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.StatusCode != 204 || len(b.requests) != 1 || b.requests[0] != req {
		t.Errorf("got %v, %v, and requests %v, want 204 for the same request", resp, err, b.requests)
	}
	rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	if b.idle != 1 {
		t.Errorf("got %d calls of CloseIdleConnections, want 1", b.idle)
	}
	newLimiter(t, limit.Config{}).Wrap(plain{}).(interface{ CloseIdleConnections() }).CloseIdleConnections()
}

// plain is a RoundTripper without anything else.
type plain struct{}

func (plain) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 204, Body: http.NoBody}, nil
}

// All that one Limiter wraps shares its rate.
func TestWrapsShare(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 1})
	a, b := l.Wrap(plain{}), l.Wrap(plain{})
	req := newRequest(t, t.Context(), "http://users/", nil)
	if _, err := a.RoundTrip(req); err != nil {
		t.Errorf("got %v, want the token", err)
	}
	if _, err := b.RoundTrip(req); !errors.Is(err, limit.ErrLimited) {
		t.Errorf("got %v, want %v", err, limit.ErrLimited)
	}
}

// Config.Key parts the requests, and can be changed.
func TestWrapKeys(t *testing.T) {
	byHost := func(r *http.Request) string { return r.URL.Host }
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 1, Key: byHost})
	rt := l.Wrap(plain{})
	for _, c := range []struct {
		host string
		want error
	}{{"a", nil}, {"a", limit.ErrLimited}, {"b", nil}, {"b", limit.ErrLimited}} {
		_, err := rt.RoundTrip(newRequest(t, t.Context(), "http://"+c.host+"/", nil))
		if !errors.Is(err, c.want) {
			t.Errorf("host %s: got %v, want %v", c.host, err, c.want)
		}
		var e *limit.Error
		if errors.As(err, &e) && e.Key != c.host {
			t.Errorf("got key %q, want %q", e.Key, c.host)
		}
	}
	update(t, l, limit.Config{Rate: 1e-6, Burst: 1})
	if _, err := rt.RoundTrip(newRequest(t, t.Context(), "http://a/", nil)); err != nil {
		t.Errorf("got %v, want the token of those without a key", err)
	}
}

// To layers above, a refusal is nobody's failure; what the base reports is left
// alone.
func TestWrapReports(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 1})
	rt := l.Wrap(plain{})
	var c tulle.Call
	c.Begin()
	req := newRequest(t, tulle.WithCall(t.Context(), &c), "http://users/", nil)
	if _, err := rt.RoundTrip(req); err != nil || c.Reported() {
		t.Errorf("got %v, reported %v, want nil and no report", err, c.Reported())
	}
	_, err := rt.RoundTrip(req)
	if !c.Reported() || c.Last.Class != tulle.Ignored || !errors.Is(c.Last.Err, limit.ErrLimited) || !errors.Is(err, limit.ErrLimited) {
		t.Errorf("got %v, reported %v: %+v, want ignored", err, c.Reported(), c.Last)
	}
}

// The request's context, its deadline and Request.Cancel end a wait.
func TestWrapEndsWithRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 0.001, MaxWait: time.Hour})
		rt := l.Wrap(new(base))
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(time.Second, cancel).Stop()
		old := make(chan struct{})
		defer time.AfterFunc(2*time.Second, func() { close(old) }).Stop()
		soon, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		legacy := newRequest(t, t.Context(), "http://users/", newBody(""))
		//lint:ignore SA1019 it is part of RoundTripper as long as net/http obeys it
		legacy.Cancel = old
		for _, c := range []struct {
			req   *http.Request
			after time.Duration
			want  error
		}{
			{newRequest(t, ctx, "http://users/", newBody("")), time.Second, context.Canceled},
			{legacy, time.Second, context.Canceled},
			{newRequest(t, soon, "http://users/", newBody("")), 0, limit.ErrLimited},
		} {
			begin := time.Now()
			_, err := rt.RoundTrip(c.req)
			if took := time.Since(begin); !errors.Is(err, c.want) || took != c.after {
				t.Errorf("got %v after %v, want %v after %v", err, took, c.want, c.after)
			}
			if got := c.req.Body.(*body).closed.Load(); got != 1 {
				t.Errorf("got %d closes of the body, want 1", got)
			}
		}
		wantStats(t, l, limit.Stats{Admitted: 1, Abandoned: 2, Refused: 1})
	})
}

// http.Client sets Request.Cancel and a deadline for its Timeout.
func TestClientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ready(t, limit.Config{Rate: 1, Burst: 1, MaxWait: time.Hour})
		client := &http.Client{Transport: l.Wrap(new(base)), Timeout: 1500 * time.Millisecond}
		resp, err := client.Get("http://users/")
		if err != nil {
			t.Fatalf("got %v, want a token after a second", err)
		}
		_ = resp.Body.Close()
		client.Timeout = 500 * time.Millisecond
		if _, err := client.Get("http://users/"); !errors.Is(err, limit.ErrLimited) {
			t.Errorf("got %v, want %v", err, limit.ErrLimited)
		}
	})
}
