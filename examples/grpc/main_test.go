package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/examples/internal/show"
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
		"calls", "success_rate", "p50_ms", "p99_ms", "attempts_per_call", "writes_executed_twice", "ejections", "breaker_opened",
	} {
		if _, ok := tulle[key]; !ok {
			t.Errorf("got %v of tulle, want %s in it", tulle, key)
		}
	}
	text := stderr.String()
	for _, want := range []string{"one is NOT_SERVING s2  ", "what happened", "writes executed twice"} {
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
	// In two seconds the newcomer takes no share yet, so that those which are well
	// are too few for the share that one endpoint may take: some calls are lost.
	if handled := strings.Contains(text, "tulle handled all of it."); handled != (code == 0) {
		t.Errorf("got exit code %d:\n%s", code, text)
	}
	if lost, most := 1-tulle["success_rate"], (1-plain["success_rate"])/4; lost > most {
		t.Errorf("got %.3f of tulle's calls lost, want at most %.3f, a quarter of plain's:\n%s", lost, most, text)
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
		{"-duration 10ms", "grpc: -duration 10ms: want 1s to 10m", 2},
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
	cc, err := connectTulle(mesh)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	err = sender(cc)(t.Context(), 1, false)
	if !errors.Is(err, transport.ErrNoEndpoints) {
		t.Errorf("a list without servers: got %v, want %v", err, transport.ErrNoEndpoints)
	}
	if got := mesh.Snapshot().Services; len(got) != 1 || got[0].Name != "users" {
		t.Errorf("got services %+v, want users", got)
	}
}

// TestConnectPlain wants the plain client to have what gRPC offers: calls in turn, a
// timeout, and none at servers that say that they are not serving.
func TestConnectPlain(t *testing.T) {
	var servers []*show.Server
	var addrs []string
	for _, name := range []string{"s1", "s2", "s3"} {
		s := show.NewServer(name, 1, newHost)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		servers, addrs = append(servers, s), append(addrs, s.Addr())
	}
	list := new(addresses)
	list.set(addrs)
	cc, err := connectPlain(list)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if err := connected(t.Context(), cc); err != nil {
		t.Fatal(err)
	}
	rpc := testpb.NewTestServiceClient(cc)
	got := func() map[string]int {
		names := map[string]int{}
		for range 30 {
			out, err := rpc.CacheableUnaryCall(t.Context(), &testpb.SimpleRequest{})
			if err != nil {
				names[err.Error()]++ // its deadline is short for a machine that stands still
				continue
			}
			names[out.Hostname]++
		}
		return names
	}
	until := func(want map[string]int) {
		t.Helper()
		var names map[string]int
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
			if names = got(); maps.Equal(names, want) {
				return
			}
		}
		t.Errorf("got calls %v, want %v", names, want)
	}
	until(map[string]int{"s1": 10, "s2": 10, "s3": 10})
	servers[1].Become(show.Leaving)
	until(map[string]int{"s1": 15, "s3": 15})
	servers[0].Become(show.Silent)
	servers[2].Become(show.Silent)
	if _, err := rpc.CacheableUnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
}

// TestConnected wants an end also where there is nobody.
func TestConnected(t *testing.T) {
	list := new(addresses)
	list.set([]string{"127.0.0.1:1"})
	cc, err := connectPlain(list)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := connected(ctx, cc); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
