package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

// version is a file whose timeout tells it from others.
func version(n int) string {
	return fmt.Sprintf("defaults: {timeout: %ds}\nservices: {users: {target: static://127.0.0.1:1, attemptTimeout: 1s}}\n", n)
}

// A watched is a Loader at work in a bubble of virtual time.
type watched struct {
	*config.Loader
	t   *testing.T
	dir string

	mu      sync.Mutex
	applied []time.Duration // guarded by mu: the timeouts that were put in force
	refuse  error           // guarded by mu: what apply returns
}

// watch runs a test around a Loader of dir/tulle.yaml. Looks are every second,
// and content settles in 100 ms, as by default.
func watch(t *testing.T, o config.Options, files []string, test func(w *watched)) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files...)
	synctest.Test(t, func(t *testing.T) {
		l, err := config.New(filepath.Join(dir, "tulle.yaml"), o)
		if err != nil {
			t.Fatal(err)
		}
		w := &watched{Loader: l, t: t, dir: dir}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- l.Run(ctx, func(cfg transport.Config) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.refuse == nil {
					w.applied = append(w.applied, cfg.Defaults.Timeout/time.Second)
				}
				return w.refuse
			})
		}()
		synctest.Wait()
		test(w)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: got %v, want that of the context", err)
		}
	})
}

// after lets virtual time pass.
func (w *watched) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want checks which timeouts were put in force, in seconds.
func (w *watched) want(seconds ...int) {
	w.t.Helper()
	if got, want := fmt.Sprintf("%d", w.inForce()), fmt.Sprintf("%d", seconds); got != want {
		w.t.Errorf("got %s in force, want %s", got, want)
	}
}

// inForce are the timeouts that were put in force, in seconds.
func (w *watched) inForce() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.applied)
}

// answer makes apply return an error from now on.
func (w *watched) answer(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = err
}

func TestRunReloads(t *testing.T) {
	var log bytes.Buffer
	var told []config.Status
	o := config.Options{
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
		OnReload: func(s config.Status) { told = append(told, s) },
	}
	watch(t, o, []string{"tulle.yaml", version(1)}, func(w *watched) {
		first := w.Status()
		if first.Version == "" || first.LoadedAt.IsZero() || first.LastError != nil {
			t.Errorf("got %+v at first", first)
		}
		w.after(time.Minute)
		w.want()

		write(t, w.dir, "tulle.yaml", version(2))
		w.after(1200 * time.Millisecond)
		w.want(2)
		second := w.Status()
		if second.Reloads != 1 || second.Version == first.Version || w.Result().Transport.Defaults.Timeout != 2*time.Second {
			t.Errorf("got %+v after a reload", second)
		}

		// Invalid content is refused as a whole; what was in force stays.
		write(t, w.dir, "tulle.yaml", "defaults: {timeout: 3s}\nservices: {users: {}}\n")
		w.after(10 * time.Second)
		w.want(2)
		third := w.Status()
		if third.Refused != 1 || third.LastError == nil || third.LastErrorAt.IsZero() || third.Version != second.Version ||
			w.Result().Transport.Defaults.Timeout != 2*time.Second {
			t.Errorf("got %+v after a refusal", third)
		}

		// A missing file is refused, too, and the old content is no reload.
		if err := os.Remove(filepath.Join(w.dir, "tulle.yaml")); err != nil {
			t.Fatal(err)
		}
		w.after(10 * time.Second)
		if s := w.Status(); s.Refused != 2 || !errors.Is(s.LastError, os.ErrNotExist) {
			t.Errorf("got %+v without a file", s)
		}
		write(t, w.dir, "tulle.yaml", version(4))
		w.after(2 * time.Second)
		w.want(2, 4)
		if s := w.Status(); s.LastError != nil || s.LastErrorAt.IsZero() || s.Reloads != 2 {
			t.Errorf("got %+v after the file came back", s)
		}
	})
	if len(told) != 4 || told[1].LastError == nil || told[3].Reloads != 2 {
		t.Errorf("OnReload: got %+v", told)
	}
	if got := strings.Count(log.String(), "\n"); got != 4 || !strings.Contains(log.String(), "services.users: the key target is missing") {
		t.Errorf("the log says %s", log.String())
	}
}

// An error of apply refuses new content like one of the content.
func TestRunApplyRefuses(t *testing.T) {
	watch(t, config.Options{}, []string{"tulle.yaml", version(1)}, func(w *watched) {
		refusal := errors.New("not today")
		w.answer(refusal)
		write(t, w.dir, "tulle.yaml", version(2))
		w.after(10 * time.Second)
		if s := w.Status(); s.Refused != 1 || !errors.Is(s.LastError, refusal) {
			t.Errorf("got %+v", s)
		}
		if got := w.Result().Transport.Defaults.Timeout; got != time.Second {
			t.Errorf("got %v in force, want what was", got)
		}
		w.answer(nil)
		write(t, w.dir, "tulle.yaml", version(3))
		w.after(2 * time.Second)
		w.want(3)
	})
}

// A file that is written in pieces is let alone until it is whole, even where a
// piece is valid by itself.
func TestRunTornWrite(t *testing.T) {
	watch(t, config.Options{}, []string{"tulle.yaml", version(1)}, func(w *watched) {
		path := filepath.Join(w.dir, "tulle.yaml")
		whole := "defaults: {timeout: 2s}\nservices:\n  a: {target: static://a}\n  b: {target: static://b}\n"
		// Just before the next look; the pieces come 60 ms apart.
		w.after(940 * time.Millisecond)
		for n := 0; n < len(whole); n += 12 {
			if err := os.WriteFile(path, []byte(whole[:n]), 0o600); err != nil {
				t.Fatal(err)
			}
			w.after(60 * time.Millisecond)
			w.want()
		}
		write(t, w.dir, "tulle.yaml", whole)
		w.after(time.Second)
		w.want(2)
		if s := w.Status(); s.Refused != 0 || s.Reloads != 1 || len(w.Result().Transport.Services) != 2 {
			t.Errorf("got %+v, want one reload and no refusal", s)
		}
	})
}

// A storm of changes is one reload, and at the latest after MaxSettle it is one.
func TestRunStorm(t *testing.T) {
	watch(t, config.Options{}, []string{"tulle.yaml", version(1)}, func(w *watched) {
		for i := range 20 {
			write(t, w.dir, "tulle.yaml", version(10+i))
			w.after(50 * time.Millisecond)
		}
		w.want()
		w.after(time.Second)
		w.want(29)

		for i := range 200 { // ten seconds
			write(t, w.dir, "tulle.yaml", version(100+i))
			w.after(50 * time.Millisecond)
		}
		if n := len(w.inForce()); n < 2 || n > 4 {
			t.Errorf("got %d reloads in a storm of 10 s, want 1 or 2: %d", n-1, w.inForce())
		}
		w.after(time.Second)
		if got := w.inForce(); got[len(got)-1] != 299 {
			t.Errorf("got %d, want 299 at last", got)
		}
	})
}

// A change that is taken back before it counts is none.
func TestRunTakenBack(t *testing.T) {
	watch(t, config.Options{Settle: time.Second}, []string{"tulle.yaml", version(1)}, func(w *watched) {
		write(t, w.dir, "tulle.yaml", "half")
		w.after(1500 * time.Millisecond)
		write(t, w.dir, "tulle.yaml", version(1))
		w.after(10 * time.Second)
		w.want()
		if s := w.Status(); s.Refused != 0 || s.Reloads != 0 {
			t.Errorf("got %+v, want nothing", s)
		}
	})
}

// All ways to replace a file are seen.
func TestRunWaysToReplace(t *testing.T) {
	replace := map[string]func(t *testing.T, dir string){
		"rename": func(t *testing.T, dir string) {
			write(t, dir, "new", version(2))
			if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "tulle.yaml")); err != nil {
				t.Fatal(err)
			}
		},
		"rewrite in place": func(t *testing.T, dir string) { write(t, dir, "tulle.yaml", version(2)) },
		"same size and time": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "tulle.yaml")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, "tulle.yaml", version(2))
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
		"removed and written": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "tulle.yaml")); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "tulle.yaml", version(2))
		},
	}
	for name, change := range replace {
		t.Run(name, func(t *testing.T) {
			watch(t, config.Options{}, []string{"tulle.yaml", version(1)}, func(w *watched) {
				change(t, w.dir)
				w.after(2 * time.Second)
				w.want(2)
			})
		})
	}
}

// Kubernetes mounts a ConfigMap as links to a folder that is itself behind a
// link, and replaces that one link: all files change at once.
func TestRunConfigMap(t *testing.T) {
	dir := t.TempDir()
	publish := func(n int) {
		data := fmt.Sprintf("..2026_%02d", n)
		write(t, filepath.Join(dir, data), "tulle.yaml", version(n)+"refuseAddrs: ['${file:net}']\n", "net", fmt.Sprintf("10.%d.0.0/16\n", n))
		if err := os.Symlink(data, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish(1)
	for _, name := range []string{"tulle.yaml", "net"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		l, err := config.New(filepath.Join(dir, "tulle.yaml"), config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		done := make(chan error)
		go func() {
			done <- l.Run(ctx, func(cfg transport.Config) error {
				got = append(got, fmt.Sprint(cfg.Defaults.Timeout, cfg.RefuseAddrs))
				return nil
			})
		}()
		for n := 2; n < 6; n++ {
			publish(n)
			if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%02d", n-1))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		cancel()
		<-done
		want := "[2s [10.2.0.0/16] 3s [10.3.0.0/16] 4s [10.4.0.0/16] 5s [10.5.0.0/16]]"
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s: each time both files together", got, want)
		}
		if s := l.Status(); s.Refused != 0 {
			t.Errorf("got %+v, want nothing refused", s)
		}
	})
}

// Files that a file leads to are part of it.
func TestRunReferencedFiles(t *testing.T) {
	files := []string{"tulle.yaml", version(1) + "refuseAddrs: ['${file:net}']\n", "net", "10.0.0.0/8"}
	watch(t, config.Options{}, files, func(w *watched) {
		before := w.Status().Version
		write(t, w.dir, "net", "10.1.0.0/16")
		w.after(2 * time.Second)
		w.want(1)
		if got := w.Result().Transport.RefuseAddrs[0].String(); got != "10.1.0.0/16" || w.Status().Version == before {
			t.Errorf("got %v and version %s, want the new network and a new version", got, w.Status().Version)
		}
		if err := os.Remove(filepath.Join(w.dir, "net")); err != nil {
			t.Fatal(err)
		}
		w.after(2 * time.Second)
		if s := w.Status(); s.Refused != 1 {
			t.Errorf("got %+v, want a refusal of a missing file", s)
		}
	})
}

// One Run at a time, and a second one after it.
func TestRunTwice(t *testing.T) {
	watch(t, config.Options{}, []string{"tulle.yaml", version(1)}, func(w *watched) {
		err := w.Run(t.Context(), func(transport.Config) error { return nil })
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it runs already", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "bad.yaml", "no")
	for _, name := range []string{"bad.yaml", "nowhere.yaml", "."} {
		if l, err := config.New(filepath.Join(dir, name), config.Options{}); err == nil || l != nil {
			t.Errorf("%s: got %v, want an error", name, err)
		}
		if tr, _, err := config.Open(filepath.Join(dir, name), config.Options{}); err == nil || tr != nil {
			t.Errorf("Open %s: got %v, want an error", name, err)
		}
		if r, err := config.Load(filepath.Join(dir, name), config.Options{}); err == nil || r != nil {
			t.Errorf("Load %s: got %v, want an error", name, err)
		}
	}
	if _, err := config.New(filepath.Join(dir, "nowhere.yaml"), config.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist in it", err)
	}
}

func TestStatusJSON(t *testing.T) {
	s := config.Status{Version: "v", LoadedAt: time.Unix(1, 0).UTC(), Reloads: 2}
	good, err := json.Marshal(s)
	if err != nil || string(good) != `{"version":"v","loaded_at":"1970-01-01T00:00:01Z","reloads":2,"refused":0}` {
		t.Errorf("got %s, %v", good, err)
	}
	s.LastError, s.LastErrorAt = errors.New("why"), time.Unix(2, 0).UTC()
	bad, err := json.Marshal(s)
	if err != nil || !strings.Contains(string(bad), `"last_error":"why"`) || !strings.Contains(string(bad), `"last_error_at":"1970-01-01T00:00:02Z"`) {
		t.Errorf("got %s, %v", bad, err)
	}
}
