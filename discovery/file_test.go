package discovery_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// In a bubble it is the year 2000, so the files that tests write are from the
// future and each look reads them. Tests of the cheap check set the time.

// folder is a place for the files of one test.
type folder struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) folder { return folder{t, t.TempDir()} }

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

// write rewrites in place.
func (f folder) write(name, content string) {
	f.t.Helper()
	f.must(os.WriteFile(f.path(name), []byte(content), 0o600))
}

// swap renames a new file over the old one.
func (f folder) swap(name, content string) {
	f.t.Helper()
	f.write("."+name+".tmp", content)
	f.must(os.Rename(f.path("."+name+".tmp"), f.path(name)))
}

// date sets the modification time.
func (f folder) date(name string, at time.Time) {
	f.t.Helper()
	f.must(os.Chtimes(f.path(name), at, at))
}

func (f folder) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// bubble runs f over a folder in virtual time.
func bubble(t *testing.T, run func(t *testing.T, f folder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { run(t, newFolder(t)) })
}

func TestFileWaysToReplace(t *testing.T) {
	for name, replace := range map[string]func(f folder, content string){
		"in place": func(f folder, content string) { f.write("eps.json", content) },
		"rename":   func(f folder, content string) { f.swap("eps.json", content) },
		"gone and back": func(f folder, content string) {
			f.must(os.Remove(f.path("eps.json")))
			f.write("eps.json", content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f folder) {
				f.write("eps.json", `["a:80"]`)
				w := watch(t, discovery.File{Path: f.path("eps.json")})
				w.want("a:80")
				w.quiet(time.Minute)
				replace(f, `["a:80","b:80"]`)
				start := time.Now()
				w.want("a:80", "b:80")
				if d := time.Since(start); d > time.Second {
					t.Errorf("seen after %v, want at most the Interval of 1s", d)
				}
				replace(f, `["b:80","a:80"]`) // the order says nothing
				w.quiet(time.Minute)
			})
		})
	}
}

// A ConfigMap mount is a chain of links; an update swaps the one in the middle,
// while the path itself and its own modification time stay. Content and
// times are made equal in size and age so that only the target differs.
func TestFileConfigMap(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		old := time.Now().Add(-time.Hour)
		for _, v := range []struct{ dir, content string }{{"..v1", `["a:80"]`}, {"..v2", `["b:80"]`}} {
			f.must(os.Mkdir(f.path(v.dir), 0o700))
			f.write(filepath.Join(v.dir, "eps.json"), v.content)
			f.date(filepath.Join(v.dir, "eps.json"), old)
		}
		f.must(os.Symlink("..v1", f.path("..data")))
		f.must(os.Symlink(filepath.Join("..data", "eps.json"), f.path("eps.json")))
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.want("a:80")
		w.quiet(time.Minute)
		f.must(os.Symlink("..v2", f.path("..tmp")))
		f.must(os.Rename(f.path("..tmp"), f.path("..data")))
		w.want("b:80")
	})
}

// A writer that is stopped half-way does no harm, and says so once.
func TestFileHalfWritten(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps.json", `["a:80","b:80"]`)
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.want("a:80", "b:80")
		f.write("eps.json", `["a:80","b`)
		w.wantErr(f.path("eps.json"), "line 1, column 10", "unexpected end")
		w.quiet(time.Minute)
		f.write("eps.json", "")
		w.wantErr("the file is empty")
		w.quiet(time.Minute)
		f.write("eps.json", `["a:80","b:80"]`)
		w.want("a:80", "b:80") // the same set: it ends the error
		f.write("eps.json", "")
		w.wantErr("the file is empty") // as something good came between
	})
}

func TestFileMissing(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		if err := w.wantErr(f.path("eps.json"), "stat: no such file"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist in it", err)
		}
		w.quiet(time.Minute)
		f.write("eps.json", `["a:80"]`)
		w.want("a:80")
		f.must(os.Remove(f.path("eps.json")))
		w.wantErr("no such file")
		w.quiet(time.Minute)
		f.write("eps.json", `["a:80"]`)
		w.want("a:80")
	})
}

// Bad content is told again when an error of another kind was told between,
// though the content is the same.
func TestFileErrorReturns(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps.json", `[1]`)
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.wantErr("item 1")
		f.must(os.Remove(f.path("eps.json")))
		w.wantErr("no such file")
		f.write("eps.json", `[1]`)
		w.wantErr("item 1")
	})
}

func TestFileEmptyArray(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps.json", `["a:80"]`)
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.want("a:80")
		f.write("eps.json", `[]`)
		w.want()
		w.quiet(time.Minute)
	})
}

// What changes beside the Addr is a change too.
func TestFileFieldChanges(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps.json", `[{"addr":"a:80","weight":1,"labels":{"v":"1"}}]`)
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.want("a:80")
		f.write("eps.json", `["a:80"]`)
		w.want("a:80") // the labels are gone
		f.write("eps.json", `[{"addr":"a:80","weight":1}]`)
		w.quiet(time.Minute) // 1 is the default
		f.write("eps.json", `[{"addr":"a:80","weight":2}]`)
		if u := w.next(); u.Err != nil || u.Endpoints[0].Weight != 2 {
			t.Errorf("got %v, %v, want weight 2", u.Endpoints, u.Err)
		}
	})
}

// A hint is a look at once, and later ones wait 100 ms.
func TestFileRefresh(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps.json", `["a:80"]`)
		w := watch(t, discovery.File{Path: f.path("eps.json"), Interval: time.Hour})
		w.want("a:80")
		w.quiet(time.Minute)
		f.write("eps.json", `["b:80"]`)
		w.quiet(time.Minute)
		for _, wait := range []time.Duration{0, 100 * time.Millisecond} {
			start := time.Now()
			w.hint()
			u := w.next()
			if d := time.Since(start); u.Err != nil || d != wait {
				t.Errorf("hint: got %v after %v, want an update after %v", u.Err, d, wait)
			}
			f.write("eps.json", `["c:80"]`)
		}
	})
}

// A rewrite that keeps size, identity and time is seen when the file was young
// at the last look, however long ago that is.
func TestFileYoungIsReadAgain(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, time.Hour} {
		bubble(t, func(t *testing.T, f folder) {
			f.write("eps.json", `["a:80"]`)
			at := time.Now().Add(-1500 * time.Millisecond)
			f.date("eps.json", at)
			w := watch(t, discovery.File{Path: f.path("eps.json"), Interval: interval})
			w.want("a:80")
			f.write("eps.json", `["b:80"]`)
			f.date("eps.json", at)
			w.want("b:80")
		})
	}
}

// A settled file costs a stat and no read: a rewrite that puts the time back
// shows that, and that a hint reads in any case.
func TestFileSettledIsNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps.json", `["a:80"]`)
		at := time.Now().Add(-time.Hour)
		f.date("eps.json", at)
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.want("a:80")
		f.write("eps.json", `["b:80"]`)
		f.date("eps.json", at)
		w.quiet(time.Hour)
		w.hint()
		w.want("b:80")
	})
}

// Each of the facts of a stat counts alone.
func TestFileStatFacts(t *testing.T) {
	for name, change := range map[string]func(f folder, at time.Time){
		"time": func(f folder, at time.Time) {
			f.write("eps.json", `["b:80"]`)
			f.date("eps.json", at.Add(time.Nanosecond*1000))
		},
		"size": func(f folder, at time.Time) {
			f.write("eps.json", `["b:80"] `)
			f.date("eps.json", at)
		},
		"identity": func(f folder, at time.Time) {
			f.write("new", `["b:80"]`)
			f.date("new", at)
			f.must(os.Rename(f.path("new"), f.path("eps.json")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f folder) {
				f.write("eps.json", `["a:80"]`)
				at := time.Now().Add(-time.Hour)
				f.date("eps.json", at)
				w := watch(t, discovery.File{Path: f.path("eps.json")})
				w.want("a:80")
				change(f, at)
				w.want("b:80")
			})
		})
	}
}

func TestFileNotRegular(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		f.must(os.Mkdir(f.path("folder"), 0o700))
		f.must(syscall.Mkfifo(f.path("pipe"), 0o600))
		f.must(os.Symlink("loop", f.path("loop")))
		watch(t, discovery.File{Path: f.path("folder")}).wantErr("want a regular file")
		watch(t, discovery.File{Path: f.path("pipe")}).wantErr("want a regular file")
		watch(t, discovery.File{Path: f.path("loop")}).wantErr("stat: ")
	})
}

func TestFileTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T, f folder) {
		spaces := bytes.Repeat([]byte(" "), 16<<20-8)
		f.write("eps.json", `["a:80"]`+string(spaces))
		w := watch(t, discovery.File{Path: f.path("eps.json")})
		w.want("a:80")
		f.must(os.Truncate(f.path("eps.json"), 16<<20+1))
		w.wantErr("size 16777217: want at most 16777216 bytes")
	})
}

func TestFileDecode(t *testing.T) {
	lines := func(data []byte) ([]tulle.Endpoint, error) {
		if bytes.Contains(data, []byte("bad")) {
			return nil, errDown
		}
		return eps(strings.Fields(string(data))...), nil
	}
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps", "a:80\nb:80\n")
		w := watch(t, discovery.File{Path: f.path("eps"), Decode: lines})
		w.want("a:80", "b:80")
		f.write("eps", "bad")
		if err := w.wantErr(f.path("eps")); !errors.Is(err, errDown) {
			t.Errorf("got %v, want the decoder's error in it", err)
		}
		f.write("eps", "a:80 a:80")
		w.wantErr(`item 2: addr "a:80" is already item 1`)
		f.write("eps", "a:80 b:0")
		w.wantErr("item 2", `"b:0"`)
		f.write("eps", "")
		w.wantErr("the file is empty") // without asking the decoder
		f.write("eps", "\n")
		w.want()
	})
}

// A decoder that keeps and changes what it returned does not confuse the watch.
func TestFileDecodeKeepsSlice(t *testing.T) {
	set := eps("a:80")
	bubble(t, func(t *testing.T, f folder) {
		f.write("eps", "1")
		w := watch(t, discovery.File{Path: f.path("eps"), Decode: func(data []byte) ([]tulle.Endpoint, error) {
			set[0].Addr = string(data) + ":80"
			return set, nil
		}})
		w.want("1:80")
		f.write("eps", "2")
		w.want("2:80")
	})
}

func TestFileInvalid(t *testing.T) {
	for _, c := range []struct {
		file discovery.File
		want string
	}{
		{discovery.File{}, `discovery: file: Path ""`},
		{discovery.File{Path: "a\x00b"}, `discovery: file: Path "a\x00b"`},
		{discovery.File{Path: "x", Interval: -1}, "Interval -1ns: want 10ms to 1h"},
		{discovery.File{Path: "x", Interval: time.Millisecond}, "Interval 1ms"},
		{discovery.File{Path: "x", Interval: 2 * time.Hour}, "Interval 2h0m0s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, c.file)
			w.wantErr(c.want)
			if <-w.end; w.err == nil {
				t.Errorf("%+v: Watch got nil, want its error", c.file)
			}
		})
	}
}

// A real file in real time, without a bubble that helps.
func TestFileRealTime(t *testing.T) {
	f := newFolder(t)
	f.write("eps.json", `["a:80"]`)
	w := watch(t, discovery.File{Path: f.path("eps.json"), Interval: 10 * time.Millisecond})
	w.want("a:80")
	for range 10 { // faster than any granularity of times
		for _, addr := range []string{"b:80", "c:80"} {
			f.write("eps.json", `["`+addr+`"]`)
			u := w.next()
			for u.Err != nil && strings.Contains(u.Err.Error(), "empty") {
				u = w.next() // the look came between truncating and writing
			}
			if u.Err != nil || u.Endpoints[0].Addr != addr {
				t.Fatalf("got %v, %v, want %s", u.Endpoints, u.Err, addr)
			}
		}
	}
}

// BenchmarkFileUnchanged is what a file costs that nobody changes, per look.
func BenchmarkFileUnchanged(b *testing.B) {
	path := filepath.Join(b.TempDir(), "eps.json")
	if err := os.WriteFile(path, []byte(`["a:80"]`), 0o600); err != nil {
		b.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		b.Fatal(err)
	}
	look := discovery.Looker(path)
	look()
	b.ReportAllocs()
	for b.Loop() {
		look()
	}
}

// BenchmarkDecodeJSON is one change of a file of 10,000 endpoints.
func BenchmarkDecodeJSON(b *testing.B) {
	data, err := json.Marshal(numbered(10000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := discovery.DecodeJSON(data); err != nil {
			b.Fatal(err)
		}
	}
}
