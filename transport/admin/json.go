package admin

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tullemesh/tulle/transport/telemetry"
)

// serveSnapshotJSON serves a State.
func (h *Handler) serveSnapshotJSON(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	pick := selection{
		name: q.text("service"), environment: q.text("environment"), part: strings.ToLower(q.text("q")),
		anyEnvironment: !q.values.Has("environment"),
		endpoints:      q.flag("endpoints", true),
		offset:         q.number("offset", 0, 0, math.MaxInt32),
		limit:          q.number("limit", shownServices, 1, maxServices),
	}
	if !q.ok(w) {
		return
	}
	state := pick.state(h.look())
	state.Config = h.configStatus()
	writeJSON(w, r, state)
}

// A selection is which services are wanted.
type selection struct {
	name, environment, part   string
	anyEnvironment, endpoints bool
	offset, limit             int
}

// wants says whether a service is wanted.
func (p *selection) wants(name, environment string) bool {
	return (p.name == "" || p.name == name) &&
		(p.anyEnvironment || p.environment == environment) &&
		(p.part == "" || strings.Contains(strings.ToLower(name+"@"+environment), p.part))
}

// state is what is wanted of a reading. An answer ends before it has more than
// maxEndpoints endpoints, but has one service at least.
func (p *selection) state(r *reading) *State {
	s := &State{
		At: r.at, Window: r.window(), Totals: r.totals, Services: []Service{}, Changes: r.changes,
		Mirrored: r.snap.Mirrored, MirrorSkipped: r.snap.MirrorSkipped,
	}
	if s.Changes == nil {
		s.Changes = []Change{}
	}
	endpoints, full := 0, false
	for i := range r.snap.Services {
		svc := &r.snap.Services[i]
		if !p.wants(svc.Name, svc.Environment) {
			continue
		}
		s.Matching++
		if s.Matching <= p.offset || full {
			continue
		}
		if p.endpoints {
			endpoints += len(svc.Endpoints)
		}
		if full = len(s.Services) == p.limit || len(s.Services) > 0 && endpoints > maxEndpoints; full {
			s.Next = s.Matching - 1
			continue
		}
		s.Services = append(s.Services, r.service(i, p.endpoints))
	}
	return s
}

// serveRecordsJSON serves Records.
func (h *Handler) serveRecordsJSON(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	_, filter := q.tap(maxRecords)
	if !q.ok(w) {
		return
	}
	writeJSON(w, r, Records{h.records(filter)})
}

// records are the records that f wants, without secrets.
func (h *Handler) records(f telemetry.Filter) []*telemetry.Record {
	list := []*telemetry.Record{}
	for _, rec := range h.source.Records(f) {
		list = append(list, cleanRecord(rec))
	}
	return list
}

// serveHistoryJSON serves a History.
func (h *Handler) serveHistoryJSON(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	k := key{q.text("service"), q.text("environment")}
	if !q.ok(w) {
		return
	}
	h.look()
	times, points, ok := h.plotted(k)
	if !ok {
		http.Error(w, "admin: no such service", http.StatusNotFound)
		return
	}
	history := History{Service: k.service, Environment: k.environment, Interval: h.cfg.Interval, Points: make([]HistoryPoint, len(points))}
	for i := range points {
		history.Points[i] = points[i].json(times[i])
	}
	writeJSON(w, r, history)
}

// plotted are the points of a destination, or of all together.
func (h *Handler) plotted(k key) ([]time.Time, []point, bool) {
	h.looking.Lock()
	defer h.looking.Unlock()
	s := h.past.total
	if k != (key{}) {
		if s = h.past.series[k]; s == nil {
			return nil, nil, false
		}
	}
	times, points := h.past.plotted(s)
	return times, points, true
}

// json is the point as JSON has it.
func (p *point) json(at time.Time) HistoryPoint {
	known := func(x float32, scale float64) *float64 {
		if x != x {
			return nil
		}
		v := float64(x) * scale
		return &v
	}
	const second = float64(time.Second)
	return HistoryPoint{
		At: at, Rate: known(p.rate, 1), Success: known(p.success, 1), Median: known(p.p50, second), P99: known(p.p99, second),
		Out: known(p.out, 1), InFlight: known(p.inFlight, 1), Ejections: known(p.ejections, 1),
	}
}

// writeJSON answers with a value. It is encoded before the answer begins, so that
// an error can still be told.
func writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "admin: "+err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, r, "application/json", append(text, '\n'))
}

// worthZip is from which size on an answer is compressed.
const worthZip = 4 << 10

// write answers with a body, compressed if that is wanted and worth it.
func write(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	if len(body) < worthZip || !acceptsGzip(r.Header.Get("Accept-Encoding")) {
		header.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // who has gone need not be told
		return
	}
	header.Set("Content-Encoding", "gzip")
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return // the level is one that there is
	}
	_, _ = z.Write(body)
	_ = z.Close()
}

// acceptsGzip says whether a list of encodings has gzip, or any, and does not rule
// it out.
func acceptsGzip(header string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "gzip" && name != "*" {
			continue
		}
		weight, has := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !has || err == nil && q > 0
	}
	return false
}
