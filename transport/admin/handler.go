package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// source is what is shown.
type source interface {
	Snapshot() transport.Snapshot
	Records(telemetry.Filter) []*telemetry.Record
}

// live is a Transport as a source.
type live struct{ *transport.Transport }

// Records implements source.
func (l live) Records(f telemetry.Filter) []*telemetry.Record { return l.Telemetry().Records(f) }

// A Handler serves the page and its JSON. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	source source
	files  files
	routes map[string]route
	slots  chan struct{} // one for each stream that is open
	start  time.Time

	closing context.Context // ends with Close
	stop    context.CancelFunc
	mu      sync.Mutex // held to begin what Close waits for
	running sync.WaitGroup

	looking sync.Mutex // held while the source is read
	latest  *reading   // guarded by looking, what it points to never changes
	past    past       // guarded by looking
}

// route is what a path leads to.
type route struct {
	serve func(http.ResponseWriter, *http.Request)

	// page says that it is for people: then a link from another site may lead
	// there, as that site cannot read it.
	page bool
}

// New returns a Handler that shows t, or an error that names every field of cfg
// that cannot be used. The caller closes it, before t or after it.
func New(t *transport.Transport, cfg Config) (*Handler, error) {
	if t == nil {
		return nil, errors.Join(errors.New("admin: Transport nil: want one"), cfg.Validate())
	}
	return newHandler(live{t}, cfg)
}

// newHandler is New for any source.
func newHandler(from source, cfg Config) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	files, err := loadFiles()
	if err != nil {
		return nil, err
	}
	h := &Handler{cfg: cfg, source: from, files: files, start: time.Now(), slots: make(chan struct{}, cfg.MaxStreams)}
	h.past.init(cfg.Points)
	h.closing, h.stop = context.WithCancel(context.Background())
	h.routes = map[string]route{
		"":               {h.serveServices, true},
		"service":        {h.serveService, true},
		"records":        {h.serveRecords, true},
		"snapshot.json":  {h.serveSnapshotJSON, false},
		"records.json":   {h.serveRecordsJSON, false},
		"history.json":   {h.serveHistoryJSON, false},
		"schema.json":    {h.serveFile("schema.json", "application/schema+json"), false},
		"app.css":        {h.serveFile("app.css", "text/css; charset=utf-8"), false},
		"app.js":         {h.serveFile("app.js", "text/javascript; charset=utf-8"), false},
		"icon.svg":       {h.serveFile("icon.svg", "image/svg+xml"), false},
		"events":         {h.serveEvents, false},
		"hystrix.stream": {h.serveHystrix, false},
	}
	if cfg.Background {
		h.running.Go(h.sample)
	}
	return h, nil
}

// Close ends all streams and the sampling, and waits for them. The Handler then
// answers 503. Further calls do the same again.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.running.Wait()
	return nil
}

// enter begins something that Close waits for. It says whether that may begin.
func (h *Handler) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing.Err() != nil {
		return false
	}
	h.running.Add(1)
	return true
}

// sample looks in each interval until Close.
func (h *Handler) sample() {
	tick := time.NewTicker(h.cfg.Interval)
	defer tick.Stop()
	for {
		h.look()
		select {
		case <-tick.C:
		case <-h.closing.Done():
			return
		}
	}
}

// ServeHTTP implements http.Handler. Paths are those below the place where the
// Handler is mounted, as http.StripPrefix leaves them.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if !h.enter() {
		http.Error(w, "admin: closed", http.StatusServiceUnavailable)
		return
	}
	defer h.running.Done()
	to, ok := h.routes[strings.TrimPrefix(r.URL.Path, "/")]
	if refusal := h.refuse(r, to.page); refusal != nil {
		refusal.write(w)
		return
	}
	switch {
	case !ok:
		http.Error(w, "admin: no such page", http.StatusNotFound)
	case r.URL.Path == "":
		redirectBelow(w, r)
	default:
		to.serve(w, r)
	}
}

// redirectBelow adds the slash that relative links need. Only the request line
// knows what was stripped.
func redirectBelow(w http.ResponseWriter, r *http.Request) {
	asked, _, _ := strings.Cut(r.RequestURI, "?")
	to := "./" + asked[strings.LastIndexByte(asked, '/')+1:] + "/"
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
}
