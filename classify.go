package tulle

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// A Reach says how far a request got, as far as can be proved.
type Reach uint8

// The reaches.
const (
	// ReachUnknown: no evidence. It counts as if bytes had been written.
	ReachUnknown Reach = iota
	// NoConnection: the sender reports its connections (net/http/httptrace)
	// and never had one for this request.
	NoConnection
	// DialFailed: the error is that of the dial.
	DialFailed
	// HadConnection: the request was given a connection, so bytes of it may
	// have left.
	HadConnection
	// Unprocessed: the sender proved that nobody processed the request, though
	// it had connections.
	Unprocessed
)

// HTTPFacts are what is known of one HTTP attempt when it has ended: the
// input of a classifier.
type HTTPFacts struct {
	// Response is the answer, or nil. Its Body must not be touched.
	Response *http.Response

	// Err is the error of the round trip, or of reading the body when InBody.
	Err    error
	InBody bool

	// Ended is the Err of the attempt's context: nil while it has not ended.
	Ended error

	// AttemptTimeout says that the attempt timeout ended it.
	AttemptTimeout bool

	// RequestBody says that reading the caller's own request body failed.
	RequestBody bool

	// Reach says how far the request got.
	Reach Reach

	// Elapsed is how long the attempt waited for headers. Mean is the
	// destination's recent mean of that, 0 when unknown.
	Elapsed, Mean time.Duration

	// Now is the wall clock, to which an HTTP date in Retry-After relates.
	Now time.Time
}

// minBlame is the shortest wait after which an expired deadline says something
// about the endpoint, however fast the destination is.
const minBlame = 100 * time.Millisecond

// ClassifyHTTP is the classifier of HTTP attempts: status, error and connection
// facts in, outcome out. A replacement (transport.Service.Classify) handles the
// cases it cares about and leaves the rest to this one.
func ClassifyHTTP(f HTTPFacts) Outcome {
	o := Outcome{Elapsed: f.Elapsed, Err: f.Err}
	if f.Response != nil {
		o.Status = f.Response.StatusCode
	}
	switch {
	case f.Response != nil && !f.InBody:
		o.Class = classOfStatus(o.Status)
		if o.Status == http.StatusGatewayTimeout && f.Response.Header[ExpiredHeader] != nil {
			o.Class = Ignored
		}
		if o.Class == Throttled || o.Class == Unavailable {
			classifyHint(&o, &f)
		}
	case f.Err == nil:
		o.Class = Answered
	default:
		o.Class = classOfError(&f)
		o.Down = o.Class == Unsent && f.Reach != Unprocessed && !isRefusedStream(f.Err)
	}
	return o
}

// ExpiredHeader marks the 504 of a server that did not run a request because its
// time was up when its turn came. That is not the server's failure.
const ExpiredHeader = "Tulle-Expired"

// classOfStatus is the table's rows on HTTP status.
func classOfStatus(status int) Class {
	switch status {
	case http.StatusTooManyRequests:
		return Throttled
	case http.StatusRequestTimeout, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unavailable
	case http.StatusMisdirectedRequest:
		return Unsent
	}
	if status >= 500 {
		return Failed
	}
	return Answered
}

// classifyHint reads Retry-After. With it a 503 is a plea for less load and
// not a failure; a 408, 502 or 504 stays what it is, and the time is ignored.
func classifyHint(o *Outcome, f *HTTPFacts) {
	if o.Class == Unavailable && o.Status != http.StatusServiceUnavailable {
		return
	}
	if after, ok := ParseRetryAfter(f.Response.Header.Get("Retry-After"), f.Now); ok {
		o.Class, o.Hinted, o.RetryAfter = Throttled, true, after
	}
}

// classOfError is the table's rows on errors. The order matters: whose fault
// it was (caller, deadline, certificate) comes before how far it got, but once
// there were headers no error proves that nothing happened.
func classOfError(f *HTTPFacts) Class {
	switch {
	case f.RequestBody:
		return Ignored
	case f.AttemptTimeout:
		if f.Reach == NoConnection || f.Reach == DialFailed || isDial(f.Err) {
			return Unsent
		}
		return TimedOut
	case isCanceled(f):
		return Ignored
	case isExpired(f):
		if f.Elapsed >= max(2*f.Mean, minBlame) {
			return TimedOut
		}
		return Ignored
	case f.InBody:
		return Truncated
	case isTLS(f):
		return Insecure
	case f.Reach == Unprocessed || f.Reach == DialFailed || isDial(f.Err) || isRefusedStream(f.Err):
		return Unsent
	case f.Reach == NoConnection:
		return classOfNoConnection(f.Err)
	}
	return Lost
}

// classOfNoConnection tells an endpoint that could not be reached from a
// request that no endpoint could have been sent: net/http refuses an invalid
// header or method with a plain error before it looks for a connection.
func classOfNoConnection(err error) Class {
	var ne net.Error
	var errno syscall.Errno
	if errors.As(err, &ne) || errors.As(err, &errno) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return Unsent
	}
	return Ignored
}

// isCanceled says that the caller gave up. Only the context tells: an error
// that merely wraps context.Canceled may stem from the sender's own inner
// contexts.
func isCanceled(f *HTTPFacts) bool {
	if f.Ended != nil {
		return !errors.Is(f.Ended, context.DeadlineExceeded)
	}
	return errors.Is(f.Err, context.Canceled)
}

// isExpired says that a deadline ended the attempt, whoever set it. A dial that
// timed out by the dialer's own limit is not one.
func isExpired(f *HTTPFacts) bool {
	if f.Ended != nil {
		return true
	}
	if f.Reach == DialFailed || f.Reach == NoConnection || isDial(f.Err) {
		return false
	}
	var ne net.Error
	return errors.Is(f.Err, context.DeadlineExceeded) || errors.Is(f.Err, os.ErrDeadlineExceeded) ||
		errors.As(f.Err, &ne) && ne.Timeout()
}

// isDial says that the error is one of connecting, to the endpoint or to a proxy
// before it, so nothing was written.
func isDial(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect"
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// isTLS says that the peer and we could not agree on a secure connection.
func isTLS(f *HTTPFacts) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(f.Err, &verify) || errors.As(f.Err, &unknown) || errors.As(f.Err, &host) ||
		errors.As(f.Err, &invalid) || errors.Is(f.Err, http.ErrSchemeMismatch) ||
		f.Reach != HadConnection && isHandshake(f.Err)
}

// isHandshake knows errors of the TLS protocol. They end a handshake, but also a
// connection that has carried requests: with one in hand they prove nothing.
func isHandshake(err error) bool {
	var record tls.RecordHeaderError
	var quic tls.AlertError
	var op *net.OpError
	if errors.As(err, &record) || errors.As(err, &quic) {
		return true
	}
	// The alerts of crypto/tls have a type of their own only over QUIC, and
	// these operations otherwise.
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// h2StreamError has the shape of the HTTP/2 stream error of net/http. That type
// is not exported, but its As method fills any struct whose fields have the same
// names and convertible types.
type h2StreamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error makes the type a valid target of errors.As.
func (e h2StreamError) Error() string { return "http2: stream error" }

// refusedStream is REFUSED_STREAM of RFC 9113, section 7: the server promises
// that it did not process the stream.
const refusedStream = 0x7

// isRefusedStream says that an HTTP/2 server refused the stream unprocessed.
func isRefusedStream(err error) bool {
	var se h2StreamError
	return errors.As(err, &se) && se.Code == refusedStream
}
