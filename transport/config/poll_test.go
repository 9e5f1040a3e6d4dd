package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkLook is what a look at three files that have not changed costs.
func BenchmarkLook(b *testing.B) {
	dir := b.TempDir()
	s := newSource(dir)
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{"tulle.yaml", "cert.pem", "key.pem"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(path, long, long); err != nil {
			b.Fatal(err)
		}
		if _, err := s.read(name, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if s.changed() {
			b.Fatal("changed")
		}
	}
}

// An unchanged file that has settled is not read again; one that is younger is.
func TestChangedReadsOnlyWhatMayHaveChanged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	set := func(text string, age time.Duration) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	fixed := func() *source {
		s := newSource(dir)
		if _, err := s.read("f", 10); err != nil {
			t.Fatal(err)
		}
		return s
	}
	set("one", time.Hour)
	s := fixed()
	if s.changed() {
		t.Error("unchanged: got a change")
	}
	// The same size and time: what has settled is believed to be the same. That
	// is the price of one stat per look.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	set("two", 0)
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if s.changed() {
		t.Error("a file that has settled was read again")
	}
	set("six", 0)
	s = fixed()
	info, err = os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	set("ten", 0)
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if !s.changed() {
		t.Error("a young file was not read again")
	}
}
