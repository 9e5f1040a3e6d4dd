// Package breaker stops calls that would fail anyway: to a service that is down
// as a whole (Breaker), and, in its other half, to single endpoints that do worse
// than their peers.
//
// A Breaker counts what attempts came to over the last 10 s. When there were at
// least 20 and half of them failed, it opens: for 5 s every caller gets [ErrOpen]
// at once, which spares the callers the wait and the service the load. Then one
// caller makes a trial; if that succeeds the Breaker closes, else it stays open
// for another 5 s. What counts as a failure is the outcome table of package
// tulle: a cancelled call, a 404 or a plea for less load never opens it.
//
// The whole stack (package transport) contains it. Alone it wraps any
// RoundTripper:
//
//	b, err := breaker.New(breaker.Config{})
//	client := &http.Client{Transport: b.Wrap(nil)}
//
// One Breaker is for one service. For a client that talks to many hosts use a
// [Group], which has a Breaker for each. Put it inside of retries, so that each
// attempt asks, and a repeat cannot get past an open Breaker. Do not use it for a
// service whose calls are unrelated (one bad tenant would shut out the others)
// without a key that tells them apart.
//
// The window and its states are those of sony/gobreaker, which is told after the
// fact. The permit of a trial is a lease of our own, since gobreaker would wait
// for a lost one for ever.
package breaker
