package retry_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tullemesh/tulle/retry"
)

// caller is a request body that counts how it is used.
type caller struct {
	io.Reader
	reads, closes int
}

func (c *caller) Read(p []byte) (int, error) {
	c.reads++
	return c.Reader.Read(p)
}

func (c *caller) Close() error {
	c.closes++
	return nil
}

// start is a Replay of a request with that body and no GetBody.
func start(body io.ReadCloser, limit int) (*retry.Replay, *http.Request) {
	req := &http.Request{Method: http.MethodPost, Body: body}
	p := new(retry.Replay)
	p.Start(req, limit)
	return p, req
}

// next is the body of the next attempt.
func next(t *testing.T, p *retry.Replay, req *http.Request) io.ReadCloser {
	t.Helper()
	body, err := p.Next(req)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// all reads a body to its end.
func all(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReplayWithoutBody(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		p, req := start(body, 100)
		for range 3 {
			if got := next(t, p, req); got != body {
				t.Errorf("got %v, want the request's own %v", got, body)
			}
		}
		if p.Spent() || p.Failed() {
			t.Errorf("got spent %v, failed %v, want neither", p.Spent(), p.Failed())
		}
		p.Finish(req)
	}
}

// With GetBody each attempt has its own body, and the first has the caller's.
func TestReplayGetBody(t *testing.T) {
	own := &caller{Reader: strings.NewReader("hello")}
	calls := 0
	req := &http.Request{Body: own, GetBody: func() (io.ReadCloser, error) {
		calls++
		return io.NopCloser(strings.NewReader("hello")), nil
	}}
	p := new(retry.Replay)
	p.Start(req, 0)
	if got := next(t, p, req); got != own {
		t.Errorf("the first body: got %v, want the caller's own", got)
	}
	for n := 1; n < 3; n++ {
		if got := all(t, next(t, p, req)); got != "hello" || calls != n || p.Spent() {
			t.Errorf("attempt %d: got %q, %d calls of GetBody, spent %v, want the body again", n+1, got, calls, p.Spent())
		}
	}
	p.Finish(req)
	if own.closes != 0 || own.reads != 0 {
		t.Errorf("the caller's body: got %d reads, %d closes, want both left to who sends it", own.reads, own.closes)
	}
}

// Nothing was handed out, so nobody else would close it.
func TestReplayFinishClosesWhatNobodyGot(t *testing.T) {
	for _, getBody := range []func() (io.ReadCloser, error){nil, func() (io.ReadCloser, error) { return nil, nil }} {
		own := &caller{Reader: strings.NewReader("hello")}
		req := &http.Request{Body: own, GetBody: getBody}
		p := new(retry.Replay)
		p.Start(req, 0)
		p.Finish(req)
		p.Finish(req)
		if own.closes != 1 {
			t.Errorf("GetBody %v: got %d closes, want 1", getBody != nil, own.closes)
		}
	}
	p, req := start(nil, 0)
	p.Finish(req) // there is nothing to close
}

// A body without GetBody goes out again while nothing of it was read.
func TestReplayUnread(t *testing.T) {
	own := &caller{Reader: strings.NewReader("hello")}
	p, req := start(own, 0)
	first := next(t, p, req)
	if err := first.Close(); err != nil || own.closes != 0 || p.Spent() {
		t.Fatalf("closed unread: got %v, %d closes, spent %v, want it open for another attempt", err, own.closes, p.Spent())
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a read after Close: got no error, want one")
	}
	second := next(t, p, req)
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a read by the attempt before: got no error, want one")
	}
	if err := first.Close(); err != nil || own.closes != 0 {
		t.Errorf("a second close by the attempt before: got %v, %d closes, want none", err, own.closes)
	}
	if got := all(t, second); got != "hello" || !p.Spent() {
		t.Errorf("got %q, spent %v, want the whole body, and no more", got, p.Spent())
	}
	_ = second.Close()
	if _, err := p.Next(req); err == nil {
		t.Error("a third attempt: got a body, want an error")
	}
	p.Finish(req)
	if own.closes != 1 {
		t.Errorf("got %d closes, want 1", own.closes)
	}
}

// While there may be another attempt, what was read is kept up to the limit.
func TestReplayKeeps(t *testing.T) {
	text := strings.Repeat("0123456789", 10)
	for _, c := range []struct {
		name  string
		limit int
		read  int // by the first attempt
		spent bool
	}{
		{"part", 100, 42, false},
		{"all, at the limit", 100, 100, false},
		{"part of more than the limit", 50, 50, false},
		{"one byte past the limit", 50, 51, true},
		{"nothing is kept", 0, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := &caller{Reader: strings.NewReader(text)}
			p, req := start(own, c.limit)
			first := next(t, p, req)
			if n, err := io.ReadFull(first, make([]byte, c.read)); n != c.read || err != nil {
				t.Fatalf("got %d, %v, want %d bytes", n, err, c.read)
			}
			if p.Spent() != c.spent {
				t.Fatalf("got spent %v, want %v", p.Spent(), c.spent)
			}
			_ = first.Close()
			if c.spent {
				if _, err := p.Next(req); err == nil || own.closes != 1 {
					t.Errorf("got a second body (%v), %d closes, want none and the caller's closed", err, own.closes)
				}
				return
			}
			second := next(t, p, req)
			p.Finish(req)
			if got := all(t, second); got != text {
				t.Errorf("got %q, want all of it", got)
			}
			_ = second.Close()
			if own.closes != 1 {
				t.Errorf("got %d closes, want 1", own.closes)
			}
		})
	}
}

// Three attempts that read more each time see the same bytes, and the last one
// goes on where the first ones stopped.
func TestReplayKeepsOverAttempts(t *testing.T) {
	text := strings.Repeat("abcdefghij", 10)
	p, req := start(io.NopCloser(strings.NewReader(text)), 80)
	for _, n := range []int{10, 35, 80} {
		body, part := next(t, p, req), make([]byte, n)
		if _, err := io.ReadFull(body, part); err != nil || string(part) != text[:n] {
			t.Fatalf("got %q, %v, want the first %d bytes", part, err, n)
		}
		_ = body.Close()
	}
	if got := all(t, next(t, p, req)); got != text {
		t.Errorf("got %q, want all of it", got)
	}
	if !p.Spent() {
		t.Error("got a body that can be sent again past its limit, want it spent")
	}
}

// After Finish nothing more is kept: the last attempt may stream for hours.
func TestReplayFinishStopsKeeping(t *testing.T) {
	p, req := start(io.NopCloser(strings.NewReader("hello")), 100)
	body := next(t, p, req)
	p.Finish(req)
	if got := all(t, body); got != "hello" || !p.Spent() {
		t.Errorf("got %q, spent %v, want the body, not kept", got, p.Spent())
	}
}

// The sender of the last attempt may hold the body longer than the call: it is
// closed when that closes it.
func TestReplayFinishWaitsForTheSender(t *testing.T) {
	own := &caller{Reader: strings.NewReader("hello")}
	p, req := start(own, 0)
	body := next(t, p, req)
	p.Finish(req)
	if own.closes != 0 {
		t.Fatalf("got %d closes while it is being sent, want 0", own.closes)
	}
	if got := all(t, body); got != "hello" {
		t.Errorf("got %q, want all of it", got)
	}
	_, _ = body.Close(), body.Close()
	if own.closes != 1 {
		t.Errorf("got %d closes, want 1", own.closes)
	}
}

func TestReplayFailed(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		name string
		end  error
		want bool
	}{{"broken", broken, true}, {"at its end", io.EOF, false}} {
		p, req := start(io.NopCloser(io.MultiReader(strings.NewReader("x"), ending{c.end})), 100)
		body := next(t, p, req)
		_, err := io.Copy(io.Discard, body)
		if p.Failed() != c.want || p.Spent() != c.want || c.want && !errors.Is(err, broken) {
			t.Errorf("%s: got failed %v, spent %v, %v, want %v", c.name, p.Failed(), p.Spent(), err, c.want)
		}
		_ = body.Close()
		p.Finish(req)
	}
}

// ending is a reader that only ends.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) { return 0, e.err }

// Regression: a sender that gives up closes the body under the Read that waits
// for the caller, and the error of that Read was taken for the caller's fault.
func TestReplayCloseIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		p, req := start(r, 0)
		body := next(t, p, req)
		var sender sync.WaitGroup
		sender.Go(func() {
			if _, err := body.Read(make([]byte, 1)); err == nil {
				t.Error("got no error of an interrupted Read, want one")
			}
		})
		synctest.Wait()
		if !p.Spent() {
			t.Error("got a body that can be sent again while it is being read, want it spent")
		}
		if _, err := p.Next(req); err == nil {
			t.Error("got a second body while the first is being read, want an error")
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		sender.Wait()
		if p.Failed() {
			t.Error("got failed, want it not to be the caller's fault")
		}
		p.Finish(req)
		if _, err := w.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the caller's end: got %v, want it closed", err)
		}
	})
}

// A sender that is over may go on reading and closing while the next one sends:
// no byte of the body goes to the wrong one. The race detector is the other half
// of this test.
func TestReplayConcurrent(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 64)
	for range 100 {
		p, req := start(io.NopCloser(bytes.NewReader(text)), 0)
		first := next(t, p, req)
		var old sync.WaitGroup
		begun := make(chan struct{})
		old.Go(func() {
			<-begun
			_ = first.Close()
			if n, err := first.Read(make([]byte, 10)); n != 0 || err == nil {
				t.Errorf("the attempt before: got %d bytes, %v, want none and an error", n, err)
			}
		})
		second := next(t, p, req)
		close(begun)
		if got := all(t, second); got != string(text) {
			t.Fatalf("got %d bytes, want all %d", len(got), len(text))
		}
		_ = second.Close()
		old.Wait()
		p.Finish(req)
	}
}

// A body that is read to its end by the first attempt costs no more than the
// object that watches it.
func TestReplayCopiesNothing(t *testing.T) {
	cost := func(size int) float64 {
		text, buf := make([]byte, size), make([]byte, 32<<10)
		reader := bytes.NewReader(text)
		req := &http.Request{Body: io.NopCloser(reader)}
		return testing.AllocsPerRun(20, func() {
			reader.Reset(text)
			var p retry.Replay
			p.Start(req, 0)
			body, err := p.Next(req)
			for err == nil {
				_, err = body.Read(buf)
			}
			_ = body.Close()
			p.Finish(req)
		})
	}
	if empty, large := cost(0), cost(1<<20); large != empty || empty > 2 {
		t.Errorf("got %v allocations for 1 MiB and %v for nothing, want the same, at most 2", large, empty)
	}
}
