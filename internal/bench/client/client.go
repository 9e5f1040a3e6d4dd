package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/tullemesh/tulle/internal/bench/server"
)

// A Site is where calls go.
type Site struct {
	// Addrs are the instances of the service, as host:port.
	Addrs []string

	// Base, if not nil, answers in place of the network.
	Base http.RoundTripper
}

// wire is what sends the requests of contenders that do not send themselves: a
// transport that keeps enough idle connections for all callers, where net/http
// would keep two for each instance.
func (s Site) wire() http.RoundTripper {
	if s.Base != nil {
		return s.Base
	}
	return NewTransport()
}

// NewTransport is net/http's default transport with room for the connections of
// all callers. The proxy of the environment is left out, as tulle does.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 256
	return t
}

// urls are those of the instances.
func (s Site) urls() []string {
	urls := make([]string, len(s.Addrs))
	for i, addr := range s.Addrs {
		urls[i] = "http://" + addr + "/"
	}
	return urls
}

// Named is a Client of a service whose instances do finds itself.
func Named(do func(*http.Request) (*http.Response, error)) *Client { return calls(do, named) }

// named is the URL for contenders that find the instances themselves.
const named = "http://svc/"

// A Contender is one way to make the call.
type Contender struct {
	// Name stands in the tables, Note in their footnotes.
	Name, Note string

	// OnWire and OnStub say where it is measured.
	OnWire, OnStub bool

	// Ceiling is how much it may allocate for a call more than the bare
	// transport over the stub; nil: whatever it likes.
	Ceiling *Ceiling

	// Open sets it up.
	Open func(Site) (*Client, error)
}

// A Ceiling is a limit on what a call allocates; 0 bytes: any.
type Ceiling struct{ Allocs, Bytes float64 }

// A Client is a contender at work.
type Client struct {
	caller func() func() error
	poster func(body []byte) func() error
	closes []func()
}

// Caller makes a caller for one goroutine. An error of a call means that it did
// not bring the right answer.
func (c *Client) Caller() func() error { return c.caller() }

// Poster is a Caller whose calls are POST requests with that body, which could
// be sent again. It is nil for contenders that take no request.
func (c *Client) Poster(body []byte) func() error {
	if c.poster == nil {
		return nil
	}
	return c.poster(body)
}

// Close ends what the contender started.
func (c *Client) Close() {
	for _, f := range c.closes {
		f()
	}
}

// closing adds something to be done by Close.
func (c *Client) closing(f func()) *Client {
	c.closes = append(c.closes, f)
	return c
}

// A doer sends a request.
type doer func(*http.Request) (*http.Response, error)

// calls is a Client that sends requests for the URLs in turn. Each caller begins
// elsewhere and has its own requests, which it uses again and again.
func calls(do doer, urls ...string) *Client {
	var next atomic.Int64
	c := &Client{}
	c.caller = func() func() error {
		requests, err := newRequests(http.MethodGet, urls, nil)
		i, buf := int(next.Add(1)), make([]byte, 512)
		return func() error {
			if err != nil {
				return err
			}
			i++
			resp, err := do(requests[i%len(requests)])
			if err != nil {
				return err
			}
			return drain(resp, buf)
		}
	}
	c.poster = func(body []byte) func() error {
		from := bytes.NewReader(body)
		requests, err := newRequests(http.MethodPost, urls[:1], from)
		var fresh http.Request
		if err == nil {
			fresh = *requests[0]
		}
		buf := make([]byte, 512)
		return func() error {
			if err != nil {
				return err
			}
			from.Reset(body)
			*requests[0] = fresh // some change the caller's request
			resp, err := do(requests[0])
			if err != nil {
				return err
			}
			return drain(resp, buf)
		}
	}
	return c
}

// newRequests are requests for the URLs.
func newRequests(method string, urls []string, body io.Reader) ([]*http.Request, error) {
	requests := make([]*http.Request, len(urls))
	for i, u := range urls {
		req, err := http.NewRequest(method, u, body)
		if err != nil {
			return nil, err
		}
		requests[i] = req
	}
	return requests, nil
}

// over is calls, with the connections of wire closed at the end.
func over(wire http.RoundTripper, do doer, urls ...string) *Client {
	return idling(calls(do, urls...), wire)
}

// idling has Close close the connections of wire.
func idling(c *Client, wire http.RoundTripper) *Client {
	if t, ok := wire.(interface{ CloseIdleConnections() }); ok {
		c.closing(t.CloseIdleConnections)
	}
	return c
}

// errAnswer means that a call brought something else than the server's body.
var errAnswer = errors.New("client: not the answer of the server")

// drain reads the body to its end, closes it, and checks it.
func drain(resp *http.Response, buf []byte) error {
	n, err := readAll(resp.Body, buf)
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("client: reading the body: %w", err)
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(buf[:n], server.Body) {
		return fmt.Errorf("%w: status %d, %d bytes", errAnswer, resp.StatusCode, n)
	}
	return nil
}

// readAll fills buf up to the end of the body.
func readAll(body io.Reader, buf []byte) (int, error) {
	for n := 0; ; {
		m, err := body.Read(buf[n:])
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil || n == len(buf) {
			return n, err
		}
	}
}
