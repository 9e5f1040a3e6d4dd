package http2_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/tullemesh/tulle/transport"
)

const (
	hugeBody = 64 << 20
	// hugeHeap is what client, proxy and servers may hold at a time while a
	// huge body passes.
	hugeHeap = 16 << 20
)

// Bodies of any size pass in both directions, and are never in memory as a
// whole. A request sends one and another receives one: a server of net/http
// closes the request's body when the response begins, which a proxy in between
// can take for a failed upload.
func TestHugeBodies(t *testing.T) {
	viaBoth(t, allProtocols, transport.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Received", fmt.Sprint(n))
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(w, zeros{}, hugeBody) // the client counts
		}
	}, func(t *testing.T, w way) {
		most := holding(t, "sending", func(sample func()) {
			req := newRequest(t, http.MethodPost, w.url, io.LimitReader(&sampled{sample: sample}, hugeBody))
			req.ContentLength = hugeBody
			resp, err := w.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close() // it is empty
			if got := resp.Header.Get("Received"); got != fmt.Sprint(hugeBody) {
				t.Errorf("the server got %s bytes, want %d", got, hugeBody)
			}
		})
		most = max(most, holding(t, "receiving", func(sample func()) {
			resp, err := w.client.Do(newRequest(t, http.MethodGet, w.url, nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n, err := io.Copy(&sampled{sample: sample}, resp.Body); err != nil || n != hugeBody {
				t.Errorf("got %d bytes, error %v, want %d", n, err, hugeBody)
			}
		}))
		t.Logf("held at most %d MiB more", most>>20)
	})
}

// holding runs f, which calls sample now and then, fails the test if the program
// came to hold too much, and returns how much more it held.
func holding(t *testing.T, what string, f func(sample func())) uint64 {
	t.Helper()
	// Garbage must not hide what is held: it is collected often.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	before := heap()
	most := before
	var mu sync.Mutex // bodies are read by goroutines of net/http
	f(func() {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, heap())
	})
	mu.Lock()
	defer mu.Unlock()
	if most > before+hugeHeap {
		t.Errorf("%s: the heap grew from %d to %d MiB, want at most %d more", what, before>>20, most>>20, hugeHeap>>20)
	}
	return most - before
}

// heap is what the program holds, with garbage that was not collected yet.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// sampled is an endless source, and a sink, that calls sample for each MiB.
type sampled struct {
	sample func()
	n      int
}

func (s *sampled) count(n int) (int, error) {
	before := s.n >> 20
	if s.n += n; s.n>>20 != before {
		s.sample()
	}
	return n, nil
}

// Read implements io.Reader.
func (s *sampled) Read(p []byte) (int, error) { return s.count(len(p)) }

// Write implements io.Writer.
func (s *sampled) Write(p []byte) (int, error) { return s.count(len(p)) }
