// Command tulle-sim runs the policies of tulle against a model of a service, in
// virtual time.
//
//	tulle-sim [flags] scenario.yaml   runs a scenario of yours, YAML or JSON
//	tulle-sim [flags] -scenario NAME  runs one that comes with it
//	tulle-sim -list                   lists those
//	tulle-sim [flags] -score a,b      runs those whose names begin so, and compares
//
// The exit status is 0 if all is well, 1 if a scenario cannot be used or a run
// fails, 2 if the command was not understood. docs/simulator.md says what a
// scenario is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tullemesh/tulle/transport/sim"
)

// The exit statuses.
const (
	good    = 0
	failed  = 1
	misused = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are what the command line says.
type options struct {
	list                             bool
	scenario, score, svg, csv, picks string
	seed                             uint64
	file                             string
}

// parse reads the command line. Flags may come after the file.
func parse(args []string, errs io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("tulle-sim", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.BoolVar(&o.list, "list", false, "list the scenarios and the balancers")
	flags.StringVar(&o.scenario, "scenario", "", "run the scenario of this `name`")
	flags.StringVar(&o.score, "score", "", "run the scenarios whose names begin with one of these, separated by commas, and compare their variants; a letter alone is a group, as c of c1-fast-503")
	flags.StringVar(&o.svg, "svg", "", "write a plot to this `file`")
	flags.StringVar(&o.csv, "csv", "", "write the series of each second to this `file`")
	flags.Uint64Var(&o.seed, "seed", 0, "the seed, in place of the scenario's")
	flags.StringVar(&o.picks, "policies", "", "compare these balancers, separated by commas, in place of the scenario's variants")
	flags.Usage = func() {
		fmt.Fprintln(errs, "usage: tulle-sim [flags] scenario.yaml | -scenario NAME | -score PREFIX,… | -list")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.file = flags.Arg(0); o.file != "" {
		if err := flags.Parse(flags.Args()[1:]); err != nil {
			return o, err
		}
		if flags.NArg() > 0 {
			return o, fmt.Errorf("argument %q: want one file", flags.Arg(0))
		}
	}
	modes := 0
	for _, set := range []bool{o.list, o.scenario != "", o.score != "", o.file != ""} {
		if set {
			modes++
		}
	}
	if modes != 1 {
		return o, errors.New("want one of a file, -scenario, -score and -list")
	}
	if o.score != "" && (o.svg != "" || o.csv != "") {
		return o, errors.New("-score: want no -svg and no -csv, which are of one scenario")
	}
	return o, nil
}

// run is main for tests.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return good
	}
	if err != nil {
		fmt.Fprintf(errs, "tulle-sim: %v (-h tells more)\n", err)
		return misused
	}
	switch {
	case o.list:
		err = list(out)
	case o.score != "":
		err = score(ctx, &o, out)
	default:
		err = one(ctx, &o, out)
	}
	if err != nil {
		fmt.Fprintln(errs, err)
		return failed
	}
	return good
}

// list prints what there is.
func list(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, name := range sim.Names() {
		sc, err := sim.Named(name)
		if err != nil {
			return err
		}
		about, _, _ := strings.Cut(sc.About, ". ")
		fmt.Fprintf(t, "%s\t%s\n", name, strings.TrimSuffix(about, "."))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nbalancers for -policies: %s\n", strings.Join(sim.Balancers(), ", "))
	return err
}

// prepare applies the flags to a scenario.
func (o *options) prepare(sc sim.Scenario) (sim.Scenario, error) {
	if o.seed != 0 {
		sc.Seed = o.seed
	}
	if o.picks == "" {
		return sc, nil
	}
	return sc.Balanced(strings.Split(o.picks, ",")...)
}

// one runs one scenario and writes what was asked for.
func one(ctx context.Context, o *options, out io.Writer) error {
	sc, err := o.load()
	if err != nil {
		return err
	}
	if sc, err = o.prepare(sc); err != nil {
		return err
	}
	res, err := show(ctx, sc, out)
	if err != nil {
		return err
	}
	return errors.Join(save(o.svg, res.WriteSVG), save(o.csv, res.WriteCSV))
}

// load reads the scenario that was asked for.
func (o *options) load() (sim.Scenario, error) {
	if o.scenario != "" {
		return sim.Named(o.scenario)
	}
	data, err := os.ReadFile(o.file)
	if err != nil {
		return sim.Scenario{}, err
	}
	return readScenario(o.file, data)
}

// show runs a scenario and prints its table.
func show(ctx context.Context, sc sim.Scenario, out io.Writer) (*sim.Result, error) {
	began := time.Now()
	res, err := sim.Run(ctx, sc)
	if err != nil {
		return nil, err
	}
	attempts := uint64(0)
	for i := range res.Rows {
		attempts += res.Rows[i].Attempts
	}
	fmt.Fprintf(out, "%s, seed %d: %s\n", res.Scenario, res.Seed, sc.About)
	if err := res.WriteTable(out); err != nil {
		return nil, err
	}
	took := time.Since(began)
	_, err = fmt.Fprintf(out, "%d attempts in %.1f s, %.0f a second\n\n", attempts, took.Seconds(), float64(attempts)/took.Seconds())
	return res, err
}

// score runs the scenarios whose names begin with one of the prefixes.
func score(ctx context.Context, o *options, out io.Writer) error {
	var results []*sim.Result
	for _, name := range sim.Names() {
		if !begins(name, strings.Split(o.score, ",")) {
			continue
		}
		sc, err := sim.Named(name)
		if err != nil {
			return err
		}
		if sc, err = o.prepare(sc); err != nil {
			return err
		}
		res, err := show(ctx, sc, out)
		if err != nil {
			return err
		}
		results = append(results, res)
	}
	if len(results) == 0 {
		return fmt.Errorf("tulle-sim: -score %q: no scenario begins so; -list lists them", o.score)
	}
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "against the best of %d scenarios\ttail\tfailures\t\n", len(results))
	for _, s := range sim.Scores(results) {
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t\n", s.Variant, s.Tail, s.Failure)
	}
	return t.Flush()
}

// begins says that a name begins with one of the prefixes. A letter alone is the
// group of that letter: c is c1-fast-503 and not client-stalls.
func begins(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) && (len(p) != 1 || len(name) > 2 && name[2] == '-') {
			return true
		}
	}
	return false
}

// save writes to a file, if there is a name.
func save(name string, write func(io.Writer) error) (err error) {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}
