package admin

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A page is what a template shows.
type page struct {
	Name    string // of the template
	Program string
	Title   string
	At      time.Time
	Every   time.Duration
	Totals  Totals
	Config  *ConfigStatus
	Body    any
}

// newPage begins a page about a reading.
func (h *Handler) newPage(name, title string, r *reading) *page {
	p := &page{Name: name, Program: h.cfg.Title, Title: title, At: r.at, Every: h.cfg.Interval, Totals: r.totals, Config: h.configStatus()}
	return p
}

// A pager leads through what does not fit on one page.
type pager struct {
	First, Last, Total int
	Earlier, Later     string // URLs, "" where there is none
}

// newPager is a pager for total things of which size fit on a page, and what of
// them is on this one.
func newPager(path string, q url.Values, n, size, total int) (pager, int, int) {
	last := max(1, (total+size-1)/size)
	n = min(n, last)
	from, to := (n-1)*size, min(n*size, total)
	link := func(n int) string {
		if n < 1 || n > last {
			return ""
		}
		v := url.Values{}
		for _, name := range []string{"q", "sort", "name", "environment"} {
			if q.Get(name) != "" {
				v.Set(name, q.Get(name))
			}
		}
		v.Set("page", strconv.Itoa(n))
		return path + "?" + v.Encode()
	}
	return pager{min(from+1, total), to, total, link(n - 1), link(n + 1)}, from, to
}

// More says that there is another page.
func (p pager) More() bool { return p.Earlier != "" || p.Later != "" }

// servicesBody is what the page of services shows.
type servicesBody struct {
	Charts  []chart
	Rows    []serviceRow
	Pager   pager
	Query   string
	Sort    string
	Sorts   []sortOption
	Changes []Change
}

// sortOption is a way to sort that can be chosen.
type sortOption struct{ Value, Text string }

// serviceRow is a service in the table.
type serviceRow struct {
	Name, Environment, Link string
	Summary
	Median, P99 time.Duration
	Budget      float64
	Breaker     string
	Spark       string
}

// perPage is how many services or endpoints a page shows.
const (
	servicesPerPage  = 50
	endpointsPerPage = 200
)

// sorts are the ways to sort services.
func sorts() []sortOption {
	return []sortOption{{"", "trouble first"}, {"name", "name"}, {"rate", "rate"}, {"success", "success"}, {"p99", "p99"}}
}

// serveServices serves the page of all services.
func (h *Handler) serveServices(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	var words []string
	for _, s := range sorts() {
		words = append(words, s.Value)
	}
	body := servicesBody{Query: q.text("q"), Sort: q.choice("sort", words), Sorts: sorts()}
	n := q.number("page", 1, 1, maxServices)
	if !h.usable(w, r, q) {
		return
	}
	read := h.look()
	order := read.sorted(strings.ToLower(body.Query), body.Sort)
	var from, to int
	body.Pager, from, to = newPager("./", q.values, n, servicesPerPage, len(order))
	for _, i := range order[from:to] {
		body.Rows = append(body.Rows, h.row(read, i))
	}
	body.Charts = h.totalCharts()
	body.Changes = latestFirst(read.changes, nil)
	h.servePage(w, r, http.StatusOK, h.newPage("services", "Services", read).with(body))
}

// with sets what the page is about.
func (p *page) with(body any) *page {
	p.Body = body
	return p
}

// usable is query.ok for pages: what is wrong is told by a page.
func (h *Handler) usable(w http.ResponseWriter, r *http.Request, q *query) bool {
	if len(q.errs) == 0 {
		return true
	}
	h.serveError(w, r, http.StatusBadRequest, "This cannot be shown", q.errs...)
	return false
}

// serveError serves a page that says what is wrong.
func (h *Handler) serveError(w http.ResponseWriter, r *http.Request, status int, title string, errs ...error) {
	h.servePage(w, r, status, h.newPage("error", title, h.look()).with(errs))
}

// sorted are the services whose name has a part, in the order that is wanted.
func (r *reading) sorted(part, by string) []int {
	pick := selection{part: part, anyEnvironment: true}
	var order []int
	for i := range r.snap.Services {
		if pick.wants(r.snap.Services[i].Name, r.snap.Services[i].Environment) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return r.compare(a, b, by) })
	return order
}

// compare says which of two services comes first. Where nothing tells them apart
// that is the one that comes first in the snapshot.
func (r *reading) compare(a, b int, by string) int {
	x, y := &r.services[a], &r.services[b]
	switch by {
	case "name":
		return strings.Compare(r.snap.Services[a].Name, r.snap.Services[b].Name)
	case "rate":
		return cmp.Compare(y.Rate, x.Rate)
	case "success":
		return cmp.Compare(orLast(x.Success), orLast(y.Success))
	case "p99":
		return cmp.Compare(r.snap.Services[b].Spread.P99, r.snap.Services[a].Spread.P99)
	}
	return cmp.Compare(x.severity(), y.severity())
}

// orLast puts what is not known last.
func orLast(success float64) float64 {
	if success < 0 {
		return 2
	}
	return success
}

// severity is the place of the worst problem in a list of them, which is the order
// in which services are to be looked at.
func (sum *Summary) severity() int {
	all := []Problem{BreakerNotClosed, NoEndpoints, DiscoveryFails, EndpointsOut, NoRetryBudget}
	if len(sum.Problems) == 0 {
		return len(all)
	}
	return slices.Index(all, sum.Problems[0])
}

// row is the i-th service in the table.
func (h *Handler) row(r *reading, i int) serviceRow {
	svc := &r.snap.Services[i]
	times, points, _ := h.plotted(keyOf(svc))
	return serviceRow{
		Name: svc.Name, Environment: svc.Environment, Link: serviceLink(svc.Name, svc.Environment),
		Summary: r.services[i], Median: svc.Median, P99: svc.Spread.P99,
		Budget: svc.RetryBudget, Breaker: svc.Breaker, Spark: spark(times, points, h.cfg.Interval),
	}
}

// serviceLink is the URL of the page of a destination, from any page.
func serviceLink(name, environment string) string {
	v := url.Values{"name": {name}}
	if environment != "" {
		v.Set("environment", environment)
	}
	return "service?" + v.Encode()
}

// shownChanges is how many changes a page shows.
const shownChanges = 15

// latestFirst are the changes of a destination, or all where it is nil.
func latestFirst(all []Change, of *key) []Change {
	var list []Change
	for _, c := range slices.Backward(all) {
		if of != nil && (key{c.Service, c.Environment}) != *of {
			continue
		}
		if list = append(list, c); len(list) == shownChanges {
			break
		}
	}
	return list
}

// axis is the time that charts show.
func (h *Handler) axis() axis {
	return axis{time.Duration(h.cfg.Points-1) * h.cfg.Interval, gaps * h.cfg.Interval}
}

// totalCharts are those of all services together.
func (h *Handler) totalCharts() []chart {
	times, points, _ := h.plotted(key{})
	return []chart{
		h.rateChart(times, points),
		h.successChart(times, points),
		newChart("chart-flight", "In flight", times, points, h.axis(), scale{format: number, least: 1},
			figure{"", "violet", func(p *point) float32 { return p.inFlight }}),
		h.outChart(times, points),
	}
}

func (h *Handler) rateChart(times []time.Time, points []point) chart {
	return newChart("chart-rate", "Attempts", times, points, h.axis(), scale{format: rate, least: 1},
		figure{"", "accent", func(p *point) float32 { return p.rate }})
}

func (h *Handler) successChart(times []time.Time, points []point) chart {
	return newChart("chart-success", "Success", times, points, h.axis(), scale{format: percent, top: 1, bottom: true},
		figure{"", "good", func(p *point) float32 { return p.success }})
}

func (h *Handler) outChart(times []time.Time, points []point) chart {
	return newChart("chart-out", "Endpoints left out", times, points, h.axis(), scale{format: number, least: 1},
		figure{"", "bad", func(p *point) float32 { return p.out }})
}

// charts are those of one destination.
func (h *Handler) charts(k key) []chart {
	times, points, _ := h.plotted(k)
	return []chart{
		h.rateChart(times, points),
		h.successChart(times, points),
		newChart("chart-latency", "Latency", times, points, h.axis(), scale{format: inSeconds, least: 0.001},
			figure{"p50", "accent", func(p *point) float32 { return p.p50 }},
			figure{"p99", "violet", func(p *point) float32 { return p.p99 }}),
		h.outChart(times, points),
	}
}
