package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// policy is what the page may do: load its own style, script, icon and data, and
// nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the headers that all answers have.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Origin, Sec-Fetch-Site, Accept-Encoding")
}

// A refusal is why a request gets nothing.
type refusal struct {
	status int
	text   string
}

// write answers with the refusal.
func (f *refusal) write(w http.ResponseWriter) {
	if f.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET, HEAD")
	}
	http.Error(w, "admin: "+f.text, f.status)
}

// refuse says why a request is not served, or nil. A link from another site may
// lead to a page: who follows it sees the page, and the other site does not.
func (h *Handler) refuse(r *http.Request, page bool) *refusal {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &refusal{http.StatusMethodNotAllowed, "it can only be read"}
	}
	if !h.expects(r) {
		return &refusal{http.StatusForbidden, "it is not to be reached under this host name (Config.Hosts)"}
	}
	if o := r.Header.Get("Origin"); o != "" {
		if u, err := url.Parse(o); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return &refusal{http.StatusForbidden, "no other origin may read it"}
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if site == "" || site == "same-origin" || site == "none" {
		return nil
	}
	if page && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" {
		return nil
	}
	return &refusal{http.StatusForbidden, "no other site may read it"}
}

// expects says whether the name in the request is one under which the handler is
// to be reached.
func (h *Handler) expects(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if len(h.cfg.Hosts) > 0 {
		return slices.ContainsFunc(h.cfg.Hosts, func(s string) bool {
			return s == "*" || strings.EqualFold(strings.Trim(s, "[]"), strings.Trim(host, "[]"))
		})
	}
	if !loopback(r) || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// loopback says that the request came in through the loopback interface.
func loopback(r *http.Request) bool {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if addr == nil {
		return false
	}
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
