// Package deadline keeps calls within their time: it fails at once what has no
// time left, ends what takes too long, and tells the server how long is left.
//
// The whole stack (package transport) contains it. Alone it wraps any
// RoundTripper:
//
//	l, err := deadline.New(deadline.Config{Timeout: 2 * time.Second})
//	client := &http.Client{Transport: l.Wrap(nil)}
//
// Unlike http.Client.Timeout it leaves event streams and upgraded connections
// alone once they are established, and where the context's own deadline is the
// earlier one it starts no timer. Do not use it for a limit between two bytes
// of a body: it knows only the whole.
package deadline
