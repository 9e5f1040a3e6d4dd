package deadline

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle/internal/eob"
)

// Config says how long calls may take. The zero Config sets no limit; it still
// refuses calls whose time is already up.
type Config struct {
	// Timeout is the longest time from the start of the call to the end of
	// the response body. Default (0): none. Negative: an error. It does not
	// end a 101 response or a text/event-stream.
	Timeout time.Duration

	// AttemptTimeout is the longest time to the response headers. Default
	// (0): none. Negative: an error.
	AttemptTimeout time.Duration

	// Propagate sends the time that is left in Header. Default: false, as the
	// wrapper cannot know whether the other side is yours.
	Propagate bool

	// Dark counts calls whose time is up (Stats), and sends them all the same.
	// The limits themselves stay in force.
	Dark bool
}

// A Limiter applies a Config. It is safe for concurrent use.
type Limiter struct {
	cfg Config

	refused, dark atomic.Uint64
}

// Stats counts calls that came when their time was up.
type Stats struct {
	// Refused were not sent. Dark were sent all the same, as Config.Dark says.
	Refused uint64 `json:"refused"`
	Dark    uint64 `json:"dark"`
}

// Config is what the Limiter was made of, for the adapters of other protocols.
func (l *Limiter) Config() Config { return l.cfg }

// Stats reads the counters.
func (l *Limiter) Stats() Stats { return Stats{Refused: l.refused.Load(), Dark: l.dark.Load()} }

// Late takes in a call whose time is up when it comes, and says whether it is to
// be refused.
func (l *Limiter) Late() bool {
	if l.cfg.Dark {
		l.dark.Add(1)
		return false
	}
	l.refused.Add(1)
	return true
}

// New returns the Limiter for cfg, or an error that names the field and value.
func New(cfg Config) (*Limiter, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("deadline: Timeout %v: want 0 or more", cfg.Timeout)
	}
	if cfg.AttemptTimeout < 0 {
		return nil, fmt.Errorf("deadline: AttemptTimeout %v: want 0 or more", cfg.AttemptTimeout)
	}
	return &Limiter{cfg: cfg}, nil
}

// Wrap returns a RoundTripper that applies the limits to base. A nil base is
// http.DefaultTransport.
//
// What a limit ends fails with ErrCall or ErrAttempt, in RoundTrip or in a Read of
// the body; an end by the request's context passes as base reports it. A body that
// is neither read to its end nor closed keeps its timer until that fires.
func (l *Limiter) Wrap(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &wrapper{l: l, cfg: l.cfg, base: base}
}

// wrapper is the layer alone.
type wrapper struct {
	l    *Limiter
	cfg  Config
	base http.RoundTripper
}

// CloseIdleConnections passes on to the base.
func (w *wrapper) CloseIdleConnections() {
	if c, ok := w.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wrapper) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, now := req.Context(), time.Now()
	if has, ok := ctx.Deadline(); ok && !has.After(now) && w.l.Late() {
		closeBody(req)
		return nil, ErrCall
	}
	x := &exchange{}
	x.bound.Start(ctx, nil, now, after(now, w.cfg.Timeout), after(now, w.cfg.AttemptTimeout))
	out := req.WithContext(&Context{Context: x.bound.Context(), Bound: &x.bound})
	if w.cfg.Propagate {
		x.bound.Propagate(out, now)
	}
	resp, err := w.base.RoundTrip(out)
	if err != nil {
		return nil, x.fail(err)
	}
	resp.Request = req
	if !x.bound.Answered() {
		if resp.Body != nil {
			_ = resp.Body.Close() // the attempt is over; its error says why
		}
		return nil, x.fail(ErrAttempt)
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		// It is over; callers compare such a body, and need not close it.
		x.bound.Stop()
		return resp, nil
	}
	if Endless(resp) {
		x.bound.Disarm()
	}
	x.body.Start(resp, (*body)(x))
	return resp, nil
}

// after is d later than now, or no time at all.
func after(now time.Time, d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return now.Add(d)
}

// closeBody keeps the promise that RoundTrip always closes the request's body.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was sent, so there is nothing to report
	}
}

// exchange is one request under its limits.
type exchange struct {
	bound Bound
	body  eob.Watch
}

// body is an exchange as the body of its response.
type body exchange

func (b *body) Read(p []byte) (int, error) { return b.body.Read(p, (*exchange)(b)) }
func (b *body) Close() error               { return b.body.Close((*exchange)(b)) }

// fail ends the exchange and names the limit that ended it, if one did.
func (x *exchange) fail(err error) error {
	fired := x.bound.Fired()
	x.bound.Stop()
	if fired != nil {
		return fired
	}
	return err
}

// BodyEnded implements eob.Owner.
func (x *exchange) BodyEnded(err error) error {
	fired := x.bound.Fired()
	x.bound.Stop()
	if fired != nil && err != nil && err != io.EOF {
		return fired
	}
	return err
}

// Endless says that the response is a stream that no timeout should cut: an
// upgraded connection or server-sent events.
func Endless(resp *http.Response) bool {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	// Not mime.ParseMediaType, which refuses the whole for an odd parameter.
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}
