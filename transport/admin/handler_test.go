package admin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
)

// paths are all that there is, and their types.
var paths = map[string]string{
	"/":                   "text/html; charset=utf-8",
	"/service?name=users": "text/html; charset=utf-8",
	"/records":            "text/html; charset=utf-8",
	"/snapshot.json":      "application/json",
	"/records.json":       "application/json",
	"/history.json":       "application/json",
	"/schema.json":        "application/schema+json",
	"/app.css":            "text/css; charset=utf-8",
	"/app.js":             "text/javascript; charset=utf-8",
	"/icon.svg":           "image/svg+xml",
}

func TestPaths(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	for path, want := range paths {
		w := get(h, path)
		if got := w.Header().Get("Content-Type"); w.Code != 200 || got != want || w.Body.Len() == 0 {
			t.Errorf("%s: got %d %s with %d bytes, want %s", path, w.Code, got, w.Body.Len(), want)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Referrer-Policy":              "no-referrer",
			"X-Frame-Options":              "DENY",
			"Access-Control-Allow-Origin":  "",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", path, name, got, want)
			}
		}
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: got the policy %q", path, csp)
		}
	}
	for _, path := range []string{"/none", "/static/app.css", "/service/users", "/../x", "//"} {
		if w := get(h, path); w.Code != 404 {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
}

// Whatever would write is refused, for each path and for those that there are not.
func TestMethods(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	for path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"} {
			w := ask(t.Context(), h, method, path)
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: got %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
		if w := ask(t.Context(), h, "HEAD", path); w.Code != 200 {
			t.Errorf("HEAD %s: got %d", path, w.Code)
		}
	}
	for _, path := range []string{"/events", "/hystrix.stream"} { // a HEAD of a stream ends
		w := ask(t.Context(), h, "HEAD", path)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
			t.Errorf("HEAD %s: got %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

// The handler works below any prefix: all links are relative, and who forgets the
// last slash is led there.
func TestPrefix(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	mux := http.NewServeMux()
	mux.Handle("/a/b/", http.StripPrefix("/a/b", h))
	mux.Handle("/c", http.StripPrefix("/c", h))
	if w := get(mux, "/a/b/"); w.Code != 200 || strings.Contains(w.Body.String(), `="/`) {
		t.Errorf("got %d, or a link from the root in %s", w.Code, w.Body)
	}
	w := get(mux, "/c?q=x")
	if w.Code != http.StatusFound || w.Header().Get("Location") != "./c/" {
		t.Errorf("got %d to %q, want ./c/", w.Code, w.Header().Get("Location"))
	}
	// An address that looks like one of another host stays here.
	r := httptest.NewRequest("GET", "/c", nil)
	r.RequestURI = "//evil.example"
	r.URL.Path = ""
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if got := rec.Header().Get("Location"); got != "./evil.example/" {
		t.Errorf("got a redirect to %q", got)
	}
}

func TestFilesAreKept(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	w := get(h, "/app.js")
	tag := w.Header().Get("ETag")
	if tag == "" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Fatalf("got ETag %q, Cache-Control %q", tag, w.Header().Get("Cache-Control"))
	}
	if w := get(h, "/app.js", "If-None-Match", tag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("got %d with %d bytes, want 304", w.Code, w.Body.Len())
	}
	if w := get(h, "/"); w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the page: got Cache-Control %q", w.Header().Get("Cache-Control"))
	}
}

func TestClose(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{Background: true})
	for range 2 {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if w := get(h, "/"); w.Code != 503 {
		t.Errorf("got %d, want 503 after Close", w.Code)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  admin.Config
		want []string
	}{
		{admin.Config{}, nil},
		{admin.Config{Interval: 100 * time.Millisecond, Points: 2, MaxStreams: 1, Hosts: []string{"a.example", "*", "::1"}}, nil},
		{admin.Config{Interval: time.Millisecond, Points: 1, MaxStreams: -1, Hosts: []string{"", "a:80", "http://a"}}, []string{
			"Interval 1ms", "Points 1", "MaxStreams -1", `Hosts ""`, `Hosts "a:80"`, `Hosts "http://a"`,
		}},
		{admin.Config{Interval: time.Hour, Points: 1 << 20, MaxStreams: 1 << 20}, []string{"Interval 1h0m0s", "Points 1048576", "MaxStreams 1048576"}},
	} {
		h, err := admin.NewFrom(newFake(), c.cfg)
		if (err != nil) != (len(c.want) > 0) {
			t.Errorf("%+v: got %v", c.cfg, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want %q in it", c.cfg, err, want)
			}
		}
		if h != nil {
			h.Close()
		}
	}
	if _, err := admin.New(nil, admin.Config{Points: 1}); err == nil || !strings.Contains(err.Error(), "nil") || !strings.Contains(err.Error(), "Points") {
		t.Errorf("without a Transport: got %v", err)
	}
}

// Many look at once, in all ways, while everything changes.
func TestConcurrent(t *testing.T) {
	f := many(5, 20)
	f.records = filled().records
	h := newHandler(t, f, admin.Config{Background: true, Interval: 100 * time.Millisecond, MaxStreams: 8})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			f.change(func(s *transport.Snapshot) {
				svc := &s.Services[i%5]
				e := svc.Endpoints
				e[0], e[i%20] = e[i%20], e[0]
				e[1].State = []string{"healthy", "ejected", "dead"}[i%3]
				e[2].Attempts += 3
				if i%7 == 0 {
					s.Services[0], s.Services[4] = s.Services[4], s.Services[0]
				}
			})
		}
	})
	for _, path := range []string{"/", "/service?name=service-0001", "/records", "/snapshot.json", "/history.json", "/records.json"} {
		running.Go(func() {
			for ctx.Err() == nil {
				if w := get(h, path); w.Code != 200 {
					t.Errorf("%s: got %d", path, w.Code)
				}
			}
		})
	}
	for _, path := range []string{"/events", "/hystrix.stream", "/events"} {
		running.Go(func() { ask(ctx, h, "GET", path) })
	}
	running.Wait()
}
