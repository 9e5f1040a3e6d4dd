package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// recordsBody is what the page of records shows.
type recordsBody struct {
	Service, Path, Status string
	Failed                bool
	Limit                 int
	Names                 []string // of services, to choose from
	Rows                  []recordRow
	JSON                  string // URL of the same as JSON
}

// serveRecords serves the page of records.
func (h *Handler) serveRecords(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	t, filter := q.tap(shownRecords)
	if !h.usable(w, r, q) {
		return
	}
	read := h.look()
	body := recordsBody{
		Service: t.service, Path: t.path, Status: t.status, Failed: t.failed, Limit: t.limit,
		Rows: rowsOf(h.records(filter)), JSON: "records.json?" + t.values().Encode(),
	}
	for i := range min(len(read.snap.Services), servicesPerPage) {
		svc := &read.snap.Services[i]
		body.Names = append(body.Names, label(svc.Name, svc.Environment))
	}
	h.servePage(w, r, http.StatusOK, h.newPage("records", "Decisions", read).with(body))
}

// values are the parameters of the filter.
func (t tap) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"service": t.service, "path": t.path, "status": t.status} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if t.failed {
		v.Set("failed", "1")
	}
	if t.limit != 0 {
		v.Set("limit", strconv.Itoa(t.limit))
	}
	return v
}

// recordsLink is the URL of the page with a filter.
func recordsLink(t tap) string { return "records?" + t.values().Encode() }

// A recordRow is a record in a list, with the picture of its attempts.
type recordRow struct {
	*telemetry.Record
	ID   string
	Good bool
	Last string // the endpoint that was tried last
	Bars []tryBar
}

// tryBar is an attempt as a bar: where it begins and how long it is, out of a
// hundred.
type tryBar struct {
	telemetry.Try
	From, Length float64
	Good         bool
}

// rowsOf are records in a list. Their ID stays, so that one that was opened stays
// so.
func rowsOf(list []*telemetry.Record) []recordRow {
	rows := make([]recordRow, len(list))
	seen := map[string]int{}
	for i, r := range list {
		id := "r" + strconv.FormatInt(r.Time.UnixNano(), 36)
		if seen[id]++; seen[id] > 1 {
			id += "-" + strconv.Itoa(seen[id])
		}
		rows[i] = recordRow{Record: r, ID: id, Good: good(r.Outcome), Bars: bars(r)}
		if n := len(r.Tries); n > 0 {
			rows[i].Last = r.Tries[n-1].Endpoint
		}
	}
	return rows
}

// good says that an outcome is an answer which is nobody's failure.
func good(outcome string) bool { return outcome == tulle.Answered.String() }

// bars are the attempts of a record. One that is very short can be seen yet.
func bars(r *telemetry.Record) []tryBar {
	whole := r.Elapsed
	for i := range r.Tries {
		whole = max(whole, r.Tries[i].Start+r.Tries[i].Time)
	}
	list := make([]tryBar, len(r.Tries))
	for i := range r.Tries {
		t := &r.Tries[i]
		list[i] = tryBar{Try: *t, Good: good(t.Outcome) && t.Status < 500, From: part(t.Start, whole), Length: max(1, part(t.Time, whole))}
		list[i].From = min(list[i].From, 99)
		list[i].Length = min(list[i].Length, 100-list[i].From)
	}
	return list
}

// part is d out of a hundred of whole.
func part(d, whole time.Duration) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(d) / float64(whole)
}
