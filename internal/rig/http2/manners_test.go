package http2_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// What these tests ask for, http.Transport does by itself; tulle in front of it
// must not lose any of it. Each runs with a client of tulle, and with a plain
// client of a reverse proxy whose transport is tulle.

// A way leads to the handler of a test.
type way struct {
	client *http.Client
	url    string
	proxy  bool // through a reverse proxy
}

// viaBoth runs a test in both ways, over each protocol of the list, with a
// handler behind tulle.
func viaBoth(t *testing.T, list []protocol, policy transport.Policy, handler http.HandlerFunc, f func(t *testing.T, w way)) {
	t.Helper()
	protocols(t, list, func(t *testing.T, p protocol) {
		serverTLS, roots := certificate(t)
		backend := &goServer{handler: handler}
		if p.secure() {
			backend.tls = serverTLS
		}
		startGo(t, backend)
		client, to := newClient(t, options{protocol: p, endpoints: []string{backend.addr}, roots: roots, policy: policy})
		t.Run("direct", func(t *testing.T) { f(t, way{client: client, url: to}) })
		t.Run("proxy", func(t *testing.T) {
			target, err := url.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			front := &goServer{tls: backend.tls, handler: &httputil.ReverseProxy{
				Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
				Transport: client.Transport,
			}}
			startGo(t, front)
			plain, scheme := plainTransport(p), "http"
			if p.secure() {
				plain.TLSClientConfig, scheme = &tls.Config{RootCAs: roots}, "https"
			}
			t.Cleanup(plain.CloseIdleConnections)
			f(t, way{&http.Client{Transport: plain}, scheme + "://" + front.addr + "/", true})
		})
	})
}

// plainTransport speaks the protocol without tulle.
func plainTransport(p protocol) *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols), ExpectContinueTimeout: time.Minute}
	switch p {
	case http1, https1:
		tr.Protocols.SetHTTP1(true)
	case h2:
		tr.Protocols.SetHTTP1(true) // for upgrades
		tr.Protocols.SetHTTP2(true)
	case h2c:
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	return tr
}

// requestLimit is when a request of these tests hangs. Some carry much.
const requestLimit = time.Minute

// newRequest makes a request that ends with the test.
func newRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestLimit)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// wait waits in real time, which a test over sockets cannot fake.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// shortTimeout is a limit of calls that the long-lived exchanges outlive.
const shortTimeout = 200 * time.Millisecond

// doInTime makes a GET, each try with a query of its own, until its headers come within
// the shortTimeout that the policy has: a machine may stand still for longer.
func doInTime(t *testing.T, w way, change func(*http.Request)) (resp *http.Response, query string) {
	t.Helper()
	for try := range 10 {
		query = fmt.Sprintf("%s-%d", t.Name(), try)
		req := newRequest(t, http.MethodGet, w.url, nil)
		req.URL.RawQuery = url.QueryEscape(query)
		change(req)
		resp, err := w.client.Do(req)
		switch {
		case err == nil && !(w.proxy && resp.StatusCode == http.StatusBadGateway):
			return resp, req.URL.RawQuery
		case err == nil: // what the proxy makes of an error of its transport
			_ = resp.Body.Close()
		case !errors.Is(err, context.DeadlineExceeded):
			t.Fatal(err)
		}
	}
	t.Fatalf("got no headers within %v in 10 tries", shortTimeout)
	return nil, ""
}

// upgrade answers 101 and then echoes lines until the client closes. Its error is
// that of the protocol; an end is none.
func upgrade(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "no upgrade", http.StatusBadRequest)
		return fmt.Errorf("got Upgrade: %q, want websocket", r.Header.Get("Upgrade"))
	}
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprint(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for err = both.Flush(); err == nil; err = both.Flush() {
		line, readErr := both.ReadString('\n')
		if readErr != nil {
			return nil
		}
		fmt.Fprint(both, line)
	}
	return err
}

// An upgraded connection carries bytes both ways, for longer than the timeout of
// a call. It is one of HTTP/1.1 also where both sides could speak HTTP/2, as
// net/http sees to it for the upgrade that browsers use.
func TestUpgrade(t *testing.T) {
	var ends sync.Map // by query, of error
	viaBoth(t, []protocol{http1, https1, h2}, transport.Policy{Timeout: shortTimeout}, func(w http.ResponseWriter, r *http.Request) {
		end, _ := ends.LoadOrStore(r.URL.RawQuery, make(chan error, 10))
		end.(chan error) <- upgrade(w, r)
	}, func(t *testing.T, w way) {
		resp, query := doInTime(t, w, func(req *http.Request) {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
		})
		body, ok := resp.Body.(io.ReadWriteCloser)
		if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %s with a body of type %T, want 101 with an io.ReadWriteCloser", resp.Status, resp.Body)
		}
		lines := bufio.NewReader(body)
		for i := range 5 {
			want := fmt.Sprintf("line %d\n", i)
			if _, err := io.WriteString(body, want); err != nil {
				t.Fatalf("line %d: %v", i, err)
			}
			if got, err := lines.ReadString('\n'); err != nil || got != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
			wait(t.Context(), shortTimeout/4)
		}
		if err := body.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		end, _ := ends.Load(query)
		if err := <-end.(chan error); err != nil {
			t.Errorf("server: %v", err)
		}
	})
}

// Events arrive one by one, for longer than the timeout of a call.
func TestEventStream(t *testing.T) {
	var nexts sync.Map // by query, of chan struct{}
	viaBoth(t, allProtocols, transport.Policy{Timeout: shortTimeout}, func(w http.ResponseWriter, r *http.Request) {
		next, _ := nexts.LoadOrStore(r.URL.RawQuery, make(chan struct{}))
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select { // the next event comes only when this one was seen
			case <-next.(chan struct{}):
			case <-r.Context().Done():
				return
			}
		}
	}, func(t *testing.T, w way) {
		resp, query := doInTime(t, w, func(*http.Request) {})
		defer resp.Body.Close()
		next, _ := nexts.Load(query)
		events := bufio.NewScanner(resp.Body)
		n := 0
		for events.Scan() {
			if events.Text() == "" {
				continue
			}
			if got, want := events.Text(), fmt.Sprintf("data: %d", n); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			n++
			wait(t.Context(), shortTimeout/4)
			next.(chan struct{}) <- struct{}{}
		}
		if err := events.Err(); err != nil || n != 5 {
			t.Errorf("got %d events and error %v, want 5 and none", n, err)
		}
	})
}

// Trailers pass in both directions.
func TestTrailers(t *testing.T) {
	viaBoth(t, allProtocols, transport.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Announced")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(w, "%s", body)
		w.Header().Set("Announced", "yes")
		w.Header().Set(http.TrailerPrefix+"Echo", r.Trailer.Get("Sum"))
	}, func(t *testing.T, w way) {
		req := newRequest(t, http.MethodPost, w.url, nil)
		req.Trailer = http.Header{"Sum": nil}
		req.Body = io.NopCloser(io.MultiReader(strings.NewReader("body"), readFunc(func([]byte) (int, error) {
			req.Trailer.Set("Sum", "42") // known when the body is over
			return 0, io.EOF
		})))
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "body" {
			t.Errorf("got %q, %v, want \"body\"", body, err)
		}
		echo := "42"
		if w.proxy {
			echo = "" // httputil.ReverseProxy drops the trailers of requests
		}
		if got := resp.Trailer; got.Get("Announced") != "yes" || got.Get("Echo") != echo {
			t.Errorf("got trailers %v, want Announced: yes, Echo: %s", got, echo)
		}
	})
}

// readFunc is a func as an io.Reader.
type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// A body that waits for the server's word is not read when the answer is no, and
// is sent when it is yes.
func TestExpectContinue(t *testing.T) {
	protocols(t, allProtocols, func(t *testing.T, p protocol) {
		serverTLS, roots := certificate(t)
		s := &goServer{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				w.Header().Set("Connection", "close") // or the server would wait for the body
				w.WriteHeader(http.StatusExpectationFailed)
				return
			}
			_, _ = io.Copy(w, r.Body) // the client compares
		})}
		if p.secure() {
			s.tls = serverTLS
		}
		startGo(t, s)
		for name, base := range map[string]*http.Transport{"own transport": nil, "base": plainTransport(p)} {
			t.Run(name, func(t *testing.T) {
				client, url := newClient(t, options{protocol: p, endpoints: []string{s.addr}, roots: roots, base: base})
				expectContinue(t, client, url)
			})
		}
	})
}

// expectContinue sends a request that is accepted and one that is not.
func expectContinue(t *testing.T, client *http.Client, url string) {
	for path, want := range map[string]struct {
		status   int
		read     bool
		answered string
	}{"yes": {http.StatusOK, true, "body"}, "no": {http.StatusExpectationFailed, false, ""}} {
		var read, continued atomic.Bool
		text := strings.NewReader("body")
		req := newRequest(t, http.MethodPost, url+path, nil)
		req.ContentLength = 4
		req.Body = io.NopCloser(readFunc(func(p []byte) (int, error) {
			read.Store(true)
			return text.Read(p)
		}))
		req.Header.Set("Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got100Continue: func() { continued.Store(true) },
		}))
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read to the end
		if err != nil || resp.StatusCode != want.status || string(body) != want.answered {
			t.Errorf("%s: got %s, %q, %v, want %d, %q", path, resp.Status, body, err, want.status, want.answered)
		}
		if read.Load() != want.read || continued.Load() != want.read {
			t.Errorf("%s: body read %v, hook called %v, want both %v", path, read.Load(), continued.Load(), want.read)
		}
	}
}

// Interim responses reach the caller's hooks.
func TestEarlyHints(t *testing.T) {
	viaBoth(t, allProtocols, transport.Policy{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	}, func(t *testing.T, w way) {
		var hints []string
		req := newRequest(t, http.MethodGet, w.url, nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, " ", header.Get("Link")))
				return nil
			},
		}))
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // it is empty
		want := "103 </style.css>; rel=preload"
		if len(hints) != 2 || hints[0] != want || hints[1] != want || resp.StatusCode != http.StatusTeapot {
			t.Errorf("got hints %q and then %s, want %q twice and then 418", hints, resp.Status, want)
		}
	})
}

// A stream in each direction at the same time, each message an answer to the
// one before.
func TestDuplex(t *testing.T) {
	viaBoth(t, allHTTP2, transport.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.WriteHeader(http.StatusOK)
		if rc.Flush() != nil {
			return
		}
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "%s!\n", lines.Text())
			if rc.Flush() != nil {
				return
			}
		}
		fmt.Fprint(w, "bye\n")
	}, func(t *testing.T, w way) {
		out, in := io.Pipe()
		resp, err := w.client.Do(newRequest(t, http.MethodPost, w.url, out))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for i := range 1000 {
			if _, err := fmt.Fprintln(in, i); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if want := fmt.Sprintf("%d!", i); !lines.Scan() || lines.Text() != want {
				t.Fatalf("got %q, %v, want %q", lines.Text(), lines.Err(), want)
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "bye" || lines.Scan() || lines.Err() != nil {
			t.Errorf("got %q, %v, want \"bye\" and the end", lines.Text(), lines.Err())
		}
	})
}
