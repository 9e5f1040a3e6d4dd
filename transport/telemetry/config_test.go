package telemetry_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/telemetry"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		cfg  telemetry.Config
		want string // the fields that the error names
	}{
		{telemetry.Config{}, ""},
		{telemetry.Config{Sample: 0.001, Keep: 1, EventsPerMinute: 1}, ""},
		{telemetry.Config{Sample: 1e5, Keep: 65536, EventsPerMinute: 1e6}, ""},
		{telemetry.Config{Sample: -1}, "Sample -1"},
		{telemetry.Config{Sample: math.NaN()}, "Sample NaN"},
		{telemetry.Config{Sample: 1e6, Keep: -1, EventsPerMinute: -2}, "Sample 1e+06, Keep -1, EventsPerMinute -2"},
		{telemetry.Config{Keep: 65537, EventsPerMinute: 1e6 + 1}, "Keep 65537, EventsPerMinute 1000001"},
	}
	for _, tt := range tests {
		tel, err := telemetry.New(tt.cfg)
		if (err == nil) != (tt.want == "") || (tel == nil) == (tt.want == "") {
			t.Errorf("%+v: got %v, want an error on %q", tt.cfg, err, tt.want)
		}
		for _, field := range strings.Split(tt.want, ", ") {
			if tt.want != "" && !strings.Contains(fmt.Sprint(err), "telemetry: "+field+": want") {
				t.Errorf("%+v: got %v, want %q named", tt.cfg, err, field)
			}
		}
	}
}

// Names beyond the bound share one handle.
func TestManyServices(t *testing.T) {
	tel := newTelemetry(t, telemetry.Config{})
	a := tel.Service("a")
	if tel.Service("a") != a || tel.Service("b") == a {
		t.Error("a name has not one handle")
	}
	for i := range 10_000 {
		tel.Service(fmt.Sprint(i))
	}
	if tel.Service("c") != tel.Service(telemetry.Other) || tel.Service("0") == tel.Service("1") {
		t.Error("a name over the bound does not share the handle of others, or one within does")
	}
}
