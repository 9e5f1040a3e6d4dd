package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// client is one program: what a Transport keeps for one service.
type client struct {
	engine  *cluster.Cluster
	limiter *limit.Limiter // nil without a limit
	breaker *breaker.Breaker
	probing *probing
	version uint32 // of the set that it knows
	stalls  []*effect
}

// newClient makes the engine of a client in a zone as package transport does.
func newClient(p *transport.Policy, zone string, random func() uint64, byAddr map[string]*server) (*client, error) {
	c := &client{probing: &probing{Policy: p.Balancer, byAddr: byAddr}}
	retrier, err := retry.New(*p.Retry)
	if err != nil {
		return nil, err
	}
	guard := *p.Breaker
	inner := guard.GoodLeft
	guard.GoodLeft = func() bool { return c.engine.GoodLeft() || inner != nil && inner() }
	if c.breaker, err = breaker.New(guard); err != nil {
		return nil, err
	}
	if p.Limit.Rate > 0 {
		if c.limiter, err = limit.New(*p.Limit); err != nil {
			return nil, err
		}
	}
	if err := p.Ejection.Validate(); err != nil {
		return nil, err
	}
	c.engine = cluster.New(cluster.Config{
		Policy: c.probing, Ejection: *p.Ejection, Breaker: c.breaker, Retrier: retrier, Rand: random,
		Zone: zone, Locality: cluster.Locality(*p.Locality),
	})
	return c, nil
}

// stalled is when the client goes on, 0 if it does not stand still.
func (c *client) stalled(now int64) int64 {
	for _, e := range c.stalls {
		if end := e.still(now); end != 0 {
			return end
		}
	}
	return 0
}

// call is one call on its way.
type call struct {
	rec    tulle.Call
	client *client
	id     int32
	gen    uint32
	began  int64
	end    int64  // when its time is over; 0: never
	seed   uint64 // of the work that it asks for
	plan   retry.Plan
	open   bool
}

// attempt is one try. It ends for its client and for its server, in any order.
type attempt struct {
	lease  cluster.Attempt
	call   int32
	server *server
	work   float64
	luck   float64 // whether a fault hits it
	due    int64   // when it times out; 0: never
	own    bool    // by the attempt timeout, not by that of the call
	gen    uint32

	reached     int64
	found       int32 // attempts at the server before it
	remain      int32 // and when it answers
	service     int64 // how long it works on it
	status      int16
	result      result
	unconnected bool // no connection yet
	left        bool // the client has done with it
	dropped     bool // the server has
}

// result is what a server has to say.
type result uint8

const (
	fine result = iota
	failed
	wrong
	full
	refused
	dialTimeout
	timedOut
)

// side is one of those that an attempt belongs to.
type side uint8

const (
	byClient side = iota
	byServer
)

// release lets one side go of an attempt.
func (r *run) release(a *attempt, id int32, who side) {
	if who == byClient {
		a.left = true
	} else {
		a.dropped = true
	}
	if a.left && a.dropped {
		a.gen++
		r.attempts.put(id)
	}
}

// arrive begins a call. The steps, and their order, are those of transport/stack.go.
func (r *run) arrive(at int64) error {
	c, id := r.calls.get()
	gen := c.gen + 1
	*c = call{client: r.clients[r.load.IntN(len(r.clients))], id: id, gen: gen, began: at, open: true}
	c.rec.Safe = r.load.Float64() >= r.sc.Calls.Unsafe
	c.rec.Spent = r.sc.Calls.Once
	c.seed = r.work.Uint64()
	if until := c.client.stalled(at); until > 0 {
		r.agenda.plan(until, wakeEvent, id, gen)
		return nil
	}
	return r.enter(c)
}

// enter is the way of a call up to its first attempt: deadline, limit, endpoints.
func (r *run) enter(c *call) error {
	now := r.clock.at
	if d := r.patience; d > 0 {
		c.end = c.began + int64(d)
	}
	if d := r.policy.Timeout; d > 0 && (c.end == 0 || now+int64(d) < c.end) {
		c.end = now + int64(d)
	}
	if c.end != 0 && now >= c.end && !r.policy.DarkDeadlines {
		r.finish(c, false)
		return nil
	}
	if c.client.limiter != nil && r.wait(c) {
		return nil
	}
	return r.admit(c)
}

// admit counts the call in and makes its first attempt.
func (r *run) admit(c *call) error {
	if err := c.client.engine.Admit(context.Background(), time.Time{}); err != nil {
		r.finish(c, false)
		return nil
	}
	return r.attempt(c)
}

// wait asks the limiter, and reports whether the call has to wait or was refused.
// Who may wait does so in a goroutine, as Acquire is a call that blocks.
func (r *run) wait(c *call) bool {
	deadline := time.Time{}
	if c.end != 0 {
		deadline = r.clock.base.Add(time.Duration(c.end))
	}
	if r.policy.Limit.MaxWait == 0 || r.policy.Limit.Dark {
		if c.client.limiter.Acquire(context.Background(), "", deadline) != nil {
			r.refuse(c)
			return true
		}
		return false
	}
	r.waiting++
	go func() {
		err := c.client.limiter.Acquire(r.patient, "", deadline)
		r.admitted <- admission{c.id, err == nil}
	}()
	return true
}

// refuse ends a call that a limit did not let through.
func (r *run) refuse(c *call) {
	if c.began >= r.result.warmup {
		r.result.limited++
	}
	r.finish(c, false)
}

// admission is what the limiter said at last.
type admission struct {
	call int32
	ok   bool
}

// attempt picks an endpoint and sends the call there.
func (r *run) attempt(c *call) error {
	now := time.Duration(r.clock.at)
	c.rec.Begin()
	a, id := r.attempts.get()
	*a = attempt{gen: a.gen, call: c.id}
	if err := c.client.engine.Begin(&a.lease, &c.rec, now); err != nil {
		r.attempts.put(id)
		o := tulle.Outcome{Class: tulle.Ignored, Err: err}
		if errors.Is(err, cluster.ErrAllDown) && c.client.engine.Restarting() {
			o.Class, c.rec.Pool = tulle.Unsent, nil
		}
		c.rec.Report(o)
		return r.decide(c)
	}
	if c.began >= r.result.warmup {
		r.result.attempts++
	}
	s, ok := r.byAddr[a.lease.Endpoint().Addr]
	if !ok {
		return fmt.Errorf("sim: nobody has the address %q", a.lease.Endpoint().Addr)
	}
	a.server = s
	r.dice.Seed(c.seed, uint64(c.rec.Attempt)*0x9e3779b97f4a7c15)
	a.work = s.group.Work.sample(r.thrown)
	a.luck = r.thrown.Float64()
	r.limitTime(c, a, id)
	r.agenda.plan(r.clock.at+r.delay(), reachEvent, id, 0)
	r.sendProbes(c.client)
	return nil
}

// limitTime begins the attempt's time, which ends with the call's at the latest.
func (r *run) limitTime(c *call, a *attempt, id int32) {
	a.due = c.end
	if d := r.policy.AttemptTimeout; d > 0 && (a.due == 0 || r.clock.at+int64(d) < a.due) {
		a.due, a.own = r.clock.at+int64(d), true
	}
	if a.due != 0 {
		r.agenda.plan(max(a.due, r.clock.at), timeoutEvent, id, a.gen)
	}
}

// settle takes in what an attempt came to.
func (r *run) settle(a *attempt, id int32, how result) error {
	c := r.calls.at(a.call)
	now := time.Duration(r.clock.at)
	o := tulle.ClassifyHTTP(r.facts(c, a, how, now))
	a.lease.Answer(&c.rec, o, now)
	a.lease.End(o, now)
	r.release(a, id, byClient)
	if o.Class == tulle.Answered {
		r.finish(c, how == fine)
		return nil
	}
	return r.decide(c)
}

// answered is the arrival of an answer at the client.
func (r *run) answered(a *attempt, id int32) error {
	if a.left {
		r.release(a, id, byServer)
		return nil
	}
	if until := r.calls.at(a.call).client.stalled(r.clock.at); until > 0 {
		r.agenda.plan(until, answerEvent, id, 0)
		return nil
	}
	r.release(a, id, byServer)
	r.listen(a)
	return r.settle(a, id, a.result)
}

// expired is the end of an attempt's time.
func (r *run) expired(a *attempt, id int32, gen uint32) error {
	if a.gen != gen || a.left {
		return nil
	}
	if until := r.calls.at(a.call).client.stalled(r.clock.at); until > 0 {
		r.agenda.plan(until, timeoutEvent, id, gen)
		return nil
	}
	return r.settle(a, id, timedOut)
}

// facts are what a sender would report of an attempt.
func (r *run) facts(c *call, a *attempt, how result, now time.Duration) tulle.HTTPFacts {
	f := tulle.HTTPFacts{Elapsed: now - a.lease.Start(), Reach: tulle.HadConnection}
	switch how {
	case fine, wrong:
		f.Response = r.responses[http.StatusOK]
		return f
	case full:
		f.Response = r.overloaded(a.server.group)
	case failed:
		f.Response = r.response(int(a.status), 0)
	case refused:
		f.Err, f.Reach = refusal, tulle.DialFailed
	case dialTimeout:
		f.Err, f.Reach = lateDial, tulle.DialFailed
	case timedOut:
		f.Err, f.AttemptTimeout = context.DeadlineExceeded, a.own
		f.Ended = context.DeadlineExceeded
		if a.unconnected {
			f.Reach = tulle.NoConnection
		}
	}
	f.Now = r.clock.base.Add(now)
	if f.Err != nil {
		f.Mean = c.client.engine.Mean(now)
	}
	return f
}

// overloaded is the answer of a server whose queue is full.
func (r *run) overloaded(g *Servers) *http.Response { return r.response(g.Full, g.RetryAfter) }

// response is an answer with a status, and a Retry-After in seconds if that is
// not 0.
func (r *run) response(status, retryAfter int) *http.Response {
	key := status + retryAfter*1000
	resp := r.responses[key]
	if resp == nil {
		resp = &http.Response{StatusCode: status, Header: http.Header{}}
		if retryAfter > 0 {
			resp.Header.Set("Retry-After", strconv.Itoa(retryAfter))
		}
		r.responses[key] = resp
	}
	return resp
}

// decide asks for a repeat of a call whose attempt has failed.
func (r *run) decide(c *call) error {
	retrier, now := c.client.engine.Retrier(), r.clock.at
	gaveUp := r.patience > 0 && now >= c.began+int64(r.patience) // its context has ended
	if !gaveUp && retrier.Wants(&c.rec) {
		left := retry.Unlimited
		if c.end != 0 {
			left = time.Duration(c.end - now)
		}
		plan, ok := retrier.Next(&c.rec, time.Duration(now), left)
		if ok && c.client.engine.Refusing() {
			retrier.Abandon(plan)
			ok = false
		}
		if ok {
			c.plan = plan
			r.agenda.plan(now+int64(plan.Wait), retryEvent, c.id, c.gen)
			return nil
		}
	}
	r.finish(c, false)
	return nil
}

// repeat makes the attempt that a pause was for.
func (r *run) repeat(c *call) error {
	if until := c.client.stalled(r.clock.at); until > 0 {
		r.agenda.plan(until, retryEvent, c.id, c.gen)
		return nil
	}
	c.plan.Take(&c.rec)
	return r.attempt(c)
}

// finish ends a call.
func (r *run) finish(c *call, ok bool) {
	r.result.end(c.began, r.clock.at, ok)
	c.open = false
	r.calls.put(c.id)
}
