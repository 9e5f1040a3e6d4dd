package breaker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

var errBase = errors.New("base")

// answering is a base.
type answering func(*http.Request) (*http.Response, error)

func (f answering) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// reply answers req with a body, NoBody where that is nil.
func reply(req *http.Request, status int, body io.ReadCloser) *http.Response {
	if body == nil {
		body = http.NoBody
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: req}
}

// text is a body, one that breaks after its text where err is not nil.
func text(s string, err error) io.ReadCloser {
	if err == nil {
		return io.NopCloser(strings.NewReader(s))
	}
	return io.NopCloser(io.MultiReader(strings.NewReader(s), breaking{err}))
}

type breaking struct{ err error }

func (b breaking) Read([]byte) (int, error) { return 0, b.err }

// window checks the results that b has counted.
func window(t testing.TB, b *breaker.Breaker, when string, requests, failures int) {
	t.Helper()
	if s := b.Stats(); s.Requests != requests || s.Failures != failures {
		t.Errorf("%s: got %d requests and %d failures, want %d and %d", when, s.Requests, s.Failures, requests, failures)
	}
}

// What counts when: at headers, and when the caller is done with the body.
func TestWrapCounts(t *testing.T) {
	type count struct{ requests, failures int }
	success, failure, nothing := count{1, 0}, count{1, 1}, count{0, 0}
	read := func(b io.ReadCloser) { _, _ = io.Copy(io.Discard, b); _ = b.Close() }
	shut := func(b io.ReadCloser) { _ = b.Close(); _ = b.Close() }
	tests := []struct {
		name    string
		status  int
		body    io.ReadCloser
		err     error
		header  string // Retry-After
		use     func(io.ReadCloser)
		at, end count
	}{
		{"no body", 200, nil, nil, "", nil, success, success},
		{"body read", 200, text("fine", nil), nil, "", read, nothing, success},
		{"body closed", 200, text("fine", nil), nil, "", shut, nothing, success},
		{"body breaks", 200, text("fi", errBase), nil, "", read, nothing, failure},
		{"body is cut", 200, text("fi", io.ErrUnexpectedEOF), nil, "", read, nothing, failure},
		{"body forgotten", 200, text("fine", nil), nil, "", nil, nothing, nothing},
		{"caller's fault", 404, text("no", nil), nil, "", read, nothing, success},
		{"redirect", 302, text("there", nil), nil, "", read, nothing, success},
		{"error", 500, text("sorry", nil), nil, "", nil, failure, failure},
		{"error, and its body breaks", 502, text("so", errBase), nil, "", read, failure, failure},
		{"too busy", 429, text("later", nil), nil, "", read, nothing, nothing},
		{"down", 503, text("later", nil), nil, "", read, failure, failure},
		{"down with a hint", 503, text("later", nil), nil, "3", read, nothing, nothing},
		{"no response", 0, nil, errBase, "", nil, failure, failure},
		{"refused", 0, nil, &net.OpError{Op: "dial", Err: errBase}, "", nil, failure, failure},
		{"cancelled", 0, nil, context.Canceled, "", nil, nothing, nothing},
		{"upgraded", 101, text("", nil), nil, "", nil, success, success},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := must(t, breaker.Config{})
			resp, err := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
				if tt.err != nil {
					return nil, tt.err
				}
				resp := reply(req, tt.status, tt.body)
				if tt.header != "" {
					resp.Header.Set("Retry-After", tt.header)
				}
				return resp, nil
			})).RoundTrip(get(t, "http://users/"))
			if err != tt.err { // the very same
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			window(t, b, "at headers", tt.at.requests, tt.at.failures)
			if tt.use != nil {
				tt.use(resp.Body)
			}
			window(t, b, "at the end", tt.end.requests, tt.end.failures)
		})
	}
}

// A layer below that knows better is believed, and what this layer finds is
// reported, so that all agree.
func TestWrapCall(t *testing.T) {
	call := new(tulle.Call)
	b := must(t, breaker.Config{})
	var below tulle.Outcome
	rt := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
		tulle.CallFrom(req.Context()).Report(below)
		return reply(req, 200, text("failed, in its own words", nil)), nil
	}))
	send := func() {
		t.Helper()
		req := get(t, "http://users/")
		if _, err := rt.RoundTrip(req.WithContext(tulle.WithCall(req.Context(), call))); err != nil {
			t.Fatal(err)
		}
	}
	call.Begin()
	below = tulle.Outcome{Class: tulle.Failed}
	send()
	window(t, b, "reported below", 1, 1)

	// Without Begin the report is still that of the attempt before.
	below = tulle.Outcome{Class: tulle.Failed}
	send()
	window(t, b, "reported before", 1, 1)

	call.Begin()
	rt = b.Wrap(answering(func(req *http.Request) (*http.Response, error) { return reply(req, 500, nil), nil }))
	send()
	window(t, b, "not reported below", 2, 2)
	if !call.Reported() || call.Last.Class != tulle.Failed || call.Last.Status != 500 {
		t.Errorf("the Call: got %+v, want it reported as failed with 500", call.Last)
	}
}

// closing is a body that counts how often it is closed.
type closing struct {
	io.Reader
	closed atomic.Int32
}

func (c *closing) Close() error {
	c.closed.Add(1)
	return nil
}

func TestWrapRefuses(t *testing.T) {
	b := opened(t, breaker.Config{})
	rt := b.Wrap(answering(func(*http.Request) (*http.Response, error) {
		t.Error("the base was called")
		return nil, errBase
	}))
	body := &closing{Reader: strings.NewReader("body")}
	call := new(tulle.Call)
	call.Begin()
	req, _ := http.NewRequestWithContext(tulle.WithCall(context.Background(), call), http.MethodPost, "http://users/", body)
	resp, err := rt.RoundTrip(req)
	var e *breaker.Error
	if resp != nil || !errors.Is(err, breaker.ErrOpen) || !errors.As(err, &e) || e.RetryAfter() <= 0 {
		t.Errorf("got response %v and error %v, want an *Error with a RetryAfter", resp, err)
	}
	if got := body.closed.Load(); got != 1 {
		t.Errorf("request body: got closed %d times, want once", got)
	}
	// A retry must neither repeat it nor hold it against an endpoint.
	if call.Last.Class != tulle.Ignored || !errors.Is(call.Last.Err, breaker.ErrOpen) {
		t.Errorf("the Call: got %+v, want ignored with ErrOpen", call.Last)
	}
	client := &http.Client{Transport: rt}
	if _, err := client.Get("http://users/"); !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("through http.Client: got %v, want ErrOpen", err)
	}
}

// The request goes to the base as it is, unless its body must be watched.
func TestWrapLeavesRequest(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"none": nil, "NoBody": http.NoBody, "can be had again": strings.NewReader("body"), "once": &closing{Reader: strings.NewReader("body")},
	} {
		req, _ := http.NewRequest(http.MethodPost, "http://users/", body)
		before := *req
		var seen *http.Request
		resp, err := must(t, breaker.Config{}).Wrap(answering(func(r *http.Request) (*http.Response, error) {
			seen = r
			if r.Body != nil {
				if got, err := io.ReadAll(r.Body); err != nil || len(got) != 4 && name != "NoBody" {
					t.Errorf("%s: the base read %q, %v", name, got, err)
				}
				_ = r.Body.Close()
			}
			return reply(r, 200, nil), nil
		})).RoundTrip(req)
		if err != nil || resp.Request != req {
			t.Errorf("%s: got error %v and another Request %v, want the caller's", name, err, resp.Request != req)
		}
		if same := seen == req; same == (name == "once") {
			t.Errorf("%s: the base got the caller's request: %v", name, same)
		}
		if req.Body != before.Body || fmt.Sprint(req.Header) != fmt.Sprint(before.Header) || req.URL != before.URL {
			t.Errorf("%s: the caller's request was changed", name)
		}
		if c, ok := body.(*closing); ok && c.closed.Load() != 1 {
			t.Errorf("%s: got closed %d times, want once", name, c.closed.Load())
		}
	}
}

// A base may answer with a Request of its own, such as the last of a chain.
func TestWrapLeavesResponse(t *testing.T) {
	other := get(t, "http://elsewhere/")
	resp, err := must(t, breaker.Config{}).Wrap(answering(func(*http.Request) (*http.Response, error) {
		return reply(other, 200, nil), nil
	})).RoundTrip(get(t, "http://users/"))
	if err != nil || resp.Request != other || resp.Body != http.NoBody {
		t.Errorf("got %v, %v, want the response of the base untouched", resp, err)
	}
}

// What a broken base returns is for the caller to see.
func TestWrapBrokenBase(t *testing.T) {
	b := must(t, breaker.Config{})
	resp, err := b.Wrap(answering(func(*http.Request) (*http.Response, error) { return nil, nil })).RoundTrip(get(t, "http://users/"))
	if resp != nil || err != nil {
		t.Errorf("got %v, %v, want nothing, as the base", resp, err)
	}
	window(t, b, "nothing", 0, 0)
	want := reply(nil, 200, nil)
	resp, err = b.Wrap(answering(func(*http.Request) (*http.Response, error) { return want, errBase })).RoundTrip(get(t, "http://users/"))
	if resp != want || !errors.Is(err, errBase) {
		t.Errorf("got %v, %v, want both, as the base", resp, err)
	}
	window(t, b, "both", 1, 1)
}

// upload is a request body that fails at its second Read.
type upload struct {
	reads  int
	closed chan struct{} // closed by Close; nil: the second Read fails by itself
}

func (u *upload) Read(p []byte) (int, error) {
	if u.reads++; u.reads == 1 {
		return copy(p, "part"), nil
	}
	if u.closed != nil {
		<-u.closed
	}
	return 0, errBase
}

func (u *upload) Close() error {
	if u.closed != nil {
		close(u.closed)
	}
	return nil
}

// A caller whose upload fails must not shut out the others; a sender that gives
// up on an upload has a reason of its own.
func TestWrapRequestBody(t *testing.T) {
	b := must(t, breaker.Config{})
	fails := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
		_, err := io.Copy(io.Discard, req.Body)
		return nil, err
	}))
	req, _ := http.NewRequest(http.MethodPost, "http://users/", io.NopCloser(&upload{}))
	if _, err := fails.RoundTrip(req); !errors.Is(err, errBase) {
		t.Errorf("got %v, want that of the body", err)
	}
	window(t, b, "the upload fails", 0, 0)

	closes := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, req.Body)
			done <- err
		}()
		_ = req.Body.Close()
		<-done
		return nil, io.ErrUnexpectedEOF
	}))
	req, _ = http.NewRequest(http.MethodPost, "http://users/", &upload{closed: make(chan struct{})})
	if _, err := closes.RoundTrip(req); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want that of the base", err)
	}
	window(t, b, "the sender gives up", 1, 1)
}

// Request.Cancel is as good as a context that ended, whatever error the base
// makes of it.
func TestWrapRequestCancel(t *testing.T) {
	b := must(t, breaker.Config{})
	req := get(t, "http://users/")
	cancel := make(chan struct{})
	req.Cancel = cancel //lint:ignore SA1019 it is what this test is about
	resp, err := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
		return reply(req, 200, text("fi", errBase)), nil
	})).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	close(cancel)
	if _, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, errBase) {
		t.Errorf("got %v, want that of the base", err)
	}
	window(t, b, "in the body", 0, 0)
	if _, err := b.Wrap(answering(func(*http.Request) (*http.Response, error) { return nil, errBase })).RoundTrip(req); !errors.Is(err, errBase) {
		t.Errorf("got %v, want that of the base", err)
	}
	window(t, b, "before headers", 0, 0)
}

// dueContext is a context whose deadline has come, and which has not noticed.
type dueContext struct {
	context.Context
	at time.Time
}

func (d dueContext) Deadline() (time.Time, bool) { return d.at, true }

// http.Client.Timeout closes Request.Cancel and ends the context, in any order:
// a service that hangs must not get away with it.
func TestWrapClientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{})
		cancel := make(chan struct{})
		req := get(t, "http://users/").WithContext(dueContext{context.Background(), time.Now().Add(time.Second)})
		req.Cancel = cancel //lint:ignore SA1019 it is what this test is about
		rt := b.Wrap(answering(func(*http.Request) (*http.Response, error) { <-cancel; return nil, errBase }))
		time.AfterFunc(time.Second, func() { close(cancel) })
		if _, err := rt.RoundTrip(req); !errors.Is(err, errBase) {
			t.Errorf("got %v, want that of the base", err)
		}
		window(t, b, "Request.Cancel at the deadline", 1, 1)

		client := &http.Client{Timeout: time.Second, Transport: b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}))}
		if _, err := client.Get("http://users/"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want an expired deadline", err)
		}
		window(t, b, "Client.Timeout", 2, 2)
	})
}

// A date in Retry-After relates to the time of the answer.
func TestWrapRetryAfterDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := new(tulle.Call)
		req := get(t, "http://users/")
		_, err := must(t, breaker.Config{}).Wrap(answering(func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			resp := reply(req, 429, nil)
			resp.Header.Set("Retry-After", time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat))
			return resp, nil
		})).RoundTrip(req.WithContext(tulle.WithCall(req.Context(), call)))
		if err != nil || call.Last.RetryAfter != 30*time.Second || call.Last.Elapsed != time.Second {
			t.Errorf("got %v and %+v, want a RetryAfter of 30s after 1s", err, call.Last)
		}
	})
}

// A deadline counts as the table has it: by how long there was to answer.
func TestWrapDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := must(t, breaker.Config{})
		hangs := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}))
		streams := b.Wrap(answering(func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, io.NopCloser(waiting{req.Context()})), nil
		}))
		send := func(rt http.RoundTripper, limit time.Duration) {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			resp, err := rt.RoundTrip(get(t, "http://users/").WithContext(ctx))
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the context's", err)
			}
		}
		send(hangs, 99*time.Millisecond)
		window(t, b, "too short to tell", 0, 0)
		send(hangs, 100*time.Millisecond)
		window(t, b, "slow", 1, 1)
		send(streams, 99*time.Millisecond)
		window(t, b, "body, too short to tell", 1, 1)
		send(streams, time.Second)
		window(t, b, "slow body", 2, 2)
	})
}

// waiting is a body that comes never.
type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// A panic of the base goes on as it is.
func TestWrapPanic(t *testing.T) {
	defer func() {
		if got := recover(); got != errBase { // the very same
			t.Errorf("recovered %v, want %v", got, errBase)
		}
	}()
	rt := must(t, breaker.Config{}).Wrap(answering(func(*http.Request) (*http.Response, error) { panic(errBase) }))
	_, _ = rt.RoundTrip(get(t, "http://users/"))
	t.Error("got no panic")
}

// tunnel is the body of an upgraded connection.
type tunnel struct{ bytes.Buffer }

func (*tunnel) Close() error { return nil }

func TestWrapUpgrade(t *testing.T) {
	body := &tunnel{}
	for _, status := range []int{101, 200} {
		resp, err := must(t, breaker.Config{}).Wrap(answering(func(req *http.Request) (*http.Response, error) {
			return reply(req, status, body), nil
		})).RoundTrip(get(t, "http://users/"))
		if err != nil {
			t.Fatal(err)
		}
		if status == 101 && resp.Body != io.ReadCloser(body) {
			t.Errorf("got body %T, want that of the base", resp.Body)
		}
		w, ok := resp.Body.(io.Writer)
		if !ok {
			t.Fatalf("status %d: got body %T, want an io.Writer", status, resp.Body)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
	if got := body.String(); got != "xx" {
		t.Errorf("written: got %q, want xx", got)
	}
}

// idler is a base with a pool.
type idler struct {
	answering
	closed int
}

func (i *idler) CloseIdleConnections() { i.closed++ }

func TestWrapCloseIdle(t *testing.T) {
	base := &idler{}
	b := must(t, breaker.Config{})
	(&http.Client{Transport: b.Wrap(base)}).CloseIdleConnections()
	if base.closed != 1 {
		t.Errorf("got %d calls, want 1", base.closed)
	}
	(&http.Client{Transport: b.Wrap(answering(nil))}).CloseIdleConnections() // has none, which is fine
}

func TestWrapOff(t *testing.T) {
	body := text("x", nil)
	rt := must(t, breaker.Config{Requests: 1, Off: true}).Wrap(answering(func(req *http.Request) (*http.Response, error) {
		return reply(req, 500, body), nil
	}))
	for range 3 {
		if resp, err := rt.RoundTrip(get(t, "http://users/")); err != nil || resp.Body != body {
			t.Errorf("got %v, %v, want the response of the base", resp, err)
		}
	}
}

// A real server goes down and comes up again, over the default base.
func TestWrapServer(t *testing.T) {
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "hello")
	}))
	defer server.Close()
	b := must(t, breaker.Config{Requests: 4, OpenFor: 10 * time.Millisecond})
	client := &http.Client{Transport: b.Wrap(nil)}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	send := func() error {
		resp, err := client.Get(server.URL)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		got, err := io.ReadAll(resp.Body)
		if err == nil && string(got) != "hello" {
			t.Errorf("got %q, want hello", got)
		}
		return err
	}
	for range 2 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	down.Store(true)
	for !errors.Is(send(), breaker.ErrOpen) {
		if b.Stats().Failures > 4 {
			t.Fatalf("got %+v, want it open", b.Stats())
		}
	}
	for b.Stats().Trials < 2 { // at least one of them fails
		_ = send()
	}
	if got := b.State(); got == breaker.Closed {
		t.Errorf("got %v after trials at a server that is down", got)
	}
	down.Store(false)
	for b.State() != breaker.Closed {
		if err := send(); err != nil && !errors.Is(err, breaker.ErrOpen) {
			t.Fatal(err)
		}
	}
	window(t, b, "after the trial", 0, 0)
}
