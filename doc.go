// Package tulle is a service mesh inside your process: the hard parts of
// service-to-service calls, as a client library.
//
// A program wraps the clients it already has. Package transport assembles the
// layers into an http.RoundTripper:
//
//	t, err := transport.New(transport.Config{Services: …})
//	client := &http.Client{Transport: t}
//
// and a call to http://users/v1/me then finds the instances of the service
// users, goes to the one that should answer soonest, is recorded, moves to
// another instance when that one is down, and fails at once when its deadline
// is gone. The Example of package transport is the whole program.
//
// This package holds only the words that the layers share, and imports nothing
// but the standard library:
//
//   - [Endpoint]: one instance of a service.
//   - [Call]: one request of the application, and what the layers know of it.
//   - [Outcome]: what one attempt of a call at one endpoint came to.
//   - [ClassifyHTTP]: the one classifier that every layer obeys, so that
//     balancer, breaker and retry never disagree on what a failure is.
//
// A service is the logical name that the application calls, a destination is
// where a route sends it, an endpoint is one instance of it; a call is one
// request of the application, an attempt one try of it at one endpoint.
//
// The layers are packages of their own and each can be used alone: discovery,
// balancer, retry, transport/deadline. None of them imports another.
package tulle
