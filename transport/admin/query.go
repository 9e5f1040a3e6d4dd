package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tullemesh/tulle/transport/telemetry"
)

// maxText bounds the texts of a query.
const maxText = 1024

// A query reads the parameters of a request and collects what is wrong with
// them. Parameters that it is not asked for are ignored.
type query struct {
	values url.Values
	errs   []error
}

func newQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.errs = append(q.errs, fmt.Errorf("query: %w", err))
	}
	return q
}

// wrong takes in that a parameter cannot be used.
func (q *query) wrong(name, value, want string) {
	q.errs = append(q.errs, fmt.Errorf("%s %q: want %s", name, value, want))
}

// text is a parameter, "" by default. Bytes that are no text become signs that say
// so, as they would spoil the page.
func (q *query) text(name string) string {
	s := strings.Map(printable, q.values.Get(name))
	if len(s) > maxText {
		q.wrong(name, strings.ToValidUTF8(s[:20], "")+"…", fmt.Sprintf("up to %d bytes", maxText))
		return ""
	}
	return s
}

// printable is r, or a sign in its place that it cannot be shown.
func printable(r rune) rune {
	if unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF {
		return unicode.ReplacementChar
	}
	return r // bytes that are no UTF-8 are that sign already
}

// number is a parameter between two bounds.
func (q *query) number(name string, or, least, most int) int {
	s := q.text(name)
	if s == "" {
		return or
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		q.wrong(name, s, fmt.Sprintf("%d to %d", least, most))
		return or
	}
	return n
}

// flag is a parameter that is 1 or 0.
func (q *query) flag(name string, or bool) bool {
	switch s := q.text(name); s {
	case "":
		return or
	case "1", "true", "on":
		return true
	case "0", "false", "off":
		return false
	default:
		q.wrong(name, s, "1 or 0")
		return or
	}
}

// choice is a parameter that is one of some words, the first by default.
func (q *query) choice(name string, words []string) string {
	s := q.text(name)
	if s == "" || slices.Contains(words, s) {
		return s
	}
	q.wrong(name, s, strings.Join(words[1:], ", "))
	return ""
}

// ok says that all could be used, or else answers that it could not.
func (q *query) ok(w http.ResponseWriter) bool {
	err := errors.Join(q.errs...)
	if err == nil {
		return true
	}
	http.Error(w, "admin: "+strings.ReplaceAll(err.Error(), "\n", "\nadmin: "), http.StatusBadRequest)
	return false
}

// The most that one answer holds.
const (
	maxRecords    = 1000
	maxServices   = 10_000
	maxEndpoints  = 10_000
	shownRecords  = 50
	shownServices = 100
)

// A tap is a filter of records as a query has it.
type tap struct {
	service, path, status string
	failed                bool
	limit                 int
}

// tap reads the filter of records. A status may be written as 5xx.
func (q *query) tap(limit int) (t tap, f telemetry.Filter) {
	t = tap{q.text("service"), q.text("path"), q.text("status"), q.flag("failed", false), q.number("limit", limit, 1, maxRecords)}
	f = telemetry.Filter{Service: t.service, Path: t.path, Failed: t.failed, Limit: t.limit}
	if t.status == "" {
		return t, f
	}
	digits := strings.TrimSuffix(strings.ToLower(t.status), "xx")
	n, err := strconv.Atoi(digits)
	if len(digits) == len(t.status) {
		err = errors.Join(err, outside(n, 1, 999))
	} else {
		err = errors.Join(err, outside(n, 1, 9))
	}
	if err != nil {
		q.wrong("status", t.status, "a status such as 503, or 5xx")
		return t, f
	}
	f.Status = n
	return t, f
}

// outside is an error where n is not between two bounds.
func outside(n, least, most int) error {
	if n < least || n > most {
		return strconv.ErrRange
	}
	return nil
}
