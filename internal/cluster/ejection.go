package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
)

// outSet is which endpoints of a View are left out of picks. It is never
// changed; a new one takes its place.
type outSet struct {
	set     balancer.Set
	ejected int // for their answers
	dead    int // as they could not be connected to
}

const (
	// peerSample is the most peers that an endpoint is compared with.
	peerSample = 64
	// unsafeProbe is how long an ejected endpoint waits for a call that may be
	// repeated to try it. After that any call does.
	unsafeProbe = time.Second
)

// left counts the endpoints that are not left out.
func (v *View) left(out *outSet) int {
	if out == nil {
		return len(v.members)
	}
	return len(v.members) - out.ejected - out.dead
}

// judged is what the rules of ejection have left out: in the dark nobody keeps off
// it, but they go on from it as if somebody did.
func (c *Cluster) judged(v *View) *atomic.Pointer[outSet] {
	if c.cfg.Load().Ejection.Dark {
		return &v.shadow
	}
	return &v.out
}

// spare says that the destination can do without one more endpoint whose
// answers are bad: at least half of all remain, whatever became of the dead.
func (c *Cluster) spare(v *View) bool {
	n, out := len(v.members), c.judged(v).Load()
	ejected := 0
	if out != nil {
		ejected = out.ejected
	}
	return n-ejected-1 >= max(1, (n+1)/2) && v.left(out) > 1
}

// Evidence implements breaker.Witness for the attempt's endpoint.
func (a *Attempt) Evidence() breaker.Evidence {
	c, s := a.view.cluster, a.state()
	v, now := c.view.Load(), c.Now()
	own := s.window.half(now)
	e := breaker.Evidence{Requests: own.successes + own.failures, Spare: c.spare(v)}
	if e.Requests > 0 {
		e.Success = own.successes / e.Requests
	}
	e.Median, e.HasPeers = c.peers(v, s, now)
	return e
}

// peers is the median share of successes of the endpoints other than s: of those
// with enough requests, or of all with any if that is lower. At the start the few
// that were asked most must not speak for all.
func (c *Cluster) peers(v *View, s *state, now time.Duration) (lower float64, ok bool) {
	var enough, all []float64
	n := len(v.states)
	start := int(c.random() % uint64(max(n, 1)))
	for k := range min(n, peerSample) {
		peer := v.states[(start+k)%n]
		if peer == s {
			continue
		}
		w := peer.window.half(now)
		requests := w.successes + w.failures
		if requests <= 0 {
			continue
		}
		all = append(all, w.successes/requests)
		if requests >= float64(c.cfg.Load().Ejection.Requests) {
			enough = append(enough, w.successes/requests)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	lower = median(all)
	if len(enough) > 0 {
		lower = min(lower, median(enough))
	}
	return lower, true
}

// median sorts x, which is not empty, and returns the middle.
func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// examine takes the outcome of an attempt to the endpoint's health.
func (a *Attempt) examine(o tulle.Outcome, verdict tulle.Verdict, now time.Duration) {
	c, s := a.view.cluster, a.state()
	cfg := &c.cfg.Load().Ejection
	if cfg.Off {
		return
	}
	changed, back := false, false
	switch {
	case a.probing():
		// Here the class counts, whoever is to blame: a probe that is given
		// back is taken by the next call at once.
		verdict = o.Class.Endpoint()
		if o.Class == tulle.Throttled {
			verdict = tulle.Success // it is there, and says so
		}
		back = s.outlier.Settle(verdict, o.Down, connecting(o, now-a.start), now, cfg)
		changed = true
	case o.Down:
		changed = len(a.view.members) > 1 && !a.stale() && s.outlier.Die(now, connecting(o, now-a.start), cfg)
	case verdict == tulle.Success && s.dead() && a.stale():
		// A server that shuts down refuses connections, and answers on those
		// that it has.
	default:
		changed = s.outlier.Record(verdict, now, cfg, a)
		back = changed && verdict == tulle.Success
	}
	if changed {
		s.turned.Store(int64(now))
	}
	if back && !cfg.Dark {
		a.node().Judge(now, balancer.Judgement{Back: true})
	}
	if changed {
		c.publishHealth(s)
	}
}

// stale says that the attempt began before its endpoint last died or came back, so
// that what it found of the connection is old news.
func (a *Attempt) stale() bool { return int64(a.start) < a.state().turned.Load() }

// dead says that the endpoint could not be connected to.
func (s *state) dead() bool {
	state, _ := s.outlier.State()
	return state == breaker.OutlierDead
}

// connecting is how long a connect took that failed after took: no time if it was
// refused, which a busy machine is only late to notice.
func connecting(o tulle.Outcome, took time.Duration) time.Duration {
	if errors.Is(o.Err, syscall.ECONNREFUSED) {
		return 0
	}
	return took
}

// publishHealth brings the set of endpoints that are left out up to date with
// the state of the endpoint at s, and tells of it.
func (c *Cluster) publishHealth(s *state) {
	c.mu.Lock()
	v := c.view.Load()
	i, moved := int(s.index.Load()), false
	if i < len(v.states) && v.states[i] == s {
		moved = c.markLocked(v, i)
		c.missLocked(v, s)
		c.planLocked(v)
	}
	c.mu.Unlock()
	if moved {
		c.tellHealth(v, i)
	}
}

// A HealthChange tells of an endpoint that is left out from now on, or used again.
type HealthChange struct {
	Endpoint *tulle.Endpoint      // the one
	State    breaker.OutlierState // healthy when it is used again
	Rest     time.Duration        // how long it is left out
	Reason   string               // why, of Outlier.Reason
	Dark     bool                 // it would be, but for the dark mode of ejection
}

// tellHealth tells of endpoint i of v.
func (c *Cluster) tellHealth(v *View, i int) {
	cfg := c.cfg.Load()
	if cfg.Health == nil {
		return
	}
	o := &v.states[i].outlier
	ch := HealthChange{Endpoint: &v.members[i], Dark: cfg.Ejection.Dark}
	if state, until := o.State(); state != breaker.OutlierHealthy {
		ch.State, ch.Rest, ch.Reason = state, max(0, until-c.Now()), o.Reason()
	}
	cfg.Health(&ch)
}

// markLocked puts endpoint i into what the rules have left out of v, or takes it
// out of that, and reports whether that is news.
func (c *Cluster) markLocked(v *View, i int) (moved bool) {
	s, judged, dark := v.states[i], c.judged(v), c.cfg.Load().Ejection.Dark
	next := outSet{}
	if old := judged.Load(); old != nil {
		next = *old
	}
	next.set = slices.Clone(next.set)
	if next.set == nil {
		next.set = balancer.NewSet(len(v.members))
	}
	if next.set.Has(i) {
		next.set.Remove(i)
		if s.countedDead {
			next.dead--
		} else {
			next.ejected--
		}
	}
	state, until := s.outlier.State()
	dead := state == breaker.OutlierDead
	// The last one that answers stays in: it is still the best there is.
	out := state != breaker.OutlierHealthy && (dead || v.left(&next) > 1)
	if out {
		next.set.Add(i)
		if s.countedDead = dead; dead {
			next.dead++
		} else {
			next.ejected++
		}
	}
	if moved, s.out = s.out != out, out; moved && out {
		if dark {
			c.darkEjections.Add(1)
		} else {
			c.ejections.Add(1)
		}
	}
	if due := v.due.Load(); state != breaker.OutlierHealthy && (due == 0 || int64(until) < due) {
		v.due.Store(int64(until))
	}
	if next.ejected+next.dead == 0 {
		judged.Store(nil)
	} else {
		judged.Store(&next)
	}
	return moved
}

// missLocked takes note of whether any endpoint of v is left. When none is any more,
// those that refused connections are tried at once: they may be back since long, and
// were not missed. Last is the one that has just died, if it was one.
func (c *Cluster) missLocked(v *View, last *state) {
	if len(v.members) == 0 || v.left(v.out.Load()) > 0 {
		c.downSince.Store(0)
		return
	}
	now := max(1, c.Now())
	if !c.downSince.CompareAndSwap(0, int64(now)) {
		return
	}
	cfg := &c.cfg.Load().Ejection
	for _, s := range v.states {
		if s != last && s.outlier.Hurry(now, cfg) {
			v.due.Store(int64(now))
		}
	}
}

// acquitLocked uses all endpoints again, and forgets what was held against them,
// as the rules have been switched off, or into the dark, or back. It returns those
// that this brings back.
func (c *Cluster) acquitLocked() (back []int) {
	for _, s := range c.known {
		s.outlier.Forget()
	}
	v := c.view.Load()
	if v == nil {
		return nil
	}
	for i, s := range v.states {
		if s.out {
			back = append(back, i)
		}
		s.out = false
	}
	v.out.Store(nil)
	v.shadow.Store(nil)
	v.due.Store(0)
	c.downSince.Store(0)
	c.planLocked(v)
	return back
}

// Restarting says that all endpoints have been down for only so long as servers
// take to restart, so that a call may well wait a little.
func (c *Cluster) Restarting() bool {
	since := c.downSince.Load()
	return since != 0 && c.Now()-time.Duration(since) < restartTime
}

const restartTime = 500 * time.Millisecond

// probe finds an endpoint that is left out and whose time is over, and takes the
// lease on trying it. It returns -1 if there is none. Ejected endpoints are
// tried by calls that may be repeated, if there are such calls.
func (c *Cluster) probe(among Reachable, call *tulle.Call, now time.Duration) int {
	v := among.View
	if due := v.due.Load(); due == 0 || int64(now) < due || c.cfg.Load().Ejection.Dark {
		return -1
	}
	out := v.out.Load()
	if out == nil {
		return -1
	}
	next := int64(0)
	for i := out.set.Next(0); i >= 0; i = out.set.Next(i + 1) {
		if among.Set != nil && !among.Set.Has(i) {
			continue
		}
		s := v.states[i]
		state, until := s.outlier.State()
		wait := until
		if state == breaker.OutlierEjected && !call.Safe {
			wait += unsafeProbe
		}
		if now >= wait && s.outlier.Probe(now, &c.cfg.Load().Ejection) {
			return i
		}
		if next == 0 || int64(until) < next {
			next = int64(until)
		}
	}
	v.due.Store(max(next, int64(now)+int64(probePause)))
	return -1
}

// alive are the endpoints of v that can be connected to, as far as is known.
func (v *View) alive() balancer.Set {
	s := balancer.NewSet(len(v.members))
	for i := range v.states {
		if state, _ := v.states[i].outlier.State(); state == breaker.OutlierHealthy || state == breaker.OutlierEjected {
			s.Add(i)
		}
	}
	return s
}

// admit asks the service's breaker.
func (c *Cluster) admit() (breaker.Permit, error) {
	if b := c.cfg.Load().Breaker; b != nil {
		return b.Admit()
	}
	return 0, nil
}

// answer and settle tell the service's breaker.
func (c *Cluster) answer(p breaker.Permit) {
	if b := c.cfg.Load().Breaker; b != nil {
		b.Answer(p)
	}
}

func (c *Cluster) settle(p breaker.Permit, v tulle.Verdict) {
	if b := c.cfg.Load().Breaker; b != nil {
		b.Settle(p, v)
	}
}

// down takes note that an endpoint could not be connected to.
func (c *Cluster) down(err error) {
	c.lastDown.Store(&err)
	c.AskAgain()
}

// allDown is the error of a call when nothing can be connected to.
func (c *Cluster) allDown() error {
	if err := c.lastDown.Load(); err != nil && *err != nil {
		return fmt.Errorf("%w: %w", ErrAllDown, *err)
	}
	return ErrAllDown
}

// probePause is the least time between two looks for an endpoint to try.
const probePause = 10 * time.Millisecond

// random returns uniform bits.
func (c *Cluster) random() uint64 {
	if r := c.cfg.Load().Rand; r != nil {
		return r()
	}
	return rand.Uint64()
}

// lead leads an endpoint that came back into its share of traffic: a pick of it
// is mostly given to another one at first.
func (c *Cluster) lead(v *View, q balancer.Query, i int, now time.Duration) int {
	cfg := &c.cfg.Load().Ejection
	share := v.states[i].outlier.Share(now, cfg)
	if cfg.Dark || share >= 1 || float64(c.random()>>11)/(1<<53) < share {
		return i
	}
	avoid := balancer.NewSet(len(v.members))
	copy(avoid, q.Avoid)
	avoid.Add(i)
	q.Avoid = avoid
	if k := v.picker.Pick(q); k >= 0 && !avoid.Has(k) {
		c.avoided.returning.Add(1)
		return k
	}
	return i // there is no other
}

// Unreachable takes note that no connection to the endpoint at addr could be had,
// for adapters that connect before there is an attempt.
func (c *Cluster) Unreachable(addr string, err error) {
	v := c.view.Load()
	if v == nil {
		return
	}
	c.down(err)
	i, cfg, now := c.indexOf(v, addr), &c.cfg.Load().Ejection, c.Now()
	if i >= 0 && len(v.members) > 1 && !cfg.Off && v.states[i].outlier.Die(now, 0, cfg) {
		v.states[i].turned.Store(int64(now))
		c.publishHealth(v.states[i])
	}
}
