package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// mirrored is a Config whose calls to svc go to one too.
func mirrored(base http.RoundTripper) transport.Config {
	return ruled(base, route.Rule{Mirror: &route.Mirror{Service: "one"}})
}

// shadow is what a mirror got.
type shadow struct {
	method, url, host, body string
	header                  http.Header
}

// shadows are a Base that notes what the endpoint of one gets.
type shadows struct {
	got  chan shadow
	hits atomic.Int64
	then func(req *http.Request) (*http.Response, error)
}

func (s *shadows) base() fleet {
	return func(req *http.Request, addr string) (*http.Response, error) {
		var text []byte
		if req.Body != nil {
			text, _ = io.ReadAll(req.Body)
		}
		if addr != "one:1" && addr != "also:1" {
			return answer(req, 200, addr+" "+string(text)), nil
		}
		s.hits.Add(1)
		if s.got != nil {
			s.got <- shadow{req.Method, req.URL.String(), req.Host, string(text), req.Header.Clone()}
		}
		if s.then != nil {
			return s.then(req)
		}
		return answer(req, 200, "shadow"), nil
	}
}

// A copy of the call goes to the mirror, as the rule has edited it, and marked. The
// caller sees nothing of it.
func TestMirror(t *testing.T) {
	s := &shadows{got: make(chan shadow, 1)}
	cfg := ruled(s.base(), route.Rule{
		Mirror:         &route.Mirror{Service: "one"},
		RequestHeaders: route.Headers{Set: map[string]string{"X-Rule": "1"}},
		Rewrite:        &route.Rewrite{Host: "new.example", Path: route.PathEdit{Prefix: "/v2"}},
		Backends:       []route.Backend{{Service: "two", RequestHeaders: route.Headers{Set: map[string]string{"X-Backend-Key": "secret"}}}},
	})
	rt := newTransport(t, cfg)
	var hooked atomic.Int64
	var record telemetry.Record
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { hooked.Add(1) }})
	ctx = telemetry.WithRecord(route.With(ctx, route.Override{Service: "a", Environment: "b"}), &record)
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://svc/x?q=1", strings.NewReader("payload"))
	req.Header.Set("X-Own", "1")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := readAll(resp); err != nil || text != "two:1 payload" {
		t.Errorf("the caller got %q, %v", text, err)
	}
	got := <-s.got
	if got.method != "POST" || got.url != "http://svc/v2/x?q=1" || got.host != "new.example" || got.body != "payload" {
		t.Errorf("the mirror got %+v", got)
	}
	for name, want := range map[string]string{"Tulle-Mirror": "1", "X-Own": "1", "X-Rule": "1", "X-Backend-Key": "", "Tulle-Route": "a=b"} {
		if got.header.Get(name) != want {
			t.Errorf("the mirror got %s: %q, want %q", name, got.header.Get(name), want)
		}
	}
	if req.Header.Get("Tulle-Mirror") != "" || hooked.Load() != 0 || record.Service != "" && record.Service != "two" {
		t.Errorf("the caller saw it: header %v, %d hooks, record of %q", req.Header, hooked.Load(), record.Service)
	}
	if snap := rt.Snapshot(); snap.Mirrored != 1 || snap.MirrorSkipped != 0 {
		t.Errorf("got %d mirrored, %d skipped", snap.Mirrored, snap.MirrorSkipped)
	}
}

// Which calls are mirrored: those whose body can be had twice, that open no tunnel,
// and whose mirror is not where they go. Protected mirrors get safe methods only.
func TestMirrorOfWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shadows{}
		cfg := mirrored(s.base())
		cfg.Services["two"] = transport.Service{Resolver: endpoints("two:1"), Rules: []route.Rule{{
			Mirror: &route.Mirror{Service: "one", Percent: ptr(30.0)},
		}}}
		cfg.Services["env"] = transport.Service{
			Environment:  "staging",
			Environments: map[string]transport.Destination{"staging": at("staging:1"), "prod": at("one:1")},
			Rules:        []route.Rule{{Mirror: &route.Mirror{Environment: "prod"}}},
		}
		rt := newTransport(t, cfg)
		big := strings.Repeat("x", 1<<20+1)
		for _, test := range []struct {
			name, method, url string
			body              io.Reader
			header            string
			want              int64
			skipped           uint64
		}{
			{"no body", "GET", "http://svc/", nil, "", 1, 0},
			{"body", "POST", "http://svc/", strings.NewReader("x"), "", 1, 0},
			{"body of a megabyte", "POST", "http://svc/", strings.NewReader(big[1:]), "", 1, 0},
			{"larger", "POST", "http://svc/", strings.NewReader(big), "", 0, 1},
			{"body that is gone once read", "POST", "http://svc/", io.MultiReader(strings.NewReader("x")), "", 0, 1},
			{"upgrade", "GET", "http://svc/", nil, "Upgrade", 0, 1},
			{"read to a protected mirror", "GET", "http://env/", nil, "", 1, 0},
			{"write to a protected mirror", "POST", "http://env/", nil, "", 0, 0},
		} {
			before, skipped := s.hits.Load(), rt.Snapshot().MirrorSkipped
			req, _ := http.NewRequestWithContext(t.Context(), test.method, test.url, test.body)
			if test.header != "" {
				req.Header.Set(test.header, "1")
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(resp); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if got := s.hits.Load() - before; got != test.want || rt.Snapshot().MirrorSkipped-skipped != test.skipped {
				t.Errorf("%s: got %d shadows, %d skipped, want %d, %d", test.name, got, rt.Snapshot().MirrorSkipped-skipped, test.want, test.skipped)
			}
		}
		before := s.hits.Load()
		for range 1000 {
			if _, err := ask(t.Context(), rt, "GET", "http://two/"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := s.hits.Load() - before; got < 240 || got > 360 {
			t.Errorf("30 %%: got %d shadows of 1000 calls", got)
		}
	})
}

// A mirror that hangs delays nobody: 64 calls hang in it, the rest have no shadow,
// and after 10 s the first ones are given up.
func TestMirrorHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shadows{then: func(req *http.Request) (*http.Response, error) { return nil, sleep(req, time.Hour) }}
		rt := newTransport(t, mirrored(s.base()))
		begun := time.Now()
		for range 100 {
			if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != "svc:1 " {
				t.Errorf("got %s, %v", got, err)
			}
			synctest.Wait()
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the calls took %v", took)
		}
		if snap := rt.Snapshot(); snap.Mirrored != 64 || snap.MirrorSkipped != 36 {
			t.Errorf("got %d mirrored, %d skipped, want 64 and 36", snap.Mirrored, snap.MirrorSkipped)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if _, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if snap := rt.Snapshot(); snap.Mirrored != 65 {
			t.Errorf("got %d mirrored after 10 s, want 65", snap.Mirrored)
		}
		begun = time.Now()
		if err := rt.Shutdown(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("Shutdown: %v after %v; a shadow must not hold it up", err, time.Since(begun))
		}
	})
}

// A body without an end does not keep its place for ever.
func TestMirrorStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shadows{then: func(req *http.Request) (*http.Response, error) {
			resp := answer(req, 200, "")
			resp.Header.Set("Content-Type", "text/event-stream")
			r, w := io.Pipe()
			context.AfterFunc(req.Context(), func() { _ = w.CloseWithError(req.Context().Err()) })
			resp.Body = r
			return resp, nil
		}}
		cfg := mirrored(s.base())
		cfg.Services["one"] = transport.Service{Resolver: endpoints("one:1"), Policy: transport.Policy{Timeout: time.Second}}
		rt := newTransport(t, cfg)
		if _, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, streaming := inFlight(rt); streaming != 1 {
			t.Errorf("got %d streams, want 1", streaming)
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if _, streaming := inFlight(rt); streaming != 0 {
			t.Errorf("got %d streams after the mirror's timeout, want none", streaming)
		}
	})
}

// What fails in a mirror fails nobody, is not repeated, and is known of it alone.
func TestMirrorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, then := range map[string]func(*http.Request) (*http.Response, error){
			"error": func(*http.Request) (*http.Response, error) { return nil, errors.New("broken") },
			"503":   func(req *http.Request) (*http.Response, error) { return answer(req, 503, ""), nil },
			"panic": func(*http.Request) (*http.Response, error) { panic("in the Base") },
		} {
			s := &shadows{then: then}
			cfg := mirrored(s.base())
			cfg.Services["one"] = transport.Service{Resolver: endpoints("one:1", "also:1")}
			rt := newTransport(t, cfg)
			const calls = 200
			for range calls {
				if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != "svc:1 " {
					t.Errorf("%s: got %s, %v", name, got, err)
				}
				synctest.Wait()
			}
			if snap := rt.Snapshot(); snap.Mirrored != calls {
				t.Errorf("%s: got %d mirrored, want %d: a place was lost", name, snap.Mirrored, calls)
			}
			for _, svc := range rt.Snapshot().Services {
				if svc.Retry.Repeats != 0 || svc.Name == "svc" && svc.Endpoints[0].Success != 1 {
					t.Errorf("%s: %s: got %+v", name, svc.Name, svc)
				}
			}
			if waiting, streaming := inFlight(rt); waiting+streaming != 0 {
				t.Errorf("%s: got %d and %d attempts in flight", name, waiting, streaming)
			}
			if err := rt.Shutdown(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// The limit of the mirror's destination holds for shadows.
func TestMirrorKeepsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shadows{}
		cfg := mirrored(s.base())
		cfg.Services["one"] = transport.Service{Resolver: endpoints("one:1"), Policy: transport.Policy{Limit: &limit.Config{Rate: 1, Burst: 3}}}
		rt := newTransport(t, cfg)
		for range 10 {
			if _, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := s.hits.Load(); got != 3 {
			t.Errorf("got %d shadows, want 3", got)
		}
	})
}

// The caller may use its buffer again when its call is over.
func TestMirrorOwnsItsBody(t *testing.T) {
	release := make(chan struct{})
	got := make(chan string, 1)
	base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
		if addr == "one:1" {
			<-release
		}
		text, err := io.ReadAll(req.Body)
		if addr == "one:1" {
			got <- string(text)
		}
		return answer(req, 200, ""), err
	})
	rt := newTransport(t, mirrored(base))
	buf := []byte("payload")
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://svc/", bytes.NewReader(buf))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	copy(buf, "garbage")
	req.Header.Set("X", "changed")
	close(release)
	if text := <-got; text != "payload" {
		t.Errorf("the mirror got %q", text)
	}
}

// Mirrors that are not ours get no header of ours.
func TestMirrorToOthers(t *testing.T) {
	s := &shadows{got: make(chan shadow, 1)}
	cfg := mirrored(s.base())
	cfg.Services["one"] = transport.Service{Resolver: endpoints("one:1"), External: true}
	rt := newTransport(t, cfg)
	ctx := route.With(t.Context(), route.Override{Service: "a", Environment: "b"})
	if _, err := ask(ctx, rt, "GET", "http://svc/"); err != nil {
		t.Fatal(err)
	}
	for name := range (<-s.got).header {
		if strings.HasPrefix(name, "Tulle-") {
			t.Errorf("header %s was sent", name)
		}
	}
}

// Close ends the shadows that run, and waits for them.
func TestMirrorAndClose(t *testing.T) {
	for range 20 {
		var running atomic.Int64
		s := &shadows{then: func(req *http.Request) (*http.Response, error) {
			running.Add(1)
			defer running.Add(-1)
			<-req.Context().Done()
			return nil, req.Context().Err()
		}}
		rt, err := transport.New(mirrored(s.base()))
		if err != nil {
			t.Fatal(err)
		}
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for range 20 {
					if _, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil && !errors.Is(err, transport.ErrClosed) {
						t.Error(err)
					}
				}
			})
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
		if n := running.Load(); n != 0 {
			t.Errorf("got %d shadows after Close", n)
		}
		callers.Wait()
		if n := running.Load(); n != 0 {
			t.Errorf("got %d shadows that began after Close", n)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}
