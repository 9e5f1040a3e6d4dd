package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// The deeds of a node: what it does with an attempt. A number is the status that it
// answers with at once.
const (
	deedOK      = "ok"      // answers each message, or the last one
	deedPush    = "push"    // has the client come back in 3 ms
	deedNever   = "never"   // has it come back never
	deedHeaders = "headers" // fails after the headers
	deedHalf    = "half"    // fails after a message
	deedEarly   = "early"   // ends well, whatever is sent
	deedHang    = "hang"    // waits for the end of the context
	deedReset   = "reset"   // resets the stream
	deedKill    = "kill"    // its connections break
	deedStop    = "stop"    // it starts anew at once
	deedQuit    = "quit"    // it starts anew, and serves to their end the calls that it has
)

// failures are deeds of servers that do nothing well.
var failures = []string{"14", "14", "13", deedHeaders, deedHeaders, deedHang, deedKill, deedQuit}

var deeds = []string{
	deedOK, deedOK, deedOK, "14", "14", "14", "8", "13", "2", "5", deedPush, deedNever, deedHeaders, deedHalf, deedEarly,
	deedHang, deedReset, deedKill, deedStop, deedQuit,
}

// A node is a gRPC server on pipes, of which a test can take away the connections and
// which it can stop and start.
type node struct {
	addr    string
	web     bool           // it is behind net/http, which can reset streams
	seen    atomic.Int64   // attempts that reached it
	refuses atomic.Bool    // while it is down it takes connections, and refuses streams
	running sync.WaitGroup // of servers, and of their ends

	mu       sync.Mutex
	listener *bufconn.Listener   // guarded by mu: nil while it is down
	end      func(graceful bool) // guarded by mu: of what listens
	conns    []net.Conn          // guarded by mu: those that were made, of the client's side
}

// up starts it, unless it is up.
func (n *node) up() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener != nil {
		return
	}
	l, g := bufconn.Listen(64<<10), grpc.NewServer(grpc.UnknownServiceHandler(n.play))
	n.listener = l
	if !n.web {
		n.running.Go(func() { g.Serve(l) })
		n.end = func(graceful bool) {
			if graceful {
				g.GracefulStop()
			}
			g.Stop()
		}
		return
	}
	h := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if deedOf(r.Header.Get("Script"), r.Header.Get("Tulle-Attempt")) == deedReset {
			n.seen.Add(1)
			panic(http.ErrAbortHandler)
		}
		g.ServeHTTP(w, r)
	})}
	h.Protocols.SetUnencryptedHTTP2(true)
	n.running.Go(func() { h.Serve(l) })
	n.end = func(graceful bool) {
		if graceful {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			h.Shutdown(ctx)
		}
		h.Close()
		g.Stop()
	}
}

// down stops it.
func (n *node) down(graceful bool) {
	n.mu.Lock()
	l, end := n.listener, n.end
	n.listener, n.end = nil, nil
	n.mu.Unlock()
	if l != nil {
		end(graceful)
	}
}

// anew stops it without waiting, and starts it.
func (n *node) anew(graceful bool) {
	n.mu.Lock()
	end := n.end
	n.listener, n.end = nil, nil
	n.mu.Unlock()
	if end != nil {
		n.running.Go(func() { end(graceful) })
	}
	n.up()
}

// kill breaks its connections.
func (n *node) kill() {
	n.mu.Lock()
	conns := n.conns
	n.conns = nil
	n.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// dial connects to it.
func (n *node) dial(ctx context.Context) (net.Conn, error) {
	n.mu.Lock()
	l := n.listener
	n.mu.Unlock()
	var c net.Conn
	err := errors.New("nobody listens at " + n.addr)
	if l != nil {
		c, err = l.DialContext(ctx)
	} else if n.refuses.Load() {
		var far net.Conn
		c, far = net.Pipe()
		n.running.Go(func() { refuseAll(far) })
		err = nil
	}
	if err == nil {
		n.mu.Lock()
		n.conns = append(n.conns, c)
		n.mu.Unlock()
	}
	return c, err
}

// deedOf is what a script, which has a deed for each attempt, has for one.
func deedOf(script, attempt string) string {
	all := strings.Split(script, ",")
	n, _ := strconv.Atoi(attempt)
	return all[min(max(n, 1), len(all))-1]
}

// play does with an attempt of any method what its script says.
func (n *node) play(_ any, s grpc.ServerStream) error {
	n.seen.Add(1)
	in, _ := metadata.FromIncomingContext(s.Context())
	deed := deedOf(strings.Join(in.Get("script"), ""), strings.Join(in.Get("tulle-attempt"), ""))
	failure := status.Error(codes.Unavailable, deed)
	switch deed {
	case deedPush:
		s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "3"))
		return failure
	case deedNever:
		s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "-1"))
		return failure
	case deedHeaders:
		s.SendHeader(metadata.Pairs("k", "v"))
		return failure
	case deedHalf:
		s.RecvMsg(new(testpb.SimpleRequest))
		s.SendMsg(new(testpb.SimpleResponse))
		return failure
	case deedEarly:
		return nil
	case deedHang:
		<-s.Context().Done()
		return status.FromContextError(s.Context().Err()).Err()
	case deedKill:
		n.kill()
		return nil
	case deedStop, deedQuit:
		n.anew(deed == deedQuit)
		return failure
	}
	if code, err := strconv.Atoi(deed); err == nil {
		return status.Error(codes.Code(code), "on purpose")
	}
	return answer(s)
}

// answer answers each message of methods whose server streams, and else the last one.
func answer(s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	many := slices.Contains([]string{shapes[1].method, shapes[3].method}, method)
	for {
		if err := s.RecvMsg(new(testpb.SimpleRequest)); err != nil {
			if err == io.EOF && !many {
				return s.SendMsg(new(testpb.SimpleResponse))
			}
			if err == io.EOF {
				err = nil
			}
			return err
		}
		if many {
			if err := s.SendMsg(new(testpb.SimpleResponse)); err != nil {
				return err
			}
		}
	}
}
