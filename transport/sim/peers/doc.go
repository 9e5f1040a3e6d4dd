// Package peers has the balancers of other systems, written from their
// descriptions, to be compared with ours in simulations. Each names its source
// and where it departs from it. They are [balancer.Policy] values like ours, but
// for one goroutine at a time: that of a simulation.
//
// What they have in common: time is counted to the headers, also for failures
// and for attempts that were given up; the latter are no failures. Those that
// servers help are a [Prober], a [Poller] or a [Listener] besides.
package peers
