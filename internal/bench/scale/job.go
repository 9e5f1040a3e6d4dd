package scale

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// A library is one that keeps endpoints.
type library struct {
	name string
	rpc  bool // called by gRPC

	// open makes a client that knows addrs; a stub in place of the network is
	// for those that can.
	open func(addrs []string, stub bool) (running, error)
}

// running is a client at work.
type running struct {
	// caller makes a caller for one goroutine. Its first call waits until the
	// client is ready.
	caller func() func() error
	update func(addrs []string)
	close  func()
}

// Libraries are the names of those that can be measured.
func Libraries() []string {
	var names []string
	for _, l := range libraries() {
		names = append(names, l.name)
	}
	return names
}

// errUnknown means that a Job names no library.
var errUnknown = errors.New("no such library")

// do does the job in this process.
func (j Job) do() (Figures, error) {
	for _, l := range libraries() {
		if l.name == j.Library {
			m := &measuring{Job: j, lib: l}
			err := errors.Join(m.ready(), m.rest(), m.pick())
			return m.figures, err
		}
	}
	return Figures{}, fmt.Errorf("%w: %q", errUnknown, j.Library)
}

// measuring is a Job at work.
type measuring struct {
	Job
	lib     library
	figures Figures
}

// addrs are the first n endpoints.
func (m *measuring) addrs(n int) []string {
	port := m.HTTP
	if m.lib.rpc {
		port = m.GRPC
	}
	return server.Addrs(n, port)
}

// ready times the first answer.
func (m *measuring) ready() error {
	addrs := m.addrs(m.N)
	begun := time.Now()
	r, err := m.lib.open(addrs, false)
	if err != nil {
		return err
	}
	defer r.close()
	err = r.caller()()
	m.figures.Ready = time.Since(begun)
	return err
}

// rest measures the library at rest, then an update, then after calls.
func (m *measuring) rest() error {
	all := m.addrs(m.N + changed(m.N))
	if _, ok := settle(measure.CPU(), m.Patience); !ok {
		return errors.New("the process was not quiet before it began")
	}
	before, from := look(), measure.CPU()
	r, err := m.lib.open(all[:m.N], false)
	if err != nil {
		return err
	}
	defer r.close()
	var settled bool
	m.figures.Settle, settled = settle(from, m.Patience)
	m.figures.Unsettled = !settled
	m.figures.AtRest = look().since(before, m.N)
	if !settled {
		return nil
	}
	from = measure.CPU()
	r.update(all[changed(m.N):])
	if m.figures.Update, settled = settle(from, m.Patience); !settled {
		m.figures.Unsettled = true
		return nil
	}
	call := r.caller()
	for range roundsOfCalls * m.N {
		if err := call(); err != nil {
			return err
		}
	}
	m.figures.Used = look().since(before, m.N)
	return nil
}

// roundsOfCalls is how often each endpoint is called on average, so that nearly
// all have been, whatever the balancer.
const roundsOfCalls = 3

// changed is how many of n endpoints an update replaces.
func changed(n int) int { return max(n/10, 1) }

// pick measures calls over a stub.
func (m *measuring) pick() error {
	if m.lib.rpc || m.figures.Unsettled {
		return nil
	}
	r, err := m.lib.open(client.StubAddrs(m.N), true)
	if err != nil {
		return err
	}
	defer r.close()
	call := r.caller()
	if err := call(); err != nil {
		return err
	}
	settle(measure.CPU(), m.Patience) // what it still does is part of its price
	own, err := least(call, max(pickCalls, roundsOfCalls*m.N))
	if err != nil {
		return err
	}
	bare, err := client.Bare().Open(client.Site{Base: client.Stub{}, Addrs: client.StubAddrs(1)})
	if err != nil {
		return err
	}
	defer bare.Close()
	base, err := least(bare.Caller(), pickCalls)
	m.figures.Pick = own - base
	return err
}

// pickCalls is how many calls are timed at a time.
const pickCalls = 20000

// least is the processor time of one call, the least of some blocks, since
// other programs can only add to it.
func least(call func() error, calls int) (float64, error) {
	const blocks = 7
	s := measure.Subject{Caller: func() func() error { return call }}
	ns := math.Inf(1)
	for range blocks {
		b, err := s.Run(measure.Load{Goroutines: 1}, calls)
		if err != nil {
			return 0, err
		}
		ns = min(ns, float64(b.CPU)/float64(b.Calls))
	}
	return ns, nil
}
