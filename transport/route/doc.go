// Package route decides where a call goes: which service, in which
// environment, split by which weights, with which edits. It decides only. It
// opens no connection, reads no clock and starts no goroutine; package
// transport asks it once for each call and carries out the answer.
//
// Use it by the routes of a transport.Config, or directly where calls are
// dispatched without one:
//
//	t, err := route.New(route.Config{ ... })
//	d := t.Decide(&route.Input{Service: "users", Path: "/v1/me", Random: rand.Uint64()})
//
// Do not use it to keep anyone out. It decides for a client that could dial
// what it likes; what a caller may do is for the server to say.
//
// # Environments
//
// A service has one destination in each environment that lists it: prod,
// staging, local, any name. The environment of a call is, from the strongest
// to the weakest: an override, the Environment of the chosen Backend, the
// Default of the service, the Default of the Config. From there only the
// environments in its own Fallback list are asked, in that order. The lists are
// not followed from one to the next: with local → staging and staging → prod, a
// call for local never comes to prod. So each way into a protected environment
// stands in one place, as the edge from the environment that the call was for,
// and it serves safe methods only unless FallbackWrites has it too. A call that
// may write never passes over an environment that refuses it, as its reads
// would go there.
//
// A rule or a default that names a protected environment is no fallback: it
// says where the call is meant to go, and all methods do.
//
// # Rules
//
// A service's own rules come before the global ones. In one list the most
// specific match wins, wherever it stands: by the order of the Gateway API's
// HTTPRoute, see [Rule], and for gRPC by that of its GRPCRoute. The answer for
// one call never depends on another call, and a stable split ([SplitKey])
// neither on the process.
//
// # Overrides
//
// One request, and what follows from it downstream, can be sent to another
// environment: by code ([With]), or by the header "Tulle-Route:
// users=staging;orders=local", which is honoured for the services and
// environments that [OverridePolicy] allows and otherwise changes nothing. A
// refused override never fails the call; Decision.Refused and [Table.Explain]
// say why.
package route
