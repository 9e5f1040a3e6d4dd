package eob_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tullemesh/tulle/internal/eob"
	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// owner notes what it is told, and answers with answer where that is set. It is
// the body that readers see, too.
type owner struct {
	watch eob.Watch

	answer error

	mu    sync.Mutex
	ended []error // guarded by mu
}

func (o *owner) Read(p []byte) (int, error) { return o.watch.Read(p, o) }
func (o *owner) Close() error               { return o.watch.Close(o) }

func (o *owner) BodyEnded(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = append(o.ended, err)
	if o.answer != nil && err != nil && !errors.Is(err, io.EOF) {
		return o.answer
	}
	return err
}

// told is what the owner was told so far.
func (o *owner) told() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// watch puts o in front of a body and returns what the caller sees.
func watch(o *owner, body io.ReadCloser) io.ReadCloser {
	resp := &http.Response{Body: body}
	o.watch.Start(resp, o)
	return resp.Body
}

// body is a response body that ends with err after its text.
type body struct {
	io.Reader
	err    error
	closes atomic.Int32
	closed error // what Close returns
}

func newBody(text string, err error) *body { return &body{Reader: strings.NewReader(text), err: err} }

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func (b *body) Close() error {
	b.closes.Add(1)
	return b.closed
}

var errBroken = errors.New("broken")

func TestEndIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		end  error // of the body
		use  func(t *testing.T, b io.ReadCloser)
		want error // what the owner is told
	}{
		{"read to the end", io.EOF, func(t *testing.T, b io.ReadCloser) {
			if text, err := io.ReadAll(b); string(text) != "hello" || err != nil {
				t.Errorf("got %q, %v, want the whole body", text, err)
			}
		}, io.EOF},
		{"read past the end and closed", io.EOF, func(t *testing.T, b io.ReadCloser) {
			_, _ = io.ReadAll(b)
			for range 3 {
				if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("got %d, %v, want io.EOF again", n, err)
				}
			}
			_ = b.Close()
		}, io.EOF},
		{"broken", errBroken, func(t *testing.T, b io.ReadCloser) {
			if text, err := io.ReadAll(b); string(text) != "hello" || !errors.Is(err, errBroken) {
				t.Errorf("got %q, %v, want what came and the error", text, err)
			}
			_ = b.Close()
		}, errBroken},
		{"closed early", io.EOF, func(t *testing.T, b io.ReadCloser) {
			_, _ = b.Read(make([]byte, 2))
			_ = b.Close()
		}, nil},
		{"closed unread, twice", io.EOF, func(t *testing.T, b io.ReadCloser) {
			_ = b.Close()
			_ = b.Close()
		}, nil},
		{"read after Close", errBroken, func(t *testing.T, b io.ReadCloser) {
			_ = b.Close()
			_, _ = io.ReadAll(b)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := new(owner)
			c.use(t, watch(o, newBody("hello", c.end)))
			told := o.told()
			if len(told) != 1 || !errors.Is(told[0], c.want) || (told[0] == nil) != (c.want == nil) {
				t.Errorf("the owner was told %v, want once %v", told, c.want)
			}
		})
	}
}

// Nothing is told while the body goes on.
func TestNotYet(t *testing.T) {
	o := new(owner)
	b := watch(o, newBody("hello", io.EOF))
	for range 5 {
		if _, err := b.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.told(); len(got) != 0 {
		t.Errorf("the owner was told %v before the end, want nothing", got)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// The reader sees what the owner makes of an error; Close passes on its own.
func TestOwnerNamesTheError(t *testing.T) {
	o := &owner{answer: errors.New("time is up")}
	inner := newBody("hello", errBroken)
	inner.closed = errors.New("close failed")
	b := watch(o, inner)
	if _, err := io.ReadAll(b); !errors.Is(err, o.answer) {
		t.Errorf("got %v, want %v", err, o.answer)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("a second read: got %v, want the body's own error", err)
	}
	if err := b.Close(); !errors.Is(err, inner.closed) {
		t.Errorf("close: got %v, want %v", err, inner.closed)
	}
	if got := inner.closes.Load(); got != 1 {
		t.Errorf("got %d closes, want 1", got)
	}
}

// blocked is a body whose Read waits for Close, as those of net/http do. Close
// returns when that Read has, so that the order is the worst there is.
type blocked struct {
	once sync.Once
	done chan struct{}
}

func (b *blocked) Read([]byte) (int, error) {
	<-b.done
	return 0, errors.New("read on a closed body")
}

func (b *blocked) Close() error {
	b.once.Do(func() { close(b.done) })
	synctest.Wait()
	return nil
}

// Regression: Close unblocked a Read whose error was then told as the end of the
// body, and an endpoint was blamed for a caller that had read enough.
func TestCloseEndsReadWithoutBlame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := new(owner)
		b := watch(o, &blocked{done: make(chan struct{})})
		var reader sync.WaitGroup
		reader.Go(func() {
			if _, err := b.Read(make([]byte, 1)); err == nil {
				t.Error("got no error of an interrupted Read, want one")
			}
		})
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		reader.Wait()
		if told := o.told(); len(told) != 1 || told[0] != nil {
			t.Errorf("the owner was told %v, want once nil", told)
		}
	})
}

// The owner hears of a Close when the inner body is closed, not before: what it
// frees may be in use until then.
func TestCloseOrder(t *testing.T) {
	inner := newBody("hello", io.EOF)
	o := &order{inner: inner}
	resp := &http.Response{Body: inner}
	o.watch.Start(resp, o)
	if err := resp.Body.Close(); err != nil || o.closes != 1 {
		t.Errorf("got %v, told after %d closes, want nil, 1", err, o.closes)
	}
}

// order is an owner that looks whether its body is closed.
type order struct {
	watch  eob.Watch
	inner  *body
	closes int32
}

func (o *order) Read(p []byte) (int, error) { return o.watch.Read(p, o) }
func (o *order) Close() error               { return o.watch.Close(o) }

func (o *order) BodyEnded(err error) error {
	o.closes = o.inner.closes.Load()
	return err
}

// Any number of goroutines may read and close at a time; the race detector is
// the other half of this test.
func TestConcurrent(t *testing.T) {
	for range 200 {
		here, there := net.Pipe()
		o := new(owner)
		b := watch(o, here)
		var all sync.WaitGroup
		all.Go(func() {
			_, _ = there.Write([]byte("hello"))
			_ = there.Close()
		})
		for range 3 {
			all.Go(func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{b}) })
		}
		for range 2 {
			all.Go(func() { _ = b.Close() })
		}
		all.Wait()
		if told := o.told(); len(told) != 1 {
			t.Fatalf("the owner was told %v, want once", told)
		}
	}
}

// The body of an upgraded connection stays a writer, and one that can be closed
// for writing alone stays that.
func TestUpgraded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var server sync.WaitGroup
	server.Go(func() { // it sends back all it gets, and then ends
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o := new(owner)
	b := watch(o, conn)
	w, ok := b.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("got %T, want a writer", b)
	}
	if n, err := w.Write([]byte("hello")); n != 5 || err != nil {
		t.Errorf("write: got %d, %v, want 5, nil", n, err)
	}
	cw, ok := b.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("got %T, want CloseWrite", b)
	}
	if err := cw.CloseWrite(); err != nil {
		t.Errorf("CloseWrite: got %v, want nil", err)
	}
	if text, err := io.ReadAll(b); string(text) != "hello" || err != nil {
		t.Errorf("got %q, %v, want what was written", text, err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
	server.Wait()
	if told := o.told(); len(told) != 1 || !errors.Is(told[0], io.EOF) {
		t.Errorf("the owner was told %v, want once io.EOF", told)
	}
}

func TestUpgradedWithoutCloseWrite(t *testing.T) {
	here, there := net.Pipe()
	o := new(owner)
	b := watch(o, here)
	if err := b.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("got %v, want %v", err, http.ErrNotSupported)
	}
	if told := o.told(); len(told) != 0 {
		t.Errorf("the owner was told %v, want nothing yet", told)
	}
	_, _ = b.Close(), there.Close()
}

// A body that cannot be written to does not become one that can.
func TestPlainIsNoWriter(t *testing.T) {
	if _, ok := watch(new(owner), newBody("", io.EOF)).(io.Writer); ok {
		t.Error("got a writer, want none")
	}
}

func TestAllocations(t *testing.T) {
	resp, buf := new(http.Response), make([]byte, 8)
	inner := newBody("", io.EOF)
	owners := make([]quiet, 200)
	got := testing.AllocsPerRun(100, func() {
		o := &owners[0]
		owners = owners[1:]
		resp.Body = inner
		o.watch.Start(resp, o)
		_, _ = resp.Body.Read(buf)
		_ = resp.Body.Close()
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

// quiet is an owner that does nothing.
type quiet struct{ watch eob.Watch }

func (q *quiet) Read(p []byte) (int, error) { return q.watch.Read(p, q) }
func (q *quiet) Close() error               { return q.watch.Close(q) }

func (*quiet) BodyEnded(err error) error { return err }

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	o, resp, buf := new(quiet), &http.Response{Body: endless{}}, make([]byte, 32<<10)
	o.watch.Start(resp, o)
	for b.Loop() {
		_, _ = resp.Body.Read(buf)
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }
