package client

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"
)

// naives are the rows of the chain that a user would write with the same
// libraries that tulle is made of.
func naives() []Contender {
	return []Contender{
		{Name: "naive chain", OnWire: true, OnStub: true, Open: openNaive(false, none),
			Note: "x/time/rate, gobreaker for the service, go-retryablehttp, round robin over a clone of the request, gobreaker for each instance; no deadlines, no ejection that keeps instances in reserve, no retry budget"},
		{Name: "naive chain, otelhttp", OnWire: true, OnStub: true, Open: openNaive(true, none),
			Note: "the same below otelhttp without an SDK"},
		{Name: "naive chain, span and metrics", OnWire: true, OnStub: true, Open: openNaive(true, metrics|spans),
			Note: "the same with the SDK, every call sampled"},
	}
}

func openNaive(traced bool, t telemetry) func(Site) (*Client, error) {
	return func(s Site) (*Client, error) {
		p, wire := newProviders(t), s.wire()
		chain := newNaive(s.Addrs, wire)
		if traced {
			chain = p.wrapOtel(chain)
		}
		return over(wire, chain.RoundTrip, named).closing(p.close), nil
	}
}

// naive limits, asks the breaker of the service, and repeats.
type naive struct {
	limiter *rate.Limiter
	breaker *gobreaker.CircuitBreaker[*http.Response]
	next    http.RoundTripper
}

// newNaive is the chain over wire.
func newNaive(addrs []string, wire http.RoundTripper) http.RoundTripper {
	pick := &naivePick{wire: wire, addrs: addrs}
	for _, addr := range addrs {
		pick.breakers = append(pick.breakers, newBreaker(addr))
	}
	return &naive{
		limiter: rate.NewLimiter(plenty, plenty),
		breaker: newBreaker("svc"),
		next:    newRetryable(pick),
	}
}

func newBreaker(name string) *gobreaker.CircuitBreaker[*http.Response] {
	return gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{Name: name})
}

// RoundTrip implements http.RoundTripper.
func (n *naive) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := n.limiter.Wait(req.Context()); err != nil {
		return nil, err
	}
	return guarded(n.breaker, n.next, req)
}

// naivePick sends each request to the next address.
type naivePick struct {
	wire     http.RoundTripper
	addrs    []string
	breakers []*gobreaker.CircuitBreaker[*http.Response]
	turn     atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (n *naivePick) RoundTrip(req *http.Request) (*http.Response, error) {
	i := int(n.turn.Add(1) % uint64(len(n.addrs)))
	out := req.Clone(req.Context())
	out.URL.Host = n.addrs[i]
	return guarded(n.breakers[i], n.wire, out)
}

// errStatus tells a breaker of an answer that is a failure.
var errStatus = errors.New("client: the server failed")

// guarded sends through a breaker, for which answers from 500 on are failures.
func guarded(b *gobreaker.CircuitBreaker[*http.Response], next http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := b.Execute(func() (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode >= http.StatusInternalServerError {
			err = errStatus
		}
		return resp, err
	})
	if errors.Is(err, errStatus) {
		err = nil
	}
	return resp, err
}
