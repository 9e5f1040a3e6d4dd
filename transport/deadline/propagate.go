package deadline

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// Context is the context of an exchange under a Bound: it shows the Bound's
// deadline, and its end as an expired deadline.
type Context struct {
	context.Context

	// Bound is the one that Context belongs to.
	Bound *Bound
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.Bound.Deadline() }

// Err implements context.Context.
func (c *Context) Err() error { return c.Bound.Err() }

// Headers of other protocols that carry a timeout.
const (
	grpcTimeout    = "Grpc-Timeout"
	connectTimeout = "Connect-Timeout-Ms"
)

// Propagate writes the time that is left into the headers of req, whose map it
// replaces and does not change, as that may be the caller's. A timeout that the
// application set for gRPC or Connect is shortened to what is left; else Header
// is set. Without a deadline nothing happens.
func (b *Bound) Propagate(req *http.Request, now time.Time) {
	due, ok := b.Deadline()
	if !ok {
		return
	}
	left := max(0, due.Sub(now))
	name := Header
	switch {
	case req.Header[grpcTimeout] != nil:
		name = grpcTimeout
		if has, err := Parse(req.Header.Get(grpcTimeout)); err == nil && has <= left {
			return
		}
	case req.Header[connectTimeout] != nil:
		name = connectTimeout
		ms, err := strconv.ParseInt(req.Header.Get(connectTimeout), 10, 64)
		if err == nil && ms <= left.Milliseconds() {
			return
		}
	}
	if name == connectTimeout {
		b.header[0] = strconv.FormatInt(left.Milliseconds(), 10)
	} else {
		b.header[0] = Format(left)
	}
	h := make(http.Header, len(req.Header)+1)
	maps.Copy(h, req.Header)
	h[name] = b.header[:]
	req.Header = h
}
