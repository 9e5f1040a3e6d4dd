package tullegrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
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
	e := &elsewhere{ctx: ctx, target: target, cc: cc, method: method}
	o, _ := readOptions(ctx, opts)
	limit := time.Duration(0)
	if k == kindUnary {
		limit = c.t.DefaultTimeout()
	}
	if limit = o.CallTimeout(limit); limit > 0 {
		e.ctx, e.release = context.WithTimeoutCause(ctx, limit, deadline.ErrCall)
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
	invoker grpc.UnaryInvoker, opts []grpc.CallOption) error {
	e, err := c.elsewhere(ctx, cc, method, opts, kindUnary)
	if err != nil {
		return err
	}
	defer e.leave()
	var trailer metadata.MD
	opts = append([]grpc.CallOption{grpc.Trailer(&trailer)}, opts...)
	for {
		err := invoker(e.invocation(), method, req, reply, cc, opts...)
		if err == nil || !e.again(err, trailer) {
			return err
		}
	}
}

// invocation implements rounds.
func (e *elsewhere) invocation() context.Context {
	e.rpc.Begin()
	e.started = time.Now()
	return e.ctx
}

// answered implements rounds.
func (e *elsewhere) answered() {}

// again implements rounds.
func (e *elsewhere) again(err error, trailer metadata.MD) bool {
	p := policyOf(e.cc, e.method)
	if p == nil {
		return false
	}
	e.rpc.Report(classifyAlone(e.ctx, err, trailer, time.Since(e.started)))
	end, _ := e.ctx.Deadline()
	return p.over(e.target.retrier, &e.rpc).Again(e.ctx, &e.rpc, e.target.clock, end, nil)
}

// fail implements rounds.
func (e *elsewhere) fail(err error) error { return err }

// leave implements rounds.
func (e *elsewhere) leave() {
	if e.release != nil {
		e.release()
	}
}

// classifyAlone classifies an RPC of which nothing is known but how it ended.
func classifyAlone(ctx context.Context, err error, trailer metadata.MD, took time.Duration) tulle.Outcome {
	f := tulle.GRPCFacts{
		Code: tulle.GRPCCode(status.Code(err)), Err: err, Ended: ctx.Err(),
		Sent: true, Received: true, Elapsed: took,
		Expired: len(trailer.Get(tulle.ExpiredHeader)) > 0,
	}
	f.RetryAfter, f.Pushback = pushback(trailer)
	return tulle.ClassifyGRPC(f)
}
