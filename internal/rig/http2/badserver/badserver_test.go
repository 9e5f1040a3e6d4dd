package badserver_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/internal/rig/http2/badserver"
)

func TestMain(m *testing.M) { leak.Main(m) }

// The tests send with net/http alone, so that what they show is the server's
// doing.

// certificate borrows that of httptest.
func certificate() (server, client *tls.Config) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: roots}
}

// A peer is a server and a client of it.
type peer struct {
	*badserver.Server
	ledger *badserver.Ledger
	client *http.Client
	url    string
}

// start starts a server, and a client that gives up on a silent connection
// within a second.
func start(t *testing.T, secure bool, script badserver.Script) *peer {
	t.Helper()
	p := &peer{ledger: new(badserver.Ledger)}
	tr := &http.Transport{HTTP2: &http.HTTP2Config{SendPingTimeout: 200 * time.Millisecond, PingTimeout: 200 * time.Millisecond}}
	var serverTLS *tls.Config
	scheme := "http"
	if secure {
		scheme = "https"
		serverTLS, tr.TLSClientConfig = certificate()
		tr.ForceAttemptHTTP2 = true
	} else {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	p.Server = badserver.Start(t, badserver.Config{TLS: serverTLS, Script: script, Ledger: p.ledger})
	t.Cleanup(tr.CloseIdleConnections)
	p.client = &http.Client{Transport: tr}
	p.url = scheme + "://" + p.Addr + "/"
	return p
}

// send sends one request and returns the response's body. A body that is hidden
// from net/http cannot be sent again by it.
func (p *peer) send(t *testing.T, method, id, body string, hidden bool) (string, error) {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	if hidden {
		r = io.MultiReader(r)
	}
	if body == "" && !hidden {
		r = nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(badserver.IDHeader, id)
	resp, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Errorf("got %s %s, want HTTP/2.0 200", resp.Proto, resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// both runs a test over TLS and in the clear.
func both(t *testing.T, f func(t *testing.T, secure bool)) {
	t.Run("h2", func(t *testing.T) { f(t, true) })
	t.Run("h2c", func(t *testing.T) { f(t, false) })
}

func TestServes(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		p := start(t, secure, badserver.Script{})
		long := strings.Repeat("x", 3<<20) // larger than the windows
		for _, body := range []string{"", "hello", long} {
			got, err := p.send(t, "POST", fmt.Sprint(len(body)), body, false)
			if err != nil {
				t.Fatalf("POST of %d bytes: %v", len(body), err)
			}
			want := fmt.Sprintf("%d %x ", len(body), sha256.Sum256([]byte(body)))
			if !strings.HasPrefix(got, want) || len(got) != 1000 {
				t.Errorf("POST of %d bytes: got %d bytes: %.90s, want 1000: %s", len(body), len(got), got, want)
			}
			if n := p.ledger.Touched(fmt.Sprint(len(body))); n != 1 {
				t.Errorf("POST of %d bytes: touched %d times, want 1", len(body), n)
			}
		}
		if p.Requests() != 3 {
			t.Errorf("got %d requests, want 3", p.Requests())
		}
	})
}

// What is provably not processed net/http sends again by itself, if it can
// rewind the body. That the second try works shows that the server said so.
func TestProvable(t *testing.T) {
	for name, action := range map[string]badserver.Action{
		"refuse": badserver.Refuse, "below": badserver.GoAwayBelow, "calm": badserver.GoAwayCalm,
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, secure bool) {
				do := func(n int64) badserver.Action {
					if n == 2 {
						return action
					}
					return badserver.Serve
				}
				p := start(t, secure, badserver.Script{Do: do})
				// Net/http does not repeat the first stream of a connection
				// when GOAWAY has an error code.
				if _, err := p.send(t, "GET", "before", "", false); err != nil {
					t.Fatal(err)
				}
				if _, err := p.send(t, "POST", "a", "body", false); err != nil {
					t.Fatalf("got %v, want success at the second try", err)
				}
				if touched, refused := p.ledger.Touched("a"), p.ledger.Refused("a"); touched != 1 || refused != 1 {
					t.Errorf("touched %d times, refused %d times, want 1 and 1", touched, refused)
				}
			})
		})
	}
}

// What may have been processed reaches the caller as an error.
func TestAmbiguous(t *testing.T) {
	var stream http2.StreamError
	for name, c := range map[string]struct {
		action badserver.Action
		is     func(error) bool
		inBody bool
	}{
		"reset early":   {badserver.ResetEarly, func(err error) bool { return strings.Contains(err.Error(), "INTERNAL_ERROR") }, false},
		"reset in body": {badserver.ResetInBody, func(err error) bool { return errors.As(err, &stream) && stream.Code == http2.ErrCodeInternal }, true},
		"close early":   {badserver.CloseEarly, func(error) bool { return true }, false},
		"close in body": {badserver.CloseInBody, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, true},
		"vanish":        {badserver.Vanish, func(err error) bool { return strings.Contains(err.Error(), "connection lost") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, secure bool) {
				p := start(t, secure, badserver.Script{Do: badserver.Always(c.action)})
				got, err := p.send(t, "POST", "a", "body", false)
				if err == nil || !c.is(err) {
					t.Errorf("got error %v, not the one that %s makes", err, name)
				}
				if want := map[bool]int{true: 500}[c.inBody]; len(got) != want {
					t.Errorf("got %d bytes of the response, want %d", len(got), want)
				}
				if n := p.ledger.Touched("a"); n != 1 {
					t.Errorf("touched %d times, want 1", n)
				}
			})
		})
	}
}

// A request that the server names as its last is answered, and the next one
// comes on a new connection.
func TestGoAwayAt(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		p := start(t, secure, badserver.Script{Do: badserver.Every(4, badserver.GoAwayAt), Delay: time.Millisecond})
		for i := range 12 {
			id := fmt.Sprint(i)
			if _, err := p.send(t, "POST", id, "body", true); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			if n := p.ledger.Touched(id); n != 1 {
				t.Errorf("request %d: touched %d times, want 1", i, n)
			}
		}
		if p.Conns() < 3 {
			t.Errorf("got %d connections, want 3: each was to end with its fourth request", p.Conns())
		}
	})
}

// A connection that is left at once serves nothing, and the next one does.
func TestUnwelcome(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		p := start(t, secure, badserver.Script{Unwelcome: 1})
		if _, err := p.send(t, "POST", "a", "body", false); err != nil {
			t.Fatalf("got %v, want success on the second connection", err)
		}
		if n := p.ledger.Touched("a"); n != 1 || p.Conns() < 2 {
			t.Errorf("touched %d times, %d connections, want 1 and 2 or more", n, p.Conns())
		}
	})
}

func TestMaxStreams(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		p := start(t, secure, badserver.Script{MaxStreams: 1, Delay: 10 * time.Millisecond})
		if _, err := p.send(t, "GET", "first", "", false); err != nil { // the client knows the limit from now on
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := p.send(t, "GET", fmt.Sprint(i), "", false); err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if p.MostStreams() != 1 {
			t.Errorf("got %d streams at a time, want 1", p.MostStreams())
		}
	})
}

// A body that net/http cannot rewind is not sent twice.
func TestRefusedStream(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		p := start(t, secure, badserver.Script{Do: badserver.Always(badserver.Refuse)})
		_, err := p.send(t, "POST", "a", "body", true)
		if err == nil || !strings.Contains(err.Error(), "REFUSED_STREAM") {
			t.Errorf("got %v, want REFUSED_STREAM", err)
		}
	})
}

func TestActions(t *testing.T) {
	const r, s = badserver.Refuse, badserver.Serve
	for name, c := range map[string]struct {
		do   func(int64) badserver.Action
		want [4]badserver.Action
	}{
		"always":       {badserver.Always(r), [4]badserver.Action{r, r, r, r}},
		"first two":    {badserver.First(2, r), [4]badserver.Action{r, r, s, s}},
		"every second": {badserver.Every(2, r), [4]badserver.Action{s, r, s, r}},
		"after two":    {badserver.After(2, r), [4]badserver.Action{s, s, r, r}},
	} {
		for i, want := range c.want {
			if got := c.do(int64(i + 1)); got != want {
				t.Errorf("%s: request %d: got %d, want %d", name, i+1, got, want)
			}
		}
	}
}
