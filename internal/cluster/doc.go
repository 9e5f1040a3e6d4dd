// Package cluster is the engine: the live state of one destination. It admits
// calls, begins attempts at the endpoint that the balancer picks, and takes
// their outcomes back to the balancer and the statistics. It knows neither
// HTTP nor gRPC; transport and tullegrpc are adapters over it, and both see the
// same state.
//
// A destination's state is kept by address. It survives updates of the set, and
// that of an endpoint that left it is kept for ten minutes.
package cluster
