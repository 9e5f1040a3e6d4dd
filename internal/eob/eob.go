// Package eob watches response bodies for their end, so that a layer knows
// when an exchange is really over.
package eob

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// An Owner is told once when a body has ended.
type Owner interface {
	// BodyEnded is called with io.EOF, with the error of a Read, or with nil
	// when the body was closed before its end. What it returns is what the
	// reader sees; it must be io.EOF for io.EOF.
	BodyEnded(err error) error
}

// A Watch is what the owner of a response body needs to watch it. It is a field
// of the owner's own object, and the body that readers see is that object
// under another type, whose Read and Close pass the owner on to the Watch. So
// watching a body allocates nothing and costs 24 bytes.
//
// Like the bodies of net/http a watched one may be closed while another
// goroutine reads.
type Watch struct {
	inner io.ReadCloser
	ended atomic.Bool
}

// Start puts front, which calls Read and Close of this Watch, in front of the
// body of resp. The body of an upgraded connection (101) is also an io.Writer
// and stays one.
func (w *Watch) Start(resp *http.Response, front io.ReadCloser) {
	w.inner = resp.Body
	if to, ok := resp.Body.(io.Writer); ok {
		resp.Body = &duplex{ReadCloser: front, Writer: to}
		return
	}
	resp.Body = front
}

// Read reads from the body for its reader.
func (w *Watch) Read(p []byte, owner Owner) (int, error) {
	n, err := w.inner.Read(p)
	if err != nil {
		err = w.end(err, owner)
	}
	return n, err
}

// Close closes the body for its reader. A Read that it interrupts fails, and that
// is not how the body ended: who closes it has ended it.
func (w *Watch) Close(owner Owner) error {
	first := !w.ended.Swap(true)
	err := w.inner.Close()
	if first {
		_ = owner.BodyEnded(nil) // nobody reads what the owner would say
	}
	return err
}

// end tells the owner, once. Later errors pass as they are.
func (w *Watch) end(err error, owner Owner) error {
	if w.ended.Swap(true) {
		return err
	}
	return owner.BodyEnded(err)
}

// duplex is the body of an upgraded connection.
type duplex struct {
	io.ReadCloser
	io.Writer
}

// CloseWrite closes the connection for writing, where that can be done, as the
// body of net/http does.
func (d *duplex) CloseWrite() error {
	if c, ok := d.Writer.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return fmt.Errorf("eob: CloseWrite: %w", http.ErrNotSupported)
}
