// Package limit keeps calls to a rate: so many a second, on average, and no
// more than a burst at once. What is over the rate waits for its turn, within
// bounds, or is refused.
//
// The whole stack (package transport) contains it. Alone it wraps any
// RoundTripper:
//
//	l, err := limit.New(limit.Config{Rate: 50, MaxWait: time.Second})
//	client := &http.Client{Transport: l.Wrap(nil)}
//
// One Limiter is one rate, for all calls together or for each key of its own.
// Where both are wanted, put one Limiter around the other. It limits what this
// client sends; what several clients send together only a [Source] can limit.
// Do not use it against an overload: a rate does not know how long calls take.
//
// The tokens are those of golang.org/x/time/rate. The queue is not: there a call
// that waits has booked its token, so one that is cancelled leaves a gap which
// those behind it sit out, and one that sleeps does not hear of a new rate. Here
// only the first in the queue books, and its token passes on to the next one
// when it leaves.
package limit
