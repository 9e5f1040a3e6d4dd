package tullegrpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// A call is one RPC on its way, unary or stream. It is the context of its
// attempts, by which the picker finds it, and holds the first of them in place,
// so that an RPC which succeeds at once is one object.
type call struct {
	context.Context // the caller's, or a child that ends at end

	to      *destination.Destination
	options *destination.Options
	cc      *grpc.ClientConn
	method  string
	waits   bool // the caller said WaitForReady
	stream  bool
	req     any                // of a unary call
	sends   *atomic.Bool       // a stream is in SendMsg; nil for a unary call
	end     time.Time          // of the call; zero: never
	release context.CancelFunc // of Context, or nil
	left    atomic.Bool        // it was counted out

	way        *way // nil if there is one destination
	configured bool // the service config has method configs

	followed *telemetry.Call // nil unless somebody follows the call
	told     *teller         // nil likewise
	begun    time.Duration   // when it came; negative: nobody measures

	// The picker, the end of an attempt and the interceptor follow one another
	// in a unary call. In a stream an attempt ends on whatever goroutine sees
	// the end of its context.
	mu       sync.Mutex
	rpc      tulle.Call // guarded by mu
	policies policies   // guarded by mu: of the service config, once there was a pick
	refusal  error      // guarded by mu: why the picker found no endpoint
	picked   bool       // guarded by mu: the invocation in hand had a pick
	sent     bool       // guarded by mu: an attempt may have reached somebody
	current  *attempt   // guarded by mu: the latest
	unsent   *unsent    // guarded by mu: what came of current, nil if that is settled
	late     *late      // guarded by mu: an attempt whose true end is not known, or nil
	bound    bound      // guarded by mu: of the attempt in hand
	endpoint *tulle.Endpoint

	first attempt
}

// bound is the time and the context of an attempt.
type bound struct {
	ctx     context.Context
	due     time.Time // of the attempt timeout, zero without one
	release context.CancelFunc
}

// unsent is an attempt that ended with UNAVAILABLE before it was sent. If gRPC picks
// again by itself, the connection was to blame. If not, it was the call: its
// credentials gave no metadata, or do not allow its authority.
type unsent struct {
	attempt *attempt
	outcome tulle.Outcome
}

// callKey is the context key of a call.
type callKey struct{}

// Value implements context.Context.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// attempt is one pick and what comes of it.
type attempt struct {
	call  *call
	lease cluster.Attempt
	done  func(balancer.DoneInfo) // of the child's pick, or nil
	ctx   context.Context         // of its span, or that of the call
	span  *telemetry.Attempt      // or nil
	taken bool                    // guarded by call.mu
	began bool                    // guarded by call.mu: a message has come
	took  time.Duration           // guarded by call.mu: the time to that
}

// attemptKey tells the server the number of the attempt, from the second on, and
// previousKey the number of those before, as gRPC's own retries do (gRFC A6).
const (
	attemptKey  = "tulle-attempt"
	previousKey = "grpc-previous-rpc-attempts"
)

// invocation implements rounds. An attempt of a unary call has its own timeout.
func (c *call) invocation() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.picked, c.refusal = false, nil
	c.bound = bound{ctx: c}
	if n := c.rpc.Attempt; n > 0 {
		c.bound.ctx = metadata.AppendToOutgoingContext(c, previousKey, itoa(n))
		if !c.to.External {
			c.bound.ctx = metadata.AppendToOutgoingContext(c.bound.ctx, attemptKey, itoa(n+1))
		}
	}
	if d := c.options.AttemptTimeout(c.to.AttemptTimeout); d > 0 && !c.stream {
		c.bound.due = time.Now().Add(d)
		c.bound.ctx, c.bound.release = context.WithDeadlineCause(c.bound.ctx, c.bound.due, deadline.ErrAttempt)
	}
	return c.bound.ctx
}

// over ends the invocation's time.
func (c *call) over() {
	if c.bound.release != nil {
		c.bound.release()
	}
}

// begin takes a lease on an endpoint among those that can be reached. An attempt
// that follows another in one invocation is gRPC's own transparent retry.
func (c *call) begin(among cluster.Reachable) (*attempt, error) {
	a, n, err := c.take(among)
	c.told.tell()
	if err != nil {
		return nil, err
	}
	// gRPC does not know of the attempt yet, so that nobody else looks at it.
	a.ctx = c.Context
	if c.followed != nil {
		a.ctx, a.span = c.followed.Attempt(c.Context, a.lease.Endpoint(), n)
	}
	return a, nil
}

// take is begin without a span. It returns the number of the attempt as well.
func (c *call) take(among cluster.Reachable) (*attempt, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked(repicked)
	c.lateLocked(errRefused)
	engine := c.to.Engine
	a := &c.first
	if a.taken {
		a = new(attempt)
	}
	a.call, a.taken = c, true
	again := c.picked
	if !again {
		c.rpc.Begin()
	}
	if err := engine.BeginAmong(&a.lease, &c.rpc, engine.Now(), among); err != nil {
		a.taken = false
		if !again {
			c.rpc.Attempt--
		}
		c.refuseLocked(err)
		return nil, 0, err
	}
	if again {
		engine.Silent(1)
	}
	c.picked, c.refusal, c.current, c.endpoint = true, nil, a, a.lease.Endpoint()
	return a, int(c.rpc.Attempt), nil
}

// refuseLocked takes note that there was no endpoint to go to.
func (c *call) refuseLocked(err error) {
	c.refusal = err
	o := tulle.Outcome{Class: tulle.Ignored, Err: err}
	if errors.Is(err, cluster.ErrAllDown) && c.to.Engine.Restarting() {
		// After a pause one may be back. There is nowhere to go at once.
		o.Class, c.rpc.Pool = tulle.Unsent, nil
	}
	c.rpc.Report(o)
	if c.told != nil {
		c.told.say(func() { c.followed.Refused(err.Error()) })
	}
}

// refuse is refuseLocked for a picker that has no endpoint to offer.
func (c *call) refuse(err error) {
	defer c.told.tell()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked(repicked)
	if !c.picked {
		c.rpc.Begin()
		c.rpc.Attempt--
	}
	c.refuseLocked(err)
}

// undo takes back an attempt that found its connection gone before anything was
// sent: gRPC picks again.
func (a *attempt) undo() {
	c := a.call
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.to.Engine.Now()
	o := tulle.Outcome{Class: tulle.Ignored}
	a.lease.Answer(&tulle.Call{}, o, now)
	a.lease.End(o, now)
	if a.span != nil {
		a.measureLocked(&o)
	}
	if c.current == a {
		c.picked, c.current = false, nil
		c.rpc.Attempt--
	}
}

// finish is the Done of a pick. GRPC holds locks of its own in it.
func (a *attempt) finish(info *balancer.DoneInfo) {
	if a.call.told != nil {
		defer a.call.tellLate()
	}
	if a.done != nil {
		a.done(*info)
	}
	if info.Err == nil && !info.BytesSent && !info.BytesReceived {
		a.undo()
		return
	}
	c := a.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.lease.Ended() {
		return // abandoned
	}
	if info.Err == nil && c.sends != nil && c.sends.Load() {
		if !c.left.Load() {
			c.late = &late{a, *info}
			return
		}
		// Nobody will receive from a stream whose context has ended.
		info.Err = status.FromContextError(c.Err()).Err()
	}
	a.finishLocked(info)
}

// late is an attempt that ended in SendMsg, which gRPC calls a good end whatever the
// status was. That is known from RecvMsg.
type late struct {
	attempt *attempt
	info    balancer.DoneInfo
}

// errRefused is the true end of an attempt that is late when gRPC picks again by itself:
// it does so if the server has not begun it.
var errRefused = status.Error(codes.Unavailable, "tullegrpc: the server has refused the stream")

// lateLocked ends the attempt that is late, if there is one, err being its true end.
func (c *call) lateLocked(err error) {
	if c.late != nil {
		c.endLateLocked(err)
	}
}

// endLateLocked is lateLocked if there is one.
func (c *call) endLateLocked(err error) {
	l := c.late
	c.late = nil
	if err != io.EOF {
		l.info.Err = err
	}
	if !l.attempt.lease.Ended() {
		l.attempt.finishLocked(&l.info)
	}
}

// finishLocked ends an attempt.
func (a *attempt) finishLocked(info *balancer.DoneInfo) {
	c, now := a.call, a.call.to.Engine.Now()
	o := a.classifyLocked(info, now)
	if o.Class == tulle.Unsent && c.cc != nil && c.bound.ctx.Err() == nil {
		c.unsent = &unsent{a, o}
		return
	}
	c.sent = c.sent || o.Class != tulle.Unsent
	a.lease.Answer(&c.rpc, o, now)
	a.lease.End(o, now)
	a.measureLocked(&o)
	if load := loadOf(info.ServerLoad); load != nil {
		a.lease.Report(load)
	}
}

// settlement says what came after an attempt that was not sent.
type settlement bool

const (
	returned settlement = false // gRPC returned its error
	repicked settlement = true  // gRPC picked again
)

// settleLocked says whom an attempt that was not sent is held against, if there is one.
func (c *call) settleLocked(how settlement) {
	if c.unsent != nil {
		c.settleUnsentLocked(how)
	}
}

// settleUnsentLocked is settleLocked if there is such an attempt.
func (c *call) settleUnsentLocked(how settlement) {
	u := c.unsent
	c.unsent = nil
	if how == returned {
		u.outcome.Class = tulle.Ignored
	}
	now := c.to.Engine.Now()
	u.attempt.lease.Answer(&c.rpc, u.outcome, now)
	u.attempt.lease.End(u.outcome, now)
	u.attempt.measureLocked(&u.outcome)
}

// abandonLocked ends an attempt that gRPC will not end, as what it called has
// panicked: an interceptor or a codec.
func (c *call) abandonLocked(err error) {
	a := c.current
	if err == nil || a == nil || a.lease.Ended() || !errors.Is(err, errPanicked) {
		return
	}
	o, now := tulle.Outcome{Class: tulle.Ignored, Err: err}, c.to.Engine.Now()
	a.lease.Answer(&c.rpc, o, now)
	a.lease.End(o, now)
	a.measureLocked(&o)
	c.over()
}

// answered implements rounds.
func (c *call) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.current
	if a == nil {
		return // it went past our picker
	}
	now := c.to.Engine.Now()
	a.began, a.took = true, now-a.lease.Start()
	a.lease.Answer(&c.rpc, tulle.Outcome{Class: tulle.Answered, Elapsed: a.took}, now)
}

// timerSlack is how far apart two timers for the same deadline may run.
const timerSlack = 5 * time.Millisecond

// classifyLocked asks the classifier.
func (a *attempt) classifyLocked(info *balancer.DoneInfo, now time.Duration) tulle.Outcome {
	c, elapsed := a.call, now-a.lease.Start()
	if a.began {
		elapsed = a.took
	}
	if info.Err == nil && c.to.ClassifyGRPC == nil {
		return tulle.Outcome{Class: tulle.Answered, Elapsed: elapsed} // as ClassifyGRPC has it
	}
	f := tulle.GRPCFacts{
		Err:      info.Err,
		Sent:     info.BytesSent,
		Received: info.BytesReceived,
		Began:    a.began,
		Elapsed:  elapsed,
	}
	if info.Err != nil {
		f.Code = tulle.GRPCCode(status.Code(info.Err))
		f.Sent = f.Sent && (f.Received || f.Code != internal || c.encoded())
		f.Mean = c.to.Engine.Mean(now)
		f.RetryAfter, f.Pushback = pushback(info.Trailer)
		f.Expired = len(info.Trailer.Get(tulle.ExpiredHeader)) > 0
		c.endedLocked(&f)
	}
	if c.to.ClassifyGRPC == nil {
		return tulle.ClassifyGRPC(f)
	}
	return c.to.ClassifyGRPC(f)
}

// internal is the code both of streams that the server resets and of messages that
// cannot be encoded.
const internal = tulle.GRPCCode(codes.Internal)

// encoded says that what was to be sent last could be encoded, as far as is known.
func (c *call) encoded() bool {
	if c.sends != nil {
		return !c.sends.Load()
	}
	return encodable(c.req)
}

// endedLocked says whose time was up, if it was. Timers of gRPC for the same time
// may be a little ahead of ours.
func (c *call) endedLocked(f *tulle.GRPCFacts) {
	ctx := c.bound.ctx
	f.Ended = ctx.Err()
	due, _ := ctx.Deadline()
	if f.Ended == nil && isDeadline(f.Err) && near(due) {
		f.Ended = context.DeadlineExceeded
	}
	f.AttemptTimeout = c.Err() == nil && errors.Is(f.Ended, context.DeadlineExceeded) && due.Equal(c.bound.due)
}

// again implements rounds. What the trailer says is known from the attempt's end.
func (c *call) again(err error, _ metadata.MD) bool {
	r := c.retrier(err)
	c.told.tell()
	if r == nil {
		return false // it ended while it waited for a connection
	}
	// The attempt is over, so that nobody else has the call in hand.
	began := c.clock()
	why, ok := r.Again(c, &c.rpc, c.to.Engine.Now, c.end, c.open)
	if ok {
		c.repeats(began)
	} else {
		c.denied(why)
	}
	return ok
}

// retrier ends the attempt in hand, and is what decides on its repeat; nil if there was
// no attempt, nor an endpoint that could have been picked for it.
func (c *call) retrier(err error) *retry.Retrier {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lateLocked(err)
	c.settleLocked(returned)
	if !c.picked && c.refusal == nil {
		return nil
	}
	r := c.options.Retrier(c.to.Engine.Retrier())
	return c.policies.of(c.method).over(r, &c.rpc)
}

// follows takes in the retry policies of the service config that is in force.
func (c *call) follows(p policies) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policies = p
}

// open says whether the service breaker would let an attempt through.
func (c *call) open() bool { return !c.to.Engine.Refusing() }

// fail implements rounds. The server's own words pass as they are.
func (c *call) fail(err error) error {
	err, own := c.failure(err)
	c.told.tell() // the record has it
	if own {
		return c.error(err)
	}
	return c.recorded(err)
}

// failure is what the call has failed for, and whether that is of this side's making.
func (c *call) failure(err error) (_ error, own bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lateLocked(err)
	c.settleLocked(returned)
	if c.refusal != nil && !c.picked && !ended(err) {
		return c.gaveUp(c.refusal), true
	}
	if cause := c.causeLocked(err); cause != nil {
		return c.gaveUp(cause), true
	}
	err = inContext(c.Context, err)
	if last := &c.rpc.Last; c.rpc.Attempt > 1 && (last.Class == tulle.Unsent || last.Class == tulle.Lost) {
		return c.gaveUp(err), true
	}
	return err, false
}

// gaveUp tells of the repeats, if there were any.
func (c *call) gaveUp(err error) error {
	if c.rpc.Attempt > 1 {
		return &retry.Error{Attempts: int(c.rpc.Attempt), Err: err}
	}
	return err
}

// causeLocked names the limit of ours that ended the call, nil if none did. The
// server keeps the same time, and its word may come before ours is over.
func (c *call) causeLocked(err error) error {
	if !isDeadline(err) {
		return nil
	}
	if due := c.bound.due; near(due) && (c.end.IsZero() || due.Before(c.end)) {
		return deadline.ErrAttempt
	}
	if c.release != nil && near(c.end) {
		return deadline.ErrCall
	}
	return nil
}

// near says that a time is over, or as good as.
func near(due time.Time) bool { return !due.IsZero() && time.Until(due) <= timerSlack }
