package discovery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tullemesh/tulle"
)

const (
	// maxFile bounds what one look reads into memory, in bytes.
	maxFile = 16 << 20

	// settled is the age from which a modification time proves anything. It is
	// the coarsest granularity that is still in use (FAT): a file that was
	// younger when it was read may be written again without a new time.
	settled = 2 * time.Second

	// fileFloor is the least time between two looks that hints ask for.
	fileFloor = 100 * time.Millisecond
)

// File is a Resolver over a file that somebody else writes. The zero File is
// not valid: Path is required. It holds no state, so one value may serve any
// number of watches.
//
// All usual ways to replace a file are seen: a rename over it, a rewrite in
// place, and a symbolic link anywhere on the path that points elsewhere, as
// Kubernetes does for ConfigMaps. A file that is missing, empty, half written
// or wrong is an error, reported once until it changes; the last good set stays
// in force and the next good content ends the error. An array without items is
// good content: it says that there is no endpoint.
//
// The file is polled, which works on every file system, network ones included.
// An unchanged file costs one stat per look. What cannot be seen that way is a
// rewrite in place that keeps the size and puts the old modification time back;
// a hint on refresh reads the content in any case.
type File struct {
	// Path is where the file is. Required. It must be a regular file of up to
	// 16 MiB or a symbolic link to one. A file system that hangs holds up the
	// watch, also its end.
	Path string

	// Decode turns the content into endpoints. It must be safe for concurrent
	// use when several watches run, and must not keep the bytes. The endpoints
	// must be valid and each Addr stand once, or they are refused. It is not
	// called for an empty file.
	//
	// Default (nil): a JSON array whose items are endpoints with the keys of
	// tulle.Endpoint ("addr", "name", "zone", "weight", "priority", "grpc_port", "labels"),
	// or just strings "host:port", also mixed. Unknown and repeated keys are
	// errors that name the key and its line and column.
	Decode func([]byte) ([]tulle.Endpoint, error)

	// Interval is the time from one look to the next. Hints on refresh make
	// the next look come at once, or 100 ms after the last one. Default (0):
	// 1 s. Range: 10 ms to 1 h.
	Interval time.Duration
}

// Validate returns an error that names the first field that cannot be used and
// its value, or nil. It does not look at the file.
func (f File) Validate() error {
	if f.Path == "" || strings.ContainsRune(f.Path, 0) {
		return fmt.Errorf("discovery: file: Path %q: want the path of a file", f.Path)
	}
	if f.Interval != 0 && (f.Interval < 10*time.Millisecond || f.Interval > time.Hour) {
		return fmt.Errorf("discovery: file %s: Interval %v: want 10ms to 1h, or 0 for 1s", f.Path, f.Interval)
	}
	return nil
}

// Watch reports the set in the file and looks for changes until ctx is done.
// It returns earlier only with the error of Validate.
func (f File) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	if err := f.Validate(); err != nil {
		return refuse(report, err)
	}
	if f.Interval == 0 {
		f.Interval = time.Second
	}
	w := fileWatch{File: f, report: report}
	for hinted := false; ctx.Err() == nil; {
		w.look(time.Now(), hinted)
		hinted, _ = pause(ctx, f.Interval, fileFloor, refresh)
	}
	return ctx.Err()
}

// fileWatch is one watch of a File. It belongs to the goroutine of Watch.
type fileWatch struct {
	File
	report func(Update)
	said   said

	// What the last content was and when it was read. Info is nil when there
	// is none to compare with.
	info   os.FileInfo
	readAt time.Time
	sum    [sha256.Size]byte
}

// look reads the file if it may have changed, or in any case when told to, and
// reports what is new.
func (w *fileWatch) look(now time.Time, always bool) {
	info, err := os.Stat(w.Path)
	if err == nil && !always && w.unchanged(info) {
		return
	}
	var data []byte
	if err == nil {
		info, data, err = w.read(info)
	}
	if err != nil {
		w.info = nil // when it is back it must be told again, same or not
		w.said.tellErr(w.report, fmt.Errorf("discovery: file %s: %w", w.Path, pathless(err)))
		return
	}
	sum := sha256.Sum256(data)
	same := w.info != nil && sum == w.sum
	w.info, w.readAt, w.sum = info, now, sum
	if !same {
		w.take(data)
	}
}

// unchanged says that the content that was read last is still there. The age
// that counts is that at the last read: only what is written after a file has
// settled is sure to get another time.
func (w *fileWatch) unchanged(info os.FileInfo) bool {
	return w.info != nil && os.SameFile(w.info, info) && w.info.Size() == info.Size() &&
		w.info.ModTime().Equal(info.ModTime()) && w.readAt.Sub(info.ModTime()) >= settled
}

// read returns the content and what the file was before it was read, so that a
// write that comes between shows up at the next look.
func (w *fileWatch) read(info os.FileInfo) (os.FileInfo, []byte, error) {
	if !info.Mode().IsRegular() { // opening a pipe would block
		return nil, nil, fmt.Errorf("mode %v: want a regular file", info.Mode())
	}
	f, err := os.Open(w.Path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if info.Size() > maxFile {
		return nil, nil, fmt.Errorf("size %d: want at most %d bytes", info.Size(), maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(data) > maxFile:
		return nil, nil, fmt.Errorf("want at most %d bytes", maxFile)
	case len(data) == 0:
		// What a writer leaves between truncating and writing.
		return nil, nil, errors.New("the file is empty: write [] for no endpoints")
	}
	return info, data, nil
}

// take decodes new content and reports what it says.
func (w *fileWatch) take(data []byte) {
	set, err := w.decode(data)
	if err != nil {
		w.said.tellErr(w.report, fmt.Errorf("discovery: file %s: %w", w.Path, err))
		return
	}
	w.said.tell(w.report, set, nil)
}

func (w *fileWatch) decode(data []byte) ([]tulle.Endpoint, error) {
	if w.Decode == nil {
		return decodeJSON(data)
	}
	set, err := w.Decode(data)
	if err == nil {
		err = validateSet(set)
	}
	if err != nil {
		return nil, err
	}
	// A decoder may keep what it returned; what is compared with later must
	// not change.
	return append([]tulle.Endpoint(nil), set...), nil
}

// pathless cuts the path from errors of package os, as the caller names it.
func pathless(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return err
}
