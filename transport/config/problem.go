package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with a file, or worth a warning.
type Problem struct {
	// File is the name of the file as it was given; Line and Column count from
	// 1 and are 0 where a problem has no place, such as one of Options.Base.
	File         string
	Line, Column int

	// Key is the path of keys, such as services.users.retry.attempts. It may be
	// empty.
	Key string

	// Message says what was found and what is wanted. The value of a reference
	// never stands in it.
	Message string
}

// Error says "file:line:column: key: message".
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// Problems are the Problems that an error of this package is made of, in the
// order of the file. An error that is no Problem, such as that of a missing
// file, is not among them.
func Problems(err error) []*Problem {
	var list []*Problem
	collect(err, &list)
	return list
}

func collect(err error, list *[]*Problem) {
	switch e := err.(type) {
	case *Problem:
		*list = append(*list, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collect(inner, list)
		}
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), list)
	}
}

// The bounds of an error message, so that a broken file does not flood a log.
const (
	maxProblems = 100
	maxShown    = 64
)

// A place is where in a file something stands.
type place struct {
	file         string
	line, column int
	key          string
}

// problems collects what is wrong, so that it can be mended in one go.
type problems struct {
	list    []*Problem
	dropped int
}

// add notes a problem at a place.
func (p *problems) add(at place, format string, args ...any) {
	if p.full() {
		p.dropped++
		return
	}
	p.list = append(p.list, &Problem{
		File: at.file, Line: at.line, Column: at.column, Key: at.key, Message: fmt.Sprintf(format, args...),
	})
}

// full says that there is no room for more.
func (p *problems) full() bool { return len(p.list) >= maxProblems }

// sorted are the problems in the order of the file, each of them once.
func (p *problems) sorted() []*Problem {
	slices.SortStableFunc(p.list, func(a, b *Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	p.list = slices.CompactFunc(p.list, func(a, b *Problem) bool { return *a == *b })
	return p.list
}

// err is all problems as one error, or nil.
func (p *problems) err() error {
	var errs []error
	for _, one := range p.sorted() {
		errs = append(errs, one)
	}
	if p.dropped > 0 {
		errs = append(errs, fmt.Errorf("config: and %d problems more", p.dropped))
	}
	return errors.Join(errs...)
}

// shown is a text for a message: quoted and of bounded length.
func shown(s string) string {
	if len(s) > maxShown {
		cut := maxShown
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return fmt.Sprintf("%q…", s[:cut])
	}
	return fmt.Sprintf("%q", s)
}

// meant is the hint for a name that is not known: the nearest known one if it
// is near, and all of them.
func meant(got string, known []string) string {
	slices.Sort(known)
	best, least := "", 1+min(2, len(got)/2)
	for _, k := range known {
		if d := distance(strings.ToLower(got), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	hint := "want one of " + strings.Join(known, ", ")
	if len(known) == 0 {
		hint = "want none"
	}
	if best != "" {
		hint = fmt.Sprintf("did you mean %s? %s", best, strings.ToUpper(hint[:1])+hint[1:])
	}
	return hint
}

// distance is how many letters must be added, taken away, changed or swapped
// with their neighbour to get from a to b (optimal string alignment). What is
// far too long is not compared.
func distance(a, b string) int {
	if max(len(a), len(b)) > maxShown {
		return maxShown
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
