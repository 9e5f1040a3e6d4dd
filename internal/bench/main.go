// Bench measures what a call through tulle costs, beside what its users would
// use instead, and prints the figures as tables.
//
//	go run .                                measure and print, about 15 minutes
//	go run . -md ../../docs/benchmarks.md   and write the document
//	go run . -readme ../../README.md        and the table in the README
//	go run . -save run.json                 and keep the figures
//	go run . -from run.json -md …           write from kept figures
//	go run . -quick                         a moment of each; fails if tulle allocates too much
//
// tools.sh installs the proxies of the sidecar table.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/scale"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// options are the flags.
type options struct {
	quick      bool
	rounds     int
	block      time.Duration
	only       string
	md, readme string
	save, from string
}

// parts are the tables, in the order in which they are measured.
var parts = []string{"stub", "wire", "sidecar", "grpc", "scale"}

// parse reads the flags and refuses what cannot be used.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.BoolVar(&o.quick, "quick", false, "run everything for a moment, and fail if tulle allocates more than its goals")
	f.IntVar(&o.rounds, "rounds", 40, "`blocks` of each contender, 1 to 10000")
	f.DurationVar(&o.block, "block", 60*time.Millisecond, "how long a block takes, 1 ms to 10 s")
	f.StringVar(&o.only, "only", "", "measure these `tables` only: "+strings.Join(parts, ","))
	f.StringVar(&o.md, "md", "", "write the document to this `file`")
	f.StringVar(&o.readme, "readme", "", "write the table between the markers in this `file`")
	f.StringVar(&o.save, "save", "", "keep the figures in this `file`")
	f.StringVar(&o.from, "from", "", "take the figures from this `file` and measure nothing")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var errs []error
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("bench: argument %q: want none", f.Arg(0)))
	}
	if o.rounds < 1 || o.rounds > 10_000 {
		errs = append(errs, fmt.Errorf("bench: -rounds %d: want 1 to 10000", o.rounds))
	}
	if o.block < time.Millisecond || o.block > 10*time.Second {
		errs = append(errs, fmt.Errorf("bench: -block %v: want 1ms to 10s", o.block))
	}
	for _, part := range o.parts() {
		if !slices.Contains(parts, part) {
			errs = append(errs, fmt.Errorf("bench: -only %q: want some of %s", part, strings.Join(parts, ",")))
		}
	}
	if o.quick {
		o.rounds, o.block = 2, 4*time.Millisecond
	}
	return o, errors.Join(errs...)
}

// parts are those that are wanted.
func (o options) parts() []string {
	if o.only == "" {
		return parts
	}
	return strings.Split(o.only, ",")
}

// bench is a run.
type bench struct {
	opt    options
	report Report
	say    io.Writer // takes progress

	begun     time.Time
	busy, own time.Duration // processor time of the machine and of ours, at the start
}

// progress says what goes on.
func (b *bench) progress(text string) {
	fmt.Fprintf(b.say, "%6.0fs  %s\n", time.Since(b.begun).Seconds(), text) // there is nobody to tell if it fails
}

func main() {
	client.Quiet()
	server.Main()
	scale.Main()
	opt, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(opt, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures, or takes what was measured, and writes all that was asked for.
func run(opt options, out, say io.Writer) error {
	b := &bench{opt: opt, say: say}
	var err error
	if opt.from != "" {
		b.report, err = loadReport(opt.from)
	} else {
		err = b.measure()
	}
	if err != nil {
		return err
	}
	if err := b.write(out); err != nil {
		return err
	}
	if opt.quick {
		return b.report.judge()
	}
	return nil
}

// measure runs the parts that are wanted.
func (b *bench) measure() error {
	b.begin()
	srv, err := server.Start()
	if err != nil {
		return err
	}
	for _, part := range b.opt.parts() {
		b.progress(part)
		if err := b.part(part, srv); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", part, err), srv.Close())
		}
	}
	err = srv.Close()
	b.end()
	return err
}

// part measures one table.
func (b *bench) part(name string, srv *server.Process) error {
	switch name {
	case "stub":
		return b.overStub()
	case "wire":
		return b.overWire(srv)
	case "sidecar":
		return b.sidecar(srv)
	case "grpc":
		return b.rpc(srv)
	}
	return b.atScale(srv)
}
