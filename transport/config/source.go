package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settled is the age from which a modification time proves anything: the
// coarsest granularity in use (FAT). What was younger when it was read may have
// been written again without a new time.
const settled = 2 * time.Second

// A source reads the files of one load and remembers what it read, so that the
// load can be told from the next one. It reads each file once: a load sees one
// content of it.
type source struct {
	dir   string // what relative paths are relative to
	files map[string]*reading
	globs map[string]string // patterns, and what they matched
}

// A reading is what was found at a path.
type reading struct {
	data []byte
	err  error
	info os.FileInfo
	at   time.Time
	sum  [sha256.Size]byte
}

func newSource(dir string) *source {
	return &source{dir: dir, files: map[string]*reading{}, globs: map[string]string{}}
}

// abs is the path from where the program runs.
func (s *source) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.dir, path)
}

// read returns the content of a regular file of up to limit bytes.
func (s *source) read(path string, limit int64) ([]byte, error) {
	if path == "" {
		return nil, errors.New("an empty path: want the path of a file")
	}
	path = s.abs(path)
	r := s.files[path]
	if r == nil {
		r = look(path)
		s.files[path] = r
	}
	if r.err == nil && int64(len(r.data)) > limit {
		return nil, fmt.Errorf("a file of %d bytes: want at most %d", len(r.data), limit)
	}
	return r.data, r.err
}

// glob returns what a pattern matches, sorted.
func (s *source) glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(s.abs(pattern))
	s.globs[pattern] = strings.Join(found, "\x00")
	return found, err
}

// look reads a file. Its error does not name the file.
func look(path string) *reading {
	r := &reading{at: time.Now()}
	r.info, r.err = os.Stat(path)
	if r.err == nil && !r.info.Mode().IsRegular() {
		r.err = fmt.Errorf("mode %v: want a regular file", r.info.Mode()) // opening a pipe would block
	}
	if r.err == nil {
		r.data, r.err = readUpTo(path, maxFile)
	}
	if pe, ok := errors.AsType[*os.PathError](r.err); ok {
		r.err = fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	r.sum = sha256.Sum256(r.data)
	return r
}

// readUpTo reads a file that may grow at the same time.
func readUpTo(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

// changed says whether a file is another one than it was, or has another
// content. It costs one stat of each file that has settled; others are read.
func (s *source) changed() bool {
	for path, was := range s.files {
		info, err := os.Stat(path)
		if err == nil && was.err == nil && unchanged(info, was) {
			continue
		}
		is := look(path)
		if is.sum != was.sum || (is.err == nil) != (was.err == nil) {
			return true
		}
		if is.err == nil {
			is.data = nil // was.data is the same
			was.info, was.at = is.info, is.at
		}
	}
	for pattern, was := range s.globs {
		if found, _ := filepath.Glob(s.abs(pattern)); strings.Join(found, "\x00") != was {
			return true
		}
	}
	return false
}

// unchanged says that nothing can have been written since.
func unchanged(info os.FileInfo, was *reading) bool {
	return os.SameFile(was.info, info) && was.info.Size() == info.Size() &&
		was.info.ModTime().Equal(info.ModTime()) && was.at.Sub(info.ModTime()) >= settled
}

// version is a short name of the content of all files.
func (s *source) version() string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		r := s.files[path]
		fmt.Fprintf(h, "%q %x %t\n", path, r.sum, r.err == nil)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// forget lets go of the contents, which may be secret, once they are used.
func (s *source) forget() {
	for _, r := range s.files {
		r.data = nil
	}
}
