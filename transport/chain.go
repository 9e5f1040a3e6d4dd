package transport

import "net/http"

// A Wrapper puts itself around a RoundTripper: the Wrap method of the layers
// that stand alone, such as (*retry.Retrier).Wrap.
type Wrapper func(http.RoundTripper) http.RoundTripper

// Chain puts wrappers around base, the first one outermost. A nil base is
// http.DefaultTransport. It is for those who want layers in an order of their
// own; a Transport has them all in the one that works.
func Chain(base http.RoundTripper, wrappers ...Wrapper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	for i := len(wrappers) - 1; i >= 0; i-- {
		base = wrappers[i](base)
	}
	return base
}
