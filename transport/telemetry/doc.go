// Package telemetry turns what becomes of calls into OpenTelemetry spans and
// metrics, log events, and records of decisions.
//
// It speaks to the tracer, meter and propagator that the application has
// installed, and does next to nothing where there is none. It knows no other
// part of the stack: whoever makes calls tells it, in this order:
//
//	svc := tel.Service("users")
//	ctx, call := svc.Start(ctx, &facts)        // call is nil unless somebody listens
//	ctx, att := call.Attempt(ctx, endpoint, 1) // once for each try
//	header = tel.Header(ctx, att, header)
//	svc.EndAttempt(ctx, att, endpoint, &result)
//	svc.End(ctx, call, &facts, &result)
//
// All methods of a nil [*Call] and a nil [*Attempt] do nothing, so callers need
// no branches. Metrics need neither: they are recorded at the end, from values.
//
// A call is one span of kind internal. Each try is a span of kind client below
// it, with the stable semantic conventions for HTTP, or those for RPC. What is
// counted, and which question it answers, is in docs/metrics.md.
//
// Why a call went where it went is told by hooks ([WithTrace]), by a record that
// the caller asks for ([WithRecord]) and by records of a few calls a second
// ([Config.Sample], [Telemetry.Records]).
//
// [W3C] is a propagator for applications that take requests from outside: it
// treats repeated, split and empty headers as the W3C recommendations say.
package telemetry
