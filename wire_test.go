package tulle_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

// send makes one attempt as the stack does: it notes whether the sender took a
// connection and whether it was the dial that failed, and reads the body.
func send(rt *http.Transport, req *http.Request) tulle.HTTPFacts {
	var had, failed atomic.Bool
	if dial := rt.DialContext; dial != nil {
		rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			failed.Store(err != nil)
			return c, err
		}
	}
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { had.Store(true) },
	})
	start := time.Now()
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	f := tulle.HTTPFacts{Response: resp, Err: err, Elapsed: time.Since(start), Now: noon}
	if err == nil {
		if _, err = io.Copy(io.Discard, resp.Body); err != nil {
			f.Response, f.Err, f.InBody = nil, err, true
		}
		_ = resp.Body.Close()
	}
	f.Ended = req.Context().Err()
	switch {
	case had.Load():
		f.Reach = tulle.HadConnection
	case failed.Load():
		f.Reach = tulle.DialFailed
	default:
		f.Reach = tulle.NoConnection
	}
	rt.CloseIdleConnections()
	return f
}

// get is a GET request for url under ctx.
func get(ctx context.Context, url string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	return req
}

// listen serves each connection of a real socket and returns its address.
func listen(t *testing.T, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	return l.Addr().String()
}

// piped is an http.Transport whose connections are pipes to serve, for use in a
// bubble. The goroutines of serve end with their connections.
func piped(serve func(net.Conn)) *http.Transport {
	return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer func() { _ = there.Close() }()
			serve(there)
		}()
		return here, nil
	}}
}

// readRequest reads one request, its body included.
func readRequest(c net.Conn) {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, req.Body)
}

// answer serves a connection: one request, then text, then the end of it.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, text)
	}
}

// answerAndReset is answer with a reset for an end.
func answerAndReset(text string) func(net.Conn) {
	return func(c net.Conn) {
		answer(text)(c)
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

// silent reads and never answers.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// The frames of HTTP/2 that the tests send or look at (RFC 9113, 6).
const (
	frameHeaders   = 1
	frameRSTStream = 3
	frameSettings  = 4
	frameGoAway    = 7

	flagAck        = 1
	flagEndHeaders = 4
)

// frame is one frame of HTTP/2.
func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := []byte{0, 0, byte(len(payload)), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[5:], stream)
	return append(b, payload...)
}

// reset is RST_STREAM with an error code.
func reset(stream uint32, code byte) []byte {
	return frame(frameRSTStream, 0, stream, 0, 0, 0, code)
}

// h2 serves HTTP/2 without TLS: each request gets the frames that respond
// returns for its stream.
func h2(respond func(stream uint32) []byte) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := io.CopyN(io.Discard, c, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		// A pipe holds nothing, so that who only writes waits for who only reads.
		out := make(chan []byte, 64)
		var writer sync.WaitGroup
		writer.Go(func() {
			for b := range out {
				_, _ = c.Write(b) // the reader below notices a connection that has ended
				if b[3] == frameGoAway {
					_ = c.Close() // as announced
				}
			}
		})
		defer writer.Wait()
		defer close(out)
		out <- frame(frameSettings, 0, 0)
		var head [9]byte
		for {
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, c, length); err != nil {
				return
			}
			switch {
			case head[3] == frameHeaders:
				out <- respond(binary.BigEndian.Uint32(head[5:]))
			case head[3] == frameSettings && head[4]&flagAck == 0:
				out <- frame(frameSettings, flagAck, 0)
			}
		}
	}
}

// h2c is piped with HTTP/2.
func h2c(respond func(stream uint32) []byte) *http.Transport {
	rt := piped(h2(respond))
	rt.Protocols = new(http.Protocols)
	rt.Protocols.SetUnencryptedHTTP2(true)
	return rt
}
