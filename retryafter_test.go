package tulle_test

import (
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

// noon is when the tests of dates take place.
var noon = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

func TestParseRetryAfter(t *testing.T) {
	const longest = math.MaxInt64 / int64(time.Second) * int64(time.Second)
	for _, c := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"0", 0, true},
		{"1", time.Second, true},
		{"007", 7 * time.Second, true},
		{" \t120\t ", 2 * time.Minute, true},
		{"9223372036", 9223372036 * time.Second, true},
		{"9223372037", time.Duration(longest), true},
		{strings.Repeat("9", 1000), time.Duration(longest), true},
		{"Wed, 04 Mar 2026 12:00:30 GMT", 30 * time.Second, true},
		{"Wednesday, 04-Mar-26 12:00:30 GMT", 30 * time.Second, true},
		{"Wed Mar  4 12:00:30 2026", 30 * time.Second, true},
		{" Wed, 04 Mar 2026 12:00:30 GMT ", 30 * time.Second, true},
		{"Wed, 04 Mar 2026 12:00:00 GMT", 0, true},
		{"Wed, 04 Mar 2026 11:59:59 GMT", 0, true},
		{"Mon, 01 Jan 0001 00:00:00 GMT", 0, true},
		{"Fri, 31 Dec 9999 23:59:59 GMT", math.MaxInt64, true}, // Sub saturates
		{"", 0, false},
		{" ", 0, false},
		{"soon", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"1_000", 0, false},
		{"1.5", 0, false},
		{"1e3", 0, false},
		{"0x10", 0, false},
		{"10s", 0, false},
		{"1 2", 0, false},
		{"1, 2", 0, false},
		{"\n1", 0, false},
		{"1\x00", 0, false},
		{"\u0661", 0, false}, // a digit elsewhere
		{"Wed, 04 Mar 2026 12:00:30 CET", 0, false},
		{"Wed, 34 Mar 2026 12:00:30 GMT", 0, false},
		{"2026-03-04T12:00:30Z", 0, false},
	} {
		got, ok := tulle.ParseRetryAfter(c.value, noon)
		if got != c.want || ok != c.ok {
			t.Errorf("%q: got %v, %v, want %v, %v", c.value, got, ok, c.want, c.ok)
		}
	}
}

// A date relates to the instant, whatever zone the clock shows it in and
// however far off the clock is.
func TestParseRetryAfterClock(t *testing.T) {
	const date = "Wed, 04 Mar 2026 12:00:30 GMT"
	for _, c := range []struct {
		now  time.Time
		want time.Duration
	}{
		{noon.In(time.FixedZone("east", 9*3600)), 30 * time.Second},
		{noon.Add(-time.Hour), time.Hour + 30*time.Second},
		{noon.Add(time.Millisecond), 30*time.Second - time.Millisecond},
		{noon.Add(time.Hour), 0},
		{time.Time{}, math.MaxInt64},
	} {
		if got, ok := tulle.ParseRetryAfter(date, c.now); got != c.want || !ok {
			t.Errorf("at %v: got %v, %v, want %v, true", c.now, got, ok, c.want)
		}
	}
}

// delta is the grammar of delay-seconds.
var delta = regexp.MustCompile(`^[0-9]+$`)

// naiveRetryAfter is ParseRetryAfter with the tools at hand: a pattern, big
// numbers, and the three layouts of RFC 9110, 5.6.7.
func naiveRetryAfter(value string, now time.Time) (time.Duration, bool) {
	for strings.HasPrefix(value, " ") || strings.HasPrefix(value, "\t") {
		value = value[1:]
	}
	for strings.HasSuffix(value, " ") || strings.HasSuffix(value, "\t") {
		value = value[:len(value)-1]
	}
	if delta.MatchString(value) {
		n, _ := new(big.Int).SetString(value, 10)
		if most := big.NewInt(math.MaxInt64 / int64(time.Second)); n.Cmp(most) > 0 {
			n = most
		}
		return time.Duration(n.Int64()) * time.Second, true
	}
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 MST", "Mon Jan _2 15:04:05 2006"} {
		if date, err := time.Parse(layout, value); err == nil {
			if date.Before(now) {
				return 0, true
			}
			return date.Sub(now), true
		}
	}
	return 0, false
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, seed := range []string{
		"", "0", "1", "120", " 5\t", "-1", "+1", "1_0", "1.5", "soon", "99999999999999999999", "9223372036", "9223372037",
		"Wed, 04 Mar 2026 12:00:30 GMT", "Wednesday, 04-Mar-26 12:00:30 GMT", "Wed Mar  4 12:00:30 2026",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 04 Mar 2026 12:00:30 CET", "1\x00", "\u0661",
	} {
		f.Add(seed, noon.Unix())
	}
	f.Add("Wed, 04 Mar 2026 12:00:30 GMT", int64(-1<<40))
	f.Fuzz(func(t *testing.T, value string, unix int64) {
		now := time.Unix(unix%(1<<40), 0)
		got, ok := tulle.ParseRetryAfter(value, now)
		if got < 0 {
			t.Errorf("%q at %v: got %v, want 0 or more", value, now, got)
		}
		if !ok && got != 0 {
			t.Errorf("%q at %v: got %v without a value, want 0", value, now, got)
		}
		if want, wantOK := naiveRetryAfter(value, now); got != want || ok != wantOK {
			t.Errorf("%q at %v: got %v, %v, want %v, %v", value, now, got, ok, want, wantOK)
		}
	})
}

func BenchmarkParseRetryAfter(b *testing.B) {
	for name, value := range map[string]string{"seconds": "120", "date": "Wed, 04 Mar 2026 12:00:30 GMT", "garbage": "soon"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tulle.ParseRetryAfter(value, noon)
			}
		})
	}
}
