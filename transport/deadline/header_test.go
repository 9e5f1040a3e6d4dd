package deadline_test

import (
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

// longest is the most that a time.Duration can hold.
const longest = time.Duration(math.MaxInt64)

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{math.MinInt64, "0n"},
		{-1, "0n"},
		{0, "0n"},
		{1, "0u"}, // under a microsecond is none
		{999, "0u"},
		{time.Microsecond, "1u"},
		{1999, "1u"},
		{time.Millisecond, "1000u"},
		{1234567 * time.Microsecond, "1234567u"},
		{99999999 * time.Microsecond, "99999999u"},
		{100 * time.Second, "100000m"},
		{100*time.Second - 1, "99999999u"},
		{100*time.Second + 999*time.Microsecond, "100000m"},
		{99999999 * time.Millisecond, "99999999m"},
		{100000 * time.Second, "100000S"},
		{99999999 * time.Second, "99999999S"},
		{100000000 * time.Second, "1666666M"},
		{100000000 * time.Minute, "1666666H"},
		{longest, "2562047H"},
	} {
		if got := deadline.Format(c.d); got != c.want {
			t.Errorf("%v: got %q, want %q", c.d, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		s    string
		want time.Duration
		err  string // part of the error
	}{
		{"0n", 0, ""},
		{"1n", 1, ""},
		{"00000001n", 1, ""},
		{"99999999u", 99999999 * time.Microsecond, ""},
		{"250m", 250 * time.Millisecond, ""},
		{"2S", 2 * time.Second, ""},
		{"3M", 3 * time.Minute, ""},
		{"4H", 4 * time.Hour, ""},
		{"2562047H", 2562047 * time.Hour, ""},
		{"2562048H", longest, ""},
		{"99999999H", longest, ""},
		{"99999999M", 99999999 * time.Minute, ""},
		{"", 0, "want 1 to 8 digits"},
		{"S", 0, "want 1 to 8 digits"},
		{"1", 0, "want 1 to 8 digits"},
		{"123456789S", 0, `deadline: timeout "123456789S": want 1 to 8 digits`},
		{"-1S", 0, `'-' is no digit`},
		{"+1S", 0, `'+' is no digit`},
		{"1.5S", 0, `'.' is no digit`},
		{" 1S", 0, `' ' is no digit`},
		{"1 S", 0, `' ' is no digit`},
		{"1_0S", 0, `'_' is no digit`},
		{"\u0661S", 0, "is no digit"},
		{"10s", 0, `unit 's'`},
		{"10h", 0, `unit 'h'`},
		{"10", 0, `unit '0'`},
		{"10\x00", 0, "unit"},
	} {
		got, err := deadline.Parse(c.s)
		if got != c.want || c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: got %v, %v, want %v, %q", c.s, got, err, c.want, c.err)
		}
	}
}

// grpcTimeout is the grammar of grpc-timeout.
var grpcTimeout = regexp.MustCompile(`^[0-9]{1,8}[HMSmun]$`)

// naiveParse is Parse with the tools at hand.
func naiveParse(s string) (time.Duration, bool) {
	if !grpcTimeout.MatchString(s) {
		return 0, false
	}
	unit := map[byte]int64{'n': 1, 'u': 1e3, 'm': 1e6, 'S': 1e9, 'M': 60e9, 'H': 3600e9}[s[len(s)-1]]
	n, _ := new(big.Int).SetString(s[:len(s)-1], 10)
	if n.Mul(n, big.NewInt(unit)); !n.IsInt64() {
		return longest, true
	}
	return time.Duration(n.Int64()), true
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "0n", "1u", "250m", "2S", "3M", "4H", "99999999H", "123456789S", "-1S", "1", "S", "10s", "1.5S", "\u0661S", "1\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := deadline.Parse(s)
		if want, ok := naiveParse(s); got != want || (err == nil) != ok {
			t.Fatalf("%q: got %v, %v, want %v, %v", s, got, err, want, ok)
		}
		if err != nil {
			return
		}
		// What was read and is passed on does not grow.
		again, err := deadline.Parse(deadline.Format(got))
		if err != nil || again > got {
			t.Errorf("%q: got %v, %v when passed on, want at most %v", s, again, err, got)
		}
	})
}

// FuzzFormat wants what is written to be readable, never longer than what it was
// made of, and shorter by less than the coarsest unit that was needed.
func FuzzFormat(f *testing.F) {
	for _, d := range []int64{math.MinInt64, -1, 0, 1, 999, 1000, 1e6, 1e9, 1e11 - 1, 1e11, 1e14, 1e17, 6e18, math.MaxInt64} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		d := time.Duration(n)
		s := deadline.Format(d)
		got, err := deadline.Parse(s)
		if err != nil || !grpcTimeout.MatchString(s) {
			t.Fatalf("%v: got %q, %v, want the syntax of grpc-timeout", d, s, err)
		}
		most := max(d, 0)
		// Eight digits resolve one part in a hundred million, at a step of
		// up to 1000 between two units, and a microsecond is the finest.
		if slack := most/99999 + time.Microsecond; got > most || most-got >= slack {
			t.Errorf("%v: got %q, %v, want at most that and within %v of it", d, s, got, slack)
		}
	})
}

func BenchmarkFormat(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		deadline.Format(1234567 * time.Microsecond)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := deadline.Parse("1234567u"); err != nil {
			b.Fatal(err)
		}
	}
}
