package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/internal/eob"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// An exchange is one call on its way. It holds its first attempt in place, so
// that a call which succeeds at once is one object: the copy of the request,
// that of its URL, the watch on the body, the lease, and the record of the
// call. Further attempts are objects of their own, since the sender of an
// earlier one may still use it. Nothing of it is pooled, for the same reason.
type exchange struct {
	first attempt

	svc      *service
	in       *http.Request        // the caller's, never changed
	options  *destination.Options // or nil
	endpoint *tulle.Endpoint
	limits   *limits // nil without a deadline, unless somebody follows the call
	call     tulle.Call
	replay   retry.Replay

	// open counts what keeps the call running: RoundTrip, and each attempt
	// whose lease has not ended.
	open atomic.Int32

	sent bool // an attempt may have reached somebody
}

// attempt is one try at one endpoint.
type attempt struct {
	req   http.Request
	url   url.URL
	x     *exchange
	bound *deadline.Bound // nil without a deadline
	lease cluster.Attempt
	body  eob.Watch
	pool  *pool                 // where it is sent, nil if the Base has no pools of ours
	extra atomic.Pointer[extra] // what not every attempt needs
}

// extra is what an attempt needs for senders that ask for a client trace, and
// for callers whose context can end. Both make it when they first need it.
type extra struct {
	traced  atomic.Bool  // the sender asked for the client trace
	conns   atomic.Int32 // connections that it then reported for the request
	moved   atomic.Bool  // the request is better off elsewhere
	rewound atomic.Int32 // how often the sender asked for the body again
	hooked  atomic.Bool  // hooks are taken
	hooks   httptrace.ClientTrace
	trace   atomic.Pointer[httptrace.ClientTrace]
	stop    atomic.Pointer[func() bool] // takes back the watch on the caller's context

	span  *telemetry.Attempt // or nil
	came  *tulle.Outcome     // what it came to, nil unless somebody follows the call
	proto string             // of the response, as above
	ctx   context.Context    // of the span, nil unless somebody follows the call
}

// limits are what only a call with a deadline needs, or one that is followed.
type limits struct {
	end    time.Time      // of the call; zero: only attempts have a timeout, or none
	bound  deadline.Bound // of the first attempt
	traces *traces        // nil unless somebody follows the call
}

// bounded is an exchange with a deadline, still one object.
type bounded struct {
	exchange
	limits limits
}

// traced is a bounded exchange that somebody follows, still one object.
type traced struct {
	bounded
	traces traces
}

// newExchange begins a call to svc. Followed is the object for it where somebody
// follows the call, else nil.
func newExchange(svc *service, in *http.Request, options *destination.Options, followed *traced) *exchange {
	var x *exchange
	var b *bounded
	switch {
	case followed != nil:
		b, x = &followed.bounded, &followed.exchange
		b.limits.traces = &followed.traces
		x.first.extra.Store(&followed.traces.first)
	case svc.bounds(in, options):
		b = new(bounded)
		x = &b.exchange
	default:
		x = new(exchange)
	}
	if b != nil {
		x.limits = &b.limits
		if svc.bounds(in, options) {
			x.first.bound = &b.limits.bound
		}
	}
	x.first.x = x
	x.svc, x.in, x.options = svc, in, options
	x.open.Store(1)
	retrier := svc.Engine.Retrier()
	x.call.Safe = options.Vouched() || retrier.Safe(in)
	x.call.UnsentOnly = options.OnlyUnsent() || once(in)
	x.replay.Start(in, retrier.Replay())
	return x
}

// once says that the request must not be repeated once it was sent: it would
// open a tunnel or upgrade the connection.
func once(in *http.Request) bool {
	return in.Method == http.MethodConnect || in.Header["Upgrade"] != nil
}

// Attempt implements retry.Attempter: it makes one more attempt.
func (x *exchange) Attempt() (*http.Response, error) {
	x.repeats()
	a := &attempt{x: x}
	if x.first.bound != nil {
		a.bound = new(deadline.Bound)
	}
	return x.svc.attempt(a)
}

// Open implements retry.Gate: an open breaker lets no attempt through.
func (x *exchange) Open() bool { return !x.svc.Engine.Refusing() }

// deadline is when the call must be over; zero: never.
func (x *exchange) deadline() time.Time {
	if x.limits == nil {
		return time.Time{}
	}
	return x.limits.end
}

// traces are what follows the call, or nil.
func (x *exchange) traces() *traces {
	if x.limits == nil {
		return nil
	}
	return x.limits.traces
}

// done takes away one of the things that keep the call running.
func (x *exchange) done() {
	if x.open.Add(-1) == 0 {
		if x.traces() != nil {
			x.traces().end(x)
		}
		x.svc.Gate.Exit()
	}
}

// prepare makes the attempt's request: a copy of the caller's that goes to the
// endpoint, and shows the logical name in its Host header.
func (a *attempt) prepare(now time.Time) error {
	x := a.x
	body, err := x.replay.Next(x.in)
	if err != nil {
		return err
	}
	if x.traces() != nil {
		a.follow()
	}
	if a.bound != nil {
		a.start(now)
	}
	a.req = *x.in.WithContext((*attemptContext)(a))
	a.req.Body = body
	if body != nil && body != http.NoBody && (x.replay.Kept() || a.req.GetBody != nil && x.svc.maybeHTTP2(x.in)) {
		a.req.GetBody = a.rewind
	}
	a.url = *x.in.URL
	a.req.URL = &a.url
	a.req.Host = x.host()
	if !x.svc.External {
		a.announce(now)
	} else {
		a.req.Header = foreign(x.in.Header)
	}
	return nil
}

// host is what the server sees as host. A host of the caller's own wins over that
// of the service; the one of the URL, which http.NewRequest sets, is none.
func (x *exchange) host() string {
	if host := x.options.Host(""); host != "" {
		return host
	}
	if x.in.Host != "" && x.in.Host != x.in.URL.Host {
		return x.in.Host
	}
	return cmp.Or(x.svc.Host, x.in.URL.Host)
}

// start begins the attempt's time.
func (a *attempt) start(now time.Time) {
	x := a.x
	var limit time.Time
	if d := x.options.AttemptTimeout(x.svc.AttemptTimeout); d > 0 {
		limit = now.Add(d)
	}
	a.bound.Start(a.outer(), a, now, x.limits.end, limit)
}

// parent is the context that the attempt's own adds to: the caller's, or the
// Bound's below it.
func (a *attempt) parent() context.Context {
	if a.bound != nil {
		return a.bound.Context()
	}
	return a.outer()
}

// outer is the caller's context, or that of the attempt's span below it.
func (a *attempt) outer() context.Context {
	if a.x.traces() != nil {
		if e := a.extra.Load(); e != nil && e.ctx != nil {
			return e.ctx
		}
	}
	return a.x.in.Context()
}

// announce tells the server how long is left, that this is a repeat, and which
// overrides the call carries on.
func (a *attempt) announce(now time.Time) {
	if a.bound != nil {
		a.bound.Propagate(&a.req, now)
	}
	n, overrides := a.x.call.Attempt, route.From(a.x.in.Context())
	a.inject()
	if n <= 1 && overrides == nil {
		return
	}
	h := a.req.Header.Clone()
	if h == nil {
		h = make(http.Header, 1)
	}
	if n > 1 {
		h.Set(destination.AttemptHeader, strconv.Itoa(int(n)))
	}
	if overrides != nil && h[route.Header] == nil {
		overrides.Write(h)
	}
	a.req.Header = h
}

// settle takes in what the sender returned: the outcome goes to the lease, and a
// response that has a body is watched until that ends.
func (a *attempt) settle(resp *http.Response, err error) (*http.Response, error) {
	x := a.x
	if a.bound != nil && err == nil && !a.bound.Answered() {
		_ = resp.Body.Close() // the attempt is over; its error says why
		resp, err = nil, deadline.ErrAttempt
	}
	if e := a.extra.Load(); e != nil {
		if n := e.conns.Load(); n > 1 {
			x.svc.Engine.Silent(int(n - 1))
		}
	}
	now := x.svc.Engine.Now()
	o := a.classify(resp, err, false, now)
	a.lease.Answer(&x.call, o, now)
	x.sent = x.sent || o.Class != tulle.Unsent
	x.call.Spent = x.replay.Spent()
	a.measure(resp, &o)
	if err != nil {
		err = a.why(err)
		a.finish(o, now)
		return nil, err
	}
	resp.Request = x.in
	if a.bound != nil && deadline.Endless(resp) {
		a.bound.Disarm()
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		a.finish(o, now)
		return resp, nil
	}
	a.body.Start(resp, (*attemptBody)(a))
	if a.bound != nil && a.bound.Fired() != nil {
		a.abandoned() // Expired came before there was a body to end
		return resp, nil
	}
	if ctx := x.in.Context(); ctx.Done() != nil {
		stop := context.AfterFunc(ctx, a.abandoned)
		a.more().stop.Store(&stop)
		if a.lease.Ended() {
			stop()
		}
	}
	return resp, nil
}

// classify asks the classifier.
func (a *attempt) classify(resp *http.Response, err error, inBody bool, now time.Duration) tulle.Outcome {
	f := tulle.HTTPFacts{Response: resp, Err: err, InBody: inBody}
	if !inBody {
		// In the body the wait is long over. How long that takes depends on
		// its size, which is no fault of the endpoint.
		f.Elapsed = now - a.lease.Start()
	}
	if err != nil || resp.StatusCode >= 400 {
		f.Now = time.Now()
	}
	if err != nil {
		f.Ended = a.ended()
		f.AttemptTimeout = a.bound != nil && errors.Is(a.bound.Fired(), deadline.ErrAttempt)
		f.RequestBody = a.x.replay.Failed()
		f.Reach = a.reach(err)
		f.Mean = a.x.svc.Engine.Mean(now)
	}
	return a.x.svc.classify(f)
}

// ended is why the attempt's context has ended, nil while it has not. Who uses
// Request.Cancel, as http.Client.Timeout does in its own way, cancels or has run
// out of time.
func (a *attempt) ended() error {
	err := a.parent().Err()
	if a.bound != nil {
		err = a.bound.Err()
	}
	if err == nil {
		select {
		//lint:ignore SA1019 who still sets it may expect that it works
		case <-a.x.in.Cancel: // never, if it is nil
			err = context.Canceled
		default:
		}
	}
	if due, ok := a.x.in.Context().Deadline(); ok && errors.Is(err, context.Canceled) && time.Until(due) <= timerSlack {
		return context.DeadlineExceeded
	}
	return err
}

// timerSlack is how far apart two timers for the same deadline may run.
const timerSlack = 5 * time.Millisecond

// reach says how far the request got.
func (a *attempt) reach(err error) tulle.Reach {
	e := a.extra.Load()
	switch {
	case e != nil && e.moved.Load():
		return tulle.Unprocessed
	case e != nil && e.conns.Load() > 0:
		return tulle.HadConnection
	case isDialError(err):
		return tulle.DialFailed
	case e != nil && e.traced.Load():
		return tulle.NoConnection
	}
	return tulle.ReachUnknown
}

// why names the limit that ended the attempt, if one did.
func (a *attempt) why(err error) error {
	if a.bound != nil {
		if fired := a.bound.Fired(); fired != nil {
			return fired
		}
	}
	return err
}

// BodyEnded implements eob.Owner.
func (a *attempt) BodyEnded(err error) error {
	now := a.x.svc.Engine.Now()
	o := tulle.Outcome{Class: tulle.Answered}
	if err != nil && err != io.EOF {
		o = a.classify(nil, err, true, now)
		err = a.why(err)
	}
	a.finish(o, now)
	return err
}

// abandoned ends the attempt when the caller's context ends before the body
// does, as a caller may then forget the body without a Close.
func (a *attempt) abandoned() {
	a.finish(tulle.Outcome{Class: tulle.Ignored}, a.x.svc.Engine.Now())
}

// Expired implements deadline.Owner. Before headers the lease does not end by it;
// the sender's error does the rest.
func (a *attempt) Expired() { a.abandoned() }

// drop ends an attempt of which nothing will be known.
func (a *attempt) drop() {
	o, now := tulle.Outcome{Class: tulle.Ignored}, a.x.svc.Engine.Now()
	a.lease.Answer(&a.x.call, o, now)
	a.finish(o, now)
}

// finish ends everything that the attempt holds. It may be called more than
// once: a body can be abandoned and closed later.
func (a *attempt) finish(o tulle.Outcome, now time.Duration) {
	if !a.lease.End(o, now) {
		return
	}
	if a.x.traces() != nil {
		a.traced(&o)
	}
	if e := a.extra.Load(); e != nil {
		if stop := e.stop.Load(); stop != nil {
			(*stop)()
		}
	}
	if a.bound != nil {
		a.bound.Stop()
	}
	if a.pool != nil {
		a.pool.leave()
	}
	a.x.done()
}

// attemptBody is an attempt as the body of its response.
type attemptBody attempt

func (b *attemptBody) Read(p []byte) (int, error) { return b.body.Read(p, (*attempt)(b)) }
func (b *attemptBody) Close() error               { return b.body.Close((*attempt)(b)) }

// attemptContext is an attempt as the context of its request. It is a context of
// values only: children of it hang on its parent, without a goroutine.
type attemptContext attempt

// Deadline implements context.Context.
func (c *attemptContext) Deadline() (time.Time, bool) {
	if c.bound != nil {
		return c.bound.Deadline()
	}
	return (*attempt)(c).parent().Deadline()
}

// Done implements context.Context.
func (c *attemptContext) Done() <-chan struct{} {
	if e := c.extra.Load(); e != nil && e.moved.Load() {
		return ready
	}
	return (*attempt)(c).parent().Done()
}

// Err implements context.Context.
func (c *attemptContext) Err() error {
	if e := c.extra.Load(); e != nil && e.moved.Load() {
		return errMoved
	}
	if c.bound != nil {
		return c.bound.Err()
	}
	return (*attempt)(c).parent().Err()
}

// Value implements context.Context. A sender that asks for the client trace gets
// one that counts connections and calls the caller's hooks.
func (c *attemptContext) Value(key any) any {
	a := (*attempt)(c)
	if key != traceKey() {
		return a.parent().Value(key)
	}
	e := a.more()
	if t := e.trace.Load(); t != nil {
		return t
	}
	t := &e.hooks
	if e.hooked.Swap(true) {
		t = new(httptrace.ClientTrace) // another goroutine is about to fill in the first one
	}
	t.GotConn = a.gotConn
	if parent := a.parent(); parent.Value(key) != nil {
		t = httptrace.ContextClientTrace(httptrace.WithClientTrace(parent, t))
	}
	e.trace.CompareAndSwap(nil, t)
	e.traced.Store(true)
	return e.trace.Load()
}

// more is the attempt's extra, made if there is none.
func (a *attempt) more() *extra {
	if a.extra.Load() == nil {
		a.extra.CompareAndSwap(nil, new(extra))
	}
	return a.extra.Load()
}

// gotConn counts the connections that the sender took. More than one means that
// it repeated the request by itself, which it does when nothing was processed.
// Over HTTP/2 net/http goes on with that for a minute, to the same endpoint, with
// growing pauses or with none; at some point the request moves on instead. It has
// not been written to this connection yet, and the context tells net/http not to.
func (a *attempt) gotConn(i httptrace.GotConnInfo) {
	e := a.more()
	n := e.conns.Add(1)
	if n < 3 {
		return
	}
	secure, ok := i.Conn.(interface{ ConnectionState() tls.ConnectionState })
	h2 := a.x.svc.h2c() || ok && secure.ConnectionState().NegotiatedProtocol == "h2"
	if h2 && (n > mostConns || a.x.svc.Engine.Now()-a.lease.Start() > restless) {
		e.moved.Store(true)
	}
}

// How long net/http may repeat by itself: two repeats, or as many as are made
// without a pause.
const (
	mostConns = 8
	restless  = 500 * time.Millisecond
)

// errMoved ends an attempt that net/http would repeat on and on.
var errMoved = errors.New("transport: the endpoint does not take the request")

// ready is a channel that is closed.
var ready = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// rewind is the GetBody of an attempt. The sender asks for the body again only
// when nothing was processed, or when the call may be repeated anyway. A body
// that we keep moves on then, and others when the sender has asked often.
func (a *attempt) rewind() (io.ReadCloser, error) {
	e := a.more()
	asked := e.rewound.Add(1)
	if a.x.in.GetBody == nil || asked > mostConns || asked > 1 && a.x.svc.Engine.Now()-a.lease.Start() > restless {
		e.moved.Store(true)
		return nil, errMoved
	}
	return a.x.in.GetBody()
}

// traceKey is the key under which net/http looks for a client trace. It is not
// exported; a context that listens finds out.
var traceKey = sync.OnceValue(func() any {
	l := &listener{Context: context.Background()}
	httptrace.ContextClientTrace(l)
	return l.key
})

// listener is a context that remembers what it was asked for.
type listener struct {
	context.Context
	key any
}

// Value implements context.Context.
func (l *listener) Value(key any) any {
	l.key = key
	return nil
}
