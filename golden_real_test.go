package tulle_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
)

// fill sets the fields of the struct that target points to. It reports false
// where the struct has other fields.
func fill(target any, fields map[string]any) bool {
	v := reflect.ValueOf(target).Elem()
	if v.Kind() != reflect.Struct {
		return false
	}
	for name, value := range fields {
		f := v.FieldByName(name)
		if !f.IsValid() || f.Type() != reflect.TypeOf(value) {
			return false
		}
		f.Set(reflect.ValueOf(value))
	}
	return true
}

// fails is send outside of bubbles, where time is no fact.
func fails(t *testing.T, rt *http.Transport, url string) tulle.HTTPFacts {
	t.Helper()
	f := send(rt, get(t.Context(), url))
	f.Elapsed = 0
	if f.Err == nil {
		t.Errorf("%s: got %v, want an error", url, f.Response.Status)
	}
	return f
}

// want fails unless err is target somewhere in its chain: the proof that a test
// has made the error that it is about.
func want(t *testing.T, f tulle.HTTPFacts, target error) tulle.HTTPFacts {
	t.Helper()
	if !errors.Is(f.Err, target) {
		t.Errorf("got %v, want %v", f.Err, target)
	}
	return f
}

// refused is an address where nobody listens.
func refused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// dialFacts are the ways in which a dial fails.
func dialFacts(t *testing.T) []fact {
	via := func(d *net.Dialer) *http.Transport { return &http.Transport{DialContext: d.DialContext} }
	// The kernel's answer without the route that would be needed to get it.
	unroutable := func(errno syscall.Errno) *http.Transport {
		return via(&net.Dialer{Control: func(string, string, syscall.RawConn) error {
			return os.NewSyscallError("connect", errno)
		}})
	}
	broken := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, syscall.ECONNREFUSED
	}}
	addr := refused(t)
	proxied := new(http.Transport)
	proxied.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: addr})
	var dns *net.DNSError
	noDNS := fails(t, via(&net.Dialer{Resolver: broken}), "http://service.invalid/")
	if !errors.As(noDNS.Err, &dns) {
		t.Errorf("got %v, want a DNS error", noDNS.Err)
	}
	own := errors.New("this dialer has words of its own")
	return []fact{
		{"port refused", want(t, fails(t, new(http.Transport), "http://"+addr+"/"), syscall.ECONNREFUSED)},
		{"port refused, https", want(t, fails(t, new(http.Transport), "https://"+addr+"/"), syscall.ECONNREFUSED)},
		{"host unreachable", want(t, fails(t, unroutable(syscall.EHOSTUNREACH), "http://"+addr+"/"), syscall.EHOSTUNREACH)},
		{"network unreachable", want(t, fails(t, unroutable(syscall.ENETUNREACH), "http://"+addr+"/"), syscall.ENETUNREACH)},
		{"dialer's own deadline", want(t, fails(t, via(&net.Dialer{Deadline: time.Unix(1, 0)}), "http://"+addr+"/"), context.DeadlineExceeded)},
		{"name servers out of reach", noDNS},
		{"proxy refused", want(t, fails(t, proxied, "http://"+addr+"/"), syscall.ECONNREFUSED)},
		{"proxy refused, https", want(t, fails(t, proxied, "https://"+addr+"/"), syscall.ECONNREFUSED)},
		{"custom dialer", want(t, fails(t, &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, own },
		}, "http://"+addr+"/"), own)},
	}
}

// brokenFacts are connections that end where they should not.
func brokenFacts(t *testing.T) []fact {
	over := func(serve func(net.Conn)) tulle.HTTPFacts {
		return fails(t, new(http.Transport), "http://"+listen(t, serve)+"/")
	}
	const half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
	limited := &http.Transport{MaxResponseHeaderBytes: 16}
	return []fact{
		{"EOF before headers", want(t, over(answer("")), io.EOF)},
		{"reset before headers", want(t, over(answerAndReset("")), syscall.ECONNRESET)},
		{"EOF in the headers", over(answer("HTTP/1.1 200 OK\r\nConte"))},
		{"reset in the headers", over(answerAndReset("HTTP/1.1 200 OK\r\nConte"))},
		{"EOF in the body", want(t, over(answer(half)), io.ErrUnexpectedEOF)},
		{"reset in the body", want(t, over(answerAndReset(half)), syscall.ECONNRESET)},
		{"EOF in a chunk", want(t, over(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")), io.ErrUnexpectedEOF)},
		{"not HTTP", over(answer("220 mail.example ESMTP\r\n\r\n"))},
		{"headers too long", fails(t, limited, "http://"+listen(t, answer("HTTP/1.1 200 OK\r\nA: "+string(make([]byte, 64))+"\r\n\r\n"))+"/")},
	}
}

// secure is a TLS server that is set up by change, and the configuration of a
// client that trusts it.
func secure(t *testing.T, change func(*httptest.Server)) (*httptest.Server, *tls.Config) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the handshakes that fail
	s.TLS = new(tls.Config)
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, s.Client().Transport.(*http.Transport).TLSClientConfig
}

// tlsFacts are handshakes that fail.
func tlsFacts(t *testing.T) []fact {
	// over calls a server of its own as a client that is set up by mine.
	over := func(theirs func(*httptest.Server), mine func(*tls.Config)) tulle.HTTPFacts {
		s, c := secure(t, theirs)
		c = c.Clone()
		if mine != nil {
			mine(c)
		}
		return fails(t, &http.Transport{TLSClientConfig: c}, s.URL)
	}
	version := func(most uint16) func(*httptest.Server) {
		return func(s *httptest.Server) { s.TLS.MaxVersion = most }
	}
	certificate := func(most uint16) func(*httptest.Server) {
		return func(s *httptest.Server) { s.TLS.MaxVersion, s.TLS.ClientAuth = most, tls.RequireAnyClientCert }
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	hangUp := listen(t, func(c net.Conn) {
		// It takes the whole hello, or the connection would end with a reset.
		var head [5]byte
		_, _ = io.ReadFull(c, head[:])
		_, _ = io.CopyN(io.Discard, c, int64(head[3])<<8|int64(head[4]))
	})
	return []fact{
		{"unknown authority", over(nil, func(c *tls.Config) { c.RootCAs = nil })},
		{"another host's certificate", over(nil, func(c *tls.Config) { c.ServerName = "other.test" })},
		{"expired certificate", over(nil, func(c *tls.Config) {
			c.Time = func() time.Time { return time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC) }
		})},
		{"rejected by the caller's own check", over(nil, func(c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not pinned") }
		})},
		{"server speaks plain HTTP", fails(t, new(http.Transport), "https://"+plain.Listener.Addr().String()+"/")},
		{"alert: no common version", over(version(tls.VersionTLS12), func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })},
		{"alert: client certificate wanted, TLS 1.2", over(certificate(tls.VersionTLS12), nil)},
		{"alert: client certificate wanted, TLS 1.3", over(certificate(tls.VersionTLS13), nil)},
		{"server hangs up in the handshake", want(t, fails(t, new(http.Transport), "https://"+hangUp+"/"), io.EOF)},
		{"handshake timeout", bubble(t, func(t *testing.T) tulle.HTTPFacts {
			rt := piped(silent)
			rt.TLSHandshakeTimeout = 5 * time.Second
			return send(rt, get(t.Context(), "https://service.test/"))
		})},
	}
}

// streamFacts are HTTP/2 streams that the server ends.
func streamFacts(t *testing.T) []fact {
	over := func(respond func(stream uint32) []byte) tulle.HTTPFacts {
		return bubble(t, func(t *testing.T) tulle.HTTPFacts {
			return send(h2c(respond), get(t.Context(), "http://service.test/"))
		})
	}
	const ok = 0x88 // ":status: 200" of the static table (RFC 7541, A)
	return []fact{
		{"refused", over(func(s uint32) []byte { return reset(s, 7) })},
		{"internal error before headers", over(func(s uint32) []byte { return reset(s, 2) })},
		{"cancelled by the server", over(func(s uint32) []byte { return reset(s, 8) })},
		{"connection told to go away", over(func(uint32) []byte {
			return frame(frameGoAway, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2)
		})},
		{"internal error in the body", over(func(s uint32) []byte {
			return append(frame(frameHeaders, flagEndHeaders, s, ok), reset(s, 2)...)
		})},
		{"refused in the body", over(func(s uint32) []byte {
			return append(frame(frameHeaders, flagEndHeaders, s, ok), reset(s, 7)...)
		})},
	}
}

// bubble runs one attempt in a bubble.
func bubble(t *testing.T, attempt func(*testing.T) tulle.HTTPFacts) (f tulle.HTTPFacts) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f = attempt(t)
		if f.Err == nil {
			t.Errorf("got %v, want an error", f.Response.Status)
		}
	})
	return f
}

// endedFacts are attempts that the caller, its deadline or a timeout of the
// sender ends.
func endedFacts(t *testing.T) []fact {
	// within makes a request whose context ends after some time.
	within := func(rt *http.Transport, end func(context.Context) (context.Context, context.CancelFunc)) tulle.HTTPFacts {
		return bubble(t, func(t *testing.T) tulle.HTTPFacts {
			ctx, cancel := end(t.Context())
			defer cancel()
			return send(rt, get(ctx, "http://service.test/"))
		})
	}
	type ending = func(context.Context) (context.Context, context.CancelFunc)
	after := func(d time.Duration) ending {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	cause := errors.New("user closed the window")
	expiredFor := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, time.Second, cause)
	}
	cancelledFor := func(why error) ending {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(why) })
			return ctx, func() { cancel(nil) }
		}
	}
	dialing := func() *http.Transport {
		return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.Cause(ctx)}
		}}
	}
	half := func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		silent(c)
	}
	headerTimeout := func(d time.Duration) tulle.HTTPFacts {
		rt := piped(silent)
		rt.ResponseHeaderTimeout = d
		return within(rt, after(time.Hour))
	}
	attemptTimeout := func(f tulle.HTTPFacts) tulle.HTTPFacts {
		f.AttemptTimeout = true
		return f
	}
	return []fact{
		{"waiting for headers, deadline of 50 ms", within(piped(silent), after(50*time.Millisecond))},
		{"waiting for headers, deadline of 1 s", within(piped(silent), after(time.Second))},
		{"waiting for headers, deadline of 1 s with a cause", want(t, within(piped(silent), expiredFor), cause)},
		{"waiting for headers, cancelled", within(piped(silent), cancelledFor(nil))},
		{"waiting for headers, cancelled with a cause", want(t, within(piped(silent), cancelledFor(cause)), cause)},
		{"waiting for headers, cancelled with a deadline for a cause", within(piped(silent), cancelledFor(context.DeadlineExceeded))},
		{"waiting for headers, Request.Cancel", bubble(t, func(t *testing.T) tulle.HTTPFacts {
			req, cancel := get(t.Context(), "http://service.test/"), make(chan struct{})
			time.AfterFunc(time.Second, func() { close(cancel) })
			//lint:ignore SA1019 net/http still obeys it
			req.Cancel = cancel
			f := send(piped(silent), req)
			f.Ended = context.Canceled // as layers report it
			return f
		})},
		{"waiting for headers, attempt timeout of 50 ms", attemptTimeout(within(piped(silent), after(50*time.Millisecond)))},
		{"waiting for headers, sender's timeout of 50 ms", headerTimeout(50 * time.Millisecond)},
		{"waiting for headers, sender's timeout of 1 s", headerTimeout(time.Second)},
		{"dialing, deadline of 50 ms", within(dialing(), after(50*time.Millisecond))},
		{"dialing, deadline of 1 s", within(dialing(), after(time.Second))},
		{"dialing, cancelled", within(dialing(), cancelledFor(nil))},
		{"dialing, attempt timeout of 50 ms", attemptTimeout(within(dialing(), after(50*time.Millisecond)))},
		{"waiting for a free connection, deadline of 50 ms", busy(t, 50*time.Millisecond)},
		{"waiting for a free connection, deadline of 1 s", busy(t, time.Second)},
		{"waiting for a free connection, attempt timeout", attemptTimeout(busy(t, time.Second))},
		{"reading the body, deadline of 1 s", headersAt(within(piped(half), after(time.Second)), 0)},
		{"reading the body, deadline of 1 s, slow headers", headersAt(within(piped(half), after(time.Second)), 500*time.Millisecond)},
		{"reading the body, cancelled", headersAt(within(piped(half), cancelledFor(nil)), 0)},
		{"ended before it began", within(piped(silent), after(0))},
	}
}

// headersAt sets how long the headers took.
func headersAt(f tulle.HTTPFacts, d time.Duration) tulle.HTTPFacts {
	f.Elapsed = d
	return f
}

// busy is an attempt that waits for the only connection while another call has
// it.
func busy(t *testing.T, limit time.Duration) tulle.HTTPFacts {
	return bubble(t, func(t *testing.T) tulle.HTTPFacts {
		rt := piped(silent)
		rt.MaxConnsPerHost = 1
		first, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := rt.RoundTrip(get(first, "http://service.test/"))
			done <- err
		}()
		synctest.Wait()
		ctx, stop := context.WithTimeout(t.Context(), limit)
		defer stop()
		f := send(rt, get(ctx, "http://service.test/"))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the call that has the connection: got %v, want it cancelled", err)
		}
		return f
	})
}
