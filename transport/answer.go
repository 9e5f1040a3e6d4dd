package transport

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/route"
)

// answerRouted ends a call that is not sent.
func answerRouted(d *route.Decision, e *entry, req *http.Request, options *destination.Options) (*http.Response, error) {
	held := options
	if d.Rule != nil {
		held = ruled(d, options)
	}
	err := hold(req.Context(), e, held)
	closeBody(req)
	options.Tell(e.name, nil, 0)
	if err != nil {
		return nil, err
	}
	if d.Action == route.Refuse && statusOf(d.Err) == 0 {
		return nil, refused(d, e)
	}
	return made(d, req), nil
}

// statusOf is the status of the answer to a call that is refused: that which the
// Gateway API wants where it speaks of it, else 0, and the call fails.
func statusOf(err error) int {
	switch {
	case errors.Is(err, route.ErrNoRule):
		return http.StatusNotFound
	case errors.Is(err, route.ErrNoBackend):
		return http.StatusInternalServerError
	}
	return 0
}

// made is the answer to a call that is not sent.
func made(d *route.Decision, req *http.Request) *http.Response {
	resp := &http.Response{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Request: req}
	body := ""
	switch d.Action {
	case route.Answer:
		resp.StatusCode, body = d.Rule.Fixed.Status, d.Rule.Fixed.Body
		for name, value := range d.Rule.Fixed.Headers {
			resp.Header.Set(name, value)
		}
	case route.Reroute:
		resp.StatusCode = d.RedirectStatus()
		resp.Header.Set("Location", d.Location(req.URL, hostOf(req)))
	case route.Refuse:
		resp.StatusCode, body = statusOf(d.Err), d.Err.Error()
	default:
		resp.StatusCode, body = d.Rule.Fault.AbortStatus, "fault injected by rule "+ruleName(d)
		if resp.StatusCode == 0 {
			resp.StatusCode = destination.StatusOf(destination.Code(d.Rule.Fault.AbortCode))
		}
	}
	if d.Action == route.Refuse || d.Action == route.Abort {
		resp.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	d.EditResponse(resp.Header)
	resp.Status = strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	resp.Body = http.NoBody
	if bodiless := resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified; bodiless {
		return resp
	}
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if body != "" && req.Method != http.MethodHead {
		resp.Body = io.NopCloser(strings.NewReader(body))
	}
	return resp
}
