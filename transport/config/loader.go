package config

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// A Loader keeps up with a file. It is safe for concurrent use.
//
// The files are polled: the file itself, and all that it leads to, such as
// certificates and files of references. That sees every way to replace a file
// (a rename over it, a rewrite in place, the symbolic links of a mounted
// ConfigMap or Secret), also on network file systems and in containers, where
// notifications of the kernel are lost or name the wrong file, and costs a few
// microseconds a second.
type Loader struct {
	refused func(error) // told of what cannot be used, or nil
	path    string
	options Options

	running sync.Mutex // held by Run
	status  atomic.Pointer[Status]
	result  atomic.Pointer[Result] // what is in force

	// These belong to New, and then to Run.
	last *loaded // what was loaded last, in force or refused
}

// A Status tells what became of a file.
type Status struct {
	// Version is a short name of the content that is in force, and LoadedAt when
	// it came into force.
	Version  string    `json:"version"`
	LoadedAt time.Time `json:"loaded_at"`

	// LastError is why the present content of the files is refused, nil while it
	// is in force; LastErrorAt is when that was last found, and stays.
	LastError   error     `json:"-"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`

	// Reloads is how often new content came into force after the first, and
	// Refused how often it was refused.
	Reloads uint64 `json:"reloads"`
	Refused uint64 `json:"refused"`
}

// MarshalJSON writes the text of LastError as last_error.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status // without this method
	out := struct {
		plain
		LastError string `json:"last_error,omitempty"`
	}{plain: plain(s)}
	if s.LastError != nil {
		out.LastError = s.LastError.Error()
	}
	return json.Marshal(out)
}

// New loads a file and returns a Loader that can keep up with it. Its error is
// that of Load.
func New(path string, o Options) (*Loader, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &Loader{path: path, options: o.withDefaults()}
	l.last = loadFile(path, &l.options, nil)
	if l.last.err != nil {
		return nil, l.last.err
	}
	l.result.Store(l.last.result)
	l.status.Store(&Status{Version: l.last.result.Version, LoadedAt: time.Now()})
	return l, nil
}

// Open loads a file, makes a Transport of it, and a Loader that keeps it up to
// date while its Run runs:
//
//	go loader.Run(ctx, t.Update)
//
// The caller closes the Transport. Its Snapshot and metrics tell of files that were
// refused too; a program that uses New tells them by Transport.Refused.
func Open(path string, o Options) (*transport.Transport, *Loader, error) {
	l, err := New(path, o)
	if err != nil {
		return nil, nil, err
	}
	t, err := transport.New(l.Result().Transport)
	if err != nil {
		return nil, nil, err
	}
	l.refused = t.Refused
	return t, l, nil
}

// Result is what is in force.
func (l *Loader) Result() *Result { return l.result.Load() }

// Status tells what became of the file so far.
func (l *Loader) Status() Status { return *l.status.Load() }

// Run looks at the files until ctx is done, and then returns its error. It calls
// apply, mostly Transport.Update, with what they say whenever that has changed
// and can be used; an error of apply refuses it. What cannot be used is refused
// as a whole, and what was in force stays. It returns at once with another error
// if Run is running already. No goroutine is left.
func (l *Loader) Run(ctx context.Context, apply func(transport.Config) error) error {
	if !l.running.TryLock() {
		return fmt.Errorf("config: %s: Run is running already", l.path)
	}
	defer l.running.Unlock()
	timer := time.NewTimer(l.options.Interval)
	defer timer.Stop()
	var next *candidate
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		pause := l.options.Interval
		if next = l.look(next, time.Now()); next != nil {
			pause = min(pause, l.options.Settle)
			if next.ripe {
				l.decide(next.loaded, apply)
				next = nil
			}
		}
		timer.Reset(pause)
	}
}

// A candidate is new content of the files that may not have settled yet.
type candidate struct {
	loaded *loaded
	since  time.Time // when the files began to change
	read   time.Time // when the content was read
	ripe   bool      // it can be decided on
}

// look returns the content of the files if it is new, nil if it is not. A file
// that is half written is let alone: content counts once a second look, Settle
// later, finds the same. Files that are replaced again and again never come to
// rest, so after MaxSettle good content counts at the first look.
func (l *Loader) look(c *candidate, now time.Time) *candidate {
	if c == nil {
		if !l.last.source.changed() {
			return nil
		}
		c = &candidate{since: now}
	}
	if c.loaded == nil || c.loaded.source.changed() {
		c.loaded, c.read = loadFile(l.path, &l.options, l.last.memo), now
	}
	rested := now.Sub(c.read) >= l.options.Settle
	late := now.Sub(c.since) >= l.options.MaxSettle && c.loaded.err == nil
	c.ripe = rested || late
	return c
}

// decide puts new content in force, or refuses it.
func (l *Loader) decide(next *loaded, apply func(transport.Config) error) {
	last := l.last
	l.last = next
	if next.source.version() == last.source.version() {
		if next.memo = last.memo; next.err == nil {
			next.result = last.result
		}
		return // the files are again what they were
	}
	if next.err == nil {
		next.err = apply(next.result.Transport)
	} else if l.refused != nil {
		l.refused(next.err)
	}
	status := l.Status()
	if next.err != nil {
		next.memo = last.memo
		status.LastError, status.LastErrorAt, status.Refused = next.err, time.Now(), status.Refused+1
	} else {
		l.result.Store(next.result)
		status.Version, status.LoadedAt, status.LastError = next.result.Version, time.Now(), nil
		status.Reloads++
	}
	l.status.Store(&status)
	l.tell(&status)
}

// tell hands on what was decided.
func (l *Loader) tell(s *Status) {
	if log := l.options.Logger; log != nil {
		if s.LastError != nil {
			log.Error("configuration refused, the old one stays in force", "file", l.path, "version", s.Version, "error", s.LastError)
		} else {
			log.Info("configuration reloaded", "file", l.path, "version", s.Version)
		}
	}
	if l.options.OnReload != nil {
		l.options.OnReload(*s)
	}
}
