// Package discovery finds the endpoints of a service and keeps watching them.
//
// A [Resolver] reports the whole set whenever it changes. Most programs name
// their source in one string and need no more than [Parse]:
//
//   - static://10.0.0.1:80,10.0.0.2:80 is [Static], a fixed list.
//   - file:///etc/mesh/users.json is [File], a list that somebody else writes:
//     an agent, a ConfigMap, a deployment script.
//   - dns://users.internal:8080 is [DNS], the addresses behind a name.
//   - srv://_http._tcp.users.internal is [SRV], the instances that SRV records
//     name, with their ports, priorities and weights.
//
// Resolvers are values and wrap each other: [Merge] is the union of several
// sources, [Prefer] the first one that has endpoints, [Keep] starts a watch
// again that has ended early, [Subset] keeps some endpoints of very many.
//
// A resolver says what there is, not what is healthy: balancing, ejection and
// retries are other packages' work, and an error never takes endpoints away.
// When an error lasts, the last good set stays in force. Use this package alone
// when a program only has to know where a service runs. Do not use it where the
// platform already hands out one stable address and balances behind it: a plain
// http.Client serves that.
//
// # Name servers
//
// [DNS] and [SRV] poll, as package net does not tell how long an answer holds:
// every 30 s by default, at once when connections fail, never more than once a
// second. They distrust answers that take endpoints away: more than half of a
// set goes when a second answer confirms it, and a set gets empty only when the
// name servers say twice that there is nobody, not when they fail. RefuseAddrs
// keeps names that others choose from leading into the own network.
//
// # Writing a resolver
//
// Implement [Resolver], or give [Func] a func. Look, report, wait for a change
// or a hint, look again; return when the context is done. Four rules are easy
// to miss: report an error instead of an empty set when the source cannot be
// asked; report the set again when the source is back, also if it is the same,
// as that ends the error; hand out a slice that nobody else holds; and bound
// each question to the source by a time of your own. A watch that cannot go on
// may return its error, the owner calls it again. [Func] has an Example, and
// package discoverytest checks a resolver against the whole contract.
package discovery
