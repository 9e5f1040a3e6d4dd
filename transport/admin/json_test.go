package admin_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// Rates and shares are those since an earlier look.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{})
		var s admin.State
		getJSON(t, h, "/snapshot.json", &s)
		if s.Totals.Rate != -1 || s.Services[1].Rate != -1 || s.Services[1].Endpoints[0].Share != -1 || s.Window != 0 {
			t.Errorf("at first: got %+v", s)
		}
		if s.Totals.Success != 0.99 || s.Services[0].Success != 0.99 {
			t.Errorf("got success %v and %v, want 0.99", s.Totals.Success, s.Services[0].Success)
		}
		if want := (admin.States{Healthy: 2, Ejected: 1}); s.Totals.States != want || s.Totals.Services != 2 || s.Totals.Troubled != 1 {
			t.Errorf("got totals %+v", s.Totals)
		}
		time.Sleep(2 * time.Second)
		f.change(func(s *transport.Snapshot) {
			// One endpoint more, which has been there before and has its count, and
			// another order.
			u := &s.Services[1]
			u.Endpoints = []transport.EndpointSnapshot{
				endpoint("10.0.0.9:80", "healthy", 1_000_000), endpoint("10.0.0.2:80", "healthy", 20), endpoint("10.0.0.1:80", "healthy", 130),
			}
		})
		getJSON(t, h, "/snapshot.json?service=users", &s)
		u := s.Services[0]
		if u.Rate != 20 || s.Totals.Rate != 20 || s.Window != 2*time.Second {
			t.Errorf("got rates %v and %v over %v, want 20 over 2 s", u.Rate, s.Totals.Rate, s.Window)
		}
		for i, want := range []float64{0, 0.25, 0.75} {
			if e := u.Endpoints[i]; e.Share != want || e.Rate != 20*want {
				t.Errorf("%s: got share %v and rate %v, want share %v", e.Addr, e.Share, e.Rate, want)
			}
		}
		if len(s.Changes) != 1 || s.Changes[0].Endpoint != "10.0.0.2:80" || s.Changes[0].From != "ejected" || s.Changes[0].To != "healthy" {
			t.Errorf("got changes %+v", s.Changes)
		}
		// A count that went back is one that began again.
		time.Sleep(time.Second)
		f.change(func(s *transport.Snapshot) { s.Services[1].Endpoints[2].Attempts = 0 })
		getJSON(t, h, "/snapshot.json", &s)
		if s.Totals.Rate < 0 || s.Totals.Rate > 10 {
			t.Errorf("got rate %v after a count went back", s.Totals.Rate)
		}
	})
}

// After a long time in which nobody looked, rates are over that time at first, and
// over a short one soon.
func TestRatesAfterPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{})
		attempts := func(n uint64) {
			f.change(func(s *transport.Snapshot) { s.Services[1].Endpoints[0].Attempts += n })
		}
		var s admin.State
		getJSON(t, h, "/snapshot.json", &s)
		time.Sleep(1000 * time.Second)
		attempts(1000)
		getJSON(t, h, "/snapshot.json", &s)
		if s.Totals.Rate != 1 || s.Window != 1000*time.Second {
			t.Errorf("got %v over %v, want 1 over 1000 s", s.Totals.Rate, s.Window)
		}
		time.Sleep(time.Second)
		attempts(50)
		getJSON(t, h, "/snapshot.json", &s)
		if s.Totals.Rate != 50 || s.Window != time.Second {
			t.Errorf("got %v over %v, want 50 over 1 s", s.Totals.Rate, s.Window)
		}
		for range 60 {
			time.Sleep(time.Second)
			attempts(7)
			getJSON(t, h, "/snapshot.json", &s)
			if s.Window > 21*time.Second {
				t.Fatalf("got a window of %v", s.Window)
			}
		}
		if s.Totals.Rate != 7 || s.Window < 9*time.Second {
			t.Errorf("got %v over %v, want 7 over 10 s or more", s.Totals.Rate, s.Window)
		}
	})
}

// Many that look at once share one reading, and it is never old.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{})
		for range 50 {
			get(h, "/snapshot.json")
		}
		if f.looks != 1 {
			t.Errorf("got %d looks, want 1", f.looks)
		}
		time.Sleep(100 * time.Millisecond)
		get(h, "/")
		if f.looks != 2 {
			t.Errorf("got %d looks, want another one after 100 ms", f.looks)
		}
		time.Sleep(time.Hour)
		if f.looks != 2 {
			t.Errorf("got %d looks while nobody looks", f.looks)
		}
	})
}

// With Background the charts are there when somebody comes.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{Background: true, Interval: time.Second, Points: 10})
		time.Sleep(5500 * time.Millisecond)
		var got admin.History
		getJSON(t, h, "/history.json?service=users", &got)
		if len(got.Points) != 6 || got.Interval != time.Second {
			t.Errorf("got %d points each %v, want 6", len(got.Points), got.Interval)
		}
		time.Sleep(20 * time.Second)
		getJSON(t, h, "/history.json", &got)
		if len(got.Points) != 10 {
			t.Errorf("got %d points, want the latest 10", len(got.Points))
		}
		h.Close() // within the bubble, which waits for the goroutine
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{Points: 5})
		for i := range 4 {
			if i > 0 {
				time.Sleep(time.Second)
				f.change(func(s *transport.Snapshot) {
					s.Services[1].Endpoints[0].Attempts += uint64(10 * i)
					s.Services[1].Ejections += uint64(i)
				})
			}
			get(h, "/")
		}
		var got admin.History
		getJSON(t, h, "/history.json?service=users", &got)
		if len(got.Points) != 4 {
			t.Fatalf("got %d points, want 4", len(got.Points))
		}
		if p := got.Points[0]; p.Rate != nil || p.Ejections != nil || *p.Success < 0.98 || *p.Out != 1 {
			t.Errorf("got first %+v, want no rate yet", p)
		}
		for i := 1; i < 4; i++ {
			p := got.Points[i]
			if *p.Rate != float64(10*i) || *p.Ejections != float64(i) || math.Abs(*p.P99-40e6) > 1e3 || math.Abs(*p.Median-5e6) > 1e3 {
				t.Errorf("point %d: got rate %v, ejections %v, p99 %v, median %v", i, *p.Rate, *p.Ejections, *p.P99, *p.Median)
			}
		}
		got = admin.History{}
		getJSON(t, h, "/history.json", &got)
		if p := got.Points[3]; *p.Rate != 30 || *p.Ejections != 3 || p.P99 != nil || *p.Out != 1 {
			t.Errorf("together: got %+v", p)
		}
		if w := get(h, "/history.json?service=none"); w.Code != 404 {
			t.Errorf("got %d, want 404", w.Code)
		}
		// A service that goes is forgotten when its last point is.
		f.change(func(s *transport.Snapshot) { s.Services = s.Services[:1] })
		for range 6 {
			if w := get(h, "/history.json?service=users"); w.Code != 200 {
				t.Fatalf("got %d while there are points", w.Code)
			}
			time.Sleep(time.Second)
		}
		if w := get(h, "/history.json?service=users"); w.Code != 404 {
			t.Errorf("got %d, want 404 in the end", w.Code)
		}
	})
}

// many is a source with services of some endpoints each.
func many(services, endpoints int) *fake {
	f := &fake{}
	for s := range services {
		svc := service(fmt.Sprintf("service-%04d", s))
		for e := range endpoints {
			svc.Endpoints = append(svc.Endpoints, endpoint(fmt.Sprintf("10.%d.%d.%d:80", s/250, s%250, e+1), "healthy", uint64(e)))
		}
		f.snap.Services = append(f.snap.Services, svc)
	}
	return f
}

// What is big comes in parts that together are all of it.
func TestParts(t *testing.T) {
	h := newHandler(t, many(250, 90), admin.Config{})
	seen, parts := map[string]bool{}, 0
	for offset := 0; ; parts++ {
		var s admin.State
		getJSON(t, h, fmt.Sprintf("/snapshot.json?offset=%d&limit=200", offset), &s)
		if s.Matching != 250 || s.Totals.Services != 250 || s.Totals.States.Healthy != 250*90 {
			t.Fatalf("got %d matching, totals %+v", s.Matching, s.Totals)
		}
		n := 0
		for _, svc := range s.Services {
			if seen[svc.Name] {
				t.Errorf("%s came twice", svc.Name)
			}
			seen[svc.Name] = true
			n += len(svc.Endpoints)
		}
		if n > 10_000 {
			t.Errorf("got %d endpoints in one answer, want 10000 at the most", n)
		}
		if offset = s.Next; offset == 0 {
			break
		}
	}
	if len(seen) != 250 || parts != 2 {
		t.Errorf("got %d services in %d parts and one, want 250", len(seen), parts)
	}
	var s admin.State
	getJSON(t, h, "/snapshot.json?endpoints=0&limit=1000", &s)
	if len(s.Services) != 250 || len(s.Services[0].Endpoints) != 0 || s.Services[0].States.Healthy != 90 || s.Next != 0 {
		t.Errorf("got %d services with %d endpoints, next %d", len(s.Services), len(s.Services[0].Endpoints), s.Next)
	}
	getJSON(t, h, "/snapshot.json?q=SERVICE-011", &s)
	if s.Matching != 10 {
		t.Errorf("got %d with 011 in their name, want 10", s.Matching)
	}
	getJSON(t, h, "/snapshot.json?service=service-0001&environment=", &s)
	if s.Matching != 1 || len(s.Services) != 1 {
		t.Errorf("got %d, want 1", s.Matching)
	}
	getJSON(t, h, "/snapshot.json?offset=100000", &s)
	if len(s.Services) != 0 || s.Next != 0 {
		t.Errorf("got %d services after the end, next %d", len(s.Services), s.Next)
	}
	// One that is bigger than a part comes alone.
	h = newHandler(t, many(2, 10_001), admin.Config{})
	getJSON(t, h, "/snapshot.json", &s)
	if len(s.Services) != 1 || s.Next != 1 {
		t.Errorf("got %d services, next %d, want 1 and 1", len(s.Services), s.Next)
	}
}

// What JSON cannot say is said another way, and no secret of a URL is told.
func TestOddValues(t *testing.T) {
	load := &tulle.Load{CPU: math.NaN(), Named: map[string]float64{"x": math.Inf(1), "y": 2}, Utilization: map[string]float64{"z": 0.5}}
	f := newFake()
	f.change(func(s *transport.Snapshot) {
		e := &s.Services[1].Endpoints[0]
		e.Cost, e.Chance, e.Load = math.Inf(1), math.NaN(), load
		s.Services[1].RetryBudget = math.Inf(1)
		s.Services[1].DiscoveryError = `Get "https://u:s3cret@consul/v1?token=s3cret": refused`
	})
	f.records = []*telemetry.Record{{
		Service: "users", Outcome: "error", Error: `proxy "http://u:s3cret@p/": no`, Path: "/http://u:s3cret@h/",
		Waits:   []telemetry.Wait{{For: "rate", Error: "http://s3cret@h/"}},
		Tries:   []telemetry.Try{{Error: "http://h/?s3cret"}},
		Picks:   []telemetry.Pick{{Candidates: []telemetry.Candidate{{Addr: "a", Cost: math.Inf(1)}}}},
		Repeats: []telemetry.Repeat{{Budget: math.Inf(1)}},
	}}
	h := newHandler(t, f, admin.Config{ConfigStatus: func() admin.ConfigStatus {
		return admin.ConfigStatus{Error: "http://u:s3cret@h/"}
	}})
	var s admin.State
	getJSON(t, h, "/snapshot.json?service=users", &s)
	if e := s.Services[0].Endpoints[0]; e.Cost != -1 || e.Chance != -1 || e.Load.CPU != -1 || e.Load.Named["x"] != -1 || e.Load.Named["y"] != 2 {
		t.Errorf("got %+v with %+v", e, e.Load)
	}
	if !math.IsNaN(load.CPU) {
		t.Error("got the transport's own report changed")
	}
	if s.Services[0].RetryBudget != -1 {
		t.Errorf("got budget %v, want -1", s.Services[0].RetryBudget)
	}
	for _, path := range []string{"/snapshot.json", "/records.json", "/", "/service?name=users", "/records"} {
		if w := get(h, path); w.Code != 200 || strings.Contains(w.Body.String(), "s3cret") {
			t.Errorf("%s: got %d, or a secret in\n%s", path, w.Code, w.Body)
		}
	}
	if f.records[0].Picks[0].Candidates[0].Cost != math.Inf(1) || !strings.Contains(f.records[0].Tries[0].Error, "s3cret") {
		t.Error("got the shared record changed")
	}
}

func TestConfigStatus(t *testing.T) {
	status := admin.ConfigStatus{Version: "v7", LoadedAt: time.Unix(1e9, 0), Error: "line 3: timeout -1s", ErrorAt: time.Unix(2e9, 0), Reloads: 4, Refused: 2}
	h := newHandler(t, newFake(), admin.Config{ConfigStatus: func() admin.ConfigStatus { return status }})
	var s admin.State
	getJSON(t, h, "/snapshot.json", &s)
	if s.Config == nil || s.Config.Version != "v7" || s.Config.Error != status.Error || !s.Config.LoadedAt.Equal(status.LoadedAt) {
		t.Errorf("got %+v", s.Config)
	}
	s = admin.State{}
	getJSON(t, newHandler(t, newFake(), admin.Config{}), "/snapshot.json", &s)
	if s.Config != nil {
		t.Errorf("got %+v where nobody tells", s.Config)
	}
}

// The filter of records is the one of telemetry.
func TestRecordsFilter(t *testing.T) {
	f := newFake()
	h := newHandler(t, f, admin.Config{})
	for query, want := range map[string]telemetry.Filter{
		"":                                       {Limit: 1000},
		"service=users&path=/v1&status=503":      {Service: "users", Path: "/v1", Status: 503, Limit: 1000},
		"status=5xx&failed=1&limit=3":            {Status: 5, Failed: true, Limit: 3},
		"status=4XX&failed=0&unknown=whatever":   {Status: 4, Limit: 1000},
		"status=14&failed=on":                    {Status: 14, Failed: true, Limit: 1000}, // a code of gRPC
		"path=%2Fa%20b%3Fc&service=users%40prod": {Path: "/a b?c", Service: "users@prod", Limit: 1000},
	} {
		if w := get(h, "/records.json?"+query); w.Code != 200 || f.filter != want {
			t.Errorf("%s: got %d with %+v, want %+v", query, w.Code, f.filter, want)
		}
	}
	var got admin.Records
	f.records = []*telemetry.Record{{Service: "a"}, {Service: "b"}, {Service: "c"}}
	getJSON(t, h, "/records.json?limit=2", &got)
	if len(got.Records) != 2 || got.Records[0].Service != "a" {
		t.Errorf("got %+v", got.Records)
	}
}

// Bad parameters are named, all at once, with their values.
func TestBadQuery(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	for path, wants := range map[string][]string{
		"/snapshot.json?offset=-1&limit=0&endpoints=maybe": {`offset "-1"`, `limit "0"`, `endpoints "maybe"`},
		"/snapshot.json?limit=99999999999999999999":        {`limit "99999999999999999999"`},
		"/records.json?status=abc&failed=2&limit=x":        {`status "abc"`, `failed "2"`, `limit "x"`},
		"/records.json?status=0xx":                         {`status "0xx"`},
		"/records.json?status=1000":                        {`status "1000"`},
		"/records.json?status=-5":                          {`status "-5"`},
		"/history.json?%zz":                                {"query"},
		"/snapshot.json?q=" + strings.Repeat("x", 2000):    {`q "xxxx`, "1024"},
		"/?sort=worst&page=0":                              {"sort", "worst", "page"},
		"/service?name=users&page=x":                       {"page"},
		"/records?status=x":                                {"status"},
	} {
		w := get(h, path)
		if w.Code != 400 {
			t.Errorf("%s: got %d, want 400", path, w.Code)
		}
		for _, want := range wants {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: got %s, want %q in it", path, w.Body, want)
			}
		}
	}
	if w := get(h, "/service?name=none"); w.Code != 404 || !strings.Contains(w.Body.String(), "none") {
		t.Errorf("got %d: %s", w.Code, w.Body)
	}
}

// What is big is compressed for who asks for it.
func TestGzip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // both answers are of one moment
		h := newHandler(t, many(20, 20), admin.Config{})
		plain := get(h, "/snapshot.json")
		packed := get(h, "/snapshot.json", "Accept-Encoding", "br, gzip")
		if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() > plain.Body.Len()/5 {
			t.Fatalf("got %q, %d bytes of %d", packed.Header().Get("Content-Encoding"), packed.Body.Len(), plain.Body.Len())
		}
		z, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err = errors.Join(err, z.Close()); err != nil || !json.Valid(text) || !bytes.Equal(text, plain.Body.Bytes()) {
			t.Errorf("got %v, %d bytes that begin %q", err, len(text), text[:50])
		}
		if w := get(h, "/records.json", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("got %s for %d bytes", w.Header().Get("Content-Encoding"), w.Body.Len())
		}
		if !strings.Contains(plain.Header().Get("Vary"), "Accept-Encoding") {
			t.Errorf("got Vary %q", plain.Header().Get("Vary"))
		}
	})
}
