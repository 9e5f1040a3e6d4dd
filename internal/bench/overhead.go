package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// endpoints is the number of instances that a service has, where not said
// otherwise, and many the number of goroutines in columns of that name.
const (
	endpoints = 10
	many      = 64
)

// coldBytes is what is read through between calls with cold caches: more than
// the caches of one core, and less than what would take all the time.
const coldBytes = 4 << 20

// opened are contenders at work at one site.
type opened struct {
	contenders []client.Contender // the baseline first
	clients    []*client.Client
}

// open sets up the baseline and the contenders.
func open(site client.Site, base client.Contender, contenders []client.Contender) (*opened, error) {
	o := &opened{}
	for _, c := range append([]client.Contender{base}, contenders...) {
		cl, err := c.Open(site)
		if err != nil {
			o.Close()
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		o.contenders, o.clients = append(o.contenders, c), append(o.clients, cl)
	}
	return o, nil
}

// Close ends them all.
func (o *opened) Close() {
	for _, c := range o.clients {
		c.Close()
	}
}

// subject is contender i.
func (o *opened) subject(i int) measure.Subject {
	return measure.Subject{Name: o.contenders[i].Name, Caller: o.clients[i].Caller}
}

// paired measures all against the first.
func (o *opened) paired(load measure.Load) ([]measure.Result, error) {
	peers := make([]measure.Subject, 0, len(o.contenders)-1)
	for i := range o.contenders[1:] {
		peers = append(peers, o.subject(i+1))
	}
	return measure.Paired(o.subject(0), peers, load)
}

// costs are the contenders' costs under the loads, which fill the columns.
func (o *opened) costs(calls int, loads ...column) ([]*Cost, error) {
	costs := make([]*Cost, len(o.contenders))
	for i := range costs {
		s := o.subject(i)
		allocs, bytes, err := s.Allocs(calls)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		costs[i] = &Cost{Allocs: allocs, Bytes: bytes}
	}
	for _, c := range loads {
		results, err := o.paired(c.load)
		if err != nil {
			return nil, err
		}
		for i := range results {
			*c.place(costs[i]) = &results[i]
		}
	}
	return costs, nil
}

// A column is a load and where its results go.
type column struct {
	load  measure.Load
	place func(*Cost) **measure.Result
}

func serial(c *Cost) **measure.Result   { return &c.Serial }
func parallel(c *Cost) **measure.Result { return &c.Many }
func cold(c *Cost) **measure.Result     { return &c.Cold }

// beyond makes the allocations those beyond the first's.
func beyond(costs []*Cost) {
	base := *costs[0]
	for _, c := range costs {
		c.Allocs -= base.Allocs
		c.Bytes -= base.Bytes
	}
}

// overStub measures the contenders over a stub.
func (b *bench) overStub() error {
	o, err := open(stubSite(), client.Bare(), chosen(client.HTTP(), func(c client.Contender) bool { return c.OnStub }))
	if err != nil {
		return err
	}
	defer o.Close()
	block := b.opt.block / 2 // thousands of calls, so that little is enough
	costs, err := o.costs(1000,
		column{measure.Load{Goroutines: 1, Block: block, Rounds: b.opt.rounds}, serial},
		column{measure.Load{Goroutines: many, Block: block, Rounds: b.opt.rounds}, parallel},
		column{measure.Load{Goroutines: 1, Block: block, Rounds: b.opt.rounds, Timed: true, Cold: measure.Colder(coldBytes)}, cold},
	)
	if err != nil {
		return err
	}
	beyond(costs)
	for i, c := range o.contenders {
		b.row(c.Name, c.Note).Stub = costs[i]
	}
	return b.bodies(o)
}

// bodySizes are the sizes of request bodies.
var bodySizes = []int{0, 1 << 10, 64 << 10, 1 << 20}

// bodies measures what requests with a body allocate over a stub, which reads
// the body without a copy.
func (b *bench) bodies(o *opened) error {
	rows := make([]BodyRow, len(o.clients))
	for i, c := range o.clients {
		rows[i].Name = o.contenders[i].Name
		for _, size := range bodySizes {
			call := c.Poster(bytes.Repeat([]byte{'x'}, size))
			if call == nil {
				break
			}
			s := measure.Subject{Name: rows[i].Name, Caller: func() func() error { return call }}
			allocs, bytes, err := s.Allocs(50)
			if err != nil {
				return fmt.Errorf("%s: a body of %d bytes: %w", s.Name, size, err)
			}
			rows[i].Sizes = append(rows[i].Sizes, BodyCost{Size: size, Allocs: allocs, Bytes: bytes})
		}
	}
	base := slices.Clone(rows[0].Sizes)
	for _, r := range rows {
		for i := range r.Sizes {
			r.Sizes[i].Allocs -= base[i].Allocs
			r.Sizes[i].Bytes -= base[i].Bytes
		}
	}
	b.report.Bodies = slices.DeleteFunc(rows, func(r BodyRow) bool { return len(r.Sizes) == 0 })
	return nil
}

// stubSite is a service that nobody serves.
func stubSite() client.Site {
	return client.Site{Base: client.Stub{}, Addrs: client.StubAddrs(endpoints)}
}

// overWire measures the contenders over loopback.
func (b *bench) overWire(srv *server.Process) error {
	site := client.Site{Addrs: srv.HTTP(endpoints)}
	o, err := open(site, client.Bare(), chosen(client.HTTP(), func(c client.Contender) bool { return c.OnWire }))
	if err != nil {
		return err
	}
	defer o.Close()
	costs, err := b.wireCosts(o)
	if err != nil {
		return err
	}
	for i, c := range o.contenders {
		b.row(c.Name, c.Note).Wire = costs[i]
	}
	return nil
}

// wireCosts are the costs of contenders over loopback.
func (b *bench) wireCosts(o *opened) ([]*Cost, error) {
	return o.costs(300,
		column{measure.Load{Goroutines: 1, Block: b.opt.block, Rounds: b.opt.rounds, Timed: true}, serial},
		column{measure.Load{Goroutines: many, Block: 2 * b.opt.block, Rounds: b.opt.rounds, Timed: true}, parallel},
	)
}

// rpc measures gRPC over loopback.
func (b *bench) rpc(srv *server.Process) error {
	o, err := open(client.Site{Addrs: srv.GRPC(endpoints)}, client.Rotating(), client.GRPC())
	if err != nil {
		return err
	}
	defer o.Close()
	costs, err := b.wireCosts(o)
	if err != nil {
		return err
	}
	for i, c := range o.contenders {
		b.report.GRPC = append(b.report.GRPC, Overhead{Name: c.Name, Note: c.Note, Wire: costs[i]})
	}
	return nil
}

// row is that of a contender in the table, which is made if there is none.
func (b *bench) row(name, note string) *Overhead {
	for i := range b.report.HTTP {
		if b.report.HTTP[i].Name == name {
			return &b.report.HTTP[i]
		}
	}
	b.report.HTTP = append(b.report.HTTP, Overhead{Name: name, Note: note})
	return &b.report.HTTP[len(b.report.HTTP)-1]
}

// chosen are the contenders that are wanted.
func chosen(all []client.Contender, want func(client.Contender) bool) []client.Contender {
	var some []client.Contender
	for _, c := range all {
		if want(c) {
			some = append(some, c)
		}
	}
	return some
}
