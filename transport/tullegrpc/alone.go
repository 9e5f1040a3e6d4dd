package tullegrpc

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
)

// The layers alone, for connections of the user's own. Their order is the user's;
// that of the stack is deadline, limit, retry, breaker, outermost first. What an
// RPC came to is what tulle.ClassifyGRPC says; a layer below that has decided is
// believed (tulle.Call). Alone it is not known whether anything was sent, so that
// UNAVAILABLE repeats idempotent calls only.

// UnaryRetry repeats unary RPCs as r says, on the connection that they are made
// on. Idempotent are those that retry.Config.Idempotent names, whose descriptor
// declares them so, and calls with Idempotent. gRPC's own retries are best switched
// off (grpc.WithDisableRetry), as otherwise the numbers multiply.
func UnaryRetry(r *retry.Retrier) grpc.UnaryClientInterceptor {
	l := newLoop(r)
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoker grpc.UnaryInvoker, opts ...grpc.CallOption) (err error) {
		a := l.begin(ctx, method, opts)
		opts, finish := takeOnFinish(opts)
		if finish != nil {
			defer func() { finish(err) }()
		}
		var trailer metadata.MD
		opts = append([]grpc.CallOption{grpc.Trailer(&trailer)}, opts...)
		for {
			err := invoker(a.invocation(), method, req, reply, cc, opts...)
			if err == nil {
				return nil
			}
			if !a.again(err, trailer) {
				return a.fail(err)
			}
		}
	}
}

// StreamRetry repeats streams as r says, until their first message has come and
// while what was sent is remembered (256 KiB). See UnaryRetry.
func StreamRetry(r *retry.Retrier) grpc.StreamClientInterceptor {
	l := newLoop(r)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s := &clientStream{rounds: l.begin(ctx, method, opts), desc: desc}
		s.opts, s.finish = takeOnFinish(opts)
		s.open = func(ctx context.Context, opts []grpc.CallOption) (grpc.ClientStream, error) {
			return streamer(ctx, desc, cc, method, opts...)
		}
		if err := s.start(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
}

// loop is a Retrier alone.
type loop struct {
	r       *retry.Retrier
	start   time.Time
	methods methods
}

func newLoop(r *retry.Retrier) *loop { return &loop{r: r, start: time.Now()} }

// clock is the time as the budget counts it.
func (l *loop) clock() time.Duration { return time.Since(l.start) }

// begin begins an RPC.
func (l *loop) begin(ctx context.Context, method string, opts []grpc.CallOption) *looped {
	a := &looped{loop: l}
	a.ctx = tulle.WithCall(ctx, &a.rpc)
	o, _ := readOptions(ctx, opts)
	a.rpc.Safe = o.Vouched() || l.r.SafeRPC(method) || l.methods.safe(method)
	a.rpc.UnsentOnly = o.OnlyUnsent()
	l.r.Open(l.clock())
	return a
}

// looped is one RPC in a loop.
type looped struct {
	*loop
	ctx     context.Context
	rpc     tulle.Call
	started time.Time
}

// invocation implements rounds.
func (a *looped) invocation() context.Context {
	a.rpc.Begin()
	a.started = time.Now()
	return a.ctx
}

// answered implements rounds.
func (a *looped) answered() {}

// again implements rounds.
func (a *looped) again(err error, trailer metadata.MD) bool {
	a.rpc.Report(classifyAlone(a.ctx, err, trailer, time.Since(a.started)))
	end, _ := a.ctx.Deadline()
	_, ok := a.r.Again(a.ctx, &a.rpc, a.clock, end, nil)
	return ok
}

// fail implements rounds. The server's own words pass as they are.
func (a *looped) fail(err error) error { return err }

// leave implements rounds.
func (a *looped) leave(error) {}

// UnaryBreaker asks b before each unary RPC, and tells it after. A refused one ends
// with codes.Unavailable, which errors.Is knows as breaker.ErrOpen.
func UnaryBreaker(b *breaker.Breaker) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		w := &watched{rpc: tulle.CallFrom(ctx), ctx: ctx}
		if err := w.ask(b); err != nil {
			return err
		}
		defer w.ticket.Cancel() // of an invoker that panics
		var trailer metadata.MD
		err := invoker(ctx, method, req, reply, cc, append([]grpc.CallOption{grpc.Trailer(&trailer)}, opts...)...)
		w.over(w.facts(err, trailer, err == nil || encodable(req)))
		return err
	}
}

// StreamBreaker asks b before each stream, and tells it when that is over. See
// UnaryBreaker.
func StreamBreaker(b *breaker.Breaker) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		w := &watched{rpc: tulle.CallFrom(ctx), ctx: ctx, desc: desc}
		if err := w.ask(b); err != nil {
			return nil, err
		}
		returned := false
		defer func() {
			if !returned {
				w.ticket.Cancel() // of a streamer that panics
			}
		}()
		inner, err := streamer(ctx, desc, cc, method, opts...)
		returned = true
		if err != nil {
			w.over(w.facts(err, nil, false))
			return nil, err
		}
		w.ClientStream = inner
		// A caller may forget a stream whose context has ended.
		w.stop = context.AfterFunc(ctx, w.abandoned)
		return w, nil
	}
}

// watched is an RPC that a breaker waits for, and its stream if it is one.
type watched struct {
	grpc.ClientStream
	desc    *grpc.StreamDesc
	ctx     context.Context
	rpc     *tulle.Call // or nil
	old     bool        // what rpc knew before is of another attempt
	ticket  breaker.Ticket
	started time.Time
	stop    func() bool  // takes back the watch on the context
	took    atomic.Int64 // the time to the first message, 0 before it
}

// ask asks the breaker.
func (w *watched) ask(b *breaker.Breaker) error {
	w.started, w.old = time.Now(), w.rpc.Reported()
	var err error
	if w.ticket, err = b.Allow(); err != nil {
		// A retry around this must not take it for an endpoint's failure.
		w.rpc.Report(tulle.Outcome{Class: tulle.Ignored, Err: err})
		return unavailable(err)
	}
	return nil
}

// facts are what is known of the RPC when it has ended. Theirs says that the
// status, if it is not that of a lost connection, is the server's.
func (w *watched) facts(err error, trailer metadata.MD, theirs bool) tulle.GRPCFacts {
	f := factsAlone(w.ctx, err, trailer, time.Since(w.started))
	f.Sent, f.Received = theirs || f.Code != internal, theirs
	if took := w.took.Load(); took != 0 {
		f.Elapsed = time.Duration(took)
	}
	return f
}

// over tells the breaker. A layer below that has decided is believed.
func (w *watched) over(f tulle.GRPCFacts) {
	o := classify(f)
	if w.rpc.Reported() && !w.old {
		o = w.rpc.Last
	}
	w.rpc.Report(o)
	w.ticket.Done(o)
}

// abandoned ends the wait when the context ends before the stream. The verdict is
// that of a RecvMsg that fails for the same reason, as it may come first.
func (w *watched) abandoned() {
	w.ticket.Done(classify(w.facts(status.FromContextError(w.ctx.Err()).Err(), nil, false)))
}

// SendMsg implements grpc.ClientStream. An error other than io.EOF ends the stream
// and is of this side's making.
func (w *watched) SendMsg(m any) error {
	err := w.ClientStream.SendMsg(m)
	if err != nil && err != io.EOF {
		w.stop()
		w.ticket.Done(classify(w.facts(err, nil, false)))
	}
	return err
}

// RecvMsg implements grpc.ClientStream.
func (w *watched) RecvMsg(m any) error {
	err := w.ClientStream.RecvMsg(m)
	if err == nil {
		if w.took.CompareAndSwap(0, int64(max(time.Since(w.started), 1))) {
			w.ticket.Answered()
		}
		if w.desc.ServerStreams {
			return nil
		}
	}
	w.stop()
	end := err
	if err == io.EOF {
		end = nil
	}
	w.over(w.facts(end, w.Trailer(), true))
	return err
}

// UnaryLimit has each unary RPC wait in l, no longer than its deadline. A refused
// one ends with codes.ResourceExhausted, which errors.Is knows as
// limit.ErrLimited. A Key of the limit's, which is asked of HTTP requests, is not
// asked.
func UnaryLimit(l *limit.Limiter) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if err := turn(ctx, l); err != nil {
			return err
		}
		return invoker(ctx, method, req, reply, cc, opts...)
	}
}

// StreamLimit has each stream wait in l before it opens; its messages are not
// limited. See UnaryLimit.
func StreamLimit(l *limit.Limiter) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if err := turn(ctx, l); err != nil {
			return nil, err
		}
		return streamer(ctx, desc, cc, method, opts...)
	}
}

// turn waits in a limit.
func turn(ctx context.Context, l *limit.Limiter) error {
	if err := l.Acquire(ctx, "", time.Time{}); err != nil {
		tulle.CallFrom(ctx).Report(tulle.Outcome{Class: tulle.Ignored, Err: err})
		return local(err)
	}
	return nil
}

// UnaryDeadline bounds each unary RPC by the timeouts of l, and refuses those whose
// time is up when they come. gRPC tells the server the time that is left.
func UnaryDeadline(l *deadline.Limiter) grpc.UnaryClientInterceptor {
	cfg := l.Config()
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if err := inTime(ctx, l); err != nil {
			return err
		}
		if cfg.Timeout > 0 {
			var release context.CancelFunc
			ctx, release = context.WithTimeoutCause(ctx, cfg.Timeout, deadline.ErrCall)
			defer release()
		}
		if cfg.AttemptTimeout > 0 {
			var release context.CancelFunc
			ctx, release = context.WithTimeoutCause(ctx, cfg.AttemptTimeout, deadline.ErrAttempt)
			defer release()
		}
		err := invoker(ctx, method, req, reply, cc, opts...)
		if !isDeadline(err) {
			return err
		}
		if due, ok := ctx.Deadline(); ok && time.Until(due) <= timerSlack {
			<-ctx.Done() // the server's timer, which is for the same time, was ahead
		}
		if cause := context.Cause(ctx); errors.Is(cause, deadline.ErrCall) || errors.Is(cause, deadline.ErrAttempt) {
			return local(cause)
		}
		return err
	}
}

// StreamDeadline refuses streams whose time is up when they come. It sets no
// timeout, as a stream may last for hours.
func StreamDeadline(l *deadline.Limiter) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if err := inTime(ctx, l); err != nil {
			return nil, err
		}
		return streamer(ctx, desc, cc, method, opts...)
	}
}

// inTime refuses a call whose time is up.
func inTime(ctx context.Context, l *deadline.Limiter) error {
	if due, ok := ctx.Deadline(); ok && !time.Now().Before(due) && l.Late() {
		tulle.CallFrom(ctx).Report(tulle.Outcome{Class: tulle.Ignored, Err: deadline.ErrCall})
		return local(deadline.ErrCall)
	}
	return nil
}
