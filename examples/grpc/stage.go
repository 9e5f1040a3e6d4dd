package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
)

const servers = 10 // of each client at the start

// A phase begins with an event that happens to one server of each client. What
// has happened stays so until the end.
type phase struct {
	name   string
	at     float64            // when it begins, as a share of the duration
	server int                // index in the group
	event  func(*group) error // nil: nothing happens
	joins  bool               // it is no fault: the server is a new one
}

// script is what happens: the faults that a service must live with, one at a
// time, so that the table shows what each cost. The newcomer comes early, as
// tulle leaves an endpoint that appears later alone for a random time of up to
// newcomerTime.
func script() []phase {
	return []phase{
		{name: "all are well"},
		{name: "one slows to 2s", at: 0.10, server: 2, event: becomes(2, slow)},
		{name: "one joins", at: 0.20, server: servers, event: (*group).start, joins: true},
		{name: "one is UNAVAILABLE", at: 0.30, server: 4, event: becomes(4, unavailable)},
		{name: "one is killed", at: 0.42, server: 6, event: becomes(6, killed)},
		{name: "one never answers", at: 0.54, server: 8, event: becomes(8, silent)},
		{name: "one is NOT_SERVING", at: 0.75, server: 1, event: becomes(1, leaving)},
	}
}

// becomes is the event that server i changes its behaviour.
func becomes(i int, m mode) func(*group) error {
	return func(g *group) error {
		g.servers[i].become(m)
		return nil
	}
}

// begins is when the phase begins in a run of length d.
func (p *phase) begins(d time.Duration) time.Duration { return time.Duration(p.at * float64(d)) }

// who is the name of the server that it happens to.
func (p *phase) who() string {
	if p.event == nil {
		return ""
	}
	return serverName(p.server)
}

// title is the phase in words: what happens, and to whom.
func (p *phase) title() string { return strings.TrimSpace(p.name + " " + p.who()) }

// A stage is everything but the clients: the servers, what happens to them, and
// the two lists in which the clients find them.
type stage struct {
	options
	phases []phase

	// The servers of tulle and of the plain client. They are not the same
	// ones, as what one client does to a server would then show in the figures
	// of the other; and both can run at once, in the same noise.
	users, twins *group

	file string     // where tulle finds its servers
	list *addresses // where the plain client does
}

// open starts the servers and writes the lists. The caller calls close also when
// it fails.
func (s *stage) open() (err error) {
	for _, g := range []**group{&s.users, &s.twins} {
		if *g, err = newGroup(s.seed, servers+1, servers); err != nil {
			return err
		}
	}
	return s.publish()
}

func (s *stage) close() {
	for _, g := range []*group{s.users, s.twins} {
		if g != nil {
			g.close()
		}
	}
}

// publish tells both clients who is there, as a registry or a deployment would.
// The file is replaced by a rename: a reader sees the old or the new list, never
// half of one.
func (s *stage) publish() error {
	list := []tulle.Endpoint{} // no server is an empty list, not null
	for _, m := range s.users.members() {
		list = append(list, tulle.Endpoint{Addr: m.addr, Name: m.name})
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		return err
	}
	var addrs []string
	for _, m := range s.twins.members() {
		addrs = append(addrs, m.addr)
	}
	s.list.set(addrs)
	return nil
}

// happen lets the phases begin, each at its time.
func (s *stage) happen(ctx context.Context, start time.Time, begun func(int)) error {
	for i := range s.phases {
		p := &s.phases[i]
		if !wait(ctx, time.Until(start.Add(p.begins(s.duration)))) {
			return nil // the run was broken off, and run says so
		}
		if err := s.begin(p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		begun(i)
	}
	return nil
}

// begin lets the event of a phase happen to both groups.
func (s *stage) begin(p *phase) error {
	if p.event == nil {
		return nil
	}
	for _, g := range []*group{s.users, s.twins} {
		if err := p.event(g); err != nil {
			return err
		}
	}
	return s.publish()
}

// run drives both clients through the script while it watches them.
func (s *stage) run(ctx context.Context, t *transport.Transport, plain, tulle *client, text io.Writer) (*report, error) {
	calls := schedule(s.seed, rate, s.duration)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The watch goes on until the last call is over, so it has a context of its
	// own.
	watching, stop := context.WithCancel(context.Background())
	defer stop()

	start := time.Now()
	w := newWatch(s, t, start, plain, tulle)
	var others sync.WaitGroup
	others.Go(func() { w.run(watching, text) })
	others.Go(func() {
		if err := s.happen(ctx, start, w.begun); err != nil {
			cancel(err)
		}
	})
	drive(ctx, start, calls, plain, tulle)
	stop()
	others.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("broken off: %w", context.Cause(ctx))
	}
	r := newReport(s, w.record, plain.results, tulle.results)
	users := t.Snapshot().Services[0]
	r.ejections, r.breakerOpened = users.Ejections, users.BreakerOpened
	return r, nil
}
