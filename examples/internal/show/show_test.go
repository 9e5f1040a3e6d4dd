package show

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// runShow is the main of an example.
func runShow(ctx context.Context, s *Show, args []string, stdout, stderr io.Writer) int {
	var o Options
	f := flag.NewFlagSet(s.Name, flag.ContinueOnError)
	f.SetOutput(stderr)
	o.Define(f)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	return s.Run(ctx, o, f.Args(), stdout, stderr)
}

func TestFlags(t *testing.T) {
	s := &Show{Name: "show", Host: newHost, Play: func(context.Context, *Stage) (*Report, error) {
		return nil, errors.New("no stage")
	}}
	tests := []struct {
		args, want string
		code       int
	}{
		{"-h", "-attempt-timeout", 0},
		{"-nonsense", "-nonsense", 2},
		{"-duration 1x", "invalid value", 2},
		{"-duration 10ms", "-duration 10ms: want 1s to 10m", 2},
		{"-duration 11m", "-duration 11m0s: want 1s to 10m", 2},
		{"-duration 1s extra", "extra", 2},
		{"-attempt-timeout 2s", "show: no stage", 1}, // what Play says
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		code := runShow(t.Context(), s, strings.Fields(tt.args), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", tt.args, code, stderr.String(), tt.code, tt.want)
		}
	}
}

// TestRun plays a show whose plain client fails now and then. Each must come out as
// it was: in the figures, in the exit code, and where it is written to.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	for _, tt := range []struct {
		name  string
		tulle error
		code  int
		rate  float64
		want  string
	}{
		{"well", nil, 0, 1, "tulle handled all of it."},
		{"fails", errors.New("no"), 1, 0, "NOT HANDLED:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &Show{Name: "show", Writes: "Puts", Refuse: "refuses", Host: newHost, Script: []Phase{{Name: "all are well"}}}
			s.Play = func(ctx context.Context, st *Stage) (*Report, error) {
				if st.AttemptTimeout() != 50*time.Millisecond {
					t.Errorf("got -attempt-timeout %v, want 50ms", st.AttemptTimeout())
				}
				mesh, err := transport.New(transport.Config{Services: map[string]transport.Service{
					"users": {Resolver: discovery.File{Path: st.File()}},
				}})
				if err != nil {
					return nil, err
				}
				defer mesh.Close()
				var addrs []string
				st.Tell(func(all []string) { addrs = all })
				plain := func(ctx context.Context, i int, _ bool) error {
					c, err := new(net.Dialer).DialContext(ctx, "tcp", addrs[i%len(addrs)])
					if err != nil {
						return err
					}
					wait(ctx, 20*time.Millisecond)
					return c.Close()
				}
				return st.Run(ctx, mesh, plain, func(context.Context, int, bool) error { return tt.tulle })
			}
			var stdout, stderr bytes.Buffer
			code := runShow(t.Context(), s, strings.Fields("-json -duration 1s -attempt-timeout 50ms"), &stdout, &stderr)
			var got map[string]map[string]float64
			if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
				t.Fatalf("got %q: %v, want one JSON object", stdout.String(), err)
			}
			if text := stderr.String(); code != tt.code || !strings.Contains(text, tt.want) {
				t.Errorf("got exit code %d, want %d and %q:\n%s", code, tt.code, tt.want, text)
			}
			calls := float64(len(schedule(1, rate, time.Second)))
			if got["plain"]["calls"] != calls || got["plain"]["success_rate"] != 1 || got["tulle"]["success_rate"] != tt.rate {
				t.Errorf("got %v, want %v calls, success 1 of plain and %v of tulle", got, calls, tt.rate)
			}
			if n, ok := got["tulle"]["puts_executed_twice"]; n != 0 || !ok {
				t.Errorf("got %v, want puts_executed_twice 0", got["tulle"])
			}
		})
	}
}

func TestCheck(t *testing.T) {
	if err := (&Show{Script: script()}).check(); err != nil {
		t.Errorf("got %v of a good script, want none", err)
	}
	s := &Show{Name: "show", Script: []Phase{
		{Name: "a", At: 0.5, Server: 3, Becomes: Slow},
		{Name: "b", At: 0.5, Server: 4, Becomes: Slow},
		{Name: "c", At: 0.6, Server: 3, Becomes: Killed},
		{Name: "d", At: 0.61, Server: Servers, Becomes: Killed},
		{Name: "e", At: 0.62, Server: -1, Becomes: Killed},
		{Name: "f", At: 0.63, Server: 1, Joins: true},
		{Name: "g", At: 0.9},
	}}
	var stdout, stderr bytes.Buffer
	if code := runShow(t.Context(), s, nil, &stdout, &stderr); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	for _, want := range []string{
		`"b": At 0.5`, `"c": Server 3`, `"d": Server 10`, `"e": Server -1`, `"f": Server 1`, `"f": At 0.63: leaves 7.4s of 20s`, `"g": At 0.9`,
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("got %q, want %q in it", stderr.String(), want)
		}
	}
}
