package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/deadline"
)

// DialContext connects to an endpoint of a service, for clients of other
// protocols over TCP, such as those of databases and caches. Network is tcp,
// tcp4 or tcp6; addr is a service's name with a port, "mongo:27017", which is
// looked up like the host of a URL. An endpoint without a port takes that of
// addr. An endpoint that cannot be connected to is left out for a while and
// another one is tried at once. The time is that of ctx and of the service's
// timeouts, of which Timeout counts to the connection only.
//
// The service's statistics see the connect as the attempt, and the connection as
// a stream that ends with Close. What is spoken over it they do not see. So do
// not use it for clients that know the topology of their servers and choose for
// themselves, such as those of replica sets and clusters: they must reach the
// very server that they name.
//
// An addr that is no service is connected to directly, unless Config.Unknown
// says otherwise.
func (t *Transport) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if !t.gate.Enter() {
		return nil, ErrClosed
	}
	defer t.gate.Exit()
	tb := t.table.Load()
	dial := dialerOf(tb.cfg.Base)
	svc, next, err := t.dialTarget(ctx, tb, network, addr)
	if err != nil {
		return nil, err
	}
	if svc == nil {
		return dial(ctx, network, addr)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("transport: address %q: %w", addr, err)
	}
	for {
		d := &dialing{svc: svc, dial: dial, network: network, port: port}
		conn, err := d.run(ctx)
		reached := err == nil
		if err != nil {
			err = &Error{Service: svc.Name, Endpoint: d.endpoint, Attempts: int(d.call.Attempt), Err: err}
		}
		if next == nil || ctx.Err() != nil || !reached && d.call.Last.Class != tulle.Unsent && !unreachable(err) {
			return conn, err
		}
		if svc = next(reached); svc == nil {
			return conn, err
		}
	}
}

// dialTarget finds the service of an address, and where to go on to from there; nil
// means that it is dialled as it is.
func (t *Transport) dialTarget(ctx context.Context, tb *table, network, addr string) (
	svc *service, next func(reached bool) *service, err error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, nil, fmt.Errorf("transport: network %q: want tcp, tcp4 or tcp6", network)
	}
	if e := tb.find(addr); e != nil {
		return tb.dialled(ctx, e, addr)
	}
	switch tb.cfg.Unknown {
	case Refuse:
		return nil, nil, fmt.Errorf("%w: %s", ErrUnknownService, addr)
	case Resolve:
		svc, err = t.hosts.findHost(canonicalHost(addr))
	}
	return svc, nil, err
}

// A dialFunc is the method of a net.Dialer.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialerOf is the dialer of a Base that has one.
func dialerOf(base http.RoundTripper) dialFunc {
	if t, ok := base.(*http.Transport); ok && t.DialContext != nil {
		return t.DialContext
	}
	return (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext
}

// dialing is one call of DialContext.
type dialing struct {
	svc      *service
	dial     dialFunc
	network  string
	port     string
	call     tulle.Call
	endpoint string // of the last attempt
}

// run dials until it works or nothing is left to try.
func (d *dialing) run(ctx context.Context) (net.Conn, error) {
	if d.svc.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d.svc.Timeout, deadline.ErrCall)
		defer cancel()
	}
	end, _ := ctx.Deadline()
	if ctx.Err() != nil {
		return nil, destination.Ended(ctx)
	}
	c := d.svc.Engine
	if err := c.Admit(ctx, end); err != nil {
		return nil, err
	}
	for {
		conn, err := d.attempt(ctx)
		if err == nil {
			return conn, nil
		}
		if _, ok := c.Retrier().Again(ctx, &d.call, c.Now, end, nil); !ok {
			if ctx.Err() != nil {
				return nil, destination.Ended(ctx)
			}
			return nil, err
		}
	}
}

// attempt dials one endpoint.
func (d *dialing) attempt(ctx context.Context) (net.Conn, error) {
	c := d.svc.Engine
	held := new(heldConn)
	d.call.Begin()
	if err := c.Begin(&held.lease, &d.call, c.Now()); err != nil {
		return nil, err
	}
	d.endpoint = held.lease.Endpoint().Addr
	addr := d.endpoint
	if _, _, ok := splitPort(urlHost(addr)); !ok {
		addr = net.JoinHostPort(addr, d.port)
	}
	attemptCtx := ctx
	if limit := d.svc.AttemptTimeout; limit > 0 {
		var cancel context.CancelFunc
		attemptCtx, cancel = context.WithTimeoutCause(ctx, limit, deadline.ErrAttempt)
		defer cancel()
	}
	conn, err := d.dial(attemptCtx, d.network, addr)
	now := c.Now()
	o := d.outcome(ctx, attemptCtx, err, now-held.lease.Start())
	held.lease.Answer(&d.call, o, now)
	if err != nil {
		held.lease.End(o, now)
		if o.Class == tulle.Ignored || o.Class == tulle.TimedOut {
			err = destination.Ended(attemptCtx)
		}
		return nil, err
	}
	held.cluster = c
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: tcp, held: held}, nil
	}
	return &anyConn{Conn: conn, held: held}, nil
}

// outcome classifies a dial. Whatever failed, nothing was sent.
func (d *dialing) outcome(call, attempt context.Context, err error, took time.Duration) tulle.Outcome {
	f := tulle.HTTPFacts{
		Err: err, Ended: call.Err(), Reach: tulle.DialFailed, Elapsed: took,
		AttemptTimeout: call.Err() == nil && errors.Is(context.Cause(attempt), deadline.ErrAttempt),
	}
	if err != nil {
		f.Mean = d.svc.Engine.Mean(d.svc.Engine.Now())
	}
	return tulle.ClassifyHTTP(f)
}

// heldConn is the lease of a connection.
type heldConn struct {
	cluster *cluster.Cluster
	lease   cluster.Attempt
	once    sync.Once
}

// release ends the lease.
func (h *heldConn) release() {
	h.once.Do(func() { h.lease.End(tulle.Outcome{Class: tulle.Answered}, h.cluster.Now()) })
}

// tcpConn is a connection with all that a TCP connection can.
type tcpConn struct {
	*net.TCPConn
	held *heldConn
}

// Close implements net.Conn.
func (c *tcpConn) Close() error {
	c.held.release()
	return c.TCPConn.Close()
}

// anyConn is the connection of a dialer of the user's own.
type anyConn struct {
	net.Conn
	held *heldConn
}

// Close implements net.Conn.
func (c *anyConn) Close() error {
	c.held.release()
	return c.Conn.Close()
}
