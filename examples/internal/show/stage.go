package show

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
)

// A Stage is everything but the clients: the servers, what happens to them, and
// the two lists in which the clients find them. Its methods belong to one goroutine.
type Stage struct {
	options Options
	show    *Show
	text    io.Writer // for people

	// The servers of tulle and of the plain client. They are not the same
	// ones, as what one client does to a server would then show in the figures
	// of the other; and both can run at once, in the same noise.
	users, twins *group

	file string         // where tulle finds its servers
	tell func([]string) // tells the plain client its own, if there is one
}

// File is the path of the list in which tulle finds its servers.
func (s *Stage) File() string { return s.file }

// AttemptTimeout is the longest time of an attempt through tulle that the user
// wants, 0 for none.
func (s *Stage) AttemptTimeout() time.Duration { return s.options.attemptTimeout }

// Tell has the plain client's servers told to set: at once, and again when one
// joins. It must not be called once Run was.
func (s *Stage) Tell(set func(addrs []string)) {
	s.tell = set
	set(s.twins.addrs())
}

// open starts the servers and writes the lists. The caller calls close also when
// it fails.
func (s *Stage) open() (err error) {
	for _, g := range []**group{&s.users, &s.twins} {
		if *g, err = newGroup(s.show.Host, s.options.seed, Servers+1, Servers); err != nil {
			return err
		}
	}
	return s.publish()
}

func (s *Stage) close() {
	for _, g := range []*group{s.users, s.twins} {
		if g != nil {
			g.close()
		}
	}
}

// publish tells both clients who is there, as a registry or a deployment would.
// The file is replaced by a rename: a reader sees the old or the new list, never
// half of one.
func (s *Stage) publish() error {
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
	if s.tell != nil {
		s.tell(s.twins.addrs())
	}
	return nil
}

// happen lets the phases begin, each at its time.
func (s *Stage) happen(ctx context.Context, start time.Time, begun func(int)) error {
	for i := range s.show.Script {
		p := &s.show.Script[i]
		if !wait(ctx, time.Until(start.Add(p.begins(s.options.duration)))) {
			return nil // the run was broken off, and Run says so
		}
		if err := s.begin(p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		begun(i)
	}
	return nil
}

// begin lets the event of a phase happen to both groups.
func (s *Stage) begin(p *Phase) error {
	if !p.happens() {
		return nil
	}
	for _, g := range []*group{s.users, s.twins} {
		if err := g.begin(p); err != nil {
			return err
		}
	}
	return s.publish()
}

// Run drives both clients through the script while it watches t, by which that of
// tulle makes its calls. It returns when the last call is over.
func (s *Stage) Run(ctx context.Context, t *transport.Transport, plain, tulle Send) (*Report, error) {
	return s.run(ctx, t, &client{name: "plain", send: plain}, &client{name: "tulle", send: tulle})
}

func (s *Stage) run(ctx context.Context, t *transport.Transport, plain, tulle *client) (*Report, error) {
	calls := schedule(s.options.seed, rate, s.options.duration)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The watch goes on until the last call is over, so it has a context of its
	// own.
	watching, stop := context.WithCancel(context.Background())
	defer stop()

	start := time.Now()
	w := newWatch(s, t, start, plain, tulle)
	var others sync.WaitGroup
	others.Go(func() { w.run(watching, s.text) })
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
