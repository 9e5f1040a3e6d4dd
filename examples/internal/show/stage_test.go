package show

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestPublish wants the file to hold, at any moment, a list that tulle can read.
func TestPublish(t *testing.T) {
	s := &Stage{show: &Show{Host: newHost}, file: filepath.Join(t.TempDir(), "users.json")}
	defer s.close()
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	var told []string
	s.Tell(func(addrs []string) { told = addrs })
	join := &Phase{Name: "join", Server: Servers, Joins: true}
	for want := Servers; want <= Servers+1; want++ {
		data, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		var list []struct{ Addr, Name string }
		if err := json.Unmarshal(data, &list); err != nil || len(list) != want {
			t.Fatalf("got %s (%v), want %d endpoints", data, err, want)
		}
		if got := told; len(got) != want || got[want-1] == list[want-1].Addr {
			t.Errorf("got %q for the plain client, want %d addresses of its own servers", got, want)
		}
		if err := s.begin(join); (err == nil) != (want == Servers) {
			t.Errorf("joining server %d: got %v, want room for one", want+1, err)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(s.file)); err != nil || len(files) != 1 {
		t.Errorf("got %v (%v) next to the list, want the list alone", files, err)
	}
}

// idleStage is a stage without servers, for scripts of the test's own.
func idleStage(t *testing.T, d time.Duration, phases ...Phase) *Stage {
	t.Helper()
	return &Stage{
		options: Options{duration: d}, show: &Show{Script: phases},
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
		s := idleStage(t, 10*time.Second, Phase{}, Phase{At: 0.25, Becomes: Slow}, Phase{At: 0.5, Becomes: Silent}, Phase{At: 0.9, Becomes: Leaving})
		for _, g := range []*group{s.users, s.twins} {
			g.servers = []*Server{{Changed: func(Mode) { hits = append(hits, time.Since(start)) }}}
		}
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
	s := idleStage(t, time.Second, Phase{Name: "one joins", Joins: true})
	begun := func(i int) { t.Errorf("got phase %d begun, want none", i) }
	if err := s.happen(t.Context(), time.Now(), begun); err == nil || err.Error() != "one joins: all servers are started" {
		t.Errorf("got %v, want the name of the phase and the reason", err)
	}

	s = idleStage(t, time.Second, Phase{Name: "one slows", Becomes: Slow})
	s.users.servers, s.twins.servers = []*Server{{}}, []*Server{{}}
	s.file = filepath.Join(s.file, "not", "there")
	if err := s.happen(t.Context(), time.Now(), begun); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a list that cannot be written: got %v, want %v", err, os.ErrNotExist)
	}
}
