package tulle

import "time"

// A Class says what one attempt came to, as far as the layers care. Each
// class has one row in the table below; that table is the only place that
// says what a class means to whom.
type Class uint8

// The classes. The zero Class means that nothing has been classified yet.
const (
	// Answered: the endpoint did its work. HTTP 1xx to 3xx and 4xx but 408,
	// 421 and 429; gRPC OK and the codes of the caller's making.
	Answered Class = iota + 1

	// Throttled: the endpoint asks for less. HTTP 429, or 503 with
	// Retry-After; gRPC RESOURCE_EXHAUSTED or a pushback.
	Throttled

	// Failed: the endpoint answered with an error that another endpoint
	// would probably repeat. HTTP 500, 501 and other 5xx; gRPC INTERNAL,
	// UNKNOWN, DATA_LOSS.
	Failed

	// Unavailable: the endpoint, or what it depends on, cannot serve now.
	// HTTP 408, 502, 503, 504; gRPC UNAVAILABLE.
	Unavailable

	// Unsent: the request provably never reached the application behind the
	// endpoint. Refused, unreachable, dial timeout, HTTP 421, a refused
	// HTTP/2 stream.
	Unsent

	// Lost: the connection broke after bytes of the request were written and
	// before headers came back.
	Lost

	// Truncated: the connection broke in the response body.
	Truncated

	// Insecure: the TLS handshake failed or the certificate is not trusted.
	Insecure

	// TimedOut: the attempt timeout or a deadline ended a wait that was long
	// for this destination.
	TimedOut

	// Ignored: nobody's failure. The caller cancelled, or its deadline was
	// shorter than the destination usually takes, or the request itself could
	// not be sent anywhere.
	Ignored

	classes
)

// A Verdict is what an outcome counts as for a window of successes.
type Verdict uint8

// The verdicts. The zero Verdict counts as nothing.
const (
	Neither Verdict = iota
	Success
	Failure
)

// A Sampling says whether the time that an attempt waited is evidence of the
// endpoint's latency.
type Sampling uint8

// The samplings.
const (
	// NoSample: the time says nothing. A fast failure must not look like a
	// fast endpoint.
	NoSample Sampling = iota
	// FullSample: the endpoint took this long.
	FullSample
	// CensoredSample: the endpoint would have taken at least this long, so it
	// counts only where it is above the present estimate.
	CensoredSample
)

// A Repetition says in which case an attempt may be repeated.
type Repetition uint8

// The repetitions.
const (
	// NoRepeat: never.
	NoRepeat Repetition = iota
	// RepeatHinted: any call, when the server named a time that fits.
	RepeatHinted
	// RepeatSafe: safe and keyed calls.
	RepeatSafe
	// RepeatHealthy: safe and keyed calls, while the other endpoints of the
	// destination are healthy.
	RepeatHealthy
	// RepeatMoved: any call, at once and without charge, elsewhere.
	RepeatMoved
	// RepeatElsewhere: as RepeatMoved, and never at an endpoint that was
	// tried.
	RepeatElsewhere
)

// meaning is one row of the outcome table.
type meaning struct {
	name     string
	sample   Sampling
	endpoint Verdict
	service  Verdict
	repeat   Repetition
}

// table is the outcome table. Every layer reads it; none has rules of its own.
var table = [classes]meaning{
	0:           {"unclassified", NoSample, Neither, Neither, NoRepeat},
	Answered:    {"answered", FullSample, Success, Success, NoRepeat},
	Throttled:   {"throttled", NoSample, Neither, Neither, RepeatHinted},
	Failed:      {"failed", NoSample, Failure, Failure, NoRepeat},
	Unavailable: {"unavailable", NoSample, Failure, Failure, RepeatSafe},
	Unsent:      {"unsent", NoSample, Failure, Failure, RepeatMoved},
	Lost:        {"lost", NoSample, Failure, Failure, RepeatSafe},
	Truncated:   {"truncated", FullSample, Failure, Failure, NoRepeat},
	Insecure:    {"insecure", NoSample, Failure, Failure, RepeatElsewhere},
	TimedOut:    {"timed_out", CensoredSample, Failure, Failure, RepeatHealthy},
	Ignored:     {"ignored", NoSample, Neither, Neither, NoRepeat},
}

// row finds the meaning of a class; a value that is none means nothing, so
// that a user's classifier cannot make a layer panic.
func (c Class) row() *meaning {
	if c >= classes {
		c = 0
	}
	return &table[c]
}

// String is the class in lower case, as it appears in metrics.
func (c Class) String() string { return c.row().name }

// Sampling says whether the time to headers is a latency sample.
func (c Class) Sampling() Sampling { return c.row().sample }

// Endpoint is what the class counts as for the endpoint: its success window
// and its ejection.
func (c Class) Endpoint() Verdict { return c.row().endpoint }

// Service is what the class counts as for the service's circuit breaker.
func (c Class) Service() Verdict { return c.row().service }

// Repetition says in which case the attempt may be repeated.
func (c Class) Repetition() Repetition { return c.row().repeat }

// An Outcome is what one attempt came to.
type Outcome struct {
	// Class decides what the layers do. The other fields are facts.
	Class Class

	// Down says that no connection to the endpoint could be had.
	Down bool

	// Final says that the server does not want the call to be repeated at all
	// (a negative grpc-retry-pushback-ms).
	Final bool

	// Hinted says that the server named a time, RetryAfter, before which it
	// does not want the call again. The time may be 0.
	Hinted     bool
	RetryAfter time.Duration

	// Status is the HTTP status or the gRPC code, or 0 when no answer came.
	Status int

	// Elapsed is the time from the pick to the headers or to the error.
	Elapsed time.Duration

	// Err is the error that ended the attempt, or nil.
	Err error
}
