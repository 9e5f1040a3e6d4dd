package admin

import (
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// none stands where nothing is known.
const none = "–"

// funcs are what templates can call.
func funcs() template.FuncMap {
	return template.FuncMap{
		"dur": dur, "percent": percent, "rate": rate, "count": countAny, "number": number, "label": label,
		"clock": clock, "words": words, "iso": iso, "stateBar": stateBar, "serviceLink": serviceLink, "sum": func(a, b int) int { return a + b },
	}
}

// dur is a time in three digits with a unit, for people.
func dur(d time.Duration) string {
	switch {
	case d <= 0:
		return none
	case d < time.Millisecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 2*time.Minute:
		return digits(d.Seconds()) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	}
	return strconv.Itoa(int(d.Hours())) + " h"
}

// inSeconds is dur for seconds as charts have them, which begin at 0.
func inSeconds(s float64) string {
	if s == 0 {
		return "0"
	}
	return dur(time.Duration(s * float64(time.Second)))
}

// digits is a number from 0 on with three digits that count.
func digits(x float64) string {
	switch {
	case x >= 99.95:
		return fixed(x, 0)
	case x >= 9.995:
		return fixed(x, 1)
	}
	return fixed(x, 2)
}

// percent is a part of one. What is not all is never shown as all.
func percent(x float64) string {
	p := 100 * x
	switch {
	case x < 0 || x != x:
		return none
	case x >= 1 || x == 0:
		return fixed(p, 0) + " %"
	case p < 0.1:
		return "< 0.1 %"
	case p > 99:
		return fixed(math.Floor(min(p, 99.99)*100)/100, 2) + " %"
	}
	return fixed(p, 1) + " %"
}

// fixed is a number with some digits after the point.
func fixed(x float64, digits int) string { return strconv.FormatFloat(x, 'f', digits, 64) }

// rate is a number a second.
func rate(x float64) string {
	if x < 0 || x != x {
		return none
	}
	return number(x) + "/s"
}

// number is a figure from 0 on, for people.
func number(x float64) string {
	switch {
	case x < 0 || x != x:
		return none
	case x >= 1000:
		return count(uint64(min(x+0.5, math.MaxInt64)))
	case x == math.Trunc(x):
		return fixed(x, 0)
	case x < 0.01:
		return strconv.FormatFloat(x, 'g', 2, 64)
	}
	return digits(x)
}

// count is a whole number in groups of three digits.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // a narrow space that does not break
	}
	return s
}

// countAny is count for templates, which have numbers of several types.
func countAny(n any) string {
	switch n := n.(type) {
	case int:
		return count(uint64(max(n, 0)))
	case uint64:
		return count(n)
	}
	return none
}

// clock is a time of day. All are in UTC, as are most logs.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// iso is a time for machines.
func iso(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// words is a name of a state as people write it.
func words(s string) string { return strings.ReplaceAll(s, "_", " ") }

// A segment is a part of a bar: where it begins and how long it is, out of a
// hundred.
type segment struct {
	State        string
	From, Length float64
}

// stateBar is a bar of the endpoints by state.
func stateBar(s States) []segment {
	list, at := []segment(nil), 0.0
	for _, part := range []segment{
		{State: "healthy", Length: float64(s.Healthy)}, {State: "returning", Length: float64(s.Returning)},
		{State: "probing", Length: float64(s.Probing)}, {State: "ejected", Length: float64(s.Ejected)},
		{State: "dead", Length: float64(s.Dead)},
	} {
		if part.Length == 0 {
			continue
		}
		part.Length *= 100 / float64(s.Total())
		part.From = at
		at += part.Length
		list = append(list, part)
	}
	return list
}
