package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
)

// run is one variant of a scenario under way. All of it belongs to one goroutine.
type run struct {
	sc       *Scenario
	policy   *transport.Policy
	patience time.Duration
	ctx      context.Context

	clock   clock
	agenda  agenda
	servers []*server
	byAddr  map[string]*server
	members []*server // that are in the set
	sets    [][]tulle.Endpoint
	clients []*client
	changes []func()

	calls    slab[call]
	attempts slab[attempt]
	probes   slab[probe]

	waiting  int                // calls in limiters
	admitted chan admission     // from limiters
	patient  context.Context    // of the calls in limiters
	hurry    context.CancelFunc // ends it

	// Streams of random numbers. What asks for the same numbers whatever the
	// policy does has one of its own, so that variants meet the same world.
	load, work, fate, travel *rand.Rand

	dice   *rand.PCG // seeded anew for each attempt
	thrown *rand.Rand

	responses map[int]*http.Response
	result    recorder
}

// newRun prepares a variant. Call it in the bubble in which the run goes on.
func newRun(ctx context.Context, sc *Scenario, p *transport.Policy) (*run, error) {
	r := &run{
		sc: sc, policy: p, patience: sc.Calls.Deadline, ctx: ctx,
		clock:  clock{base: time.Now()},
		byAddr: make(map[string]*server),
		load:   stream(sc.Seed, 1), work: stream(sc.Seed, 2),
		fate: stream(sc.Seed, 3), travel: stream(sc.Seed, 4), dice: rand.NewPCG(1, 1),
		admitted:  make(chan admission, 1),
		responses: map[int]*http.Response{http.StatusOK: {StatusCode: http.StatusOK}},
		result:    newRecorder(sc),
	}
	r.patient, r.hurry = context.WithCancel(context.Background())
	r.thrown = rand.New(r.dice)
	r.build()
	policy := seeded(*p, stream(sc.Seed, 5).Uint64)
	policy.Balancer = among(policy.Balancer, sc.Clients)
	engine := stream(sc.Seed, 6).Uint64
	for k := range sc.Clients {
		zone := ""
		if len(sc.Zones) > 0 {
			zone = sc.Zones[k%len(sc.Zones)]
		}
		c, err := newClient(&policy, zone, engine, r.byAddr)
		if err != nil {
			return nil, err
		}
		r.clients = append(r.clients, c)
	}
	for i := range sc.Faults {
		r.strike(&sc.Faults[i])
	}
	set := make([]tulle.Endpoint, len(r.members))
	for i, s := range r.members {
		set[i] = s.endpoint
	}
	r.sets = append(r.sets, set)
	for _, c := range r.clients {
		if err := c.engine.Update(set); err != nil {
			return nil, err
		}
	}
	return r, r.planPolls()
}

// loop runs all events.
func (r *run) loop() error {
	defer r.drain()
	r.planCall(0)
	for n := 0; ; n++ {
		if n%10_000 == 0 {
			if err := r.goesOn(); err != nil {
				return err
			}
		}
		if r.waiting > 0 {
			if err := r.await(); err != nil {
				return err
			}
		}
		e, ok := r.agenda.next()
		if !ok {
			break
		}
		r.clock.at = e.at
		if e.kind.seen() {
			r.clock.sync()
		}
		if err := r.handle(e); err != nil {
			return err
		}
	}
	r.sweep()
	return nil
}

// maxOpen is how many calls, and attempts at servers, may be under way. More than
// that is a queue that nobody serves, and would only fill the memory.
const maxOpen = 1_000_000

// goesOn is nil unless the run has to be broken off.
func (r *run) goesOn() error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	if most := max(r.calls.used(), r.attempts.used()); most > maxOpen {
		return fmt.Errorf("sim: %d calls are under way after %v, want at most %d: the servers cannot do the load; "+
			"bound it by their queue and dropCancelled, calls.deadline, or a limit", most, time.Duration(r.clock.at).Round(time.Millisecond), maxOpen)
	}
	return nil
}

// drain ends the calls that still wait in limiters, after a run that was broken
// off.
func (r *run) drain() {
	r.hurry()
	for ; r.waiting > 0; r.waiting-- {
		<-r.admitted
	}
}

// planCall plans the next call after a time.
func (r *run) planCall(at int64) {
	if next := r.sc.Load.next(r.load, at, r.sc.Duration); next < int64(r.sc.Duration) {
		r.agenda.plan(next, arriveEvent, 0, 0)
	}
}

// handle is what happens at an event.
func (r *run) handle(e event) error {
	switch e.kind {
	case arriveEvent:
		r.planCall(e.at)
		return r.arrive(e.at)
	case reachEvent:
		r.reach(r.attempts.at(e.id), e.id)
	case doneEvent:
		r.done(r.attempts.at(e.id), e.id)
	case fixedEvent:
		r.leaveServer(r.attempts.at(e.id), e.id)
	case answerEvent:
		return r.answered(r.attempts.at(e.id), e.id)
	case timeoutEvent:
		return r.expired(r.attempts.at(e.id), e.id, e.gen)
	case retryEvent:
		return r.repeat(r.calls.at(e.id))
	case wakeEvent:
		return r.enter(r.calls.at(e.id))
	case changeEvent:
		r.changes[e.id]()
	case updateEvent:
		return r.update(r.clients[e.id], e.gen)
	case probeEvent:
		r.probed(e.id)
	case probedEvent:
		r.tellProbe(e.id)
	case pollEvent:
		r.poll(e.id)
	}
	return nil
}

// await handles calls that limiters let go before the next event.
func (r *run) await() error {
	for r.waiting > 0 {
		var due <-chan time.Time
		if len(r.agenda.heap) > 0 {
			timer := time.NewTimer(time.Duration(r.agenda.heap[0].at - r.clock.wall))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-due:
			r.clock.wall = int64(time.Since(r.clock.base))
			return nil
		case adm := <-r.admitted:
			r.clock.wall = int64(time.Since(r.clock.base))
			r.clock.at = r.clock.wall
			r.waiting--
			c := r.calls.at(adm.call)
			if !adm.ok {
				r.refuse(c)
			} else if err := r.admit(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep ends the calls that nobody will answer any more.
func (r *run) sweep() {
	for id := range r.calls.next {
		if c := r.calls.at(id); c.open {
			r.finish(c, false)
		}
	}
}
