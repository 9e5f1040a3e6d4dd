package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tullemesh/tulle/internal/bench/server"
)

// Stub answers at once and without a network: what a call costs over it is the
// contender's own work. The request's body is read and closed, as any sender
// does. An answer is one allocation.
type Stub struct{}

// errRequest means that the stub did not get what the caller sent.
var errRequest = errors.New("client: not the request of the caller")

// header is that of all answers. Nobody may change it.
var header = http.Header{"Content-Type": {"text/plain"}}

// RoundTrip implements http.RoundTripper.
func (Stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil {
			return nil, err
		}
		if n != req.ContentLength {
			return nil, fmt.Errorf("%w: a body of %d bytes, want %d", errRequest, n, req.ContentLength)
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	a := new(struct {
		http.Response
		body stubBody
	})
	a.StatusCode, a.Proto, a.ProtoMajor, a.ProtoMinor = http.StatusOK, "HTTP/1.1", 1, 1
	a.Header, a.ContentLength, a.Request, a.Body = header, int64(len(server.Body)), req, &a.body
	return &a.Response, nil
}

// stubBody is how much of server.Body was read.
type stubBody int

// Read implements io.Reader.
func (b *stubBody) Read(p []byte) (int, error) {
	if int(*b) == len(server.Body) {
		return 0, io.EOF
	}
	n := copy(p, server.Body[*b:])
	*b += stubBody(n)
	return n, nil
}

// Close implements io.Closer.
func (b *stubBody) Close() error { return nil }

// StubAddrs are addresses that nobody dials.
func StubAddrs(n int) []string {
	addrs := make([]string, n)
	for i := range addrs {
		addrs[i] = fmt.Sprintf("10.%d.%d.%d:80", i>>16&255, i>>8&255, i&255)
	}
	return addrs
}
