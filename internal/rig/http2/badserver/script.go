package badserver

import (
	"time"

	"golang.org/x/net/http2"
)

// An Action is what the server does with one request.
type Action int

// The actions. Each begins when the request's headers have come.
const (
	// Serve answers when the request has come to its end.
	Serve Action = iota

	// Refuse resets the stream with REFUSED_STREAM: not processed.
	Refuse

	// ResetEarly resets the stream with INTERNAL_ERROR before a response:
	// processed, as far as the client can know.
	ResetEarly

	// ResetInBody resets the stream with INTERNAL_ERROR after half of the
	// response body.
	ResetInBody

	// CloseEarly closes the connection, with all its streams, before a
	// response.
	CloseEarly

	// CloseInBody closes the connection after half of the response body.
	CloseInBody

	// GoAwayBelow leaves with GOAWAY and NO_ERROR whose last stream is the one
	// before this: this one is not processed, those before are answered.
	GoAwayBelow

	// GoAwayAt leaves with GOAWAY and NO_ERROR whose last stream is this one,
	// which is answered as are those before.
	GoAwayAt

	// GoAwayCalm is GoAwayBelow with ENHANCE_YOUR_CALM, as servers send to
	// clients that they think abusive.
	GoAwayCalm

	// Vanish goes silent: the server reads and writes nothing any more, on
	// this connection, all others and new ones, and closes none of them. So
	// looks a machine that lost its power.
	Vanish
)

// Provable says that a client which gets this action for an answer can prove
// that the request was not processed.
func (a Action) Provable() bool {
	return a == Refuse || a == GoAwayBelow || a == GoAwayCalm
}

// Hard says that the action also hits other requests in a way that proves
// nothing.
func (a Action) Hard() bool { return a == CloseEarly || a == CloseInBody || a == Vanish }

// A Script says how a server behaves. The zero Script serves everything.
type Script struct {
	// Do is the action for the nth request that the server sees, from 1. Nil:
	// Serve. It is called by many goroutines.
	Do func(n int64) Action

	// Unwelcome is the number of connections, from the first, that the server
	// leaves by GOAWAY before any request, as one that is shutting down does.
	Unwelcome int

	// MaxStreams is announced as SETTINGS_MAX_CONCURRENT_STREAMS; streams above
	// it are refused. Default (0): no limit.
	MaxStreams uint32

	// Delay is the time that an answer takes. Default: none.
	Delay time.Duration
}

// action is Do with its default.
func (s *Script) action(n int64) Action {
	if s.Do == nil {
		return Serve
	}
	return s.Do(n)
}

// settings are those of the server's first frame.
func (s *Script) settings() []http2.Setting {
	list := []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: streamWindow}}
	if s.MaxStreams > 0 {
		list = append(list, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: s.MaxStreams})
	}
	return list
}

// Always does one action for every request.
func Always(a Action) func(int64) Action { return func(int64) Action { return a } }

// First does the action for the first k requests, and then serves.
func First(k int64, a Action) func(int64) Action {
	return func(n int64) Action {
		if n <= k {
			return a
		}
		return Serve
	}
}

// Every does the action for each kth request.
func Every(k int64, a Action) func(int64) Action {
	return func(n int64) Action {
		if n%k == 0 {
			return a
		}
		return Serve
	}
}

// After serves k requests and does the action for all later ones.
func After(k int64, a Action) func(int64) Action {
	return func(n int64) Action {
		if n > k {
			return a
		}
		return Serve
	}
}
