package admin_test

import (
	"math"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/admin"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{admin.Dur(0), "–"},
		{admin.Dur(-time.Second), "–"},
		{admin.Dur(1500), "1.50 µs"},
		{admin.Dur(12345 * time.Microsecond), "12.3 ms"},
		{admin.Dur(99960 * time.Microsecond), "100 ms"},
		{admin.Dur(1234 * time.Millisecond), "1.23 s"},
		{admin.Dur(119 * time.Second), "119 s"},
		{admin.Dur(61 * time.Minute), "61 min"},
		{admin.Dur(50 * time.Hour), "50 h"},
		{admin.Percent(-1), "–"},
		{admin.Percent(math.NaN()), "–"},
		{admin.Percent(0), "0 %"},
		{admin.Percent(0.00001), "< 0.1 %"},
		{admin.Percent(0.1234), "12.3 %"},
		{admin.Percent(0.9999999), "99.99 %"},
		{admin.Percent(0.99555), "99.55 %"},
		{admin.Percent(1), "100 %"},
		{admin.Number(-1), "–"},
		{admin.Number(0), "0"},
		{admin.Number(0.0012), "0.0012"},
		{admin.Number(3), "3"},
		{admin.Number(3.14159), "3.14"},
		{admin.Number(1234567), "1\u202f234\u202f567"},
		{admin.Number(math.Inf(1)), admin.Count(1 << 63)},
		{admin.Count(0), "0"},
		{admin.Count(999), "999"},
		{admin.Count(1000), "1\u202f000"},
		{admin.Count(math.MaxUint64), "18\u202f446\u202f744\u202f073\u202f709\u202f551\u202f615"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "br, GZIP": true, "gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=0.5": true,
		"*": true, "identity": false, "x-gzip": false, "gzip;q=x": false, "deflate, gzip;q=1.0, *;q=0": true,
	} {
		if got := admin.AcceptsGzip(header); got != want {
			t.Errorf("%q: got %v, want %v", header, got, want)
		}
	}
}

// The top of a chart is never below its peak, nor much above.
func TestNice(t *testing.T) {
	if got := admin.Nice(0); got != 1 {
		t.Errorf("0: got %v, want 1", got)
	}
	for x := 1e-6; x < 1e9; x *= 1.07 {
		if got := admin.Nice(x); got < x*(1-1e-6) || got > 1.6*x {
			t.Errorf("%v: got %v", x, got)
		}
	}
}

// A line is broken where nothing is known, and each part of the area is closed.
func TestDraw(t *testing.T) {
	path, area := admin.Draw(10*time.Second, 0, 5, -1, 10, 10)
	if want := "M180 64L210 32M270 0L300 0"; path != want {
		t.Errorf("got the line %q, want %q", path, want)
	}
	if want := "M180 64L180 64L210 32L210 64ZM270 64L270 0L300 0L300 64Z"; area != want {
		t.Errorf("got the area %q, want %q", area, want)
	}
	if path, _ := admin.Draw(2*time.Second, 1, 1, 1, 1); path != "M0 0L150 0L300 0" {
		t.Errorf("got %q, want the last two seconds", path)
	}
	if path, area := admin.Draw(time.Second); path != "" || area != "" {
		t.Errorf("got %q and %q of nothing", path, area)
	}
}

// A pause in which nobody looked is none in which there was nothing.
func TestDrawPause(t *testing.T) {
	if path, _ := admin.Draw(10*time.Second, 1, -1, -1, -1, 1); path != "M180 0M300 0" {
		t.Errorf("got %q, want two points that are not joined", path)
	}
}
