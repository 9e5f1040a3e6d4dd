package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/tullemesh/tulle/transport/config"
)

// check reads files and says what is wrong with them.
func check(args []string, out, errs io.Writer) int {
	flags := newFlags("check")
	strict := flags.Bool("strict", false, "")
	if err := flags.Parse(args); err != nil {
		return misuse(errs, err)
	}
	if flags.NArg() == 0 {
		return misuse(errs, errors.New("check: no file"))
	}
	status := good
	for _, file := range flags.Args() {
		result, err := config.Load(file, config.Options{})
		if err != nil {
			fmt.Fprintln(errs, err)
			status = invalid
			continue
		}
		for _, warning := range result.Warnings {
			fmt.Fprintf(errs, "%v (warning)\n", warning)
			if *strict {
				status = invalid
			}
		}
		fmt.Fprintf(out, "%s: %d services, %d warnings, version %s\n",
			file, len(result.Transport.Services), len(result.Warnings), result.Version)
	}
	return status
}

// newFlags makes the flags of a command, which reports errors itself.
func newFlags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}
