// Package client holds the contenders: the ways to make one call that the
// tables compare. All make the same call, a GET of "/" whose answer is
// server.Body, read to its end and checked. Only what stands between the caller
// and the wire differs.
//
// Each is set up as its own documentation advises for a client that calls one
// service of ten instances, and its Note says what that is and what it does more
// or less than others.
package client
