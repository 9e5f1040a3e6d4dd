package route

import (
	"errors"
	"fmt"
)

// What errors.Is finds in Decision.Err.
var (
	// ErrUnknownService: the table does not know the service.
	ErrUnknownService = errors.New("route: unknown service")

	// ErrNoRule: no rule matches, and the service wants one (Service.OnlyRules).
	// The Gateway API answers such a call with 404, or UNIMPLEMENTED over gRPC.
	ErrNoRule = errors.New("route: no rule matches")

	// ErrNoBackend: the rule that matches gives no backend any weight. The
	// Gateway API answers 500, or UNAVAILABLE over gRPC.
	ErrNoBackend = errors.New("route: no backend has a weight")

	// ErrNoDestination: the service has no destination in the environment of
	// the call, nor in those that it falls back on.
	ErrNoDestination = errors.New("route: no destination")

	// ErrReadOnly: the only destinations are in protected environments that the
	// call may fall back into with a safe method only.
	ErrReadOnly = errors.New("route: safe methods only")
)

// Error is one setting that cannot be used. New and ParseGateway join all that
// they find.
type Error struct {
	// Path is where the setting is, such as
	// services["users"].rules[2].match[0].path.regex.
	Path string

	// Value is what it is, as text.
	Value string

	// Want is what it should be.
	Want string

	// File and Line are where the rule was written, if it says so.
	File string
	Line int
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("route: %s %s: want %s", e.Path, e.Value, e.Want)
	if e.File != "" {
		text = fmt.Sprintf("%s:%d: %s", e.File, e.Line, text)
	}
	return text
}

// problems collects what is wrong below a path.
type problems struct {
	path string
	to   *found
	file string
	line int
}

// found is shared by the problems of all paths.
type found struct{ errs []error }

// maxErrors bounds what one bad input can make us write.
const maxErrors = 100

// at is p for a part of the setting: ".name", "[3]" or `["key"]`.
func (p problems) at(format string, args ...any) problems {
	p.path += fmt.Sprintf(format, args...)
	if p.path != "" && p.path[0] == '.' {
		p.path = p.path[1:]
	}
	return p
}

// add notes that the setting at p has a bad value.
func (p problems) add(value any, want string, args ...any) {
	if len(p.to.errs) >= maxErrors {
		return
	}
	text := fmt.Sprint(value)
	if s, ok := value.(string); ok {
		text = fmt.Sprintf("%.200q", s)
	}
	want = fmt.Sprintf(want, args...)
	p.to.errs = append(p.to.errs, &Error{Path: p.path, Value: text, Want: want, File: p.file, Line: p.line})
}

// raw is a value that is not quoted in an error.
type raw string

// any says whether something was found, at any path.
func (p problems) any() bool { return len(p.to.errs) > 0 }
