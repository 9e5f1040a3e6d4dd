package admin

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tullemesh/tulle/transport/telemetry"
)

// serviceBody is what the page of one destination shows.
type serviceBody struct {
	Service
	Charts  []chart
	Rows    []Endpoint
	Pager   pager
	Window  time.Duration
	Most    float64 // the largest share, for the bars
	Zones   bool    // some endpoint has one
	Load    bool    // some endpoint reports one
	Changes []Change
	Records []recordRow
	Tap     string // URL of all its records
}

// serveService serves the page of one destination.
func (h *Handler) serveService(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	k := key{q.text("name"), q.text("environment")}
	n := q.number("page", 1, 1, 1_000_000)
	if !h.usable(w, r, q) {
		return
	}
	read := h.look()
	i := read.find(k)
	if i < 0 {
		h.serveError(w, r, http.StatusNotFound, "No such service", errors.New("no service has the name "+label(k.service, k.environment)))
		return
	}
	body := serviceBody{
		Service: read.service(i, true), Charts: h.charts(k), Window: read.window(),
		Changes: latestFirst(read.changes, &k), Tap: recordsLink(tap{service: label(k.service, k.environment)}),
	}
	if len(body.Endpoints) > endpointsPerPage {
		slices.SortStableFunc(body.Endpoints, func(a, b Endpoint) int { return trouble(a.State) - trouble(b.State) })
	}
	var from, to int
	body.Pager, from, to = newPager("service", q.values, n, endpointsPerPage, len(body.Endpoints))
	body.Rows = body.Endpoints[from:to]
	for _, e := range body.Rows {
		body.Most = max(body.Most, e.Share)
		body.Zones = body.Zones || e.Zone != "" || e.Priority != 0
		body.Load = body.Load || e.Load != nil
	}
	body.Records = rowsOf(h.records(telemetry.Filter{Service: label(k.service, k.environment), Limit: 10}))
	h.servePage(w, r, http.StatusOK, h.newPage("service", label(k.service, k.environment), read).with(body))
}

// find is the place of a destination, -1 where there is none.
func (r *reading) find(k key) int {
	for i := range r.snap.Services {
		if keyOf(&r.snap.Services[i]) == k {
			return i
		}
	}
	return -1
}

// trouble orders states, those first that need a look.
func trouble(state string) int {
	return slices.Index([]string{"dead", "ejected", "probing", "returning", "healthy"}, state)
}

// Limited says that the rate limit has done something.
func (b serviceBody) Limited() bool {
	l := b.Limit
	return l.Admitted+l.Waited+l.Refused+l.Abandoned+l.Failed > 0 || l.Waiting > 0
}

// Darkened is what policies in dark mode would have done, "" if nothing.
func (b serviceBody) Darkened() string {
	var did []string
	for _, d := range []struct {
		n    uint64
		what string
	}{
		{b.DarkEjections, "left out an endpoint"},
		{b.BreakerDarkRejected, "refused an attempt"},
		{b.Retry.Dark, "repeated an attempt"},
		{b.Limit.DarkWaited, "made a call wait"},
		{b.Limit.DarkRefused, "refused a call by the rate limit"},
		{b.Deadline.Dark, "refused a call that came too late"},
	} {
		if d.n > 0 {
			did = append(did, count(d.n)+" × "+d.what)
		}
	}
	return strings.Join(did, ", ")
}

// Bar is the length of the bar of a share, out of a hundred.
func (b serviceBody) Bar(share float64) float64 {
	if b.Most <= 0 || share < 0 {
		return 0
	}
	return 100 * share / b.Most
}
