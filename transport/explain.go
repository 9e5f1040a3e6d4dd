package transport

import (
	"context"
	"net/http"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/route"
)

// An Explanation says what would become of a call.
type Explanation struct {
	// Service is the service that is called, "" for a host that is none;
	// Error why the call would fail at once.
	Service string `json:"service"`
	Error   string `json:"error,omitempty"`

	// Status is that of the answer to a call that is not sent, 0 for others.
	Status int `json:"status,omitempty"`

	// Route is how that was decided, nil for a host that is no service.
	Route *route.Explanation `json:"route,omitempty"`

	// Destination is where it would go now, with its endpoints and their
	// states; nil if it is not sent, or passes through.
	Destination *ServiceSnapshot `json:"destination,omitempty"`
}

// Explain says what would become of a call with req, without sending it: which
// rule applies and why, which override was honoured, which environments are asked,
// and the endpoints of the destination. Where rules split calls at random, another
// call may go elsewhere. The body is not touched.
func (t *Transport) Explain(ctx context.Context, req *http.Request) Explanation {
	tb := t.table.Load()
	req = req.WithContext(ctx)
	e, svc, err := t.find(tb, req)
	switch {
	case err != nil:
		return Explanation{Error: err.Error()}
	case e == nil && svc == nil:
		return Explanation{}
	case e == nil:
		snap := svc.snapshot()
		return Explanation{Service: svc.Name, Destination: &snap}
	}
	in := tb.input(e, req, destination.OptionsOf(ctx))
	why := tb.routes.Explain(&in)
	x := Explanation{Service: e.name, Route: &why}
	d := tb.routes.Decide(&in)
	switch {
	case d.Action == route.Send:
		_, to := tb.place(d.Chain, in.Random, (*service).level)
		snap := to.snapshot()
		x.Destination = &snap
	case d.Action == route.Refuse && statusOf(d.Err) == 0:
		x.Error = refused(&d, e).Error()
	default:
		x.Status = made(&d, req).StatusCode
	}
	return x
}
