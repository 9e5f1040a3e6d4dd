// Package http2 holds tests of the library's HTTP client against servers: a
// scripted one that breaks promises (package badserver), Go's own, and nginx
// where it is installed. It has no code besides its tests.
//
// They check what a user of HTTP/2 relies on and cannot see: that a call which
// the server has provably not processed succeeds elsewhere, that a safe call
// does not fail while one endpoint works, and that no other call is executed
// twice.
package http2
