package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"github.com/tullemesh/tulle"
)

// addServer makes a server of a group.
func (r *run) addServer(g *Servers) *server {
	id := int32(len(r.servers))
	addr := fmt.Sprintf("10.%d.%d.%d:80", id>>16&0xff, id>>8&0xff, id&0xff)
	s := &server{
		id: id, group: g,
		endpoint: tulle.Endpoint{Addr: addr, Zone: g.Zone, Weight: g.Weight, Priority: g.Priority},
	}
	r.servers = append(r.servers, s)
	r.byAddr[addr] = s
	return s
}

// build makes the servers and plans what happens to them.
func (r *run) build() {
	for i := range r.sc.Servers {
		g := &r.sc.Servers[i]
		for range g.Count {
			s := r.addServer(g)
			if g.Join > 0 {
				s.cold, s.gone, s.joined = true, true, int64(g.Join)
				r.change(int64(g.Join), func() { r.join(s) })
			} else {
				r.members = append(r.members, s)
			}
			if g.Leave > 0 {
				r.change(int64(g.Leave), func() { r.leave(s) })
			}
		}
	}
}

// strike makes the effects of a fault.
func (r *run) strike(f *Fault) {
	switch f.Kind {
	case "stall":
		for k := f.First; k < len(r.clients) && (f.Count == 0 || k < f.First+f.Count); k++ {
			r.clients[k].stalls = append(r.clients[k].stalls, r.effect(f))
		}
		return
	case "churn":
		e := r.effect(f)
		for at := e.start + int64(f.Period); at < min(e.end, int64(r.sc.Duration)); at += int64(f.Period) {
			r.change(at, func() { r.churn(f) })
		}
		return
	}
	k := -1
	for _, s := range r.servers {
		if f.Servers != "" && s.group.Name != f.Servers {
			continue
		}
		if k++; k < f.First || f.Count > 0 && k >= f.First+f.Count {
			continue
		}
		e := r.effect(f)
		s.faults = append(s.faults, e)
		if f.Kind == "pausing" {
			s.pausing++
		}
		if f.Kind == "capacity" && f.End > 0 {
			r.change(e.end, func() { r.dispatch(s) })
		}
		if f.Kind == "crowding" {
			for _, l := range e.levels {
				r.change(l.from, func() { r.dispatch(s) })
			}
		}
	}
}

// afterwards is how long after the last call antagonists and neighbours still act: until
// all calls have ended.
const afterwards = time.Hour

// effect is a fault as it hits one server or client.
func (r *run) effect(f *Fault) *effect {
	e := &effect{Fault: f, start: int64(f.Start), end: int64(f.End)}
	if e.end == 0 {
		e.end = math.MaxInt64
	}
	if f.Period > 0 {
		e.offset = r.fate.Int64N(int64(f.Period))
	}
	if f.Kind == "antagonist" || f.Kind == "crowding" {
		e.end = min(e.end, int64(r.sc.Duration+afterwards))
		e.draw(r.fate)
	}
	return e
}

// change plans something that happens to the world.
func (r *run) change(at int64, f func()) {
	r.changes = append(r.changes, f)
	r.agenda.plan(at, changeEvent, int32(len(r.changes)-1), 0)
}

// join lets clients know a server.
func (r *run) join(s *server) {
	s.gone = false
	r.members = append(r.members, s)
	r.publish()
}

// leave takes a server out.
func (r *run) leave(s *server) {
	s.gone = true
	for i, m := range r.members {
		if m == s {
			r.members = append(r.members[:i:i], r.members[i+1:]...)
			break
		}
	}
	r.publish()
}

// churn replaces one server of a group.
func (r *run) churn(f *Fault) {
	var among []*server
	for _, s := range r.members {
		if f.Servers == "" || s.group.Name == f.Servers {
			among = append(among, s)
		}
	}
	if len(among) < 2 {
		return // somebody must stay
	}
	old := among[r.fate.IntN(len(among))]
	r.leave(old)
	r.change(r.clock.at+int64(f.Length), func() {
		s := r.addServer(old.group)
		s.cold, s.joined = true, r.clock.at
		s.faults, s.pausing = old.faults, old.pausing
		r.join(s)
	})
}

// publish tells the clients of the present members, each after its own delay.
func (r *run) publish() {
	set := make([]tulle.Endpoint, len(r.members))
	for i, s := range r.members {
		set[i] = s.endpoint
	}
	r.sets = append(r.sets, set)
	version := uint32(len(r.sets) - 1)
	for i := range r.clients {
		late := int64(0)
		if r.sc.Discovery > 0 {
			late = r.fate.Int64N(int64(r.sc.Discovery))
		}
		r.agenda.plan(r.clock.at+late, updateEvent, int32(i), version)
	}
}

// update tells one client. What it learns late may be old by then.
func (r *run) update(c *client, version uint32) error {
	if version < c.version {
		return nil
	}
	c.version = version
	return c.engine.Update(r.sets[version])
}

// reach is the arrival of an attempt at its server, and what becomes of it.
func (r *run) reach(a *attempt, id int32) {
	s, now := a.server, r.clock.at
	switch {
	case s.gone:
		r.answer(a, id, refused, 0)
		return
	case len(s.faults) > 0 && r.hit(a, id):
		return
	case s.queue.size > 0 || s.busy >= s.workers(now):
		if s.group.Queue < 0 || s.group.Queue > 0 && s.queue.size >= s.group.Queue {
			r.answer(a, id, full, 0)
			return
		}
	}
	r.enterServer(a)
	s.queue.push(id)
	r.dispatch(s)
}

// enterServer counts an attempt in at its server, as a probe sees it.
func (r *run) enterServer(a *attempt) {
	s := a.server
	a.reached, a.found = r.clock.at, int32(s.backlog)
	s.backlog++
	if r.clock.at >= r.result.warmup {
		r.result.deepest = max(r.result.deepest, s.backlog)
	}
}

// leaveServer counts it out, and sends its answer.
func (r *run) leaveServer(a *attempt, id int32) {
	s := a.server
	s.backlog--
	s.answered(int(a.found), r.clock.at-a.reached)
	r.answer(a, id, fine, 0)
}

// hit lets the faults of the server have the attempt, and reports whether one
// took it.
func (r *run) hit(a *attempt, id int32) bool {
	e := a.server.fault(r.clock.at, "refusing", "blackhole", "stuck", "fixed", "erring", "wrong")
	if e == nil {
		return false
	}
	switch e.Kind {
	case "refusing":
		r.answer(a, id, refused, 0)
	case "blackhole":
		a.unconnected = true
		r.answer(a, id, dialTimeout, int64(dialLimit))
	case "stuck":
		r.release(a, id, byServer)
	case "fixed":
		r.enterServer(a)
		r.agenda.plan(r.clock.at+int64(e.Latency), fixedEvent, id, 0)
	default:
		if a.luck >= e.Share {
			return false
		}
		a.status = int16(e.Status)
		if e.Kind == "erring" {
			r.answer(a, id, failed, int64(e.Latency))
		} else {
			r.answer(a, id, wrong, int64(e.Latency))
		}
	}
	return true
}

// dialLimit is how long the Transport's own dialer tries.
const dialLimit = 2 * time.Second

// dispatch gives work to idle workers.
func (r *run) dispatch(s *server) {
	now := r.clock.at
	for s.queue.size > 0 && s.busy < s.workers(now) {
		id := s.queue.pop()
		a := r.attempts.at(id)
		if a.left && s.group.DropCancelled {
			s.backlog--
			r.release(a, id, byServer)
			continue
		}
		s.meter.pass(now, s.busy)
		s.busy++
		end := s.finish(now, a.work*s.slowness(now))
		a.service = end - now
		r.agenda.plan(end, doneEvent, id, 0)
	}
}

// done is the end of work on an attempt.
func (r *run) done(a *attempt, id int32) {
	s := a.server // a may be another's when its answer is sent
	s.meter.pass(r.clock.at, s.busy)
	s.busy--
	r.leaveServer(a, id)
	r.dispatch(s)
}

// answer sends an answer on its way, after a while.
func (r *run) answer(a *attempt, id int32, how result, after int64) {
	a.server.meter.count(r.clock.at, a.server.busy, how)
	if a.left {
		r.release(a, id, byServer)
		return
	}
	a.result, a.remain = how, int32(a.server.backlog)
	r.agenda.plan(r.clock.at+after+r.delay(), answerEvent, id, 0)
}

// delay is the time of one way through the network.
func (r *run) delay() int64 { return int64(r.sc.Network.sample(r.travel)) }

// refusal is the error of a connection that was refused, and lateDial that of one
// that nobody answered.
var (
	refusal  = &net.OpError{Op: "dial", Net: "tcp", Err: errRefused}
	lateDial = &net.OpError{Op: "dial", Net: "tcp", Err: errDialTimeout}
)

// The causes.
var (
	errRefused     = fmt.Errorf("connection refused")
	errDialTimeout = fmt.Errorf("i/o timeout")
)

// stream is an independent source of random numbers.
func stream(seed uint64, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
