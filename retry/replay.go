package retry

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// errRevoked is what an attempt reads that is over and reads on.
var errRevoked = errors.New("retry: request body read after its attempt ended")

// A Replay gives each attempt of one call the request's body. With GetBody the
// attempts get bodies of their own and nothing is kept here. Without it the
// caller's body goes out as it is, and a further attempt is possible while none
// of it has been read, or while all that was read has been kept.
//
// Its methods are given the caller's request, always the same one, which is not
// changed. Attempts are made one after the other; the sender of an attempt that
// is over may still hold its body.
type Replay struct {
	shared *sharedBody // nil: GetBody, or no body
	used   bool        // the caller's own body has been handed out
}

// Start comes first. Limit is the most bytes that are kept of a body without
// GetBody.
func (p *Replay) Start(req *http.Request, limit int) {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		p.shared = &sharedBody{inner: req.Body, limit: limit}
	}
}

// Kept says that what is read of a body without GetBody is kept.
func (p *Replay) Kept() bool { return p.shared != nil && p.shared.limit > 0 }

// Spent says that there is no body for another attempt.
func (p *Replay) Spent() bool { return p.shared != nil && p.shared.spent() }

// Failed says that reading the caller's body failed, so that the attempt that
// sent it is nobody's fault.
func (p *Replay) Failed() bool { return p.shared != nil && p.shared.failed() }

// Next returns the body for the next attempt, nil when the request has none.
// The sender closes it.
func (p *Replay) Next(req *http.Request) (io.ReadCloser, error) {
	if p.shared != nil {
		return p.shared.view()
	}
	if !p.used || req.Body == nil || req.Body == http.NoBody {
		p.used = true
		return req.Body, nil
	}
	return req.GetBody()
}

// Finish says that no further attempt will be made, so that the caller's body
// is closed as soon as the last sender closes it, and now if none ever got it.
func (p *Replay) Finish(req *http.Request) {
	if p.shared != nil {
		p.shared.finish()
	} else if !p.used && req.Body != nil {
		p.used = true
		_ = req.Body.Close() // nothing was sent of it
	}
}

// sharedBody is a caller's body that can be read only once.
type sharedBody struct {
	inner io.ReadCloser
	limit int

	mu      sync.Mutex
	gen     int    // guarded by mu: number of views handed out
	reading bool   // guarded by mu: a Read of inner is running
	kept    []byte // guarded by mu: all that was read, while that is within limit
	lost    bool   // guarded by mu: something was read that was not kept
	err     error  // guarded by mu: the error of inner other than io.EOF
	closing bool   // guarded by mu: the last view was closed
	final   bool   // guarded by mu: there will be no further view
	closed  bool   // guarded by mu: inner is closed
}

// spent says whether another view would not see the whole body.
func (s *sharedBody) spent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost || s.reading || s.closed || s.err != nil
}

// failed says whether inner returned an error.
func (s *sharedBody) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// view hands the body to the next attempt and takes it from the one before.
func (s *sharedBody) view() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost || s.reading || s.closed {
		return nil, errors.New("retry: request body cannot be sent again")
	}
	s.gen++
	s.closing = false
	return &view{s: s, gen: s.gen, ahead: s.kept}, nil
}

// finish lets go of the caller's body.
func (s *sharedBody) finish() {
	s.mu.Lock()
	s.final = true
	shut := (s.closing || s.gen == 0) && !s.closed
	s.closed = s.closed || shut
	s.mu.Unlock()
	if shut {
		_ = s.inner.Close() // its reader is gone
	}
}

// begin admits a Read of inner by the view of generation gen.
func (s *sharedBody) begin(gen int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gen != s.gen {
		return errRevoked
	}
	if s.closed || s.closing {
		return http.ErrBodyReadAfterClose
	}
	s.reading = true
	if s.final || s.limit == 0 {
		s.lost, s.kept = true, nil
	}
	return nil
}

// end takes note of what a Read of inner returned.
func (s *sharedBody) end(p []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	// Once the sender has closed the body, a Read that was under way fails for
	// that, and not by a fault of the caller's.
	if err != nil && err != io.EOF && !s.closing && !s.closed {
		s.err = err
	}
	if s.lost || len(p) == 0 {
		return
	}
	if len(s.kept)+len(p) > s.limit {
		s.lost, s.kept = true, nil
		return
	}
	s.kept = append(s.kept, p...)
}

// view is the body as one attempt sees it.
type view struct {
	s     *sharedBody
	gen   int
	ahead []byte // kept from an earlier attempt, read first
}

// Read implements io.Reader.
func (v *view) Read(p []byte) (int, error) {
	if len(v.ahead) > 0 {
		n := copy(p, v.ahead)
		v.ahead = v.ahead[n:]
		return n, nil
	}
	if err := v.s.begin(v.gen); err != nil {
		return 0, err
	}
	n, err := v.s.inner.Read(p)
	v.s.end(p[:n], err)
	return n, err
}

// Close implements io.Closer. The caller's body stays open while another
// attempt may need it.
func (v *view) Close() error {
	s := v.s
	s.mu.Lock()
	if v.gen != s.gen {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	shut := (s.final || s.lost) && !s.closed
	s.closed = s.closed || shut
	s.mu.Unlock()
	if shut {
		return s.inner.Close()
	}
	return nil
}
