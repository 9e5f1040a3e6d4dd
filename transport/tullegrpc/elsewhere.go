package tullegrpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// kind is unary or stream.
type kind bool

const (
	kindUnary  kind = false
	kindStream kind = true
)

// elsewhere is an RPC to a target that is not tulle's. It is gRPC's own, with the
// repeats that the target's service config asks for; we add a timeout and telemetry.
type elsewhere struct {
	ctx     context.Context
	release context.CancelFunc // or nil

	calls    *telemetry.Service
	facts    telemetry.Facts
	begun    time.Time
	followed *telemetry.Call

	mu      sync.Mutex         // a stream ends on whatever goroutine sees the end of its context
	span    *telemetry.Attempt // guarded by mu
	spanCtx context.Context    // guarded by mu: nil before the attempt
	left    bool               // guarded by mu
}

// elsewhere begins an RPC.
func (c *channel) elsewhere(ctx context.Context, method string, opts []grpc.CallOption, k kind) *elsewhere {
	e := &elsewhere{begun: time.Now()}
	e.calls = c.t.Telemetry().Service(telemetry.Other)
	e.facts = telemetry.Facts{Protocol: telemetry.GRPC, Method: strings.TrimPrefix(method, "/")}
	e.ctx, e.followed = e.calls.Start(ctx, &e.facts)
	o, _ := readOptions(ctx, opts)
	limit := time.Duration(0)
	if k == kindUnary {
		limit = c.t.DefaultTimeout()
	}
	if limit = o.CallTimeout(limit); limit > 0 {
		e.ctx, e.release = context.WithTimeoutCause(e.ctx, limit, deadline.ErrCall)
	}
	return e
}

// unaryElsewhere is the interceptor for targets that are not tulle's.
func (c *channel) unaryElsewhere(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts []grpc.CallOption) (err error) {
	e := c.elsewhere(ctx, method, opts, kindUnary)
	defer func() { e.leave(err) }()
	err = errPanicked // until something is returned
	return invoker(e.invocation(), method, req, reply, cc, opts...)
}

// invocation implements rounds. No header of ours goes to whom nobody configured,
// but the trace is the application's.
func (e *elsewhere) invocation() context.Context {
	ctx, span := e.followed.Attempt(e.ctx, nil, 1)
	e.mu.Lock()
	left := e.left
	e.spanCtx, e.span = ctx, span
	e.mu.Unlock()
	if left { // the context has ended since
		r := e.result(e.ctx.Err())
		e.calls.EndAttempt(ctx, span, nil, &r)
	}
	return ctx
}

// answered implements rounds.
func (e *elsewhere) answered() {}

// again implements rounds: gRPC has repeated it as often as it is to be.
func (e *elsewhere) again(error, metadata.MD) bool { return false }

// fail implements rounds.
func (e *elsewhere) fail(err error) error { return err }

// leave implements rounds. Hooks are called with no lock held.
func (e *elsewhere) leave(err error) {
	e.mu.Lock()
	left, ctx, span := e.left, e.spanCtx, e.span
	e.left = true
	e.mu.Unlock()
	if left {
		return
	}
	r := e.result(err)
	if ctx != nil {
		r.Attempts = 1
		e.calls.EndAttempt(ctx, span, nil, &r)
	}
	e.calls.End(e.ctx, e.followed, &e.facts, &r)
	if e.release != nil {
		e.release()
	}
}

// result is what the RPC came to, err being nil or io.EOF if it went well.
func (e *elsewhere) result(err error) telemetry.Result {
	if err == io.EOF {
		err = nil
	}
	took := time.Since(e.begun)
	o := classifyAlone(e.ctx, err, nil, took)
	return telemetry.Result{Class: o.Class, Status: o.Status, Err: o.Err, Elapsed: took}
}

// classifyAlone classifies an RPC of which nothing is known but how it ended.
func classifyAlone(ctx context.Context, err error, trailer metadata.MD, took time.Duration) tulle.Outcome {
	return classify(factsAlone(ctx, err, trailer, took))
}

// classify is tulle.ClassifyGRPC for RPCs that a layer below may have refused.
func classify(f tulle.GRPCFacts) tulle.Outcome {
	if errors.Is(f.Err, breaker.ErrOpen) || errors.Is(f.Err, limit.ErrLimited) {
		return tulle.Outcome{Class: tulle.Ignored, Err: f.Err}
	}
	return tulle.ClassifyGRPC(f)
}

// factsAlone are the facts of such an RPC, as if the server had answered.
func factsAlone(ctx context.Context, err error, trailer metadata.MD, took time.Duration) tulle.GRPCFacts {
	f := tulle.GRPCFacts{
		Code: tulle.GRPCCode(status.Code(err)), Err: err, Ended: ctx.Err(),
		Sent: true, Received: true, Elapsed: took,
		Expired: len(trailer.Get(tulle.ExpiredHeader)) > 0,
	}
	due, ok := ctx.Deadline()
	if f.Ended == nil && (errors.Is(err, context.DeadlineExceeded) || ok && isDeadline(err) && time.Until(due) <= timerSlack) {
		f.Ended = context.DeadlineExceeded // a layer below says so, or a timer for the same time
	}
	f.AttemptTimeout = errors.Is(err, deadline.ErrAttempt)
	f.RetryAfter, f.Pushback = pushback(trailer)
	return f
}

// encodable says that gRPC can encode a request. Of one that it cannot it says so
// by a code that servers use too. It is asked of calls that have failed.
func encodable(req any) bool {
	m, ok := req.(proto.Message)
	if !ok {
		return true
	}
	_, err := proto.Marshal(m)
	return err == nil
}
