package tullegrpc

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// callError is an error that was made on this side: a status to gRPC, and its
// cause to errors.Is.
type callError struct {
	err  error
	code codes.Code
}

// Error implements error.
func (e *callError) Error() string { return e.err.Error() }

// Unwrap leads to the cause.
func (e *callError) Unwrap() error { return e.err }

// GRPCStatus is what status.FromError looks for.
func (e *callError) GRPCStatus() *status.Status { return status.New(e.code, e.err.Error()) }

// local is err with the status that it stands for.
func local(err error) error { return &callError{err: err, code: codeOf(err)} }

// codeOf is the code of an error of this side, or of the status within.
func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, route.ErrNoRule):
		return codes.Unimplemented // as the Gateway API has it
	case errors.Is(err, route.ErrReadOnly):
		return codes.FailedPrecondition // a repeat would not help
	case errors.Is(err, limit.ErrLimited):
		return codes.ResourceExhausted
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	if st, ok := status.FromError(err); ok && st.Code() != codes.OK {
		return st.Code()
	}
	return codes.Unavailable
}

// unavailable is err as codes.Unavailable.
func unavailable(err error) error { return &callError{err: err, code: codes.Unavailable} }

// contextError is gRPC's error of a call whose context has ended. To errors.Is it is
// that of the context as well, as it is over HTTP.
type contextError struct {
	error
	is []error
}

// Unwrap leads to all that it is.
func (e *contextError) Unwrap() []error { return e.is }

// GRPCStatus is what status.FromError looks for.
func (e *contextError) GRPCStatus() *status.Status { return status.Convert(e.error) }

// inContext is err as a contextError if it says that ctx has ended. GRPC's timer may
// be a little ahead.
func inContext(ctx context.Context, err error) error {
	end := ctx.Err()
	if due, ok := ctx.Deadline(); ok && end == nil && near(due) {
		end = context.DeadlineExceeded
	}
	if end == nil || status.FromContextError(end).Code() != status.Code(err) {
		return err
	}
	e := &contextError{err, []error{err, end}}
	if cause := context.Cause(ctx); cause != nil {
		e.is = append(e.is, cause)
	}
	return e
}

// errPanicked is how a call ended that somebody's panic went through.
var errPanicked error = &callError{err: errors.New("tullegrpc: the call has panicked"), code: codes.Internal}

// error is the error of a call that was not let through.
func (c *call) error(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &transport.Error{Service: c.to.Name, Attempts: int(c.rpc.Attempt), Err: err}
	if c.endpoint != nil {
		e.Endpoint = c.endpoint.Addr
	}
	e.Record = c.followed.Record()
	return &callError{err: e, code: codeOf(err)}
}

// recordedError is the server's error with the record of the call. But for that it is
// the server's in all respects.
type recordedError struct {
	error
	record *telemetry.Record
}

// Unwrap leads to the server's error.
func (e *recordedError) Unwrap() error { return e.error }

// GRPCStatus is what status.FromError looks for.
func (e *recordedError) GRPCStatus() *status.Status { return status.Convert(e.error) }

// recorded is the server's error with the record, if somebody wants one.
func (c *call) recorded(err error) error {
	if rec := c.followed.Record(); rec != nil {
		return &recordedError{err, rec}
	}
	return err
}

// RecordOf is what was decided about the call that ended with err, whether the error is
// the server's or of this side, where it is transport.Error.Record. It is nil if neither
// telemetry.WithTrace nor WithRecord asked for it and the call was not one of those that
// are sampled, and of calls to targets that are not tulle's.
func RecordOf(err error) *telemetry.Record {
	var recorded *recordedError
	if errors.As(err, &recorded) {
		return recorded.record
	}
	var own *transport.Error
	if errors.As(err, &own) {
		return own.Record
	}
	return nil
}

// ended says that err is the end of a call's context, as a code.
func ended(err error) bool { return isDeadline(err) || status.Code(err) == codes.Canceled }

// isDeadline says that err is codes.DeadlineExceeded.
func isDeadline(err error) bool { return status.Code(err) == codes.DeadlineExceeded }

// itoa is the number of an attempt as text.
func itoa(n int32) string { return strconv.Itoa(int(n)) }
