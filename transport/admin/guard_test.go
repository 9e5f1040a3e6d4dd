package admin_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tullemesh/tulle/transport/admin"
)

// Other sites get nothing, but a link of theirs leads to a page.
func TestOtherSites(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	for _, c := range []struct {
		name       string
		page, data int // status
		headers    []string
	}{
		{"no browser", 200, 200, nil},
		{"the page itself", 200, 200, []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}},
		{"an address that was typed", 200, 200, []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}},
		{"a link", 200, 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}},
		{"a frame", 403, 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}},
		{"a script tag", 403, 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"}},
		{"a neighbour", 403, 403, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}},
		{"fetch", 403, 403, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}},
		{"an old browser", 403, 403, []string{"Origin", "https://evil.example"}},
		{"a sandbox", 403, 403, []string{"Origin", "null"}},
		{"its own origin", 200, 200, []string{"Origin", "http://example.com"}},
		{"another port", 403, 403, []string{"Origin", "http://example.com:8080"}},
		{"a suffix", 403, 403, []string{"Origin", "http://example.com.evil.example"}},
		{"no origin at all", 403, 403, []string{"Origin", "%zz"}},
	} {
		for _, path := range []string{"/", "/service?name=users", "/records"} {
			if w := get(h, path, c.headers...); w.Code != c.page {
				t.Errorf("%s: %s: got %d, want %d", c.name, path, w.Code, c.page)
			}
		}
		for _, path := range []string{"/snapshot.json", "/records.json", "/history.json", "/schema.json", "/app.js"} {
			if w := get(h, path, c.headers...); w.Code != c.data {
				t.Errorf("%s: %s: got %d, want %d", c.name, path, w.Code, c.data)
			}
		}
		if c.data == 403 {
			for _, path := range []string{"/events", "/hystrix.stream"} {
				if w := get(h, path, c.headers...); w.Code != 403 {
					t.Errorf("%s: %s: got %d, want 403", c.name, path, w.Code)
				}
			}
		}
	}
}

// A name that was pointed at this machine is refused.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		local, host string
		hosts       []string
		want        int
	}{
		{"127.0.0.1:8089", "localhost:8089", nil, 200},
		{"127.0.0.1:8089", "LOCALHOST", nil, 200},
		{"127.0.0.1:8089", "mesh.localhost:8089", nil, 200},
		{"127.0.0.1:8089", "127.0.0.1:8089", nil, 200},
		{"[::1]:8089", "[::1]:8089", nil, 200},
		{"[::1]:8089", "[::1]", nil, 200},
		{"127.0.0.1:8089", "evil.example:8089", nil, 403},
		{"[::1]:8089", "evil.example", nil, 403},
		{"127.0.0.1:8089", "localhost.evil.example", nil, 403},
		{"127.0.0.1:8089", "", nil, 403},
		{"10.0.0.1:8089", "mesh.internal", nil, 200},
		{"", "mesh.internal", nil, 200}, // who asks without a server knows what he does
		{"127.0.0.1:8089", "mesh.internal", []string{"mesh.internal"}, 200},
		{"127.0.0.1:8089", "mesh.internal.:443", []string{"Mesh.Internal"}, 200},
		{"127.0.0.1:8089", "localhost", []string{"mesh.internal"}, 403},
		{"10.0.0.1:8089", "evil.example", []string{"mesh.internal"}, 403},
		{"10.0.0.1:8089", "[fd00::1]:80", []string{"fd00::1"}, 200},
		{"127.0.0.1:8089", "evil.example", []string{"*"}, 200},
	} {
		h := newHandler(t, newFake(), admin.Config{Hosts: c.hosts})
		for _, path := range []string{"/", "/snapshot.json"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = c.host
			if c.local != "" {
				addr, err := net.ResolveTCPAddr("tcp", c.local)
				if err != nil {
					t.Fatal(err)
				}
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(addr)))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%s asked for as %q, %v allowed: %s: got %d, want %d", c.local, c.host, c.hosts, path, w.Code, c.want)
			}
		}
	}
}
