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
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

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
	calls := float64(len(schedule(1, rate, 2*time.Second)))
	plain, tulle := got["plain"], got["tulle"]
	if plain["calls"] != calls || tulle["calls"] != calls {
		t.Errorf("got %v calls of plain and %v of tulle, want %v of each", plain["calls"], tulle["calls"], calls)
	}
	text := stderr.String()
	for _, want := range []string{"one is NOT_SERVING s2  ", "| s10 ", "what happened", "writes executed twice"} {
		if !strings.Contains(text, want) {
			t.Errorf("got standard error without %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "This machine was busy") {
		t.Skip("calls began too late to judge the rest")
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

func TestRunFlags(t *testing.T) {
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

// TestPublish wants the file to hold, at any moment, a list that tulle can read.
func TestPublish(t *testing.T) {
	s := &stage{file: filepath.Join(t.TempDir(), "users.json"), list: new(addresses)}
	defer s.close()
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	join := &phase{name: "join", event: (*group).start, server: servers}
	for want := servers; want <= servers+1; want++ {
		data, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		var list []struct{ Addr, Name string }
		if err := json.Unmarshal(data, &list); err != nil || len(list) != want {
			t.Fatalf("got %s (%v), want %d endpoints", data, err, want)
		}
		if got := s.list.state.Endpoints; len(got) != want || got[want-1].Addresses[0].Addr == list[want-1].Addr {
			t.Errorf("got %v for the plain client, want %d addresses of its own servers", got, want)
		}
		if err := s.begin(join); (err == nil) != (want == servers) {
			t.Errorf("joining server %d: got %v, want room for one", want+1, err)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(s.file)); err != nil || len(files) != 1 {
		t.Errorf("got %v (%v) next to the list, want the list alone", files, err)
	}
}

// TestScript wants the events in the order of time, each at another server, and
// time enough for the newcomer in a run of the default length.
func TestScript(t *testing.T) {
	const d = 20 * time.Second
	hit := map[int]bool{}
	last := time.Duration(-1)
	for _, p := range script() {
		at := p.begins(d)
		if at <= last || at > d*3/4 {
			t.Errorf("%s: got %v after %v, want them in order, with time left", p.name, at, last)
		}
		last = at
		if p.event == nil {
			continue
		}
		if hit[p.server] || p.server > servers {
			t.Errorf("%s: got server %d, want one that nothing else happens to", p.name, p.server)
		}
		hit[p.server] = true
		if p.joins && d-at < fileTime+newcomerTime+measureTime {
			t.Errorf("%s: got %v left, want %v", p.name, d-at, fileTime+newcomerTime+measureTime)
		}
	}
	if len(hit) != 6 {
		t.Errorf("got %d events, want 6", len(hit))
	}
}

// idleStage is a stage without servers, for scripts of the test's own.
func idleStage(t *testing.T, d time.Duration, phases ...phase) *stage {
	t.Helper()
	return &stage{
		options: options{duration: d}, phases: phases, list: new(addresses),
		users: new(group), twins: new(group), file: filepath.Join(t.TempDir(), "users.json"),
	}
}

// TestHappen wants each event at its time and to both groups, and none after the
// run was broken off.
func TestHappen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		var hits, begun []time.Duration
		hit := func(*group) error {
			hits = append(hits, time.Since(start))
			return nil
		}
		s := idleStage(t, 10*time.Second, phase{}, phase{at: 0.25, event: hit}, phase{at: 0.5, event: hit}, phase{at: 0.9, event: hit})
		if err := s.happen(ctx, start, func(int) { begun = append(begun, time.Since(start)) }); err != nil {
			t.Fatal(err)
		}
		const a, b = 2500 * time.Millisecond, 5 * time.Second
		if want := []time.Duration{a, a, b, b}; !slices.Equal(hits, want) {
			t.Errorf("got events at %v, want them at %v", hits, want)
		}
		if want := []time.Duration{0, a, b}; !slices.Equal(begun, want) {
			t.Errorf("got phases at %v, want them at %v", begun, want)
		}
	})
}

// TestHappenFails wants an event that fails to end the run with its name.
func TestHappenFails(t *testing.T) {
	no := errors.New("no")
	s := idleStage(t, time.Second, phase{name: "one joins", event: func(*group) error { return no }})
	begun := func(i int) { t.Errorf("got phase %d begun, want none", i) }
	if err := s.happen(t.Context(), time.Now(), begun); !errors.Is(err, no) || !strings.Contains(err.Error(), "one joins: ") {
		t.Errorf("got %v, want %v with the name of the phase", err, no)
	}

	s = idleStage(t, time.Second, phase{name: "one joins", event: func(*group) error { return nil }})
	s.file = filepath.Join(s.file, "not", "there")
	if err := s.happen(t.Context(), time.Now(), begun); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a list that cannot be written: got %v, want %v", err, os.ErrNotExist)
	}
}

// TestNewTulle wants the settings of the first program that people see to be few:
// services and deadline.
func TestNewTulle(t *testing.T) {
	s := idleStage(t, time.Second)
	if err := s.publish(); err != nil {
		t.Fatal(err)
	}
	mesh, err := newTulle(s.file, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mesh.Close()
	cc, err := connectTulle(mesh)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	err = newClient("tulle", cc).send(t.Context(), 1, false)
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
	g, err := newGroup(1, 3, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	list := new(addresses)
	list.set([]string{g.servers[0].addr, g.servers[1].addr, g.servers[2].addr})
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
				t.Fatal(err)
			}
			names[out.Hostname]++
		}
		return names
	}
	until := func(want map[string]int) {
		t.Helper()
		var names map[string]int
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			if names = got(); maps.Equal(names, want) {
				return
			}
		}
		t.Errorf("got calls %v, want %v", names, want)
	}
	until(map[string]int{"s1": 10, "s2": 10, "s3": 10})
	g.servers[1].become(leaving)
	until(map[string]int{"s1": 15, "s3": 15})
	g.servers[0].become(silent)
	g.servers[2].become(silent)
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
