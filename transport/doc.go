// Package transport assembles the layers into an http.RoundTripper.
//
// Most programs want this package alone: New with the services that they call,
// and the Transport in their http.Client. A call then goes through the layers
// in a fixed order, which stack.go gives with the reasons: its deadline, the rate
// limit, the wait for endpoints, the retry, the pick, the wire.
//
// Differences from http.DefaultTransport, for hosts that are services:
//
//   - The host of the URL is a logical name and is never looked up. It is still
//     what the server sees in the Host header, and what its certificate is
//     checked for.
//   - A call may be sent more than once: safe methods, calls with an
//     Idempotency-Key, and calls that provably reached nobody.
//   - Each endpoint has its own pool of up to 64 idle connections. A pool lives
//     for about five minutes, so that new connections follow a virtual address
//     that moves. Connections are closed when their endpoint leaves.
//   - HTTP/2 connections are pinged when nothing was received for 15 s.
//   - The proxy of the environment is not used.
//   - The header Tulle-Timeout tells the server how long is left, Tulle-Attempt
//     that an attempt is a repeat, unless the service is External.
//   - Errors are *Error and name the service and the endpoint.
//
// Hosts that are no services pass through the Base untouched.
//
// Do not use it where something else balances and retries already, such as a
// sidecar proxy: attempts multiply.
package transport
