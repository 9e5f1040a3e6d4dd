// Package retry repeats calls that failed, where that helps and harms nobody.
//
// A call is repeated only when there is a reason (the outcome table of package
// tulle), budget, and time: at most 3 attempts, paused by full jitter between
// 25 and 250 ms, and no more repeats than 10 % of the recent calls plus one a
// second. Only safe methods, calls with an idempotency key and calls that the
// application vouched for are sent twice. An attempt that provably reached
// nobody is another matter: any call moves on at once and at no charge.
//
// The whole stack (package transport) contains it. Alone it wraps any
// RoundTripper:
//
//	r, err := retry.New(retry.Config{})
//	client := &http.Client{Transport: r.Wrap(nil)}
//
// Do not put it around something that retries already: attempts multiply.
//
// The loop and its pauses are those of hashicorp/go-retryablehttp, which is set
// up only once a call has failed and must be repeated; a call that succeeds at
// first costs nothing here. Bodies are replayed by GetBody and not buffered. When
// no attempt succeeds the caller gets the last response.
package retry
