package transport_test

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// At rest an endpoint costs at most a kilobyte and neither a goroutine nor a
// connection, and a set of ten thousand is there at once.
func TestMemoryAtRest(t *testing.T) {
	const n = 10000
	set := manyEndpoints(n)
	goroutines, before := runtime.NumGoroutine(), heap()
	begun := time.Now()
	rt := newTransport(t, transport.Config{
		Base:     stub{},
		Services: map[string]transport.Service{"svc": {Resolver: set}},
	})
	took := time.Since(begun)
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes for each endpoint beyond the list itself, ready after %v", each, took)
	if each > 1024 {
		t.Errorf("got %.0f bytes for each endpoint, want at most 1024", each)
	}
	if got := runtime.NumGoroutine() - goroutines; got > 2 {
		t.Errorf("got %d goroutines for the service, want no more than its watch", got)
	}
	req, _ := http.NewRequest(http.MethodGet, "http://svc/", nil)
	for range 3 * n {
		call(t, rt, req, make([]byte, 16))
	}
	used := float64(heap()-before) / n
	t.Logf("%.0f bytes after each was used about three times", used)
	if used > 1024 {
		t.Errorf("got %.0f bytes for each used endpoint, want at most 1024", used)
	}
	runtime.KeepAlive(set)
}
