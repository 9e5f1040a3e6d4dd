// Command tulle-config checks and explains configuration files of tulle.
//
//	tulle-config check [-strict] FILE…           finds what is wrong, and warns
//	tulle-config explain [flags] FILE METHOD URL  says where a call would go
//	tulle-config schema                          prints the JSON Schema
//
// The exit status is 0 if all is well, 1 if a file is invalid, 2 if the command
// was not understood. Messages are file:line:column: key: text.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tullemesh/tulle/transport/config"
)

// The exit statuses.
const (
	good    = 0
	invalid = 1
	misused = 2
)

const usage = `usage:
  tulle-config check [-strict] FILE…
  tulle-config explain [-H "Name: value"]… [-timeout 3s] FILE METHOD URL
  tulle-config schema

check    finds all that is wrong with the files, and warns of what is mostly
         not meant; -strict makes a warning an error
explain  says which service a call goes to, what holds for it and where that was
         written, and which endpoints it has now; nothing is sent to them
schema   prints the JSON Schema of a file

Exit status: 0 all is well, 1 a file is invalid, 2 the command was not understood.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main for tests.
func run(args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		return misuse(errs, errors.New("no command"))
	}
	switch args[0] {
	case "check":
		return check(args[1:], out, errs)
	case "explain":
		return explain(args[1:], out, errs)
	case "schema":
		if len(args) > 1 {
			return misuse(errs, fmt.Errorf("schema: argument %q: want none", args[1]))
		}
		_, _ = out.Write(config.Schema()) // a closed pipe is the reader's wish
		return good
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out, usage)
		return good
	}
	return misuse(errs, fmt.Errorf("command %q: want check, explain or schema", args[0]))
}

// misuse says how the command is used.
func misuse(errs io.Writer, err error) int {
	fmt.Fprintf(errs, "tulle-config: %v\n\n%s", err, usage)
	return misused
}
