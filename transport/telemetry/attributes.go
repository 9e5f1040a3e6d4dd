package telemetry

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tullemesh/tulle"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// knownMethod is the HTTP method as metrics show it: one of those in use, or
// otherValue, as callers can make up others.
func knownMethod(m string) string {
	switch m {
	case "":
		return "GET"
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return m
	}
	return otherValue
}

// versions are those of HTTP by the number that stands for them in keys.
var versions = [...]string{"", "1.0", "1.1", "2", "3"}

func version(proto string) uint8 {
	switch proto {
	case "HTTP/1.1":
		return 2
	case "HTTP/2.0", "HTTP/2":
		return 3
	case "HTTP/3.0", "HTTP/3":
		return 4
	case "HTTP/1.0":
		return 1
	}
	return 0
}

// codeNames are the names of the status codes of gRPC.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// codeName is the name of a code, or its number if it has none.
func codeName(code int) string {
	if code >= 0 && code < len(codeNames) {
		return codeNames[code]
	}
	return strconv.Itoa(code)
}

// errorType is the value of error.type, "" if there was no error. It is one of
// few values.
func errorType(p Protocol, r *Result) string {
	switch {
	case r.ErrorType != "":
		return r.ErrorType
	case p != HTTP && r.Status != 0:
		return codeName(r.Status)
	case p == HTTP && r.Status >= 400 && r.Err == nil:
		return strconv.Itoa(r.Status)
	case r.Err == nil:
		return ""
	case errors.Is(r.Err, context.Canceled):
		return "canceled"
	case errors.Is(r.Err, context.DeadlineExceeded):
		return "timeout"
	case r.Class == 0 || r.Class == tulle.Answered:
		return otherValue
	}
	return r.Class.String()
}

// urlPort is the port of the URL, that of its scheme if it has none, or 0.
func urlPort(u *url.URL) int {
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return 0
		}
		return int(n)
	}
	switch u.Scheme {
	case "https":
		return 443
	case "http":
		return 80
	}
	return 0
}

// redacted stands where something secret was.
const redacted = "REDACTED"

// appendURL adds the URL as url.full has it: without user information and the
// values of signatures.
func appendURL(b []byte, u *url.URL) []byte {
	if u.Opaque != "" {
		b = append(b, u.Scheme...)
		b = append(b, ':')
		return appendQuery(append(b, u.Opaque...), u)
	}
	if u.Scheme != "" {
		b = append(b, u.Scheme...)
		b = append(b, ':')
	}
	if u.Host != "" || u.User != nil {
		b = append(b, "//"...)
		if u.User != nil {
			b = append(b, redacted+":"+redacted+"@"...)
		}
		b = appendHost(b, u.Host)
	}
	path := u.EscapedPath()
	if path != "" && path[0] != '/' && u.Host != "" {
		b = append(b, '/')
	}
	return appendQuery(append(b, path...), u)
}

// appendHost adds a host, escaped as net/url does it where that is needed.
func appendHost(b []byte, host string) []byte {
	for i := range len(host) {
		c := host[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^`+"`{|}%", c) >= 0 {
			escaped := url.URL{Host: host}
			return append(b, strings.TrimPrefix(escaped.String(), "//")...)
		}
	}
	return append(b, host...)
}

// appendQuery adds the query and the fragment.
func appendQuery(b []byte, u *url.URL) []byte {
	if u.RawQuery != "" || u.ForceQuery {
		b = append(b, '?')
	}
	for rest, more := u.RawQuery, u.RawQuery != ""; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		if name, _, ok := strings.Cut(pair, "="); ok && signature(name) {
			b = append(b, name...)
			b = append(b, '=')
			pair = redacted
		}
		b = append(b, pair...)
		if more {
			b = append(b, '&')
		}
	}
	if u.Fragment != "" {
		b = append(b, '#')
		b = append(b, u.EscapedFragment()...)
	}
	if !utf8.Valid(b) {
		return bytes.ToValidUTF8(b, []byte("\uFFFD"))
	}
	return b
}

// valid is s as valid UTF-8. An exporter would refuse a whole batch for one
// string that is not.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// signature says that the value of the parameter lets whoever has it act for
// someone else. The names are those that semconv lists.
func signature(name string) bool {
	switch name {
	case "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature",
		"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token":
		return true
	}
	return false
}

// appendPeer adds where an attempt goes.
func appendPeer(kv []attribute.KeyValue, e *tulle.Endpoint) []attribute.KeyValue {
	if e == nil || e.Addr == "" {
		return kv
	}
	host, port, err := net.SplitHostPort(e.Addr)
	if err != nil {
		host = strings.Trim(e.Addr, "[]")
	}
	kv = append(kv, semconv.NetworkPeerAddress(host))
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		kv = append(kv, semconv.NetworkPeerPort(int(n)))
	}
	if e.Name != "" {
		kv = append(kv, endpointKey.String(e.Name))
	}
	return kv
}

// scratch is where the attributes of a span are put together. An SDK copies what
// it keeps of them.
type scratch struct{ kv []attribute.KeyValue }

// take lends a scratch until give.
func (t *Telemetry) take() *scratch { return t.scratch.Get().(*scratch) }

// give takes the scratch back and keeps nothing of what was in it.
func (t *Telemetry) give(s *scratch, kv []attribute.KeyValue) {
	clear(kv)
	s.kv = kv[:0]
	t.scratch.Put(s)
}

// append adds what spans of the call and of its attempts both have.
func (f *Facts) append(kv []attribute.KeyValue) []attribute.KeyValue {
	if f.Protocol != HTTP {
		return append(kv, semconv.RPCSystemNameGRPC, semconv.RPCMethod(f.Method))
	}
	name := knownMethod(f.Method)
	kv = append(kv, semconv.HTTPRequestMethodKey.String(name))
	if name == otherValue {
		kv = append(kv, semconv.HTTPRequestMethodOriginal(valid(f.Method)))
	}
	if f.Template != "" {
		kv = append(kv, semconv.URLTemplate(f.Template))
	}
	return kv
}

// append adds what became of the call or the attempt.
func (r *Result) append(kv []attribute.KeyValue, p Protocol) []attribute.KeyValue {
	if p != HTTP {
		kv = append(kv, semconv.RPCResponseStatusCode(codeName(r.Status)))
	} else if r.Status != 0 {
		kv = append(kv, semconv.HTTPResponseStatusCode(r.Status))
	}
	if e := errorType(p, r); e != "" {
		kv = append(kv, semconv.ErrorTypeKey.String(e))
	}
	if r.Class != tulle.Answered { // else the status says as much
		kv = append(kv, outcomeKey.String(r.Class.String()))
	}
	return kv
}

// hostOf is the name that the caller used, without a port. Spans show it for
// hosts that nobody configured, too.
func (s *Service) hostOf(f *Facts) string {
	if s.name == Other && f.URL != nil {
		return valid(f.URL.Hostname())
	}
	return s.host
}

// appendServer adds the name and port that the caller used.
func (s *Service) appendServer(kv []attribute.KeyValue, f *Facts) []attribute.KeyValue {
	kv = append(kv, semconv.ServerAddress(s.hostOf(f)))
	port := s.portOf(f)
	if s.name == Other && f.URL != nil {
		port = urlPort(f.URL)
	}
	if port != 0 {
		kv = append(kv, semconv.ServerPort(port))
	}
	return kv
}
