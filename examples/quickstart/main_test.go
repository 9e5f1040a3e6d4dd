package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestRun plays a short run over real sockets and reads what it says. The full
// one is the command itself. What it measures means something only if the
// machine has time for it; that the output has its form holds in any case.
func TestRun(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-json", "-duration", "2s"}, &stdout, &stderr)
	var got map[string]map[string]float64
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("got %q: %v, want one JSON object; standard error:\n%s", stdout.String(), err, stderr.String())
	}
	if keys, want := slices.Sorted(maps.Keys(got)), []string{"plain", "tulle"}; !slices.Equal(keys, want) {
		t.Fatalf("got objects %q, want %q", keys, want)
	}
	plain, tulle := got["plain"], got["tulle"]
	if calls := plain["calls"]; calls < 900 || calls > 1100 || tulle["calls"] != calls {
		t.Errorf("got %v calls of plain and %v of tulle, want about 1000 of each", calls, tulle["calls"])
	}
	for _, key := range []string{
		"calls", "success_rate", "p50_ms", "p99_ms", "attempts_per_call", "posts_executed_twice", "ejections", "breaker_opened",
	} {
		if _, ok := tulle[key]; !ok {
			t.Errorf("got %v of tulle, want %s in it", tulle, key)
		}
	}
	text := stderr.String()
	for _, want := range []string{"one never answers s9  ", "what happened", "POSTs executed twice"} {
		if !strings.Contains(text, want) {
			t.Errorf("got standard error without %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "This machine was busy") {
		t.Skip("calls began too late to judge the rest")
	}
	if want := "| s10 "; !strings.Contains(text, want) {
		t.Errorf("got standard error without %q of a view in between:\n%s", want, text)
	}
	if code != 0 || !strings.Contains(text, "tulle handled all of it.") {
		t.Errorf("got exit code %d, want 0:\n%s", code, text)
	}
	if plain["success_rate"] >= tulle["success_rate"] {
		t.Errorf("got success %v of plain and %v of tulle, want more of tulle", plain["success_rate"], tulle["success_rate"])
	}
}

// TestRunBrokenOff is the user who presses Ctrl-C: the run ends at once, with a
// reason and nothing left behind.
func TestRunBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	stop := time.AfterFunc(200*time.Millisecond, cancel)
	defer stop.Stop()
	begin := time.Now()
	if code := run(ctx, []string{"-json", "-duration", "10m"}, &stdout, &stderr); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	if got := time.Since(begin); got > time.Minute {
		t.Errorf("got an end after %v, want it at once", got)
	}
	if got, want := stderr.String(), "broken off: context canceled"; !strings.Contains(got, want) || stdout.Len() > 0 {
		t.Errorf("got %q and %q, want %q and nothing on standard output", got, stdout.String(), want)
	}
}

// TestRunFlags wants bad flags told, those that tulle refuses as well.
func TestRunFlags(t *testing.T) {
	tests := []struct {
		args, want string
		code       int
	}{
		{"-h", "-attempt-timeout", 0},
		{"-nonsense", "-nonsense", 2},
		{"-duration 10ms", "quickstart: -duration 10ms: want 1s to 10m", 2},
		{"-duration 1s extra", "extra", 2},
		{"-attempt-timeout 2s", "AttemptTimeout", 1}, // over the deadline: tulle says so
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", tt.args, code, stderr.String(), tt.code, tt.want)
		}
	}
}

// TestNewTulle wants the settings of the first program that people see to be few:
// services and deadline.
func TestNewTulle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(file, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	mesh, err := newTulle(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mesh.Close()
	client := &http.Client{Transport: mesh}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://users/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, transport.ErrNoEndpoints) {
		t.Errorf("a list without servers: got %v, want %v", err, transport.ErrNoEndpoints)
	}
	if got := mesh.Snapshot().Services; len(got) != 1 || got[0].Name != "users" {
		t.Errorf("got services %+v, want users", got)
	}
}

// TestEqualPools holds the plain client's pools against the words of its comment:
// what limits them per server, and that no proxy of the environment slows it.
func TestEqualPools(t *testing.T) {
	p := equalPools()
	if p.MaxIdleConns != 0 || p.MaxIdleConnsPerHost != 64 || p.MaxConnsPerHost != 0 || p.Proxy != nil {
		t.Errorf("got %d idle connections, %d a host, %d connections a host, want 0, 64 and 0, and no proxy",
			p.MaxIdleConns, p.MaxIdleConnsPerHost, p.MaxConnsPerHost)
	}
}
