package admin_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// story is a source in which something has happened, and its handler, in a bubble.
func story(t *testing.T) (*fake, *admin.Handler) {
	f := filled()
	f.records = append(f.records, &telemetry.Record{
		Time: time.Unix(1e9+1, 0), Elapsed: 30 * time.Millisecond, Service: "orders", Method: "POST", Path: "/v1/orders",
		Outcome: "unsent", Error: "transport: no endpoint", Breaker: "open", Refused: 2,
		Tries: []telemetry.Try{{Attempt: 1, Endpoint: "10.0.1.1:80", Time: 10 * time.Millisecond, Outcome: "unsent", Error: "connection refused"}},
		Picks: []telemetry.Pick{{Attempt: 1, Endpoint: "10.0.1.1:80", Candidates: []telemetry.Candidate{
			{Addr: "10.0.1.1:80", Cost: 0.012}, {Addr: "10.0.1.2:80", Cost: 0.5}, {Addr: "10.0.1.3:80", Cost: 1, Avoided: "ejected"}}}},
		Repeats: []telemetry.Repeat{{Reason: "no_budget"}},
	})
	h := newHandler(t, f, admin.Config{Title: "shop", ConfigStatus: func() admin.ConfigStatus {
		return admin.ConfigStatus{Version: "v3", LoadedAt: time.Unix(946684000, 0), Error: "line 7: timeout -1s", ErrorAt: time.Unix(946684790, 0), Refused: 1}
	}})
	get(h, "/")
	time.Sleep(time.Second)
	f.change(func(s *transport.Snapshot) {
		s.Services[0].Breaker = "open"
		s.Services[1].Endpoints[0].Attempts += 90
		s.Services[1].Endpoints[1].Attempts += 10
		s.Services[1].Endpoints[1].State = "dead"
	})
	get(h, "/")
	time.Sleep(time.Second)
	return f, h
}

// The pages of a fixed state are as they were.
func TestGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := story(t)
		defer h.Close()
		for name, path := range map[string]string{
			"services.html": "/",
			"service.html":  "/service?name=users&environment=prod",
			"records.html":  "/records?service=users&path=/v1&status=2xx",
			"error.html":    "/records?status=bad&limit=-1",
			"missing.html":  "/service?name=none",
		} {
			golden(t, name, get(h, path).Body.Bytes())
		}
	})
}

// The page of nothing says so.
func TestEmpty(t *testing.T) {
	h := newHandler(t, &fake{}, admin.Config{})
	for path, want := range map[string]string{
		"/": "No service is configured", "/?q=x": "No service has “x” in its name", "/records": "No record fits",
	} {
		if w := get(h, path); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %d, want %q in\n%s", path, w.Code, want, w.Body)
		}
	}
	f := &fake{snap: transport.Snapshot{Services: []transport.ServiceSnapshot{service("a")}}}
	h = newHandler(t, f, admin.Config{})
	if w := get(h, "/service?name=a"); !strings.Contains(w.Body.String(), "Discovery has found no endpoint") || !strings.Contains(w.Body.String(), "no endpoints</span>") {
		t.Errorf("got\n%s", w.Body)
	}
}

// evil stands wherever somebody else has a say.
const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}</textarea>javascript:alert(3)`

// Nothing that others say becomes part of the page's language.
func TestScripts(t *testing.T) {
	f := &fake{}
	svc := service(evil, transport.EndpointSnapshot{
		Endpoint: tulle.Endpoint{Addr: evil, Name: evil, Zone: evil, Labels: map[string]string{evil: evil}}, State: evil,
	})
	svc.Environment, svc.Breaker, svc.DiscoveryError = evil, evil, evil
	svc.Shares = []transport.ShareSnapshot{{Zone: evil}}
	f.snap.Services = []transport.ServiceSnapshot{svc}
	f.records = []*telemetry.Record{{
		TraceID: evil, Service: evil, Method: evil, Path: evil, Route: telemetry.Route{Destination: evil, Rule: evil, Override: evil},
		Breaker: evil, Outcome: evil, Error: evil, Status: 200,
		Waits:   []telemetry.Wait{{For: evil, Error: evil}},
		Picks:   []telemetry.Pick{{Endpoint: evil, Candidates: []telemetry.Candidate{{Addr: evil, Avoided: evil}, {Addr: "x", Avoided: evil}}}},
		Tries:   []telemetry.Try{{Endpoint: evil, Outcome: evil, Error: evil}},
		Repeats: []telemetry.Repeat{{Reason: evil}},
	}}
	h := newHandler(t, f, admin.Config{Title: evil, ConfigStatus: func() admin.ConfigStatus {
		return admin.ConfigStatus{Version: evil, Error: evil, ErrorAt: time.Unix(1, 0)}
	}})
	q := strings.NewReplacer("\"", "%22", " ", "%20", "<", "%3C", ">", "%3E", "'", "%27", "{", "%7B", "}", "%7D").Replace(evil)
	for path, status := range map[string]int{
		"/?q=" + q: 200, "/service?name=" + q + "&environment=" + q: 200, "/records?service=" + q + "&path=" + q: 200,
		"/records?status=" + q: 400, "/service?name=" + q: 404,
	} {
		w := get(h, path)
		if w.Code != status {
			t.Errorf("%.20s: got %d, want %d", path, w.Code, status)
		}
		checkPage(t, path, w.Body.String())
	}
	for _, path := range []string{"/snapshot.json", "/records.json"} {
		if body := get(h, path).Body.String(); strings.Contains(body, "<script") {
			t.Errorf("%s: got markup in\n%s", path, body)
		}
	}
}

// badMarkup finds scripts, styles, handlers and links that are not ours.
func badMarkup(page string) (bad []string) {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return bad
		} else if err != nil {
			return append(bad, err.Error())
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local == "script" && (len(e.Attr) != 2 || e.Attr[0].Value != "app.js") || e.Name.Local == "style" {
			bad = append(bad, fmt.Sprint(e))
		}
		for _, a := range e.Attr {
			if !ourAttr(a.Name.Local, a.Value) {
				bad = append(bad, fmt.Sprint("attribute ", a.Name.Local, "=", a.Value))
			}
		}
	}
}

// ourAttr says whether an attribute is one that the pages may have.
func ourAttr(name, value string) bool {
	switch name = strings.ToLower(name); name {
	case "href", "src", "action":
		path, _, _ := strings.Cut(value, "?")
		return slices.Contains([]string{
			"./", "service", "records", "records.json", "snapshot.json", "app.css", "app.js", "icon.svg", "#main",
		}, path)
	case "style", "srcdoc", "formaction", "ping", "background":
		return false
	}
	return !strings.HasPrefix(name, "on")
}

// checkPage reports bad markup.
func checkPage(t *testing.T, path, page string) {
	t.Helper()
	for _, bad := range badMarkup(page) {
		t.Errorf("%.30s: got %s", path, bad)
	}
}

// badMarkup finds what it is for.
func TestBadMarkup(t *testing.T) {
	for _, page := range []string{
		"<p><script>x</script></p>", `<p style="x"></p>`, `<img src=http://h/x>`, `<a href="javascript:x">x</a>`, `<p onclick=x></p>`,
		`<script src="app.js" defer integrity="x"></script>`, `<style>x</style>`, `<a href="//h/">x</a>`,
	} {
		if len(badMarkup(page)) == 0 {
			t.Errorf("%s: got no complaint", page)
		}
	}
	if bad := badMarkup(`<p>a &lt; b &mdash; <br><a href="service?name=x&amp;y">x</a></p>`); len(bad) > 0 {
		t.Errorf("got %q", bad)
	}
}

// What people need who cannot see the page, or do not use a mouse.
func TestAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := story(t)
		defer h.Close()
		for _, path := range []string{"/", "/service?name=users&environment=prod", "/records"} {
			page := get(h, path).Body.String()
			for _, want := range []string{
				`<html lang="en">`, `class="skip" href="#main"`, `<main id="main"`, `aria-live="polite"`, `<nav aria-label="Pages">`,
				`<meta name="viewport"`, `<h1`,
			} {
				if !strings.Contains(page, want) {
					t.Errorf("%s: got no %s", path, want)
				}
			}
			for _, svg := range regexp.MustCompile(`<svg[^>]*>`).FindAllString(page, -1) {
				if !strings.Contains(svg, "aria-hidden") && !strings.Contains(svg, `role="img" aria-label="`) {
					t.Errorf("%s: %s has no text", path, svg)
				}
			}
			for _, th := range regexp.MustCompile(`<th[ >][^>]*>`).FindAllString(page, -1) {
				if !strings.Contains(th, "scope=") {
					t.Errorf("%s: %s has no scope", path, th)
				}
			}
			checkIDs(t, path, page)
			checkPage(t, path, page)
		}
	})
}

// checkIDs wants each id once, and what is live to have one.
func checkIDs(t *testing.T, path, page string) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if seen[m[1]] {
			t.Errorf("%s: the id %s is there twice", path, m[1])
		}
		seen[m[1]] = true
	}
	for _, tag := range regexp.MustCompile(`<[^>]* data-live[^>]*>`).FindAllString(page, -1) {
		if !strings.Contains(tag, " id=") {
			t.Errorf("%s: %s has no id", path, tag)
		}
	}
}

// Services that need a look come first, and any order can be had.
func TestSort(t *testing.T) {
	f := &fake{}
	for i, name := range []string{"b", "a", "d", "c", "e", "f"} {
		svc := service(name, endpoint("10.0.0.1:80", "healthy", 0))
		svc.Spread.P99 = time.Duration(i+1) * time.Millisecond
		svc.Successes, svc.Failures = float64(10-i), float64(i)
		switch name {
		case "c":
			svc.Endpoints[0].State = "ejected"
		case "d":
			svc.Breaker = "open"
		case "e":
			svc.DiscoveryError = "no"
		case "f":
			svc.Endpoints = nil
			svc.Successes, svc.Failures = 0, 0
		}
		f.snap.Services = append(f.snap.Services, svc)
	}
	h := newHandler(t, f, admin.Config{})
	for query, want := range map[string]string{
		"":               "d f e c b a",
		"?sort=name":     "a b c d e f",
		"?sort=p99":      "f e c d a b",
		"?sort=success":  "e c d a b f", // that of f is not known
		"?sort=rate":     "b a d c e f", // none is known
		"?q=A":           "a",
		"?q=c&sort=name": "c",
	} {
		var got []string
		for _, m := range regexp.MustCompile(`<tr role="row" data-key="(\w)"`).FindAllStringSubmatch(get(h, "/"+query).Body.String(), -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", query, got, want)
		}
	}
}

// What does not fit on a page is on the next, and the links keep the rest of the
// query.
func TestPages(t *testing.T) {
	f := many(120, 1)
	for i := range 450 {
		f.snap.Services[0].Endpoints = append(f.snap.Services[0].Endpoints, endpoint(fmt.Sprintf("10.9.0.%d:80", i), "healthy", 0))
	}
	f.snap.Services[0].Endpoints[440].State = "dead"
	h := newHandler(t, f, admin.Config{})
	rows := regexp.MustCompile(`<tr role="row" data-key="([^"]+)"`)
	seen := map[string]bool{}
	for path := "/?q=service&sort=name"; path != ""; {
		page := get(h, path).Body.String()
		for _, m := range rows.FindAllStringSubmatch(page, -1) {
			seen[m[1]] = true
		}
		next := regexp.MustCompile(`href="\./(\?[^"]*)" rel="next"`).FindStringSubmatch(page)
		if path = ""; next != nil {
			path = "/" + strings.ReplaceAll(next[1], "&amp;", "&")
		}
	}
	if len(seen) != 120 {
		t.Errorf("got %d services on all pages, want 120", len(seen))
	}
	page := get(h, "/service?name=service-0000").Body.String()
	if got := rows.FindAllStringSubmatch(page, -1); len(got) != 200 || got[0][1] != "10.9.0.439:80" {
		t.Errorf("got %d rows, the first %v, want 200 and the dead one", len(got), got[0])
	}
	if got := rows.FindAllString(get(h, "/service?name=service-0000&page=99").Body.String(), -1); len(got) != 51 {
		t.Errorf("got %d rows on the last page, want 51", len(got))
	}
}
