// Package tullegrpc lets gRPC clients use the services of a [transport.Transport]:
// the same endpoints, latencies, ejections, breakers, budgets and limits as calls
// over HTTP, through one line.
//
//	conn, err := grpc.NewClient("tulle:///users",
//		append(tullegrpc.DialOptions(t), grpc.WithTransportCredentials(creds))...)
//
// # What a call goes through
//
// The order is that of package transport: deadline, rate limit, wait for
// endpoints, retry, service breaker, pick, attempt timeout. The first four are in
// interceptors, the others in a balancer over one pick_first for each endpoint.
// A call avoids endpoints that failed it.
//
// Unary calls are repeated as the outcome table says: those that provably reached
// nobody at once elsewhere; those that met UNAVAILABLE if they are idempotent; and
// all when the server names a time (grpc-retry-pushback-ms). Idempotent is a
// method that its descriptor declares so (idempotency_level), that
// retry.Config.Idempotent names, or a call with [Idempotent]. A retryPolicy of the
// service config adds its codes for its methods. gRPC's own retries are switched
// off, but for those of calls that never left the client; Snapshot counts these as
// transparent.
//
// Streams are repeated before the first message has come, as long as what was sent
// is remembered (256 KiB). Their latency is the time to the first message, and
// they have no deadline but that of their context and [CallTimeout].
//
// # Targets
//
// Targets of the scheme tulle are services of the Transport. Those of other schemes
// (dns, passthrough, xds and so on) keep their own resolver and balancer; calls get
// Config.Defaults.Timeout and the repeats of the retryPolicy in their service config,
// nothing else. The repeats are paid from a budget for each target, as those of a
// service with the defaults, in the place of retryThrottling. A retry policy that
// comes with a route of xDS is not seen, as gRPC shows it to nobody: calls are not
// repeated for it.
//
// # Service config
//
// For tulle targets the service config is that of [ServiceConfig]; one that is
// given by grpc.WithDefaultServiceConfig has no effect, as gRPC prefers what the
// resolver says. grpc.WithDisableServiceConfig must not be used: gRPC would ignore the
// balancer too.
//
// This package uses parts of gRPC that are marked experimental: balancer, resolver
// and orca. It is tested with the oldest and the newest release that it allows.
package tullegrpc
