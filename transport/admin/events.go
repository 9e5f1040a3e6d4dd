package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// writeTime is how long an event may take to be taken in. Who takes longer has
// stopped reading, and is cut off.
const writeTime = 10 * time.Second

// A stream is an open stream of server-sent events.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf bytes.Buffer // what is to be sent
}

// stream begins a stream and sends what each adds, at once and in each interval, until that
// fails, the client goes, or the Handler is closed.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, interval time.Duration, each func(*stream) error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "admin: too many streams are open (Config.MaxStreams)", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // proxies are not to keep events back
	if r.Method == http.MethodHead {
		return
	}
	s := &stream{w: w, rc: http.NewResponseController(w)}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if each(s) != nil || s.flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-h.closing.Done():
			return
		}
	}
}

// event adds an event, and what it says as JSON. Name is "" for a message.
func (s *stream) event(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if name != "" {
		s.text("event: " + name + "\n")
	}
	s.text("data: ")
	s.buf.Write(text)
	s.text("\n\n")
	return nil
}

// text adds a text.
func (s *stream) text(t string) { s.buf.WriteString(t) }

// flush sends what was added. Servers that know no deadlines have none.
func (s *stream) flush() error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.buf.WriteTo(s.w)
	if err != nil {
		return err
	}
	return s.rc.Flush()
}

// maxPulse is how many changes a pulse tells of.
const maxPulse = 20

// serveEvents serves a Pulse in each interval.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	first, seen := true, uint64(0)
	h.stream(w, r, h.cfg.Interval, func(s *stream) error {
		read := h.look()
		if first {
			first, seen = false, read.seq // what was before stands on the page
			s.text("retry: 3000\n\n")
		}
		p := Pulse{At: read.at, Config: h.configStatus(), Totals: read.totals, Changes: []Change{}}
		for _, c := range slices.Backward(read.changes) {
			if c.Seq <= seen || len(p.Changes) == maxPulse {
				break
			}
			p.Changes = append(p.Changes, c)
		}
		slices.Reverse(p.Changes)
		seen = read.seq
		return s.event("pulse", p)
	})
}
