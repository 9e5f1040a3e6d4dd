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
	"github.com/tullemesh/tulle/retry"
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

// elsewhere is an RPC to a target that is not tulle's: it is repeated where the
// target's own service config says so, as gRPC would do it.
type elsewhere struct {
	ctx     context.Context
	release context.CancelFunc // or nil
	target  *other
	cc      *grpc.ClientConn
	method  string
	started time.Time
	rpc     tulle.Call

	calls    *telemetry.Service
	facts    telemetry.Facts
	begun    time.Time
	followed *telemetry.Call

	mu      sync.Mutex         // a stream ends on whatever goroutine sees the end of its context
	span    *telemetry.Attempt // guarded by mu
	spanCtx context.Context    // guarded by mu
	failure error              // guarded by mu: of the latest attempt
	left    bool               // guarded by mu
}

// other is what the RPCs to a target of another scheme share.
type other struct {
	retrier *retry.Retrier
	start   time.Time
}

// clock is the time as the budget counts it.
func (o *other) clock() time.Duration { return time.Since(o.start) }

// elsewhere begins an RPC.
func (c *channel) elsewhere(ctx context.Context, cc *grpc.ClientConn, method string, opts []grpc.CallOption, k kind) (*elsewhere, error) {
	target, err := c.other(cc.Target())
	if err != nil {
		return nil, unavailable(err)
	}
	e := &elsewhere{ctx: ctx, target: target, cc: cc, method: method, begun: time.Now()}
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
	e.rpc.UnsentOnly = o.OnlyUnsent()
	target.retrier.Open(target.clock())
	return e, nil
}

// other finds what RPCs to a target share.
func (c *channel) other(target string) (*other, error) {
	if o, ok := c.others.Load(target); ok {
		return o.(*other), nil
	}
	r, err := retry.New(retry.Config{})
	if err != nil {
		return nil, err
	}
	o, _ := c.others.LoadOrStore(target, &other{retrier: r, start: time.Now()})
	return o.(*other), nil
}

// unaryElsewhere is the interceptor for targets that are not tulle's.
func (c *channel) unaryElsewhere(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts []grpc.CallOption) (err error) {
	e, err := c.elsewhere(ctx, cc, method, opts, kindUnary)
	if err != nil {
		return err
	}
	defer func() { e.leave(err) }()
	err = errPanicked // until something is returned
	var trailer metadata.MD
	opts = append([]grpc.CallOption{grpc.Trailer(&trailer)}, opts...)
	for {
		trailer = nil // gRPC leaves it as it is where no stream came about
		err := invoker(e.invocation(), method, req, reply, cc, opts...)
		if err == nil || !e.again(err, trailer) {
			return err
		}
	}
}

// invocation implements rounds. No header of ours goes to whom nobody configured,
// but the trace is the application's, and the number of attempts is gRPC's.
func (e *elsewhere) invocation() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.overLocked()
	e.rpc.Begin()
	e.started = time.Now()
	e.failure = nil
	e.spanCtx, e.span = e.followed.Attempt(e.ctx, nil, int(e.rpc.Attempt))
	if n := e.rpc.Attempt; n > 1 {
		return metadata.AppendToOutgoingContext(e.spanCtx, previousKey, itoa(n-1))
	}
	return e.spanCtx
}

// overLocked ends the span of the latest attempt.
func (e *elsewhere) overLocked() {
	if e.started.IsZero() {
		return
	}
	r := e.resultLocked(time.Since(e.started))
	e.calls.EndAttempt(e.spanCtx, e.span, nil, &r)
}

// resultLocked is what the latest attempt came to.
func (e *elsewhere) resultLocked(took time.Duration) telemetry.Result {
	o := classifyAlone(e.ctx, e.failure, nil, took)
	return telemetry.Result{Class: o.Class, Status: o.Status, Err: o.Err, Elapsed: took, Attempts: int(e.rpc.Attempt)}
}

// answered implements rounds.
func (e *elsewhere) answered() {}

// again implements rounds.
func (e *elsewhere) again(err error, trailer metadata.MD) bool {
	_ = e.fail(err)
	p := policyOf(e.cc, e.method)
	if p == nil {
		return false
	}
	e.rpc.Report(classifyAlone(e.ctx, err, trailer, time.Since(e.started)))
	end, _ := e.ctx.Deadline()
	return p.over(e.target.retrier, &e.rpc).Again(e.ctx, &e.rpc, e.target.clock, end, nil)
}

// fail implements rounds.
func (e *elsewhere) fail(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failure = err
	return err
}

// leave implements rounds.
func (e *elsewhere) leave(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left {
		return
	}
	e.left, e.failure = true, err
	if err == io.EOF {
		e.failure = nil
	}
	e.overLocked()
	r := e.resultLocked(time.Since(e.begun))
	e.calls.End(e.ctx, e.followed, &e.facts, &r)
	if e.release != nil {
		e.release()
	}
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
