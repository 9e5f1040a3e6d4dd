// Package grpc holds tests of the library's gRPC side against gRPC's own: its
// interop cases, which all implementations must pass, and a comparison of plain
// channels with channels through tulle, call by call. It has no code besides its
// tests.
//
// They check what a user who adds tullegrpc.DialOptions to a program relies on:
// that the program's calls give the same results, statuses, headers and trailers
// as before, whatever the target.
package grpc
