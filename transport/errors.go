package transport

import (
	"errors"
	"net"
	"strings"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// The states in which a call fails here, without a word from an endpoint.
// Others are those of the leaves: deadline.ErrCall, deadline.ErrAttempt,
// retry.ErrExhausted, breaker.ErrOpen, limit.ErrLimited.
var (
	// ErrClosed: the Transport was shut down.
	ErrClosed = errors.New("transport: closed")

	// ErrUnknownService: the host is no service, and Config.Unknown is Refuse.
	ErrUnknownService = errors.New("transport: unknown service")

	// ErrNoEndpoints: the service has no endpoint, or none was found yet.
	ErrNoEndpoints = cluster.ErrNoEndpoints

	// ErrAllDown: none of the service's endpoints can be connected to. Each is
	// tried again within a second or so.
	ErrAllDown = cluster.ErrAllDown

	// ErrBaseCannot: the Base cannot send https to one of several endpoints.
	ErrBaseCannot = errors.New("transport: the Base cannot send https to one of several endpoints")
)

// Error is the error of a call to a service. Errors.Is and errors.As see its
// cause through it.
type Error struct {
	// Service is the logical name that was called.
	Service string

	// Endpoint is the address of the last attempt's endpoint, empty if none
	// was picked.
	Endpoint string

	// Attempts is the number of attempts that were made.
	Attempts int

	// Status is that of the last response that was given up for another
	// attempt, or 0.
	Status int

	// Record is what was decided about the call, if telemetry.WithTrace or
	// WithRecord asked for it, or it was one of those that are sampled.
	Record *telemetry.Record

	// Err is the cause.
	Err error

	unsent bool // nobody could be reached, so that nothing was sent
}

// Error implements error. The number of attempts and the status that was given up
// stand in the text of the retry layer's error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("transport: service ")
	b.WriteString(e.Service)
	if e.Endpoint != "" {
		b.WriteString(" at ")
		b.WriteString(e.Endpoint)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap leads to the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout says whether time was the cause, as net.Error has it.
func (e *Error) Timeout() bool {
	var ne net.Error
	return errors.As(e.Err, &ne) && ne.Timeout()
}

// Temporary is part of net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

// fail makes the error of the call from that of its last attempt.
func (x *exchange) fail(err error) error {
	e := &Error{Service: x.svc.Name, Attempts: int(x.call.Attempt), Err: err}
	e.unsent = !x.sent && (x.call.Last.Class == tulle.Unsent || unreachable(err))
	if x.endpoint != nil {
		e.Endpoint = x.endpoint.Addr
	}
	var gaveUp *retry.Error
	if errors.As(err, &gaveUp) {
		e.Status = gaveUp.Status
	}
	if t := x.traces(); t != nil {
		e.Record = t.call.Record()
	}
	return e
}
