package tulle

import (
	"context"
	"errors"
	"time"
)

// A GRPCCode is a status code of gRPC. The numbers are those of the protocol, so
// that a codes.Code converts to it; this package does not import gRPC.
type GRPCCode uint32

// The codes that the classifier knows by name.
const (
	grpcOK                GRPCCode = 0
	grpcCanceled          GRPCCode = 1
	grpcUnknown           GRPCCode = 2
	grpcDeadlineExceeded  GRPCCode = 4
	grpcResourceExhausted GRPCCode = 8
	grpcInternal          GRPCCode = 13
	grpcUnavailable       GRPCCode = 14
	grpcDataLoss          GRPCCode = 15
	grpcUnauthenticated   GRPCCode = 16 // the last one
)

// GRPCFacts are what is known of one gRPC attempt when it has ended: the input of
// a classifier.
type GRPCFacts struct {
	// Code is the status that the attempt ended with, Err its error; nil for OK.
	Code GRPCCode
	Err  error

	// Ended is the Err of the attempt's context: nil while it has not ended.
	Ended error

	// AttemptTimeout says that the attempt timeout ended it.
	AttemptTimeout bool

	// Sent says that bytes of the request may have left, and not of one that
	// could not be encoded. Received says that the server sent anything back; a
	// status without it was made on this side.
	Sent, Received bool

	// Began says that the first message of a stream had come.
	// What fails after that is no reason to repeat.
	Began bool

	// Expired says that the server did not run the call, as its time was up when
	// its turn came (ExpiredHeader in the trailer). It counts with
	// DEADLINE_EXCEEDED only.
	Expired bool

	// Pushback says that the server sent grpc-retry-pushback-ms (gRFC A6):
	// RetryAfter is the time, negative for "do not repeat".
	Pushback   bool
	RetryAfter time.Duration

	// Elapsed is how long the attempt waited for its answer: a unary call for
	// its end, a stream for its first message. Mean is the destination's recent
	// mean of that, 0 when unknown.
	Elapsed, Mean time.Duration
}

// ClassifyGRPC is the classifier of gRPC attempts: status, pushback and facts of
// the connection in, outcome out. A replacement (transport.Service.ClassifyGRPC)
// handles the cases it cares about and leaves the rest to this one.
func ClassifyGRPC(f GRPCFacts) Outcome {
	o := Outcome{Elapsed: f.Elapsed, Status: int(f.Code), Err: f.Err, Class: classOfCode(&f)}
	if !f.Pushback || o.Class == Answered || o.Class == Ignored || o.Class == TimedOut {
		return o
	}
	if f.RetryAfter < 0 {
		o.Final = true
		return o
	}
	o.Class, o.Hinted, o.RetryAfter = Throttled, true, f.RetryAfter
	return o
}

// classOfCode is the table's rows on gRPC. Whose fault it was comes first: the
// caller's context ends with codes that servers send too.
func classOfCode(f *GRPCFacts) Class {
	switch {
	case f.Code == grpcOK:
		return Answered
	case f.Expired && f.Code == grpcDeadlineExceeded:
		return Ignored
	case f.AttemptTimeout:
		if !f.Sent {
			return Unsent
		}
		return TimedOut
	case f.Ended != nil:
		if errors.Is(f.Ended, context.DeadlineExceeded) && f.Elapsed >= max(2*f.Mean, minBlame) {
			return TimedOut
		}
		return Ignored
	case f.Began:
		return classOfBroken(f)
	case !f.Received && f.Sent && f.Code == grpcInternal:
		return Lost // the server reset the stream
	case !f.Received && f.Code != grpcUnavailable && f.Code != grpcCanceled && f.Code != grpcDeadlineExceeded:
		return Ignored // this side says so of the call itself: a message that cannot be encoded, or is too large
	}
	return classOfAnswer(f)
}

// classOfBroken is for attempts that end badly after the server had begun to
// answer.
func classOfBroken(f *GRPCFacts) Class {
	switch f.Code {
	case grpcUnavailable, grpcCanceled, grpcDeadlineExceeded:
		return Truncated
	}
	return classOfAnswer(f)
}

// classOfAnswer is for attempts whose status is the server's, or says that there
// was no answer.
func classOfAnswer(f *GRPCFacts) Class {
	switch f.Code {
	case grpcResourceExhausted:
		return Throttled
	case grpcUnknown, grpcInternal, grpcDataLoss, grpcCanceled:
		return Failed
	case grpcDeadlineExceeded:
		return Unavailable
	case grpcUnavailable:
		switch {
		case f.Received:
			return Unavailable
		case f.Sent:
			return Lost
		}
		return Unsent
	}
	if f.Code > grpcUnauthenticated {
		return Failed // the protocol has a code that is none of its own count as UNKNOWN
	}
	return Answered
}
