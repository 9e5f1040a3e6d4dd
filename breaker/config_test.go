package breaker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/breaker"
)

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		name string
		cfg  breaker.Config
		want []string // parts of the error; none: valid
	}{
		{"zero", breaker.Config{}, nil},
		{"least", breaker.Config{Requests: 1, FailureShare: 1e-9, Window: 10 * time.Millisecond, OpenFor: time.Millisecond, ProbeTimeout: time.Millisecond}, nil},
		{"most", breaker.Config{Requests: 1e6, FailureShare: 1, Window: time.Hour, OpenFor: time.Hour, ProbeTimeout: time.Hour}, nil},
		{"negative number", breaker.Config{Requests: -1}, []string{"breaker: Requests -1: want 1 to 1000000"}},
		{"large number", breaker.Config{Requests: 1e6 + 1}, []string{"Requests 1000001"}},
		{"negative share", breaker.Config{FailureShare: -0.1}, []string{"FailureShare -0.1"}},
		{"large share", breaker.Config{FailureShare: 50}, []string{"FailureShare 50"}},
		{"no share", breaker.Config{FailureShare: math.NaN()}, []string{"FailureShare NaN"}},
		{"short window", breaker.Config{Window: time.Millisecond}, []string{"Window 1ms: want 10ms to 1h"}},
		{"long window", breaker.Config{Window: 2 * time.Hour}, []string{"Window 2h0m0s"}},
		{"short open time", breaker.Config{OpenFor: 1}, []string{"OpenFor 1ns: want 1ms to 1h"}},
		{"negative lease", breaker.Config{ProbeTimeout: -time.Second}, []string{"ProbeTimeout -1s"}},
		{
			"all", breaker.Config{Requests: -1, FailureShare: -2, Window: -3, OpenFor: -4, ProbeTimeout: -5},
			[]string{"Requests -1", "FailureShare -2", "Window -3ns", "OpenFor -4ns", "ProbeTimeout -5ns"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.Validate()
			b, newErr := breaker.New(tt.cfg)
			if len(tt.want) == 0 {
				if err != nil || newErr != nil || b == nil {
					t.Fatalf("got %v and %v, want no error", err, newErr)
				}
				return
			}
			if err == nil || newErr == nil || b != nil {
				t.Fatalf("got %v and %v with a Breaker %v, want errors", err, newErr, b != nil)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) || !strings.Contains(newErr.Error(), part) {
					t.Errorf("got %q and %q, want %q in both", err, newErr, part)
				}
			}
		})
	}
}

func TestGroupConfigValidate(t *testing.T) {
	for _, keys := range []int{-1, 1e6 + 1} {
		cfg := breaker.GroupConfig{Config: breaker.Config{Requests: -7}, Keys: keys}
		g, err := breaker.NewGroup(cfg)
		if err == nil || g != nil {
			t.Fatalf("Keys %d: got a Group and error %v, want an error", keys, err)
		}
		for _, part := range []string{"breaker: Keys ", "Requests -7"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Keys %d: got %q, want %q in it", keys, err, part)
			}
		}
	}
	for _, keys := range []int{0, 1, 1e6} {
		if _, err := breaker.NewGroup(breaker.GroupConfig{Keys: keys}); err != nil {
			t.Errorf("Keys %d: got %v, want no error", keys, err)
		}
	}
}
