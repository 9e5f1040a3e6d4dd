package tullegrpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
)

// unary is the interceptor of DialOptions.
func (c *channel) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	opts, finish := takeOnFinish(opts)
	if finish == nil {
		return c.invoke(ctx, method, req, reply, cc, invoker, opts)
	}
	err := errPanicked // until invoke returns
	defer func() { finish(err) }()
	err = c.invoke(ctx, method, req, reply, cc, invoker, opts)
	return err
}

// invoke makes a unary call.
func (c *channel) invoke(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts []grpc.CallOption) error {
	name, ok := service(cc)
	if !ok {
		return c.unaryElsewhere(ctx, method, req, reply, cc, invoker, opts)
	}
	x := &call{Context: ctx, cc: cc, method: method, req: req}
	if err := c.enter(x, name, opts); err != nil {
		return err
	}
	for {
		err := x.run(req, reply, invoker, opts)
		next := x.onward(err)
		if next == nil {
			return err
		}
		x = next
	}
}

// run makes a unary call at one destination.
func (c *call) run(req, reply any, invoker grpc.UnaryInvoker, opts []grpc.CallOption) (err error) {
	defer func() { c.leave(err) }()
	err = errPanicked // until something is returned
	if err := c.prepare(); err != nil {
		return c.error(err)
	}
	return c.invoke(req, reply, invoker, opts)
}

// leave ends the call: its time, and its being counted.
func (c *call) leave(err error) {
	if c.left.Swap(true) {
		return
	}
	if c.release != nil {
		c.release()
	}
	c.mu.Lock()
	c.lateLocked(err)
	c.settleLocked(returned)
	c.abandonLocked(err)
	endpoint, attempts := c.endpoint, int(c.rpc.Attempt)
	c.mu.Unlock()
	c.options.Tell(c.to.Name, endpoint, attempts)
	c.ended(err)
	c.to.Gate.Exit()
}

// enter finds out where a call goes and what its caller says of it. It counts the
// call in.
func (c *channel) enter(x *call, name string, opts []grpc.CallOption) error {
	if c.configErr != nil {
		return unavailable(c.configErr)
	}
	x.options, x.waits = readOptions(x.Context, opts)
	x.configured = c.hasMethods
	safe := c.methods.safe(x.method)
	if err := c.route(x, name, safe); err != nil {
		return err
	}
	to := x.to
	if !to.Gate.Enter() {
		return unavailable(transport.ErrClosed)
	}
	x.rpc.Safe = x.options.Vouched() || safe || to.Engine.Retrier().SafeRPC(x.method)
	x.rpc.UnsentOnly = x.options.OnlyUnsent()
	x.follow()
	if x.followed != nil {
		x.tellRoute()
	}
	return nil
}

// prepare takes the call through the steps that come once: deadline, rate limit and
// the wait for endpoints. The order is that of the stack in package transport.
func (c *call) prepare() error {
	now := time.Now()
	options := c.options
	if c.stream || c.configured {
		options = c.timeouts()
	}
	end, err := c.to.End(c.Context, options, now)
	if err != nil {
		return err
	}
	c.end = end
	if err := destination.Hold(c.Context, c.options, end); err != nil {
		return err
	}
	began := c.clock()
	err = c.to.Limiter.Acquire(c.Context, "", end)
	c.waited("rate", began, err)
	if err != nil {
		return err
	}
	engine := c.to.Engine
	began = c.clock()
	err = engine.Admit(c.Context, end)
	c.waited("endpoints", began, err)
	counted := err == nil
	if counted {
		if engine.Len() > 0 {
			return nil
		}
		err = engine.Err() // gRPC would lose what it is
	}
	if !errors.Is(err, cluster.ErrNoEndpoints) || !c.waits && !(c.configured && methodWaits(c.cc, c.method)) {
		return err
	}
	if !counted {
		engine.Retrier().Open(engine.Now())
	}
	return nil // gRPC waits
}

// timeouts are the options of the call with the timeout that holds for it: streams
// have none by default, and a method config can set one.
func (c *call) timeouts() *destination.Options {
	configured := time.Duration(0)
	if c.configured {
		configured = methodTimeout(c.cc, c.method)
	}
	if !c.stream && configured == 0 {
		return c.options
	}
	var o destination.Options
	if c.options != nil {
		o = *c.options
	}
	if o.Timeout == 0 {
		o.Timeout = -1
		if limit := c.options.CallTimeout(c.to.Timeout); !c.stream && limit > 0 {
			o.Timeout = limit
		}
	}
	if configured > 0 && (o.Timeout <= 0 || configured < o.Timeout) {
		o.Timeout = configured
	}
	return &o
}

// limited gives the call's context its end, if it is not there already.
func (c *call) limited() (release context.CancelFunc) {
	has, ok := c.Context.Deadline()
	if c.end.IsZero() || ok && !c.end.Before(has) {
		return nil
	}
	c.Context, release = context.WithDeadlineCause(c.Context, c.end, deadline.ErrCall)
	return release
}

// invoke makes the attempts of a unary call.
func (c *call) invoke(req, reply any, invoker grpc.UnaryInvoker, opts []grpc.CallOption) error {
	c.release = c.limited()
	if host := c.options.Host(""); host != "" {
		opts = append([]grpc.CallOption{grpc.CallAuthority(host)}, opts...)
	}
	for {
		err := invoker(c.invocation(), c.method, req, reply, c.cc, opts...)
		c.over()
		if err == nil {
			return nil
		}
		if !c.again(err, nil) {
			return c.fail(err)
		}
	}
}
