package admin_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/admin"
)

// Whatever stands in a query, the answer is a page or JSON, a refusal that says
// what is wrong, or that there is no such thing. It never fails, and what was asked
// for never becomes markup.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"", "q=x&sort=rate&page=2", "name=users", "name=users&environment=prod&page=99999", "service=users&path=/&status=5xx&failed=1&limit=10",
		"offset=1&limit=1&endpoints=0", "status=%zz", "q=%3Cscript%3E", "limit=-1&offset=9999999999999", "a=b;c=d", "status=xx", "page=+1",
		"name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "status=%3Cimg+onerror=x%3E", "name=%ff", "q=\xff",
	} {
		f.Add(q)
	}
	h := newHandler(f, filled(), admin.Config{})
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/", "/service", "/records", "/snapshot.json", "/records.json", "/history.json"} {
			r := httptest.NewRequest("GET", path, nil)
			r.URL = &url.URL{Path: path, RawQuery: query}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			switch {
			case w.Code != 200 && w.Code != 400 && w.Code != 404:
				t.Errorf("%s?%s: got %d", path, query, w.Code)
			case strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"):
				if bad := badMarkup(w.Body.String()); len(bad) > 0 {
					t.Errorf("%s?%s: got %q", path, query, bad)
				}
			}
		}
	})
}
