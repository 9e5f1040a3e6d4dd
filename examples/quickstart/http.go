package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync/atomic"

	"github.com/tullemesh/tulle/examples/internal/show"
)

// newHost serves a server's calls over HTTP.
func newHost(s *show.Server) show.Host { return &http.Server{Handler: handler{s}} }

// A handler answers for a server.
type handler struct{ server *show.Server }

// ServeHTTP has the server work and tells what came of it. Only a POST has a key.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The server notices that its caller has gone only once the body is read.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	key := ""
	if r.Method == http.MethodPost {
		key = r.Header.Get("Idempotency-Key")
	}
	switch err := h.server.Work(r.Context(), path.Base(r.URL.Path), key); {
	case errors.Is(err, show.ErrUnavailable):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err == nil:
		_, _ = io.WriteString(w, h.server.Name()+"\n") // whoever is not there any more needs no answer
	}
}

// A client makes calls as any program would.
type client struct {
	http *http.Client
	base func() string // scheme and host of the next call
}

// send makes one call. A POST has a key of its own, which says that it may be sent
// twice: servers, tulle and net/http understand it. Without the key tulle would
// repeat a POST only if it provably reached no server.
func (c *client) send(ctx context.Context, i int, post bool) error {
	method, body := http.MethodGet, io.Reader(nil)
	if post {
		method, body = http.MethodPost, strings.NewReader(`{"name":"x"}`)
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/v1/users/%d", c.base(), i), body)
	if err != nil {
		return err
	}
	if post {
		req.Header.Set("Idempotency-Key", fmt.Sprintf("key-%d", i))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// A call is over when its body has been read, and only then can its
	// connection serve the next one.
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	// For an http.Client a 503 is no error. For whoever called it is.
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: status %d", method, req.URL, resp.StatusCode)
	}
	return nil
}

// roundRobin is the plain client's balancer: the addresses in turn. It learns of
// new servers as tulle does, and like most of its kind it does not learn from
// failures.
type roundRobin struct {
	addrs atomic.Pointer[[]string]
	count atomic.Uint64
}

// set replaces the addresses.
func (r *roundRobin) set(addrs []string) { r.addrs.Store(&addrs) }

// next is the base URL of the next call. There is one once set was called.
func (r *roundRobin) next() string {
	addrs := *r.addrs.Load()
	return "http://" + addrs[(r.count.Add(1)-1)%uint64(len(addrs))]
}
