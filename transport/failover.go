package transport

import (
	"errors"
	"net/http"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/route"
)

const (
	// trialPause is how long a destination that could not be reached is left to
	// its fallbacks between two calls that try it.
	trialPause = time.Second
	// failureCounts is how long a failure to reach it counts. Calls that succeed
	// end it; this is for destinations that nothing is sent to any more.
	failureCounts = 30 * time.Second
)

// place chooses a step of a chain by the level of each.
func (tb *table) place(c *route.Chain, random uint64, level func(*service) route.Level) (step int, svc *service) {
	if len(c.Steps) == 1 {
		return 0, tb.destinations[c.Steps[0].Destination]
	}
	var buf [8]route.Level
	levels := buf[:0]
	for i := range c.Steps {
		levels = append(levels, level(tb.destinations[c.Steps[i].Destination]))
	}
	step = c.Pick(levels, random)
	return step, tb.destinations[c.Steps[step].Destination]
}

// level is the health of a destination. One of which nothing is known yet counts
// as healthy, as its first call waits for that: a start is no failure.
//
// The health of endpoints does not tell all: a lone one is never left out of picks,
// and those that are left out would get no call to prove themselves by while all go
// to a fallback. So s.failed is when a call last found nobody, 0 if one has
// succeeded since, and s.trial when one was last let through to try; both in the
// time of the engine.
func (s *service) level() route.Level {
	healthy, total := s.Engine.Health()
	if total == 0 {
		select {
		case <-s.Engine.Ready():
			return route.Level{}
		default:
			return route.Level{Healthy: 1, Total: 1}
		}
	}
	failed := s.failed.Load()
	if healthy > 0 && failed == 0 {
		return route.Level{Healthy: healthy, Total: total}
	}
	if healthy > 0 && int64(s.Engine.Now())-failed > int64(failureCounts) {
		return route.Level{Healthy: healthy, Total: total}
	}
	return route.Level{Total: total}
}

// levelNow is level for a call that is about to go. To a destination that cannot be
// reached one goes now and then; while it tries, others do not.
func (s *service) levelNow() route.Level {
	l := s.level()
	if l.Healthy > 0 || l.Total == 0 {
		return l
	}
	now, last := int64(s.Engine.Now()), s.trial.Load()
	if now-last >= int64(trialPause) && s.trial.CompareAndSwap(last, now) {
		l.Healthy = l.Total
	}
	return l
}

// carry sends a call along a chain: to the step that its health is for, and on to
// the other ones while none of a destination's endpoints can be reached. It ends
// what Gate.Enter began.
func (t *Transport) carry(tb *table, c *route.Chain, random uint64, req *http.Request, options *destination.Options) (*http.Response, error) {
	first, svc := tb.place(c, random, (*service).levelNow)
	if len(c.Steps) == 1 {
		return svc.do(req, options)
	}
	begun := time.Now()
	resp, err := svc.do(req, options)
	for i := 0; svc.note(err) && i < len(c.Steps); i++ {
		next := tb.destinations[c.Steps[i].Destination]
		if i == first || next.levelNow().Healthy == 0 {
			continue
		}
		again, left := replayed(req), shortened(options, svc, time.Since(begun))
		if again == nil || left == nil || !t.gate.Enter() {
			break
		}
		svc = next
		resp, err = svc.do(again, left)
		if resp != nil {
			resp.Request = req
		}
	}
	return resp, err
}

// note takes in how a call to a destination that has fallbacks ended. It says
// whether it came to nothing, as nobody could be reached.
func (s *service) note(err error) bool {
	if err == nil {
		s.noteReached(true)
		return false
	}
	var e *Error
	if !errors.As(err, &e) || !e.unsent {
		return false
	}
	s.noteReached(false)
	return true
}

// noteReached takes in whether a call reached somebody.
func (s *service) noteReached(reached bool) {
	switch {
	case !reached:
		now := max(1, int64(s.Engine.Now()))
		s.failed.Store(now)
		s.trial.Store(now)
	case s.failed.Load() != 0:
		s.failed.Store(0)
	}
}

// onward leads other calls along a chain as carry does those over HTTP: it is told
// how the try at a step ended, the first one at first, and returns where the call goes
// on to if that reached nobody, or nil. It is nil itself for a chain of one step.
func (tb *table) onward(c *route.Chain, first int) func(reached bool) *service {
	if len(c.Steps) == 1 {
		return nil
	}
	at, next := first, 0
	return func(reached bool) *service {
		tb.destinations[c.Steps[at].Destination].noteReached(reached)
		for ; !reached && next < len(c.Steps); next++ {
			to := tb.destinations[c.Steps[next].Destination]
			if next != first && to.levelNow().Healthy > 0 {
				at = next
				next++
				return to
			}
		}
		return nil
	}
}

// unreachable says that a call failed before anything was sent, for reasons that
// lie with the destination as a whole.
func unreachable(err error) bool {
	return errors.Is(err, ErrAllDown) || errors.Is(err, ErrNoEndpoints) || errors.Is(err, breaker.ErrOpen)
}

// replayed is a request that was not sent, to be sent elsewhere; nil if its body is
// lost, or nobody waits any more.
func replayed(req *http.Request) *http.Request {
	if req.Context().Err() != nil {
		return nil
	}
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again := req.WithContext(req.Context())
	again.Body = body
	return again
}

// shortened are the options of a call that has lost some time at a destination, and
// been held up there if its rule wants that; nil if there is no time left.
func shortened(options *destination.Options, svc *service, lost time.Duration) *destination.Options {
	var o destination.Options
	if options != nil {
		o = *options
	}
	if o.Delay() > 0 {
		ruled := *o.Ruled
		ruled.Delay = 0
		o.Ruled = &ruled
	}
	limit := options.CallTimeout(svc.Timeout)
	if limit <= 0 {
		return &o
	}
	if o.Timeout = limit - lost; o.Timeout <= 0 {
		return nil
	}
	return &o
}
