package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/tullemesh/tulle"
)

// maxPolls is how many questions of all polls a run may ask.
const maxPolls = 100_000_000

// planPolls plans the first poll of each client that polls. They are spread over the
// period, as programs do not start together.
func (r *run) planPolls() error {
	sum := 0.0
	for k, c := range r.clients {
		if c.probing.poller == nil {
			continue
		}
		period := c.period()
		sum += float64(len(c.probing.set)) * float64(r.sc.Duration) / float64(period)
		r.agenda.plan(period*int64(k)/int64(len(r.clients)), pollEvent, int32(k), 0)
	}
	if sum > maxPolls {
		return fmt.Errorf("sim: the balancer asks %.3g times how a server is, want at most %d: poll less often", sum, maxPolls)
	}
	return nil
}

// period is the time between two polls of a client that polls.
func (c *client) period() int64 {
	return int64(min(max(c.probing.poller.Period(), time.Millisecond), maxDuration))
}

// poll asks all servers that a client knows how they are.
func (r *run) poll(id int32) {
	c, now := r.clients[id], r.clock.at
	if until := c.stalled(now); until > 0 {
		r.agenda.plan(until, pollEvent, id, 0)
		return
	}
	for i, s := range c.probing.set {
		q, n := r.probes.get()
		*q = probe{poller: c.probing.poller, server: s, index: i}
		r.agenda.plan(now+r.delay(), probeEvent, n, 0)
	}
	if next := now + c.period(); next < int64(r.sc.Duration) {
		r.agenda.plan(next, pollEvent, id, 0)
	}
}

// listen tells the balancer of a client, if it listens, what a server says with an
// answer.
func (r *run) listen(a *attempt) {
	p := r.calls.at(a.call).client.probing
	if p.listener == nil || !a.result.reply() {
		return
	}
	if i, ok := p.index[a.server]; ok {
		p.listener.Answered(i, int(a.remain), time.Duration(a.service), time.Duration(r.clock.at))
	}
}

// reply says that the server itself says so.
func (r result) reply() bool { return r == fine || r == failed || r == wrong || r == full }

// meter is what a server knows of its load of late: means that forget with time.
type meter struct {
	at       int64
	busy     float64 // workers
	qps, eps float64
}

// meterTau is how fast they forget.
const meterTau = time.Second

// pass brings the means up to a time until which so many workers were busy.
func (m *meter) pass(now int64, busy int) {
	keep := math.Exp(-float64(now-m.at) / float64(meterTau))
	m.busy = m.busy*keep + float64(busy)*(1-keep)
	m.qps *= keep
	m.eps *= keep
	m.at = now
}

// count counts an answer, if it is one of the server's.
func (m *meter) count(now int64, busy int, how result) {
	if !how.reply() {
		return
	}
	m.pass(now, busy)
	m.qps += 1 / meterTau.Seconds()
	if how == failed || how == full {
		m.eps += 1 / meterTau.Seconds()
	}
}

// load is what the server reports. It does not know that an answer is wrong.
func (s *server) load(now int64) tulle.Load {
	s.meter.pass(now, s.busy)
	return tulle.Load{Application: s.meter.busy / s.promised(now), QPS: s.meter.qps, EPS: s.meter.eps}
}
