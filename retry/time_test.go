package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// script is a RoundTripper that gives its answers one after the other, the last
// one for ever, and remembers when it was asked and what became of the bodies.
type script struct {
	answers []func(*http.Request) (*http.Response, error)

	mu     sync.Mutex
	asked  []time.Time  // guarded by mu
	bodies []*givenBody // guarded by mu
}

// givenBody is a response body that notes how it is used.
type givenBody struct {
	io.Reader
	mu     sync.Mutex
	closes int // guarded by mu
}

func (b *givenBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes++
	return nil
}

// closed is how often the body was closed.
func (b *givenBody) closed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closes
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	next := s.answers[min(len(s.asked), len(s.answers))-1]
	s.mu.Unlock()
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	resp, err := next(req)
	if resp != nil && resp.Body != nil {
		body := &givenBody{Reader: resp.Body}
		resp.Body = body
		s.mu.Lock()
		s.bodies = append(s.bodies, body)
		s.mu.Unlock()
	}
	return resp, err
}

// gaps are the times between the requests.
func (s *script) gaps() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(s.asked); i++ {
		gaps = append(gaps, s.asked[i].Sub(s.asked[i-1]))
	}
	return gaps
}

// say answers with a status, a body that names it, and headers.
func say(status int, headers ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return answer(status, fmt.Sprint(status), headers...), nil
	}
}

// fail answers with an error.
func fail(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// scripted is a script with these answers.
func scripted(answers ...func(*http.Request) (*http.Response, error)) *script {
	return &script{answers: answers}
}

// within is a request that must be answered within d; 0 means any time.
func within(t *testing.T, d time.Duration, method string) *http.Request {
	if d == 0 {
		return request(t, method, "http://service.test/", nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return requestIn(t, ctx, method, "http://service.test/", nil)
}

func TestWrapPauses(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := scripted(say(503))
			wantText(t, newRetrier(t, retry.Config{}).Wrap(s), request(t, "GET", "http://a/", nil), 503, "503")
			gaps := s.gaps()
			if len(gaps) != 2 || gaps[0] > 25*time.Millisecond || gaps[1] > 75*time.Millisecond {
				t.Errorf("got pauses of %v, want two, of at most 25 and 75 ms", gaps)
			}
		})
	}
}

func TestWrapRetryAfter(t *testing.T) {
	for _, c := range []struct {
		name     string
		status   int
		value    string
		deadline time.Duration
		max      time.Duration
		want     []time.Duration // the pauses
		final    int
	}{
		{"at once", 503, "0", 0, 0, []time.Duration{0}, 200},
		{"a second", 503, "1", 0, 0, []time.Duration{time.Second}, 200},
		{"a second, 429", 429, "1", 0, 0, []time.Duration{time.Second}, 200},
		{"a date", 503, "Sat, 01 Jan 2000 00:02:00 GMT", 0, 0, []time.Duration{2 * time.Minute}, 200},
		{"a date in the past", 503, "Sat, 01 Jan 1999 00:02:00 GMT", 0, 0, []time.Duration{0}, 200},
		{"five minutes", 503, "300", 0, 0, []time.Duration{300 * time.Second}, 200},
		{"an hour", 503, "3600", 0, 0, nil, 503},
		{"longer than the deadline", 503, "10", 5 * time.Second, 0, nil, 503},
		{"as long as the deadline", 503, "5", 5 * time.Second, 0, nil, 503},
		{"shorter than the deadline", 503, "4", 5 * time.Second, 0, []time.Duration{4 * time.Second}, 200},
		{"longer than the configured", 429, "3", 0, 2 * time.Second, nil, 429},
		{"none is waited for", 429, "0", 0, -1, nil, 429},
		{"garbage, 429", 429, "soon", 0, 0, nil, 429},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted(say(c.status, "Retry-After", c.value), say(200))
				r := newRetrier(t, retry.Config{MaxRetryAfter: c.max})
				start := time.Now()
				// Any call: the server has asked for it to be sent again.
				wantText(t, r.Wrap(s), within(t, c.deadline, "POST"), c.final, fmt.Sprint(c.final))
				if got := s.gaps(); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("got pauses of %v, want %v", got, c.want)
				}
				// A hint that is not followed is not waited for in vain.
				if c.want == nil && time.Since(start) != 0 {
					t.Errorf("got an answer after %v, want it at once", time.Since(start))
				}
			})
		})
	}
}

// A call that has a deadline does not begin a pause that outlasts it.
func TestWrapDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(*http.Request) (*http.Response, error) {
			time.Sleep(40 * time.Millisecond)
			return answer(503, "503"), nil
		}
		s := scripted(slow)
		start := time.Now()
		cfg := retry.Config{Attempts: 10, MinBackoff: 10 * time.Millisecond, MaxBackoff: 10 * time.Millisecond}
		wantText(t, newRetrier(t, cfg).Wrap(s), within(t, 100*time.Millisecond, "GET"), 503, "503")
		if took := time.Since(start); took > 150*time.Millisecond || len(s.asked) < 2 || len(s.asked) > 3 {
			t.Errorf("got %d requests in %v, want 2 or 3 that begin within 100ms", len(s.asked), took)
		}
	})
}

// cancelling runs a call that pauses for an hour, ends its context after a
// second, and returns what the caller got and what is left of two tokens.
func cancelling(t *testing.T, ctx context.Context, end func(), change func(*http.Request)) (*script, float64, error) {
	s := scripted(say(503, "Retry-After", "3600"))
	r := newRetrier(t, retry.Config{MaxRetryAfter: 2 * time.Hour, Budget: tokens(2)})
	req := requestIn(t, ctx, "GET", "http://service.test/", nil)
	if change != nil {
		change(req)
	}
	if end != nil {
		time.AfterFunc(time.Second, end)
	}
	start := time.Now()
	resp, err := r.Wrap(s).RoundTrip(req)
	if took := time.Since(start); err == nil || took != time.Second {
		t.Errorf("got %v, %v after %v, want an error after 1s", resp, err, took)
	}
	return s, r.Budget().Balance(0), err
}

// A context that ends during a pause ends the call at once, with its cause; what
// the pause was paid with goes back, and the response that was given up is
// named.
func TestWrapCancelDuringPause(t *testing.T) {
	why := errors.New("the user has left")
	for _, c := range []struct {
		name string
		ctx  func(context.Context) (context.Context, func())
		want error
	}{
		{"cancelled", func(ctx context.Context) (context.Context, func()) { return context.WithCancel(ctx) }, context.Canceled},
		{"cancelled with a cause", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(why) }
		}, why},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, end := c.ctx(t.Context())
				defer end()
				s, left, err := cancelling(t, ctx, end, nil)
				var e *retry.Error
				if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Status != 503 || e.Attempts != 1 {
					t.Errorf("got %v, want %v and status 503 after 1 attempt", err, c.want)
				}
				if left != 2 {
					t.Errorf("got a balance of %v, want the token back: 2", left)
				}
				if n := s.bodies[0].closed(); n != 1 || len(s.asked) != 1 {
					t.Errorf("got %d requests, %d closes, want 1, 1", len(s.asked), n)
				}
			})
		})
	}
}

// Regression: Request.Cancel, that http.Client uses for its own Timeout, did not
// end a pause, and a request that it had ended was sent again.
func TestWrapRequestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		canceled := make(chan struct{})
		s, left, err := cancelling(t, t.Context(), func() { close(canceled) }, func(req *http.Request) {
			//lint:ignore SA1019 net/http still obeys it
			req.Cancel = canceled
		})
		if !errors.Is(err, context.Canceled) || left != 2 || len(s.asked) != 1 {
			t.Errorf("during the pause: got %v, %d requests, balance %v, want %v, 1, 2", err, len(s.asked), left, context.Canceled)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		own := errors.New("net/http: request canceled") // as plain as the real one
		canceled := make(chan struct{})
		s := scripted(func(*http.Request) (*http.Response, error) {
			<-canceled
			return nil, own
		})
		req := request(t, "GET", "http://service.test/", nil)
		//lint:ignore SA1019 net/http still obeys it
		req.Cancel = canceled
		time.AfterFunc(time.Second, func() { close(canceled) })
		if resp, err := newRetrier(t, retry.Config{}).Wrap(s).RoundTrip(req); !errors.Is(err, own) || len(s.asked) != 1 {
			t.Errorf("during the attempt: got %v, %v, %d requests, want %v, 1", resp, err, len(s.asked), own)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		client := &http.Client{Timeout: time.Second}
		s := scripted(say(503, "Retry-After", "0"), say(503, "Retry-After", "0"), func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		client.Transport = newRetrier(t, retry.Config{}).Wrap(s)
		resp, err := client.Get("http://service.test/")
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("http.Client.Timeout: got %v, %v, want a timeout", resp, err)
		}
	})
}

// late is a context that has ended from some time on and tells nobody: what a
// select sees that has both the end of a pause and that of the context before it
// and takes the pause.
type late struct {
	context.Context
	end time.Time
}

func (c *late) Err() error {
	if time.Now().Before(c.end) {
		return nil
	}
	return context.Canceled
}

// Regression: when pause and context ended together, an attempt was made that
// nobody wanted, and its token was gone.
func TestWrapContextEndsWithPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &late{t.Context(), time.Now().Add(5 * time.Second)}
		s := scripted(say(503, "Retry-After", "5"))
		r := newRetrier(t, retry.Config{Budget: tokens(1)})
		resp, err := r.Wrap(s).RoundTrip(requestIn(t, ctx, "GET", "http://a/", nil))
		if !errors.Is(err, context.Canceled) || len(s.asked) != 1 || r.Budget().Balance(5*time.Second) != 1 {
			t.Errorf("got %v, %v, %d requests, balance %v, want %v, 1 request and the token back",
				resp, err, len(s.asked), r.Budget().Balance(5*time.Second), context.Canceled)
		}
	})
}

// stuck is a response body that is not there and never ends; Close ends it.
type stuck struct {
	once sync.Once
	done chan struct{}
}

func (s *stuck) Read([]byte) (int, error) {
	<-s.done
	return 0, errors.New("closed")
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// known is a body that tells how much of it was not read.
type known struct{ *strings.Reader }

func (known) Close() error { return nil }

// Responses that are given up are closed, once, and soon: what is there is read
// to save the connection, what is not is not waited for.
func TestWrapDiscards(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   func() io.ReadCloser
		wait   time.Duration
		unread int
	}{
		{"short", func() io.ReadCloser { return known{strings.NewReader("x")} }, 0, 0},
		{"long", func() io.ReadCloser { return known{strings.NewReader(strings.Repeat("x", 5000))} }, 0, 5000 - 4096},
		{"not there", func() io.ReadCloser { return &stuck{done: make(chan struct{})} }, 10 * time.Millisecond, 0},
		{"empty", func() io.ReadCloser { return http.NoBody }, 0, 0},
		{"broken", func() io.ReadCloser { return io.NopCloser(ending{io.ErrUnexpectedEOF}) }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bodies []*counted
				calls := 0
				rt := newRetrier(t, quick(nil)).Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
					if calls++; calls == 3 {
						return answer(200, "ok"), nil
					}
					resp := answer(503, "")
					bodies = append(bodies, &counted{ReadCloser: c.body()})
					resp.Body = bodies[len(bodies)-1]
					return resp, nil
				}))
				start := time.Now()
				wantText(t, rt, request(t, "GET", "http://a/", nil), 200, "ok")
				if took := time.Since(start); took < 2*c.wait || took > 2*c.wait+time.Microsecond {
					t.Errorf("two responses took %v, want %v each", took, c.wait)
				}
				for i, b := range bodies {
					if b.closes != 1 {
						t.Errorf("response %d: got %d closes, want 1", i+1, b.closes)
					}
					if r, ok := b.ReadCloser.(known); ok && r.Len() != c.unread {
						t.Errorf("response %d: got %d bytes unread, want %d", i+1, r.Len(), c.unread)
					}
				}
			})
		})
	}
}

// counted is a body that counts its closes.
type counted struct {
	io.ReadCloser
	closes int
}

func (c *counted) Close() error {
	c.closes++
	return c.ReadCloser.Close()
}

// Regression: a stub's response without a body made the loop panic.
func TestWrapNilBody(t *testing.T) {
	calls := 0
	rt := newRetrier(t, quick(nil)).Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
		calls++
		return &http.Response{StatusCode: 503}, nil
	}))
	resp, err := rt.RoundTrip(request(t, "GET", "http://a/", nil))
	if err != nil || resp.StatusCode != 503 || resp.Body != nil || calls != 3 {
		t.Errorf("got %v, %v after %d requests, want the third 503 as it is", resp, err, calls)
	}
}

// Errors of a call that was repeated say so, lead to the cause, and name the
// response that was given up; those of a call that was not are the base's own.
func TestWrapErrors(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	for _, c := range []struct {
		name      string
		answers   []func(*http.Request) (*http.Response, error)
		method    string
		exhausted bool
		attempts  int
		status    int
		text      string
	}{
		{"not repeated", []func(*http.Request) (*http.Response, error){fail(reset)}, "POST", false, 1, 0, reset.Error()},
		{"repeated", []func(*http.Request) (*http.Response, error){fail(reset)}, "GET", true, 3, 0, "retry: gave up after 3 attempts: " + reset.Error()},
		{"after a response", []func(*http.Request) (*http.Response, error){say(503), fail(reset)}, "GET", true, 3, 503,
			"retry: gave up after 3 attempts and status 503: " + reset.Error()},
		{"after two responses", []func(*http.Request) (*http.Response, error){say(503), say(502), fail(reset)}, "GET", true, 3, 502,
			"retry: gave up after 3 attempts and status 502: " + reset.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scripted(c.answers...)
			resp, err := newRetrier(t, quick(nil)).Wrap(s).RoundTrip(request(t, c.method, "http://a/", nil))
			if resp != nil || err == nil || err.Error() != c.text || !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("got %v, %v, want %s", resp, err, c.text)
			}
			var e *retry.Error
			if errors.Is(err, retry.ErrExhausted) != c.exhausted || errors.As(err, &e) != c.exhausted {
				t.Errorf("got %v, want ErrExhausted: %v", err, c.exhausted)
			}
			if e != nil && (e.Attempts != c.attempts || e.Status != c.status) {
				t.Errorf("got %d attempts, status %d, want %d, %d", e.Attempts, e.Status, c.attempts, c.status)
			}
			for i, b := range s.bodies {
				if n := b.closed(); n != 1 {
					t.Errorf("response %d: got %d closes, want 1", i+1, n)
				}
			}
		})
	}
}

// The caller's body is closed once, however the call ends.
func TestWrapClosesRequestBody(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		name    string
		answers []func(*http.Request) (*http.Response, error)
		getBody func() (io.ReadCloser, error)
		want    string // part of the error
	}{
		{"success", []func(*http.Request) (*http.Response, error){say(200)}, nil, ""},
		{"an answer that does not wait for it", []func(*http.Request) (*http.Response, error){say(404)}, nil, ""},
		{"unread and repeated", []func(*http.Request) (*http.Response, error){fail(refused), say(200)}, nil, ""},
		{"unread and given up", []func(*http.Request) (*http.Response, error){fail(refused)}, nil, "refused"},
		{"an error", []func(*http.Request) (*http.Response, error){fail(io.ErrUnexpectedEOF)}, nil, "EOF"},
		{"GetBody", []func(*http.Request) (*http.Response, error){say(503), say(200)}, func() (io.ReadCloser, error) { return http.NoBody, nil }, ""},
		{"GetBody that fails", []func(*http.Request) (*http.Response, error){say(503), say(200)},
			func() (io.ReadCloser, error) { return nil, errors.New("the file is gone") }, "gave up after 1 attempts and status 503: the file is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := &caller{Reader: strings.NewReader("hello")}
			req := request(t, "PUT", "http://a/", own)
			req.GetBody = c.getBody
			rt := newRetrier(t, quick(func(cfg *retry.Config) { cfg.Idempotent = []string{"PUT"} })).Wrap(scripted(c.answers...))
			resp, err := rt.RoundTrip(req)
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if resp != nil {
				_ = text(t, resp)
			}
			if own.closes != 1 {
				t.Errorf("got %d closes, want 1", own.closes)
			}
		})
	}
}

// A layer below that has classified the attempt knows better than the status.
func TestWrapBelieveReports(t *testing.T) {
	for _, c := range []struct {
		class tulle.Class
		want  int
	}{{tulle.Answered, 1}, {tulle.Unavailable, 3}, {0, 1}} {
		var attempts []int32
		rt := newRetrier(t, quick(nil)).Wrap(roundTripper(func(req *http.Request) (*http.Response, error) {
			call := tulle.CallFrom(req.Context())
			attempts = append(attempts, call.Attempt)
			call.Report(tulle.Outcome{Class: c.class})
			return answer(503, "503"), nil
		}))
		wantText(t, rt, request(t, "GET", "http://a/", nil), 503, "503")
		if len(attempts) != c.want || attempts[len(attempts)-1] != int32(c.want) {
			t.Errorf("%v: got attempts %v, want %d", c.class, attempts, c.want)
		}
	}
}

// moving is an Attempter whose attempts reach nobody, in a pool of many.
type moving struct {
	call  *tulle.Call
	after func(n int32) tulle.Outcome
	pool  tulle.Pool
}

func (m *moving) Attempt() (*http.Response, error) {
	m.call.Begin()
	pool := m.pool
	m.call.Pool = &pool
	o := m.after(m.call.Attempt)
	m.call.Report(o)
	if o.Class == tulle.Answered {
		return answer(200, "ok"), nil
	}
	return nil, fmt.Errorf("attempt %d", m.call.Attempt)
}

// A call that reaches nobody goes elsewhere at once, at no charge, and at most
// twice; what it is repeated for otherwise is counted apart.
func TestContinueMoves(t *testing.T) {
	unsent := func(int32) tulle.Outcome { return tulle.Outcome{Class: tulle.Unsent} }
	for _, c := range []struct {
		name            string
		tokens          int
		after           func(int32) tulle.Outcome
		pool            tulle.Pool
		attempts, moves int32
		charged         float64
		ok              bool
	}{
		{"nobody is there", 0, unsent, tulle.Pool{Untried: 9, Usable: 9}, 3, 2, 0, false},
		{"the third is", 0, func(n int32) tulle.Outcome {
			return map[bool]tulle.Outcome{true: {Class: tulle.Answered}, false: {Class: tulle.Unsent}}[n == 3]
		}, tulle.Pool{Untried: 9, Usable: 9}, 3, 2, 0, true},
		{"no certificate is good", 0, func(int32) tulle.Outcome { return tulle.Outcome{Class: tulle.Insecure} },
			tulle.Pool{Untried: 9, Usable: 9}, 3, 2, 0, false},
		{"moves leave the repeats", 9, func(n int32) tulle.Outcome {
			if n <= 2 {
				return tulle.Outcome{Class: tulle.Unsent}
			}
			return tulle.Outcome{Class: tulle.Lost}
		}, tulle.Pool{Untried: 9, Usable: 9}, 5, 2, 2, false},
		{"nowhere else", 9, unsent, tulle.Pool{Usable: 1}, 3, 0, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRetrier(t, retry.Config{Budget: tokens(c.tokens)})
				call := &tulle.Call{Safe: true}
				m := &moving{call: call, after: c.after, pool: c.pool}
				start := time.Now()
				resp, err := m.Attempt()
				clock := func() time.Duration { return time.Since(start) }
				resp, err = r.Continue(t.Context(), call, m, clock, time.Time{}, resp, err)
				if (err == nil) != c.ok || call.Attempt != c.attempts || call.Moves != c.moves {
					t.Errorf("got %v, %v after %d attempts, %d of them moves, want %d, %d", resp, err, call.Attempt, call.Moves, c.attempts, c.moves)
				}
				if got := float64(c.tokens) - r.Budget().Balance(clock()); got != c.charged {
					t.Errorf("got %v tokens charged, want %v", got, c.charged)
				}
				if took := time.Since(start); c.charged == 0 && took != 0 {
					t.Errorf("got %v of pauses, want none", took)
				}
			})
		})
	}
}

// Without time left nothing moves on, and nothing is paid.
func TestContinueNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetrier(t, retry.Config{Budget: tokens(1)})
		for _, class := range []tulle.Class{tulle.Unsent, tulle.Unavailable} {
			call := &tulle.Call{Safe: true, Pool: &tulle.Pool{Untried: 1, Usable: 1}, Last: tulle.Outcome{Class: class}, Attempt: 1}
			first := answer(503, "first")
			resp, err := r.Continue(t.Context(), call, nil, func() time.Duration { return 0 }, time.Now(), first, nil)
			if resp != first || err != nil || r.Budget().Balance(0) != 1 {
				t.Errorf("%v: got %v, %v, balance %v, want the first response and no charge", class, resp, err, r.Budget().Balance(0))
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		call := &tulle.Call{Safe: true, Last: tulle.Outcome{Class: tulle.Unavailable}, Attempt: 1}
		own := errors.New("own")
		if _, err := r.Continue(ended, call, nil, func() time.Duration { return 0 }, time.Time{}, nil, own); err != own || r.Budget().Balance(0) != 1 {
			t.Errorf("a context that has ended: got %v, balance %v, want the attempt's own error, 1", err, r.Budget().Balance(0))
		}
	})
}

// What is taken from the budget is what was sent again, also when calls are
// cancelled while they pause.
func TestWrapConservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 200
		r := newRetrier(t, retry.Config{Budget: retry.BudgetConfig{Ratio: -1, PerSecond: 30}})
		var mu sync.Mutex
		requests := 0 // guarded by mu
		rt := r.Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			return answer(503, "503"), nil
		}))
		start := time.Now()
		var all sync.WaitGroup
		for n := range calls {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
				defer cancel()
				if n%2 == 0 {
					time.AfterFunc(time.Duration(n/8)*time.Millisecond, cancel)
				}
				resp, err := rt.RoundTrip(requestIn(t, ctx, "GET", "http://a/", nil))
				if err == nil {
					_ = resp.Body.Close()
				}
			})
		}
		all.Wait()
		repeats := requests - calls
		if got, want := 300-r.Budget().Balance(time.Since(start)), float64(repeats); got != want || repeats == 0 {
			t.Errorf("got %v tokens taken, want those of the %v repeats", got, want)
		}
	})
}

// Regression: each RoundTripper that a Retrier wraps had a clock of its own, and
// so they overwrote each other's counts in the budget that they share.
func TestWrapsShareBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(say(503))
		r := newRetrier(t, retry.Config{Budget: tokens(2)})
		first := r.Wrap(s)
		time.Sleep(time.Hour)
		second := r.Wrap(s)
		for range 10 {
			for _, rt := range []http.RoundTripper{first, second} {
				wantText(t, rt, request(t, "GET", "http://a/", nil), 503, "503")
			}
		}
		if got := len(s.asked) - 20; got != 2 {
			t.Errorf("got %d repeats of 20 calls, want the 2 that the budget has", got)
		}
		// What the one took comes back for the other; and for a Retrier with
		// other settings, that goes on with the budget.
		next := newRetrier(t, retry.Config{Budget: tokens(2)})
		next.Adopt(r)
		for name, rt := range map[string]http.RoundTripper{"the other": second, "adopted": next.Wrap(s)} {
			time.Sleep(10 * time.Second)
			s.asked = nil
			for range 5 {
				wantText(t, rt, request(t, "GET", "http://a/", nil), 503, "503")
			}
			if got := len(s.asked) - 5; got != 2 {
				t.Errorf("%s, ten seconds later: got %d repeats of 5 calls, want 2", name, got)
			}
			s.asked = nil
			wantText(t, first, request(t, "GET", "http://a/", nil), 503, "503")
			if len(s.asked) != 1 {
				t.Errorf("%s: got %d requests of the first when the budget is spent, want 1", name, len(s.asked))
			}
		}
	})
}

// The budget fills again when what was spent is ten seconds old.
func TestWrapBudgetRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(say(503))
		rt := newRetrier(t, retry.Config{MinBackoff: 1, MaxBackoff: 1, Budget: tokens(2)}).Wrap(s)
		for round := range 5 {
			s.asked = nil
			for range 5 {
				wantText(t, rt, request(t, "GET", "http://a/", nil), 503, "503")
			}
			if got := len(s.asked) - 5; got != 2 {
				t.Errorf("round %d: got %d repeats, want 2", round+1, got)
			}
			time.Sleep(10 * time.Second)
		}
	})
}
