package retry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// sequence answers the nth request with the nth status, the last one for ever,
// and the text "answer n".
func sequence(count *atomic.Int64, statuses ...int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := int(count.Add(1))
		w.WriteHeader(statuses[min(n, len(statuses))-1])
		_, _ = fmt.Fprintf(w, "answer %d", n)
	}
}

func TestWrapStatus(t *testing.T) {
	for _, c := range []struct {
		name     string
		method   string
		key      bool
		statuses []int
		want     int
		requests int64
	}{
		{"the first succeeds", "GET", false, []int{200}, 200, 1},
		{"the third succeeds", "GET", false, []int{503, 503, 200}, 200, 3},
		{"each kind of unavailable", "GET", false, []int{408, 504, 502}, 502, 3},
		{"none succeeds", "GET", false, []int{503}, 503, 3},
		{"POST", "POST", false, []int{503, 200}, 503, 1},
		{"PUT", "PUT", false, []int{503, 200}, 503, 1},
		{"DELETE, that the policy names", "DELETE", false, []int{503, 200}, 200, 2},
		{"POST with a key", "POST", true, []int{502, 200}, 200, 2},
		{"an error that another would repeat", "GET", false, []int{500, 200}, 500, 1},
		{"the caller's mistake", "GET", false, []int{404, 200}, 404, 1},
		{"the caller's mistake, after a repeat", "GET", false, []int{503, 404, 200}, 404, 2},
		{"throttled without a hint", "GET", false, []int{429, 200}, 429, 1},
		{"POST, that went to the wrong server", "POST", false, []int{421, 421, 200}, 200, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				var count atomic.Int64
				p := newPeer(t, h2, sequence(&count, c.statuses...))
				rt := newRetrier(t, quick(func(cfg *retry.Config) { cfg.Idempotent = []string{"DELETE"} })).Wrap(p.base)
				req := request(t, c.method, p.URL, nil)
				if c.key {
					req.Header.Set("Idempotency-Key", "k")
				}
				wantText(t, rt, req, c.want, fmt.Sprintf("answer %d", c.requests))
				if got := count.Load(); got != c.requests {
					t.Errorf("got %d requests, want %d", got, c.requests)
				}
			})
		})
	}
}

// The body of a repeat is the body of the first attempt, byte for byte.
func TestWrapReplaysBody(t *testing.T) {
	payload := make([]byte, 300<<10)
	_, _ = rand.Read(payload)
	small := payload[:1000]
	for _, c := range []struct {
		name     string
		body     []byte
		getBody  bool
		replay   int
		requests int
	}{
		{"GetBody", payload, true, 0, 3},
		{"kept", small, false, 4096, 3},
		{"kept, exactly the limit", small, false, 1000, 3},
		{"one byte too long to keep", small, false, 999, 1},
		{"nothing is kept unasked", small, false, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, h2 bool) {
				var mu sync.Mutex
				var bodies [][]byte // guarded by mu
				p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
					b, err := io.ReadAll(r.Body)
					if err != nil {
						t.Errorf("reading the request: got %v, want nil", err)
					}
					mu.Lock()
					defer mu.Unlock()
					if bodies = append(bodies, b); len(bodies) < 3 {
						w.WriteHeader(503)
					}
				})
				rt := newRetrier(t, quick(func(cfg *retry.Config) { cfg.Replay = c.replay })).Wrap(p.base)
				var body io.Reader = bytes.NewReader(c.body)
				if !c.getBody {
					body = bare{body}
				}
				req := request(t, "POST", p.URL, body)
				req.ContentLength = int64(len(c.body))
				req.Header.Set("Idempotency-Key", "k")
				status := 200
				if c.requests == 1 {
					status = 503
				}
				wantText(t, rt, req, status, "")
				mu.Lock()
				defer mu.Unlock()
				if len(bodies) != c.requests {
					t.Errorf("got %d requests, want %d", len(bodies), c.requests)
				}
				for i, b := range bodies {
					if !bytes.Equal(b, c.body) {
						t.Errorf("request %d: got %d other bytes, want the %d of the first", i+1, len(b), len(c.body))
					}
				}
			})
		})
	}
}

// A body without GetBody streams: the server has its first byte before the
// caller has written the second. Once it was read it is not sent again.
func TestWrapStreams(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		for _, status := range []int{200, 503} {
			arrived, requests := make(chan string), atomic.Int64{}
			p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				first := make([]byte, 1)
				_, _ = io.ReadFull(r.Body, first)
				arrived <- string(first)
				rest, _ := io.ReadAll(r.Body)
				w.WriteHeader(status)
				_, _ = w.Write(rest)
			})
			r, w := io.Pipe()
			var writer sync.WaitGroup
			writer.Go(func() {
				_, _ = w.Write([]byte("a"))
				if got := <-arrived; got != "a" { // a copy that waits for the end would never come
					t.Errorf("got %q, want the first byte", got)
				}
				_, _ = w.Write([]byte("bc"))
				_ = w.Close()
			})
			req := request(t, "POST", p.URL, r)
			req.Header.Set("Idempotency-Key", "k")
			wantText(t, newRetrier(t, quick(nil)).Wrap(p.base), req, status, "bc")
			writer.Wait()
			if got := requests.Load(); got != 1 {
				t.Errorf("%d: got %d requests, want 1", status, got)
			}
		}
	})
}

// dials is an http.Transport whose first dials are refused.
func dials(base *http.Transport, refused int64, count *atomic.Int64) *http.Transport {
	base = base.Clone()
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if count.Add(1) <= refused {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return base
}

// A call that reached nobody is repeated whatever its method, and with a body
// that cannot be had twice as long as nothing of it was read.
func TestWrapRefused(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		for _, c := range []struct {
			refused, want int64
		}{{1, 2}, {2, 3}, {3, 3}} {
			var count atomic.Int64
			base := dials(p.base, c.refused, &count)
			own := &caller{Reader: strings.NewReader("hello")}
			req := request(t, "POST", p.URL, own)
			rt := newRetrier(t, quick(nil)).Wrap(base)
			if c.refused < 3 {
				wantText(t, rt, req, 200, "hello")
			} else if resp, err := rt.RoundTrip(req); !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, retry.ErrExhausted) {
				t.Errorf("refused %d times: got %v, %v, want %v", c.refused, resp, err, retry.ErrExhausted)
			}
			base.CloseIdleConnections()
			if got := count.Load(); got != c.want || own.closes != 1 {
				t.Errorf("refused %d times: got %d dials, %d closes, want %d, 1", c.refused, got, own.closes, c.want)
			}
		}
	})
}

// What the caller gets when nothing helps is the last response, not an error.
func TestWrapLastResponse(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		var count atomic.Int64
		p := newPeer(t, h2, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Answer", fmt.Sprint(count.Add(1)))
			w.WriteHeader(503)
			_, _ = w.Write(bytes.Repeat([]byte("x"), 100<<10)) // more than is read of one that is given up
		})
		resp, err := newRetrier(t, quick(nil)).Wrap(p.base).RoundTrip(request(t, "GET", p.URL, nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, resp); resp.Header.Get("Answer") != "3" || len(got) != 100<<10 {
			t.Errorf("got answer %s of %d bytes, want the third, whole", resp.Header.Get("Answer"), len(got))
		}
	})
}

// A redirect is a response like any other: it is not followed, and one with a
// Location that cannot be read is no error.
func TestWrapRedirects(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
			for _, location := range []string{"", "/elsewhere", "://bad%zz", "http://[::1"} {
				for _, before := range []int{0, 1} {
					var requests atomic.Int64
					p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						if int(requests.Add(1)) <= before {
							w.WriteHeader(503)
							return
						}
						w.Header().Set("Location", location)
						w.WriteHeader(status)
					})
					req := request(t, "POST", p.URL, strings.NewReader("hello"))
					req.Header.Set("Idempotency-Key", "k")
					get, opened := req.GetBody, 0
					req.GetBody = func() (io.ReadCloser, error) { opened++; return get() }
					resp, err := newRetrier(t, quick(nil)).Wrap(p.base).RoundTrip(req)
					if err != nil {
						t.Fatalf("%d %q: got %v, want the response", status, location, err)
					}
					_ = text(t, resp)
					if resp.StatusCode != status || resp.Header.Get("Location") != location || requests.Load() != int64(before+1) || opened != before {
						t.Errorf("%d %q after %d: got %d %q, %d requests, %d bodies, want it untouched",
							status, location, before, resp.StatusCode, resp.Header.Get("Location"), requests.Load(), opened)
					}
					p.base.CloseIdleConnections()
				}
			}
		}
	})
}

// A response that is given up and has no end does not keep the call from going
// on.
func TestWrapEndlessResponse(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		var count atomic.Int64
		p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
			if count.Add(1) == 3 {
				_, _ = io.WriteString(w, "at last")
				return
			}
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "wait for it")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // which is when the body is closed
		})
		wantText(t, newRetrier(t, quick(nil)).Wrap(p.base), request(t, "GET", p.URL, nil), 200, "at last")
	})
}

// pauser is an http.Transport that ends a context a moment after a response with
// Retry-After: during the pause.
type pauser struct {
	*http.Transport
	end context.CancelFunc
}

func (p *pauser) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.Transport.RoundTrip(req)
	if err == nil && resp.Header.Get("Retry-After") != "" {
		time.AfterFunc(5*time.Millisecond, p.end)
	}
	return resp, err
}

// Calls that are given up do not close the connections of others: all go over
// one.
func TestWrapKeepsConnections(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		var count atomic.Int64
		answers := sequence(&count, 503)
		p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/later" {
				w.Header().Set("Retry-After", "100")
				w.WriteHeader(503)
				return
			}
			answers(w, r)
		})
		pausing, end := context.WithCancel(t.Context())
		defer end()
		rt := newRetrier(t, quick(nil)).Wrap(&pauser{p.base, end})
		for n := range 20 {
			wantText(t, rt, request(t, "GET", p.URL, nil), 503, fmt.Sprintf("answer %d", 3*n+3))
		}
		resp, err := rt.RoundTrip(requestIn(t, pausing, "GET", p.URL+"/later", nil))
		if !errors.Is(err, context.Canceled) || !errors.Is(err, retry.ErrExhausted) {
			t.Errorf("cancelled during the pause: got %v, %v, want %v", resp, err, context.Canceled)
		}
		if resp, err := rt.RoundTrip(requestIn(t, pausing, "GET", p.URL, nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: got %v, %v, want %v", resp, err, context.Canceled)
		}
		wantText(t, rt, request(t, "GET", p.URL, nil), 503, "answer 63")
		if got := p.conns.Load(); got != 1 {
			t.Errorf("got %d connections for 64 requests, want 1", got)
		}
	})
}

// What is in the request goes out as it is, each time, and nothing is added.
func TestWrapHeadersAndUserinfo(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		for _, authorization := range []string{"", "Bearer token"} {
			var mu sync.Mutex
			var seen []http.Header // guarded by mu
			p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, r.Header)
				w.WriteHeader(503)
			})
			req := request(t, "GET", strings.Replace(p.URL, "://", "://user:secret@", 1), nil)
			req.Header["Accept"] = []string{"a", "b"}
			if authorization != "" {
				req.Header.Set("Authorization", authorization)
			}
			wantText(t, newRetrier(t, quick(nil)).Wrap(p.base), req, 503, "")
			mu.Lock()
			if len(seen) != 3 {
				t.Errorf("got %d requests, want 3", len(seen))
			}
			for i, h := range seen {
				if h.Get("Authorization") != authorization || !slices.Equal(h["Accept"], []string{"a", "b"}) || !reflect.DeepEqual(h, seen[0]) {
					t.Errorf("request %d: got %v, want Authorization %q and the rest as before", i+1, h, authorization)
				}
			}
			mu.Unlock()
		}
	})
}

// The caller's request is not changed, whatever becomes of the call.
func TestWrapLeavesRequestAlone(t *testing.T) {
	for _, statuses := range [][]int{{200}, {503, 200}, {503}} {
		var count atomic.Int64
		p := newPeer(t, false, sequence(&count, statuses...))
		req := request(t, "POST", p.URL+"/a?b#c", strings.NewReader("hello"))
		req.Header.Set("Idempotency-Key", "k")
		req.Trailer = http.Header{"T": nil}
		before, header, url := *req, req.Header.Clone(), *req.URL
		resp, err := newRetrier(t, quick(nil)).Wrap(p.base).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = text(t, resp)
		if !reflect.DeepEqual(req.Header, header) || *req.URL != url || req.Context() != before.Context() ||
			req.Body != before.Body || req.Host != before.Host || req.ContentLength != before.ContentLength {
			t.Errorf("%v: got %+v, want the request as it was", statuses, req)
		}
	}
}

// A tunnel or an upgrade may be there once it was asked for.
func TestWrapUpgrade(t *testing.T) {
	for _, upgrade := range []string{"", "websocket"} {
		var count atomic.Int64
		p := newPeer(t, false, sequence(&count, 503))
		req := request(t, "GET", p.URL, nil)
		want := int64(3)
		if upgrade != "" {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", upgrade)
			want = 1
		}
		wantText(t, newRetrier(t, quick(nil)).Wrap(p.base), req, 503, fmt.Sprintf("answer %d", want))
	}
	calls := 0
	stub := roundTripper(func(*http.Request) (*http.Response, error) {
		calls++
		return answer(429, "", "Retry-After", "0"), nil
	})
	wantText(t, newRetrier(t, quick(nil)).Wrap(stub), request(t, "CONNECT", "http://a/", nil), 429, "")
	if calls != 1 {
		t.Errorf("CONNECT: got %d requests, want 1", calls)
	}
}

// A connection that was upgraded is the caller's to read and write.
func TestWrapSwitchingProtocols(t *testing.T) {
	p := newPeer(t, false, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.CopyN(c, rw, 5)
		_ = c.Close()
	})
	req := request(t, "GET", p.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := newRetrier(t, quick(nil)).Wrap(p.base).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	w, ok := resp.Body.(io.Writer)
	if !ok || resp.StatusCode != 101 {
		t.Fatalf("got %d with %T, want 101 with a writer", resp.StatusCode, resp.Body)
	}
	_, _ = io.WriteString(w, "hello")
	if got := text(t, resp); got != "hello" {
		t.Errorf("got %q, want what was written", got)
	}
}

// A spy is a RoundTripper that remembers the call that it was part of.
type spy struct {
	http.RoundTripper
	call *tulle.Call
}

func (s *spy) RoundTrip(req *http.Request) (*http.Response, error) {
	s.call = tulle.CallFrom(req.Context())
	return s.RoundTripper.RoundTrip(req)
}

// A caller whose body cannot be read is told so at once, and nobody is blamed.
func TestWrapCallersBodyFails(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		p := newPeer(t, h2, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		for _, replay := range []int{0, 100} {
			broken, base := errors.New("disk on fire"), &spy{RoundTripper: p.base}
			rt := newRetrier(t, quick(func(cfg *retry.Config) { cfg.Replay = replay })).Wrap(base)
			req := request(t, "POST", p.URL, io.MultiReader(strings.NewReader("x"), ending{broken}))
			req.Header.Set("Idempotency-Key", "k")
			resp, err := rt.RoundTrip(req)
			if !errors.Is(err, broken) || errors.Is(err, retry.ErrExhausted) {
				t.Errorf("kept %d: got %v, %v, want %v", replay, resp, err, broken)
			}
			if c := base.call; c.Last.Class != tulle.Ignored || c.Attempt != 1 {
				t.Errorf("kept %d: got %v after %d attempts, want ignored after 1", replay, c.Last.Class, c.Attempt)
			}
		}
	})
}

// Regression: a stream that broke while the caller's pipe was being read was
// taken for a failure of the pipe. (Over HTTP/1 net/http itself waits for the
// pipe.)
func TestWrapBreaksWhileStreaming(t *testing.T) {
	p := newPeer(t, true, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
		panic(http.ErrAbortHandler)
	})
	for range 20 { // the Read and the answer race
		base := &spy{RoundTripper: p.base}
		r, w := io.Pipe()
		var writer sync.WaitGroup
		writer.Go(func() { _, _ = w.Write([]byte("a")) }) // and it stays open
		req := request(t, "POST", p.URL, r)
		req.Header.Set("Idempotency-Key", "k")
		resp, err := newRetrier(t, quick(nil)).Wrap(base).RoundTrip(req)
		if err == nil || base.call.Last.Class != tulle.Lost {
			t.Errorf("got %v, %v, class %v, want an error, lost", resp, err, base.call.Last.Class)
		}
		writer.Wait()
	}
}

// Many calls at a time over one budget: what was sent more than once was paid
// for. The race detector is the other half of this test.
func TestWrapConcurrent(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		const workers, calls = 8, 25
		var requests atomic.Int64
		p := newPeer(t, h2, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if requests.Add(1)%3 != 0 {
				w.WriteHeader(503)
			}
			_, _ = w.Write(b)
		})
		r := newRetrier(t, quick(func(cfg *retry.Config) { cfg.Budget = retry.BudgetConfig{Ratio: 0.2, PerSecond: 2} }))
		rt := r.Wrap(p.base)
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for n := range calls {
					body := fmt.Sprintf("%d-%d", w, n)
					req := request(t, "POST", p.URL, strings.NewReader(body))
					req.Header.Set("Idempotency-Key", body)
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Error(err)
						return
					}
					if got := text(t, resp); got != body {
						t.Errorf("got %q, want %q", got, body)
					}
				}
			})
		}
		all.Wait()
		repeats := requests.Load() - workers*calls
		if most := int64(0.2*workers*calls + 2*10); repeats > most || repeats == 0 {
			t.Errorf("got %d repeats of %d calls, want some and at most %d", repeats, workers*calls, most)
		}
	})
}

// The wrapper is transparent to who asks for idle connections to be closed.
func TestWrapNilBase(t *testing.T) {
	var count atomic.Int64
	p := newPeer(t, false, sequence(&count, 503, 200))
	rt := newRetrier(t, quick(nil)).Wrap(nil)
	wantText(t, rt, request(t, "GET", p.URL, nil), 200, "answer 2")
	c, ok := rt.(interface{ CloseIdleConnections() })
	if !ok {
		t.Fatalf("got %T, want CloseIdleConnections", rt)
	}
	c.CloseIdleConnections() // or TestMain finds the connection
	newRetrier(t, quick(nil)).Wrap(roundTripper(nil)).(interface{ CloseIdleConnections() }).CloseIdleConnections()
}
