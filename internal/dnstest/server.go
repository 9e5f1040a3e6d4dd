package dnstest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
)

// A Fault is what goes wrong with the answers to a question.
type Fault int

// The faults.
const (
	None     Fault = iota
	ServFail       // the server says that it has trouble
	Refused        // the server does not want to answer
	Silent         // the query is lost
	Garbage        // bytes that are no answer
	Absent         // NXDOMAIN, whatever there is
	Large          // over UDP the answer does not fit, the client must use TCP
)

// A Query is one that the server got.
type Query struct {
	Name    string // lower case, with the trailing dot
	Type    uint16
	Network string // "udp", "tcp" or "pipe"
}

// A Server is a name server. All methods may be called at any time by any
// goroutine. Names are absolute: the trailing dot is optional.
type Server struct {
	mu      sync.Mutex // guards what follows
	zone    map[string][]Record
	faults  map[Query]Fault // by Name and Type, 0 for all types
	queries []Query
	closers map[io.Closer]bool
	closed  bool

	serving sync.WaitGroup
}

// New is a server with no records: all names are unknown. Close it.
func New() *Server {
	return &Server{zone: map[string][]Record{}, faults: map[Query]Fault{}, closers: map[io.Closer]bool{}}
}

// Set replaces all records of a name. With none the name still exists: it has
// no records of any type. A TTL is 0 unless the record says otherwise.
func (s *Server) Set(name string, records ...Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[canonical(name)] = records
}

// Remove makes a name unknown.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.zone, canonical(name))
}

// Break gives questions for a name a fault, until it is called with None. The
// type is that of the question, or 0 for all types.
func (s *Server) Break(name string, typ uint16, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[Query{Name: canonical(name), Type: typ}] = f
}

// Queries are those that came since the last call, in order.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queries
	s.queries = nil
	return q
}

// Pipe is a resolver that reaches the server by pipes in memory.
func (s *Server) Pipe() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		if !s.serve(server, func() { s.serveStream(server, "pipe") }) {
			return nil, net.ErrClosed
		}
		return client, nil
	}}
}

// Prepare makes package net read the settings of the machine, which it does at
// the first look-up and must not do in a bubble, as it keeps a channel. Call it
// in TestMain where tests use Pipe in bubbles.
func Prepare() {
	down := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, net.ErrClosed
	}}
	_, _ = down.LookupNetIP(context.Background(), "ip", "prepare.invalid.")
}

// Listen opens sockets for UDP and TCP on one port of the loopback interface.
// Close closes them.
func (s *Server) Listen() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		return "", errors.Join(err, l.Close())
	}
	if !s.serve(p, func() { s.servePackets(p) }) || !s.serve(l, func() { s.accept(l) }) {
		return "", net.ErrClosed
	}
	return l.Addr().String(), nil
}

// At is a resolver that asks the name server at addr, host and port, whichever
// server that is.
func At(addr string) *net.Resolver {
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, addr)
	}}
}

// Close closes all connections and waits until they are. It may be called more
// than once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for c := range s.closers {
		errs = append(errs, c.Close())
	}
	clear(s.closers)
	s.mu.Unlock()
	s.serving.Wait()
	return errors.Join(errs...)
}

// serve runs a func that ends when c is closed. It returns false, with c closed,
// when the server is.
func (s *Server) serve(c io.Closer, run func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.closers[c] = true
	s.serving.Go(func() {
		run()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closers[c] {
			delete(s.closers, c)
			_ = c.Close() // the peer has gone; its side tells more
		}
	})
	return true
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.serve(c, func() { s.serveStream(c, "tcp") })
	}
}

func (s *Server) servePackets(p net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := p.ReadFrom(b)
		if err != nil {
			return
		}
		if a := s.answer(b[:n], "udp"); a != nil {
			_, _ = p.WriteTo(a, from) // packets get lost
		}
	}
}

// serveStream answers one query after the other. Each message has its length in
// front.
func (s *Server) serveStream(c net.Conn, network string) {
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		a := s.answer(b, network)
		if a == nil {
			continue
		}
		a = a[:min(len(a), 1<<16-1)]
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}

// answer is the answer to a message, or nil for none.
func (s *Server) answer(msg []byte, network string) []byte {
	q, err := parseQuery(msg)
	if err != nil {
		if len(msg) < headerSize {
			return nil
		}
		return []byte{msg[0], msg[1], bitResponse >> 8, formErr, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, Query{q.name, q.typ, network})
	fault := s.faults[Query{Name: q.name, Type: q.typ}]
	if fault == None {
		fault = s.faults[Query{Name: q.name}]
	}
	switch fault {
	case ServFail:
		return q.reply(servFail, 0, nil, "")
	case Refused:
		return q.reply(refused, 0, nil, "")
	case Silent:
		return nil
	case Garbage:
		return append(q.reply(0, 0, nil, "")[:headerSize-6], 0xff, 0xff, 0, 0, 0, 0, 7)
	case Absent:
		return q.reply(nxDomain, 0, nil, ".")
	case Large:
		if network == "udp" {
			return q.reply(0, bitTruncated, nil, "")
		}
	}
	a := s.lookupLocked(&q)
	if limit := q.limit(); network == "udp" && len(a) > limit {
		return q.reply(0, bitTruncated, nil, "")
	}
	return a
}

// limit is the largest packet that the client takes. With EDNS it would say so
// itself; all that do take at least this.
func (q *query) limit() int {
	if q.extend {
		return 1232
	}
	return 512
}

// lookupLocked answers from the zone. Aliases are followed, up to a length that
// no sane zone has; a loop comes back as the aliases alone, as from a server
// that leaves the rest to the client.
func (s *Server) lookupLocked(q *query) []byte {
	var answers []owned
	name := q.name
	for range 8 {
		records, exists := s.zone[name]
		if !exists {
			return q.reply(nxDomain, 0, answers, ".")
		}
		alias := ""
		for _, r := range records {
			switch {
			case r.Type == q.typ:
				answers = append(answers, owned{name, r})
			case r.Type == TypeCNAME:
				answers = append(answers, owned{name, r})
				alias = nameOf(r.data)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if len(answers) == 0 {
		return q.reply(0, 0, nil, ".")
	}
	return q.reply(0, 0, answers, "")
}

// nameOf reads back what appendName wrote.
func nameOf(b []byte) string {
	var name strings.Builder
	for len(b) > 0 && b[0] > 0 {
		name.Write(b[1 : 1+b[0]])
		name.WriteByte('.')
		b = b[1+b[0]:]
	}
	return canonical(name.String())
}

// canonical is the form in which names are keys.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, ".")) + "."
}
