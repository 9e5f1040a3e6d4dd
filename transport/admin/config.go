package admin

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Config says how the page is served. The zero Config is ready to use.
type Config struct {
	// Title names the program on the page. Default (""): "tulle".
	Title string

	// ConfigStatus tells which configuration is in force, to be shown. Default
	// (nil): none is shown. It is called with no lock held, for each request, and
	// must be quick and safe for concurrent use. The Status of a config.Loader has
	// what it takes.
	ConfigStatus func() ConfigStatus

	// Hosts are the names, without port, under which the handler may be asked
	// for; "*" allows any. Default (none): any, but on a connection that comes
	// in through the loopback interface only localhost, names below it, and
	// addresses. A page of another site can point a name of its own at the
	// loopback address of who looks at it, and would then be the same site to
	// the browser.
	Hosts []string

	// Interval is the time between two points of a chart and between two events.
	// Default (0): 1 s. Range: 100 ms to 1 min.
	Interval time.Duration

	// Points is how many points the charts have. Default (0): 300, which are 5
	// minutes with the default Interval. Range: 2 to 3600. A point costs 28
	// bytes for each destination.
	Points int

	// Background samples while nobody looks as well, so that the charts are
	// there when somebody comes. The handler then has a goroutine until Close.
	Background bool

	// MaxStreams is how many events and hystrix.stream may be open at once; who
	// comes after that gets 503. Default (0): 16. Range: 1 to 10000.
	MaxStreams int
}

// ConfigStatus tells what became of a configuration that can be reloaded.
type ConfigStatus struct {
	// Version is a name of what is in force, LoadedAt when it came into force.
	Version  string    `json:"version"`
	LoadedAt time.Time `json:"loaded_at,omitzero"`

	// Error says why the latest was refused, empty if it was not. ErrorAt is
	// when.
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`

	// Reloads counts those that came into force after the first, Refused those
	// that did not.
	Reloads uint64 `json:"reloads"`
	Refused uint64 `json:"refused"`
}

// The limits and defaults of Config.
const (
	defaultInterval   = time.Second
	minInterval       = 100 * time.Millisecond
	maxInterval       = time.Minute
	defaultPoints     = 300
	maxPoints         = 3600
	defaultMaxStreams = 16
	maxMaxStreams     = 10_000
)

// Validate returns an error that names every field that cannot be used and its
// value, or nil.
func (c Config) Validate() error {
	var errs []error
	if c.Interval != 0 && (c.Interval < minInterval || c.Interval > maxInterval) {
		errs = append(errs, fmt.Errorf("admin: Interval %v: want %v to %v, or 0 for the default", c.Interval, minInterval, maxInterval))
	}
	if c.Points != 0 && (c.Points < 2 || c.Points > maxPoints) {
		errs = append(errs, fmt.Errorf("admin: Points %d: want 2 to %d, or 0 for the default", c.Points, maxPoints))
	}
	if c.MaxStreams < 0 || c.MaxStreams > maxMaxStreams {
		errs = append(errs, fmt.Errorf("admin: MaxStreams %d: want 1 to %d, or 0 for the default", c.MaxStreams, maxMaxStreams))
	}
	for _, h := range c.Hosts {
		if _, _, err := net.SplitHostPort(h); h == "" || err == nil || strings.ContainsAny(h, "/@ ") {
			errs = append(errs, fmt.Errorf("admin: Hosts %q: want a name without port, or *", h))
		}
	}
	return errors.Join(errs...)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Title == "" {
		c.Title = "tulle"
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.Points == 0 {
		c.Points = defaultPoints
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = defaultMaxStreams
	}
	return c
}
