// Package shim stands between foreign tests and the client that they test. The
// generator of package nethttp writes calls of it into the copied tests.
//
// A test process runs in one mode, which the environment names. The state is
// global because the copied tests have no place to carry it.
package shim

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// The environment of a test process.
const (
	// ModeEnv names the mode: one of those below.
	ModeEnv = "TULLE_RIG_MODE"
	// CountEnv names the file that Finish writes the number of requests to.
	CountEnv = "TULLE_RIG_COUNT"
)

// The modes.
const (
	// Bare runs the tests as they are.
	Bare = "bare"
	// Identity puts a wrapper in front that only counts. It shows what any
	// wrapper breaks.
	Identity = "identity"
	// Pass puts tulle in front with no service configured, so that every host
	// passes through.
	Pass = "pass"
	// Resolve puts tulle in front with every host taken for a service, so
	// that every request goes through all layers.
	Resolve = "resolve"
	// Breaker and Limit put that layer alone in front, at its defaults.
	Breaker = "breaker"
	Limit   = "limit"
)

// wrappers is what this process has put in front of what.
var wrappers registry

type registry struct {
	requests atomic.Int64

	// mu guards the maps and late.
	mu    sync.Mutex
	front map[*http.Transport]*counted
	back  map[http.RoundTripper]*http.Transport
	late  []func()
}

// A Client is a RoundTripper that can close its idle connections.
type Client interface {
	http.RoundTripper
	CloseIdleConnections()
}

// Wrap returns what a test is to use in place of tr: tr itself in mode bare,
// else a wrapper, the same each time. It is closed when t ends.
func Wrap(t testing.TB, tr *http.Transport) Client {
	if bare() || tr == nil {
		return tr
	}
	if rt, ok := wrappers.get(tr); ok {
		return rt
	}
	rt, closer := front(tr)
	wrappers.put(tr, rt)
	t.Cleanup(func() {
		wrappers.drop(tr, rt)
		closer()
	})
	return rt
}

// Front returns what a proxy is to use in place of rt: rt itself in mode bare,
// else a wrapper. It is closed by Finish. A Transport gets one wrapper for the
// whole process; any other RoundTripper one for each call, as it may be of a
// type that cannot be a key.
func Front(rt http.RoundTripper) http.RoundTripper {
	if bare() {
		return rt
	}
	tr, keyed := rt.(*http.Transport)
	if keyed {
		if known, ok := wrappers.get(tr); ok {
			return known
		}
	}
	wrapper, closer := front(rt)
	if keyed {
		wrappers.put(tr, wrapper)
	}
	wrappers.closeLate(closer)
	return wrapper
}

func bare() bool {
	mode := os.Getenv(ModeEnv)
	return mode == Bare || mode == ""
}

// front builds the wrapper of the process's mode.
func front(base http.RoundTripper) (*counted, func()) {
	inner, closer, err := build(os.Getenv(ModeEnv), base)
	if err != nil {
		panic("shim: " + err.Error()) // ends this run of the tests, with the reason
	}
	return &counted{inner}, closer
}

// build makes the client of a mode and what closes it.
func build(mode string, base http.RoundTripper) (http.RoundTripper, func(), error) {
	switch mode {
	case Identity:
		return base, func() {}, nil
	case Breaker, Limit:
		return layer(mode, base)
	case Pass, Resolve:
		return tulle(mode, base)
	}
	return nil, nil, fmt.Errorf("%s=%q: want bare, identity, pass or resolve", ModeEnv, mode)
}

// Under finds the *http.Transport below rt, as the assertion
// rt.(*http.Transport) does in the tests as they are.
func Under(rt http.RoundTripper) *http.Transport {
	wrappers.mu.Lock()
	tr := wrappers.back[rt]
	wrappers.mu.Unlock()
	if tr != nil {
		return tr
	}
	return rt.(*http.Transport)
}

// Finish closes what is left and writes the number of requests that went
// through a wrapper. Call it once, after the tests.
func Finish() {
	wrappers.mu.Lock()
	late := wrappers.late
	wrappers.late = nil
	wrappers.mu.Unlock()
	for _, closer := range late {
		closer()
	}
	if path := os.Getenv(CountEnv); path != "" {
		count := strconv.FormatInt(wrappers.requests.Load(), 10)
		if err := os.WriteFile(path, []byte(count), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "shim:", err) // the generator misses the file and says so
		}
	}
}

func (r *registry) get(tr *http.Transport) (*counted, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rt, ok := r.front[tr]
	return rt, ok
}

func (r *registry) put(tr *http.Transport, rt *counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.front == nil {
		r.front = map[*http.Transport]*counted{}
		r.back = map[http.RoundTripper]*http.Transport{}
	}
	r.front[tr] = rt
	r.back[rt] = tr
}

func (r *registry) drop(tr *http.Transport, rt *counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.front, tr)
	delete(r.back, rt)
}

func (r *registry) closeLate(closer func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = append(r.late, closer)
}

// counted is the outermost wrapper of every mode but bare. It has the manners
// of a good wrapper: nothing is changed, CloseIdleConnections reaches the base.
type counted struct {
	inner http.RoundTripper
}

func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	wrappers.requests.Add(1)
	return c.inner.RoundTrip(req)
}

func (c *counted) CloseIdleConnections() {
	if idler, ok := c.inner.(interface{ CloseIdleConnections() }); ok {
		idler.CloseIdleConnections()
	}
}
