package cluster

import (
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
)

// An Attempt is a lease on an endpoint. It is a field of the adapter's own
// object and must not move. Each of its steps happens once, whoever takes it
// and however often:
//
//	Begin → waiting → Answer → streaming → End
//
// While waiting it counts for the balancer. While streaming it does not: an
// endpoint that serves long streams keeps its share of short calls.
type Attempt struct {
	view  *View
	place int32 // in the View; its complement for an attempt that tries an endpoint which is left out
	phase atomic.Uint32
	start time.Duration
	pass  breaker.Permit
}

// The phases of an Attempt.
const (
	idle uint32 = iota
	waiting
	streaming // and its outcome is open
	settled   // streaming, and its outcome is known
	ended
)

// Begin picks an endpoint for the next attempt of call and takes a lease on it.
func (c *Cluster) Begin(a *Attempt, call *tulle.Call, now time.Duration) error {
	return c.BeginAmong(a, call, now, Reachable{View: c.view.Load()})
}

// Reachable is which endpoints of a View an attempt can go to: those with a
// connection, for adapters that connect beforehand. A nil Set is all, which are
// then connected to when they are picked.
type Reachable struct {
	View *View        // the endpoints that Set numbers
	Set  balancer.Set // nil: all
	Full bool         // Set has all of them, so that picks need not look
}

// Usable says that at least one of them is not left out.
func (r Reachable) Usable() bool {
	out := r.View.out.Load()
	return out == nil || !covers(out.set, r.View.all(r.Set))
}

// BeginAmong is Begin for the endpoints in among. What the engine believes to be
// down is picked all the same when it is all that can be reached.
func (c *Cluster) BeginAmong(a *Attempt, call *tulle.Call, now time.Duration, among Reachable) error {
	v := among.View
	if v == nil || len(v.members) == 0 {
		return c.Err()
	}
	out := v.out.Load()
	if among.Set == nil && v.left(out) == 0 && out.ejected == 0 && int64(now) < v.due.Load() {
		return c.allDown()
	}
	pass, err := c.admit()
	if err != nil {
		return err
	}
	a.view, a.start, a.pass = v, now, pass
	i := -1
	if !pass.Trial() && (len(call.Tried) == 0 || v.left(out) == 0) {
		// One call tries one that is left out: else several of them could use
		// up all attempts of a call while others serve.
		i = c.probe(among, call, now)
	}
	if i >= 0 {
		a.place = ^int32(i)
	} else if i = c.pick(among, call, now); i >= 0 {
		a.place = int32(i)
	} else {
		c.settle(pass, tulle.Neither)
		if v.left(v.out.Load()) == 0 {
			return c.allDown()
		}
		return ErrNoEndpoints
	}
	a.phase.Store(waiting)
	a.state().begun.Add(1)
	a.node().Begin(now)
	return nil
}

// pick asks the policy, which it keeps off endpoints that are left out or were
// tried.
func (c *Cluster) pick(among Reachable, call *tulle.Call, now time.Duration) int {
	v := among.View
	q := balancer.Query{Now: now}
	if !among.Full {
		q.Among = among.Set
	}
	if out := v.out.Load(); out != nil {
		c.avoided.out.Add(1)
		q.Avoid = out.set
		if among.Set == nil && v.left(out) == 0 {
			// Rather one that answers badly than none; but what cannot be
			// connected to is no choice at all.
			if q.Among = v.alive(); q.Among.Len() == 0 {
				return -1
			}
			q.Avoid = nil
		}
	}
	if len(call.Tried) > 0 {
		c.avoided.tried.Add(1)
		c.narrow(v, &q, call)
	} else if v.layout != nil {
		c.share(v, &q, now)
	}
	if len(call.Tried) > 0 && covers(q.Avoid, v.all(q.Among)) {
		// Rather one that is left out than one that this call has tried.
		q.Avoid = c.tried(v, call)
	}
	i := v.picker.Pick(q)
	if i < 0 || i >= len(v.states) {
		return -1
	}
	if v.states[i].outlier.Back() {
		i = c.lead(v, q, i, now)
	}
	return i
}

// narrow keeps the pick off endpoints that were tried, within the most preferred
// group that has others, and strictly off those that are barred.
func (c *Cluster) narrow(v *View, q *balancer.Query, call *tulle.Call) {
	avoid := c.tried(v, call)
	for w := range q.Avoid {
		avoid[w] |= q.Avoid[w]
	}
	q.Avoid = avoid
	limited := q.Among
	if v.layout != nil && c.elsewhere(v, q, call) {
		return // barred ones are in Avoid too, and there are others
	}
	if call.AnyBarred() {
		q.Among = c.unbarred(v, call)
		for i := range v.members {
			if limited != nil && !limited.Has(i) {
				q.Among.Remove(i)
			}
		}
	}
}

// tried are the endpoints that the call has tried.
func (c *Cluster) tried(v *View, call *tulle.Call) balancer.Set {
	s := balancer.NewSet(len(v.members))
	for _, addr := range call.Tried {
		if i := c.indexOf(v, addr); i >= 0 {
			s.Add(i)
		}
	}
	return s
}

// all is the set of all endpoints, or the limited one.
func (v *View) all(limited balancer.Set) balancer.Set {
	if limited != nil {
		return limited
	}
	return v.everybody()
}

// both are the members of two sets of one size.
func both(a, b balancer.Set) balancer.Set {
	s := make(balancer.Set, len(a))
	for w := range s {
		s[w] = a[w] & b[w]
	}
	return s
}

// everybody is the set of all endpoints.
func (v *View) everybody() balancer.Set {
	s := balancer.NewSet(len(v.members))
	for i := range v.members {
		s.Add(i)
	}
	return s
}

// unbarred are the endpoints that the call may still use.
func (c *Cluster) unbarred(v *View, call *tulle.Call) balancer.Set {
	s := v.everybody()
	for k, addr := range call.Tried {
		if i := c.indexOf(v, addr); i >= 0 && call.Barred(k) {
			s.Remove(i)
		}
	}
	return s
}

// covers says whether all members of b are in a.
func covers(a, b balancer.Set) bool {
	for i := b.Next(0); i >= 0; i = b.Next(i + 1) {
		if !a.Has(i) {
			return false
		}
	}
	return true
}

// index is the endpoint's place in the View.
func (a *Attempt) index() int {
	if a.place < 0 {
		return int(^a.place)
	}
	return int(a.place)
}

// probing says that the attempt tries an endpoint that is left out.
func (a *Attempt) probing() bool { return a.place < 0 }

// Endpoint is the one that the attempt goes to.
func (a *Attempt) Endpoint() *tulle.Endpoint { return &a.view.members[a.index()] }

// Place is the endpoint's place in the View that the attempt began with.
func (a *Attempt) Place() int { return a.index() }

// Report keeps the load that the endpoint reported with its answer.
func (a *Attempt) Report(load *tulle.Load) { a.state().load.Store(load) }

// state is what the engine knows of the attempt's endpoint.
func (a *Attempt) state() *state { return a.view.states[a.index()] }

// node is what the policy of the attempt's View knows of the endpoint.
func (a *Attempt) node() balancer.Node { return a.view.picker.Node(a.index()) }

// Start is when the attempt began.
func (a *Attempt) Start() time.Duration { return a.start }

// Answer ends the wait: headers came, or the attempt failed. Call learns the
// outcome and what the pool is like. Unless the outcome is Answered it is final.
func (a *Attempt) Answer(call *tulle.Call, o tulle.Outcome, now time.Duration) {
	next := settled
	if o.Class == tulle.Answered {
		next = streaming
	}
	if !a.phase.CompareAndSwap(waiting, next) {
		return
	}
	a.state().answered.Add(1)
	a.node().Answer(a.start, now, o.Class.Sampling())
	verdict := o.Class.Endpoint()
	if verdict == tulle.Failure {
		if alike(call, o) {
			// The same trouble at two endpoints is the request's.
			verdict = tulle.Neither
		}
		call.Try(a.Endpoint().Addr)
	}
	switch o.Class {
	case tulle.Throttled:
		call.Try(a.Endpoint().Addr)
	case tulle.Insecure:
		call.Bar(a.Endpoint().Addr)
	}
	if o.Down {
		a.view.cluster.down(o.Err)
	}
	call.Report(o)
	if o.Class == tulle.Answered {
		a.view.cluster.answer(a.pass)
		a.view.cluster.pool.sample(o.Elapsed, now)
		a.state().window.sample(o.Elapsed, now)
		a.view.observe(a.index(), o.Elapsed, true)
		return
	}
	a.judge(o, verdict, now)
	if o.Class.Repetition() != tulle.NoRepeat || verdict == tulle.Failure {
		call.Pool = a.view.cluster.poolFacts(a.view, call, a.state(), now)
	}
}

// alike says that the call failed before as it does now. An endpoint that could
// not be reached never saw the request, so that blames no request.
func alike(call *tulle.Call, o tulle.Outcome) bool {
	last := call.Last
	return call.Attempt > 1 && len(call.Tried) > 0 && o.Class != tulle.Unsent && o.Class != tulle.Insecure &&
		last.Class == o.Class && last.Status == o.Status
}

// End ends the lease and reports whether it did: a lease ends once, after it
// was answered. O is the final outcome; it is ignored where that is known
// already.
func (a *Attempt) End(o tulle.Outcome, now time.Duration) bool {
	if a.phase.CompareAndSwap(streaming, ended) {
		a.judge(o, o.Class.Endpoint(), now)
	} else if !a.phase.CompareAndSwap(settled, ended) {
		return false
	}
	a.state().ended.Add(1)
	return true
}

// Ended says whether the lease is over.
func (a *Attempt) Ended() bool { return a.phase.Load() == ended }

// judge gives the final outcome to the policy and the statistics.
func (a *Attempt) judge(o tulle.Outcome, verdict tulle.Verdict, now time.Duration) {
	j := balancer.Judgement{Verdict: verdict, Throttled: o.Class == tulle.Throttled}
	if o.Hinted {
		j.Until = now + min(o.RetryAfter, maxThrottle)
	}
	a.node().Judge(now, j)
	if verdict == tulle.Failure {
		a.view.cluster.pool.fail(now)
		a.state().window.fail(now)
		if !a.probing() {
			a.view.observe(a.index(), 0, false)
		}
	}
	service := o.Class.Service()
	if a.probing() && service == tulle.Failure {
		service = tulle.Neither // that it fails was known, and says nothing of the service
	}
	a.view.cluster.settle(a.pass, service)
	a.examine(o, verdict, now)
}

// maxThrottle bounds how long an endpoint's share is lowered at its own wish.
const maxThrottle = 300 * time.Second

// Resource is what the adapter keeps for the attempt's endpoint, or nil.
func (a *Attempt) Resource() Resource {
	if h := a.state().resource.Load(); h != nil {
		return h.Resource
	}
	return nil
}

// Replace keeps r for the attempt's endpoint if what is kept there is still old
// (nil: nothing). It returns false if it is not; then r is not kept, and the
// caller retires it. It also returns false, for an r that is not nil, when the
// endpoint has left the set.
func (a *Attempt) Replace(old, r Resource) bool {
	has := a.state().resource.Load()
	if (has == nil) != (old == nil) || has != nil && has.Resource != old {
		return false
	}
	var next *held
	if r != nil {
		next = &held{r}
	}
	if !a.state().resource.CompareAndSwap(has, next) {
		return false
	}
	// The endpoint may have left between the two looks; then nobody else
	// would retire r.
	if next != nil && a.state().left.Load() != 0 && a.state().resource.CompareAndSwap(next, nil) {
		return false
	}
	return true
}
