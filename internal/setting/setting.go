// Package setting is the errors of Validate methods as data: which field, which
// value, and what is allowed. So a reader of configuration files can say on
// which line it stands. As text they read like the errors of anybody else.
package setting

import "fmt"

// An Error is a setting that cannot be used.
type Error struct {
	// Package is whose setting it is, the start of the text.
	Package string
	// Field is its path in Go, such as Budget.Ratio.
	Field string
	// Value is what it is.
	Value any
	// Want is what is allowed.
	Want string
}

// Error says "package: field value: want what is allowed".
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s %v: want %s", e.Package, e.Field, e.Value, e.Want)
}

// Within is an error that was found inside a field, or several joined ones.
type Within struct {
	// Package and Field are as in Error.
	Package string
	Field   string
	// Err is what was found.
	Err error
}

// Error says "package: field: error".
func (w *Within) Error() string { return fmt.Sprintf("%s: %s: %v", w.Package, w.Field, w.Err) }

// Unwrap returns the error inside.
func (w *Within) Unwrap() error { return w.Err }

// Walk calls found for each error that err is made of, with the path of its
// field, empty where the error does not name one. The *Error is nil where the
// error is of another type.
func Walk(err error, found func(field string, e *Error, err error)) { walk("", err, found) }

func walk(at string, err error, found func(string, *Error, error)) {
	switch e := err.(type) {
	case nil:
	case *Error:
		found(join(at, e.Field), e, err)
	case *Within:
		walk(join(at, e.Field), e.Err, found)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			walk(at, inner, found)
		}
	default:
		found(at, nil, err)
	}
}

// join puts two parts of a path together.
func join(at, field string) string {
	if at == "" || field == "" {
		return at + field
	}
	return at + "." + field
}
