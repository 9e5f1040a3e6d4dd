package limit

import (
	"net/http"

	"github.com/tullemesh/tulle"
)

// Key is the key that req falls under: what Config.Key says, or "".
func (l *Limiter) Key(req *http.Request) string {
	if key := l.cfg.Load().Key; key != nil {
		return key(req)
	}
	return ""
}

// Wrap returns a RoundTripper that lets requests through to base at the rate of
// the Limiter. A nil base is http.DefaultTransport. All that one Limiter wraps
// shares its rate.
//
// The error of a request that is refused is an *Error. To layers above, a
// request that was not let through is nobody's failure and not to be repeated:
// that would be one more call over the limit.
func (l *Limiter) Wrap(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &wrapper{l: l, base: base}
}

// wrapper is the layer alone.
type wrapper struct {
	l    *Limiter
	base http.RoundTripper
}

// CloseIdleConnections passes on to the base.
func (w *wrapper) CloseIdleConnections() {
	if c, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wrapper) RoundTrip(req *http.Request) (*http.Response, error) {
	q := query{ctx: req.Context(), key: w.l.Key(req)}
	//lint:ignore SA1019 it is part of RoundTripper as long as net/http obeys it
	q.canceled = req.Cancel
	if err := w.l.acquire(q); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // nothing was sent, so there is nothing to report
		}
		tulle.CallFrom(req.Context()).Report(tulle.Outcome{Class: tulle.Ignored, Err: err})
		return nil, err
	}
	return w.base.RoundTrip(req)
}
