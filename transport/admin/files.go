package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
)

//go:embed static
var static embed.FS

// files are the embedded files, ready to be served.
type files struct {
	pages map[string]*template.Template
	raw   map[string]file
}

// file is one that is served as it is.
type file struct {
	body []byte
	etag string
}

// loadFiles reads them. An error is one of the files, so a test sees it.
func loadFiles() (files, error) {
	f := files{map[string]*template.Template{}, map[string]file{}}
	for _, name := range []string{"services", "service", "records", "error"} {
		t, err := template.New("layout.html").Funcs(funcs()).ParseFS(static, "static/layout.html", "static/parts.html", "static/"+name+".html")
		if err != nil {
			return f, fmt.Errorf("admin: page %s: %w", name, err)
		}
		f.pages[name] = t
	}
	for _, name := range []string{"app.css", "app.js", "icon.svg", "schema.json"} {
		body, err := static.ReadFile("static/" + name)
		if err != nil {
			return f, fmt.Errorf("admin: %w", err)
		}
		sum := sha256.Sum256(body)
		f.raw[name] = file{body, `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return f, nil
}

// serveFile serves a file. Browsers keep it, and ask whether it is still the same.
func (h *Handler) serveFile(name, contentType string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		f := h.files.raw[name]
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", f.etag)
		if r.Header.Get("If-None-Match") == f.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		write(w, r, contentType, f.body)
	}
}

// servePage answers with a page. It is made before the answer begins, so that no
// half of one is served.
func (h *Handler) servePage(w http.ResponseWriter, r *http.Request, status int, p *page) {
	var out bytes.Buffer
	if err := h.files.pages[p.Name].Execute(&out, p); err != nil {
		http.Error(w, "admin: "+err.Error(), http.StatusInternalServerError)
		return
	}
	write(&statusWriter{w, status}, r, "text/html; charset=utf-8", out.Bytes())
}

// statusWriter begins its answer with a status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(w.status)
		w.status = 0
	}
	return w.ResponseWriter.Write(p)
}
