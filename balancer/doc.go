// Package balancer chooses the endpoint for each attempt.
//
// The default is [ShortestExpectedDelay], which most users want: it sends each
// attempt to the endpoint that recent latencies, present queues and recent
// failures say will answer soonest. The others are here to compare with, or
// for special cases: [PeakEWMA], [LeastRequest], [RoundRobin] and [Random].
//
// A [Policy] makes a [Picker] for each set of endpoints; a [Node] holds what is
// known of one endpoint and is carried from one Picker to the next. A policy of
// your own is one file that implements these, and one line in its test that
// runs the conformance suite of package balancertest.
//
// Nothing here knows HTTP, gRPC, ejection or retries: which endpoints not to
// use comes with the [Query], what attempts came to comes through the Node.
package balancer
