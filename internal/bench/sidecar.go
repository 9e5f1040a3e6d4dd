package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/proxy"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// sidecarCallers are the numbers of goroutines that call.
var sidecarCallers = []int{1, 16, 64}

// inProcess are the rows of the sidecar table that need no proxy.
var inProcess = []string{"tulle", "tulle, timeouts", "tulle, span and metrics", "tulle, attempt span and metrics", "naive chain, otelhttp"}

// sidecar compares ways to the instances: straight, through tulle, and through
// a proxy on the same machine.
func (b *bench) sidecar(srv *server.Process) error {
	addrs := srv.HTTP(endpoints)
	o, err := open(client.Site{Addrs: addrs}, client.Bare(), chosen(client.HTTP(), func(c client.Contender) bool {
		return c.OnWire && slices.Contains(inProcess, c.Name)
	}))
	if err != nil {
		return err
	}
	defer o.Close()
	base := o.subject(0)
	rows := []SidecarRow{{Name: "direct", Note: "net/http's transport, over the same addresses in turn; as a row, its blocks against one another"}}
	var peers []measure.Subject
	for i, c := range o.contenders[1:] {
		peers = append(peers, o.subject(i+1))
		rows = append(rows, SidecarRow{Name: c.Name, Note: c.Note})
	}
	for _, k := range proxy.Kinds() {
		through, done, err := b.through(k, addrs)
		if errors.Is(err, proxy.ErrMissing) {
			b.missing("sidecar: %v", err)
			continue
		}
		if err != nil {
			return err
		}
		defer done()
		peers = append(peers, through)
		rows = append(rows, SidecarRow{Name: k.Name, Note: k.Note})
	}
	for _, n := range sidecarCallers {
		results, err := measure.Paired(base, peers, measure.Load{Goroutines: n, Block: 2 * b.opt.block, Rounds: b.opt.rounds, Timed: true})
		if err != nil {
			return err
		}
		for i := range results {
			rows[i].At = append(rows[i].At, results[i])
		}
	}
	b.report.Sidecar = rows
	return nil
}

// through is a bare client that calls the addresses through a proxy of that
// kind, and what ends both.
func (b *bench) through(k proxy.Kind, addrs []string) (measure.Subject, func(), error) {
	p, err := k.Start(context.Background(), addrs)
	if err != nil {
		return measure.Subject{}, nil, err
	}
	c, err := client.Bare().Open(client.Site{Addrs: []string{p.Addr}})
	if err != nil {
		return measure.Subject{}, nil, errors.Join(err, p.Close())
	}
	done := func() {
		c.Close()
		if err := p.Close(); err != nil {
			b.missing("sidecar: the end of %s: %v", k.Name, err)
		}
	}
	return measure.Subject{Name: k.Name, Caller: c.Caller, Helpers: p.PIDs()}, done, nil
}

// missing notes that a part was left out, in the report and at once.
func (b *bench) missing(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.report.Missing = append(b.report.Missing, text)
	b.progress("MISSING: " + text)
}
