package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// options are the flags.
type options struct {
	duration       time.Duration
	attemptTimeout time.Duration
	seed           uint64
	json           bool
}

// parse reads the flags. It has told the user what is wrong when it returns an
// error.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("grpc", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&o.duration, "duration", 20*time.Second, "how long to call, 1s to 10m; from 10s on all limits apply")
	f.DurationVar(&o.attemptTimeout, "attempt-timeout", 0, "longest time of one attempt through tulle, 0 for none")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the schedule and of the servers' service times")
	f.BoolVar(&o.json, "json", false, "write one JSON object to standard output, and all else to standard error")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	if f.NArg() > 0 {
		err = fmt.Errorf("argument %q: want flags only", f.Arg(0))
	} else if o.duration < time.Second || o.duration > 10*time.Minute {
		err = fmt.Errorf("-duration %v: want 1s to 10m", o.duration)
	}
	if err != nil {
		fmt.Fprintln(stderr, "grpc:", err)
	}
	return o, err
}

// run is main without the process, so that tests can call it. It returns the
// exit code: 0 if everything was handled, 2 for bad flags, 1 otherwise.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	text := stdout
	if o.json {
		text = stderr // so that standard output is the object and nothing else
	}
	r, err := play(ctx, o, text)
	if err != nil {
		fmt.Fprintln(stderr, "grpc:", err)
		return 1
	}
	r.writeText(text)
	if o.json {
		if err := r.writeJSON(stdout); err != nil {
			fmt.Fprintln(stderr, "grpc:", err)
			return 1
		}
	}
	if len(r.unhandled) > 0 {
		return 1
	}
	return 0
}
