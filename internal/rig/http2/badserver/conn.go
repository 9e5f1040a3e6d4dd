package badserver

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// streamWindow is the flow control window of each stream. Each frame of
	// data is returned at once, so it never fills.
	streamWindow = 1 << 20

	// answerSize is the length of a response body.
	answerSize = 1000

	// lingerTime bounds the wait for the client's end of a connection that we
	// have left.
	lingerTime = 2 * time.Second
)

// protocolError is a breach by the client.
type protocolError struct{ text string }

func (e protocolError) Error() string { return e.text }

// conn is one connection. Its frames are read by one goroutine; each answer that
// takes time is written by one of its own.
type conn struct {
	s       *Server
	raw     net.Conn
	net     net.Conn // raw, or TLS over it
	number  int      // of the server's connections, from 1
	done    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup // running answers
	highest uint32         // of the reading goroutine: the last stream that it saw

	// mu guards the framer's writing side and the streams.
	mu      sync.Mutex
	framer  *http2.Framer
	head    bytes.Buffer
	encoder *hpack.Encoder
	streams map[uint32]*stream
	leaving bool
	cut     bool // the writing side is closed
}

// stream is one request.
type stream struct {
	id     uint32
	action Action
	method string
	body   hash.Hash
	length int64
}

func newConn(s *Server, raw net.Conn) *conn {
	return &conn{s: s, raw: raw, net: raw, done: make(chan struct{}), streams: map[uint32]*stream{}}
}

// close ends the connection hard. It can be called at any time, more than once.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.raw.Close() // what is left of it does not matter
	})
}

// serve runs the connection to its end.
func (c *conn) serve() error {
	defer c.wg.Wait()
	defer c.close()
	if err := c.start(); err != nil {
		return err
	}
	for {
		if c.s.vanished.Load() {
			<-c.done
			return nil
		}
		frame, err := c.framer.ReadFrame()
		if err != nil {
			// The framer checks the order and the form of frames for us. What
			// else ends a reading is the end of the connection.
			var stream http2.StreamError
			var conn http2.ConnectionError
			if errors.As(err, &stream) || errors.As(err, &conn) {
				return protocolError{err.Error()}
			}
			return err
		}
		// Frames that come after the end are read and dropped, so that the
		// client can write them and is not told by a reset.
		if c.silent() {
			continue
		}
		if err := c.handle(frame); err != nil {
			return err
		}
	}
}

// silent says that nothing is answered any more.
func (c *conn) silent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut || c.s.vanished.Load()
}

// start does the handshakes.
func (c *conn) start() error {
	// The handshake is done by hand, as the first Write would do it otherwise
	// and hide what the client wants to speak.
	if c.s.cfg.TLS != nil {
		secure := tls.Server(c.raw, c.s.cfg.TLS)
		if err := secure.Handshake(); err != nil {
			return err
		}
		if got := secure.ConnectionState().NegotiatedProtocol; got != http2.NextProtoTLS {
			return protocolError{fmt.Sprintf("negotiated %q, want h2", got)}
		}
		c.net = secure
	}
	// A vanished server is one that was seen alive: its machine may still answer
	// for it up to here, as the kernel and a TLS proxy would.
	if c.s.vanished.Load() {
		<-c.done
		return nil
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.net, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return protocolError{fmt.Sprintf("preface %q", preface)}
	}
	// The server's settings go out without waiting for the client's. Clients
	// that send requests before they have read them are within their rights.
	c.mu.Lock()
	defer c.mu.Unlock()
	c.framer = http2.NewFramer(c.net, c.net)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.head)
	if err := c.framer.WriteSettings(c.s.cfg.Script.settings()...); err != nil {
		return err
	}
	if err := c.framer.WriteWindowUpdate(0, streamWindow); err != nil || c.number > c.s.cfg.Script.Unwelcome {
		return err
	}
	c.leaving = true
	return c.framer.WriteGoAway(0, http2.ErrCodeNo, nil)
}

// handle takes in one frame.
func (c *conn) handle(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.data(f)
	case *http2.RSTStreamFrame:
		// The client has given up. That the request was touched stays true.
		c.mu.Lock()
		delete(c.streams, f.StreamID)
		c.mu.Unlock()
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.write((*http2.Framer).WriteSettingsAck)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.write(func(w *http2.Framer) error { return w.WritePing(true, f.Data) })
		}
	}
	return nil
}

// headers begins a request, or ends one by trailers.
func (c *conn) headers(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	st := c.streams[f.StreamID]
	c.mu.Unlock()
	if st != nil {
		return c.ended(st)
	}
	if f.StreamID <= c.highest || f.StreamID%2 == 0 {
		return nil // trailers of a request that is over here
	}
	c.highest = f.StreamID
	st = &stream{id: f.StreamID, method: f.PseudoValue("method"), body: sha256.New()}
	id := ""
	for _, field := range f.RegularFields() {
		if field.Name == "x-request-id" {
			id = field.Value
		}
	}
	// The ledger is written before anything is sent, so that a client which
	// has its answer finds the entry.
	if !c.admit(st) {
		c.s.cfg.Ledger.refuse(id)
		return nil
	}
	if st.action.Provable() {
		c.s.cfg.Ledger.refuse(id)
	} else {
		c.s.cfg.Ledger.Touch(id)
	}
	if err := c.early(st); err != nil {
		return err
	}
	if f.StreamEnded() {
		return c.ended(st)
	}
	return nil
}

// admit decides on a new stream, and refuses it by itself where the connection
// is being left or has enough streams.
func (c *conn) admit(st *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Refused ones count too: the script goes by what the server sees.
	n := c.s.requests.Add(1)
	if c.leaving {
		return false // GOAWAY has told the client
	}
	if limit := c.s.cfg.Script.MaxStreams; limit > 0 && len(c.streams) >= int(limit) {
		_ = c.framer.WriteRSTStream(st.id, http2.ErrCodeRefusedStream) // the next read finds what is wrong
		return false
	}
	st.action = c.s.cfg.Script.action(n)
	c.streams[st.id] = st
	c.s.served(len(c.streams))
	return true
}

// early does what an action does as soon as the headers are there.
func (c *conn) early(st *stream) error {
	switch st.action {
	case Refuse:
		return c.reset(st, http2.ErrCodeRefusedStream)
	case ResetEarly:
		return c.reset(st, http2.ErrCodeInternal)
	case CloseEarly:
		c.close()
		return net.ErrClosed
	case GoAwayBelow:
		return c.leave(st.id-1, http2.ErrCodeNo, st)
	case GoAwayCalm:
		return c.leave(st.id-1, http2.ErrCodeEnhanceYourCalm, st)
	case GoAwayAt:
		return c.leave(st.id, http2.ErrCodeNo, nil)
	case Vanish:
		c.s.vanished.Store(true)
	}
	return nil
}

// data takes in a part of a request's body. What it takes from the windows is
// given back even where the stream is over, or the connection would run dry.
func (c *conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	st := c.streams[f.StreamID]
	c.mu.Unlock()
	if n := f.Length; n > 0 {
		err := c.write(func(w *http2.Framer) error {
			if st != nil {
				if err := w.WriteWindowUpdate(f.StreamID, n); err != nil {
					return err
				}
			}
			return w.WriteWindowUpdate(0, n)
		})
		if err != nil {
			return err
		}
	}
	if st == nil {
		return nil
	}
	st.length += int64(len(f.Data()))
	st.body.Write(f.Data())
	if f.StreamEnded() {
		return c.ended(st)
	}
	return nil
}

// ended answers a request that is complete, after the script's delay.
func (c *conn) ended(st *stream) error {
	c.mu.Lock()
	_, open := c.streams[st.id]
	c.mu.Unlock()
	if !open || st.action == Vanish {
		return nil
	}
	if c.s.cfg.Script.Delay == 0 {
		return c.answer(st)
	}
	// Other frames must be read meanwhile, so the wait is not of this
	// goroutine. It ends with the connection.
	c.wg.Go(func() {
		timer := time.NewTimer(c.s.cfg.Script.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.done:
			return
		}
		if err := c.answer(st); err != nil {
			c.close()
		}
	})
	return nil
}

// answer sends the response, or as much of it as the action allows.
func (c *conn) answer(st *stream) error {
	body := answerBody(st)
	err := c.write(func(w *http2.Framer) error {
		c.head.Reset()
		c.field(":status", "200")
		c.field("content-length", strconv.Itoa(len(body)))
		err := w.WriteHeaders(http2.HeadersFrameParam{
			StreamID: st.id, BlockFragment: c.head.Bytes(), EndHeaders: true, EndStream: st.method == "HEAD",
		})
		if err != nil || st.method == "HEAD" {
			return err
		}
		// A body of this size fits into the smallest window that a client
		// may leave at its default, so there is no flow control to obey.
		if st.action == ResetInBody || st.action == CloseInBody {
			return w.WriteData(st.id, false, body[:len(body)/2])
		}
		return w.WriteData(st.id, true, body)
	})
	if err != nil {
		return err
	}
	switch st.action {
	case ResetInBody:
		return c.reset(st, http2.ErrCodeInternal)
	case CloseInBody:
		c.finish()
		return nil
	}
	return c.over(st)
}

// field adds a header to those being encoded. The caller holds mu.
func (c *conn) field(name, value string) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) // a buffer takes everything
}

// answerBody begins with what the server saw of the request's body.
func answerBody(st *stream) []byte {
	body := bytes.Repeat([]byte{'.'}, answerSize)
	copy(body, fmt.Appendf(nil, "%d %x ", st.length, st.body.Sum(nil)))
	return body
}

// reset ends a stream with an error.
func (c *conn) reset(st *stream, code http2.ErrCode) error {
	if err := c.write(func(w *http2.Framer) error { return w.WriteRSTStream(st.id, code) }); err != nil {
		return err
	}
	return c.over(st)
}

// leave sends GOAWAY. Unserved, if any, is the stream that it leaves out.
func (c *conn) leave(last uint32, code http2.ErrCode, unserved *stream) error {
	c.mu.Lock()
	c.leaving = true
	if unserved != nil {
		delete(c.streams, unserved.id)
	}
	err := c.framer.WriteGoAway(last, code, nil)
	empty := len(c.streams) == 0
	c.mu.Unlock()
	if empty {
		c.finish()
	}
	return err
}

// over forgets a stream. A connection that is being left ends with the last.
func (c *conn) over(st *stream) error {
	c.mu.Lock()
	delete(c.streams, st.id)
	empty := c.leaving && len(c.streams) == 0
	c.mu.Unlock()
	if empty {
		c.finish()
	}
	return nil
}

// finish closes the writing side, so that the client sees what was sent and
// then the end. The reading goes on for a while: closing a socket with unread
// data would send a reset, which can overtake our last frames.
func (c *conn) finish() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	// TLS has an end of its own, without which the client could not tell the
	// end from an attack. The one of TCP comes after it.
	if w, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // fails where the client has gone already
	}
	if w, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // as above
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime))
}

// write writes frames, one goroutine at a time.
func (c *conn) write(frames func(w *http2.Framer) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut || c.s.vanished.Load() {
		return nil
	}
	return frames(c.framer)
}
