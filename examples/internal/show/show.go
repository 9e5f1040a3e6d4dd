// Package show is what the examples with servers in trouble share: servers whose
// behaviour changes while they run, the load, and a report of how a client with
// tulle and a plain one came through. An example adds its protocol and makes the
// two clients.
package show

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Deadline is how long a call may take, with both clients.
const Deadline = time.Second

// A Show is what an example adds: words, a protocol and the clients.
type Show struct {
	Name   string  // of the command, for messages
	Writes string  // calls with an effect, as the report names them: a word in the plural
	Refuse string  // what a server does in Unavailable, as the view tells it
	Script []Phase // what happens, in the order of time

	// Host makes what serves the calls of a server on its listener.
	Host func(*Server) Host

	// Play makes the two clients of a stage whose servers run, calls
	// Stage.Run and returns what that did. Nothing that it starts may be left
	// when it returns.
	Play func(context.Context, *Stage) (*Report, error)
}

// Run is the command once its flags are parsed, with the arguments that are left. It
// returns the exit code: 0 if everything was handled, 2 for bad options, 1 otherwise.
func (s *Show) Run(ctx context.Context, o Options, args []string, stdout, stderr io.Writer) int {
	if err := o.check(args); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
		return 2
	}
	text := stdout
	if o.json {
		text = stderr // so that standard output is the object and nothing else
	}
	r, err := s.play(ctx, o, text)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
		return 1
	}
	r.writeText(text)
	if o.json {
		if err := r.writeJSON(stdout); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
			return 1
		}
	}
	if len(r.unhandled) > 0 {
		return 1
	}
	return 0
}

// play sets the stage, lets everything happen and returns what came of it.
func (s *Show) play(ctx context.Context, o Options, text io.Writer) (*Report, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", s.Name)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	stage := &Stage{options: o, show: s, text: text, file: filepath.Join(dir, "users.json")}
	defer stage.close()
	if err := stage.open(); err != nil {
		return nil, err
	}
	return s.Play(ctx, stage)
}

// Options are what the user can choose.
type Options struct {
	duration       time.Duration
	attemptTimeout time.Duration
	seed           uint64
	json           bool
}

// Flags is a *flag.FlagSet. Libraries here do not import package flag.
type Flags interface {
	// DurationVar defines a flag that is a time.
	DurationVar(p *time.Duration, name string, value time.Duration, usage string)

	// Uint64Var defines a flag that is a number.
	Uint64Var(p *uint64, name string, value uint64, usage string)

	// BoolVar defines a flag that is on or off.
	BoolVar(p *bool, name string, value bool, usage string)
}

// defaultDuration is the length of a run that nobody asked to be another.
const defaultDuration = 20 * time.Second

// Define defines the flags in f. The options are valid once that has parsed.
func (o *Options) Define(f Flags) {
	f.DurationVar(&o.duration, "duration", defaultDuration, "how long to call, 1s to 10m; from 10s on all limits apply")
	f.DurationVar(&o.attemptTimeout, "attempt-timeout", 0, "longest time of one attempt through tulle, 0 for none")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the schedule and of the servers' service times")
	f.BoolVar(&o.json, "json", false, "write one JSON object to standard output, and all else to standard error")
}

// check says what is wrong with the options, and with arguments that are none.
func (o *Options) check(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("argument %q: want flags only", args[0])
	}
	if o.duration < time.Second || o.duration > 10*time.Minute {
		return fmt.Errorf("-duration %v: want 1s to 10m", o.duration)
	}
	return nil
}
