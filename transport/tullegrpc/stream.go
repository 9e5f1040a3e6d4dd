package tullegrpc

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// rounds makes the attempts of one RPC: a call to a service, or one elsewhere.
type rounds interface {
	// invocation is the context of the next attempt.
	invocation() context.Context

	// answered says that the first message of the attempt in hand has come.
	answered()

	// again waits and says whether an attempt that failed is to be repeated.
	again(err error, trailer metadata.MD) bool

	// fail is the error for the caller.
	fail(err error) error

	// leave ends the RPC, err being what the caller got, nil or io.EOF if it went
	// well. It may be called more than once.
	leave(err error)
}

// stream is the interceptor of DialOptions.
func (c *channel) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption) (_ grpc.ClientStream, err error) {
	s := &clientStream{desc: desc, open: func(ctx context.Context, opts []grpc.CallOption) (grpc.ClientStream, error) {
		return streamer(ctx, desc, cc, method, opts...)
	}}
	s.opts, s.finish = takeOnFinish(opts)
	s.opts = append(s.opts[:len(s.opts):len(s.opts)], grpc.OnFinish(func(err error) {
		// Nobody needs to receive from a stream whose channel was closed.
		if cc.GetState() == connectivity.Shutdown {
			s.over(err)
		}
	}))
	err = errPanicked // until begin returns
	defer func() {
		if err != nil {
			s.finished(err)
		}
	}()
	if err = c.begin(ctx, s, cc, method); err != nil {
		return nil, err
	}
	return s, nil
}

// begin opens the first attempt of a stream.
func (c *channel) begin(ctx context.Context, s *clientStream, cc *grpc.ClientConn, method string) error {
	name, ok := service(cc)
	if !ok {
		r := c.elsewhere(ctx, method, s.opts, kindStream)
		s.rounds = r
		if err := s.start(r.ctx); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.commitLocked() // what is repeated, gRPC repeats
		return nil
	}
	x := &call{Context: ctx, cc: cc, method: method, stream: true, sends: &s.sends}
	if err := c.enter(x, name, s.opts); err != nil {
		return err
	}
	if host := x.options.Host(""); host != "" {
		s.opts = append([]grpc.CallOption{grpc.CallAuthority(host)}, s.opts...)
	}
	for {
		err := s.openAt(x)
		next := x.onward(err)
		if next == nil {
			return err
		}
		x = next
	}
}

// openAt opens the first attempt at one destination.
func (s *clientStream) openAt(x *call) error {
	if err := x.prepare(); err != nil {
		err = x.error(err)
		x.leave(err)
		return err
	}
	x.release = x.limited()
	s.rounds = x
	return s.start(x)
}

// replayBytes is how much of what was sent is remembered for a repeat, as gRPC's
// own retries do.
const replayBytes = 256 << 10

// clientStream is a stream whose attempts can be repeated until the first message
// has come.
type clientStream struct {
	rounds
	desc *grpc.StreamDesc
	open func(context.Context, []grpc.CallOption) (grpc.ClientStream, error)
	opts []grpc.CallOption
	stop func() bool // takes back the watch on the context

	sends atomic.Bool // SendMsg is at it, so that an error may be one of encoding

	finish func(error) // what the caller wants to have called at the end, or nil
	once   sync.Once   // of finish

	// receiving is held in RecvMsg, and by Header and SendMsg where they need
	// that. Who holds mu only tries to take it.
	receiving sync.Mutex

	// mu is not held while an attempt is replaced, as that takes its time and
	// has hooks called. Nothing is sent meanwhile: see settled. Who replaces has
	// the fields to itself, but for current.
	mu        sync.Mutex
	current   grpc.ClientStream // guarded by mu
	begun     bool              // guarded by mu: a message has come
	committed bool              // guarded by mu: there is no repeat any more
	replacing bool              // guarded by mu: another attempt is about to take the place of current
	sent      []any             // guarded by mu: messages, while not committed
	size      int               // guarded by mu: of sent
	closed    bool              // guarded by mu: the caller will send no more
	decided   sync.Cond         // of mu: another attempt, or no repeat any more, or nobody is receiving
}

// start opens the first attempt.
func (s *clientStream) start(ctx context.Context) error {
	s.decided.L = &s.mu
	if err := s.attempt(); err != nil {
		s.leave(err)
		return err
	}
	// A caller may forget a stream whose context has ended.
	s.stop = context.AfterFunc(ctx, func() { s.over(status.FromContextError(ctx.Err()).Err()) })
	return nil
}

// finished tells the caller of the end, once.
func (s *clientStream) finished(err error) {
	if s.finish == nil {
		return
	}
	if err == io.EOF {
		err = nil // a good end
	}
	s.once.Do(func() { s.finish(err) })
}

// attempt opens a stream, and again while that fails and may be repeated. What was
// sent before is sent once more.
func (s *clientStream) attempt() error {
	returned := false
	defer func() {
		if !returned {
			s.over(errPanicked)
		}
	}()
	err := s.opened()
	returned = true
	return err
}

// opened is attempt but for panics.
func (s *clientStream) opened() error {
	for {
		inner, err := s.open(s.invocation(), s.opts)
		if err == nil {
			s.mu.Lock()
			s.current = inner
			s.decided.Broadcast()
			s.mu.Unlock()
			s.resend()
			return nil
		}
		if !s.again(err, nil) {
			return s.fail(err)
		}
	}
}

// resend sends what was sent before. An error shows in RecvMsg.
func (s *clientStream) resend() {
	for _, m := range s.sent {
		if s.current.SendMsg(m) != nil {
			return
		}
	}
	if s.closed {
		_ = s.current.CloseSend() // it never fails; RecvMsg tells how the stream is
	}
}

// settled locks mu when no attempt is being replaced.
func (s *clientStream) settled() {
	s.mu.Lock()
	for s.replacing {
		s.decided.Wait()
	}
}

// commitLocked ends the time of repeats.
func (s *clientStream) commitLocked() {
	s.committed, s.sent = true, nil
	s.decided.Broadcast()
}

// keepLocked remembers a message that is sent. It is a copy, as callers fill one
// buffer again and again, which gRPC's own retries allow them.
func (s *clientStream) keepLocked(m any) {
	p, ok := m.(proto.Message)
	if s.committed || !ok {
		s.commitLocked()
		return
	}
	s.size += proto.Size(p)
	if s.size > replayBytes {
		s.commitLocked()
		return
	}
	s.sent = append(s.sent, proto.Clone(p))
}

// at is the attempt in hand.
func (s *clientStream) at() grpc.ClientStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// SendMsg implements grpc.ClientStream.
func (s *clientStream) SendMsg(m any) error {
	s.settled()
	s.keepLocked(m)
	inner := s.current
	s.mu.Unlock()
	s.sends.Store(true)
	err := inner.SendMsg(m)
	s.sends.Store(false)
	if err == nil {
		return nil
	}
	if s.answerless(inner, err) && s.repeated(inner) {
		return nil
	}
	if !s.stopped(inner) {
		return nil // it was sent again with the attempt that has taken its place
	}
	if err != io.EOF {
		err = s.fail(err)
		s.end(err)
	}
	return err
}

// stopped takes in that the caller stops sending, as it sees that inner has ended. A
// repeat would lack the rest. It is false if another attempt has taken its place.
func (s *clientStream) stopped(inner grpc.ClientStream) bool {
	s.settled()
	defer s.mu.Unlock()
	if s.current != inner {
		return false
	}
	s.commitLocked()
	return true
}

// answerless says that SendMsg found that the attempt has ended, and that there are
// no headers, and so no messages that RecvMsg would have to give to the caller.
func (s *clientStream) answerless(inner grpc.ClientStream, err error) bool {
	s.settled()
	open := s.current == inner && !s.committed
	s.mu.Unlock()
	if err != io.EOF || !open {
		return false
	}
	md, _ := inner.Header() // it does not wait, as the attempt has ended
	return md == nil
}

// CloseSend implements grpc.ClientStream.
func (s *clientStream) CloseSend() error {
	s.settled()
	defer s.mu.Unlock()
	s.closed = true
	return s.current.CloseSend()
}

// RecvMsg implements grpc.ClientStream.
func (s *clientStream) RecvMsg(m any) error {
	s.receiving.Lock()
	defer s.received()
	for {
		inner := s.at()
		err := inner.RecvMsg(m)
		if err == nil {
			s.first()
			if !s.desc.ServerStreams {
				s.end(nil)
			}
			return nil
		}
		if err == io.EOF {
			s.end(err)
			return err
		}
		if err := s.replace(inner, err); err != nil {
			s.end(err)
			return err
		}
	}
}

// received ends a RecvMsg, and has those look that wait for what comes of it.
func (s *clientStream) received() {
	s.receiving.Unlock()
	s.mu.Lock()
	s.decided.Broadcast()
	s.mu.Unlock()
}

// first says that a message has come, which matters once.
func (s *clientStream) first() {
	s.mu.Lock()
	first := !s.begun
	s.begun = true
	s.commitLocked()
	s.mu.Unlock()
	if first {
		s.answered()
	}
}

// replace puts another attempt in the place of one that failed with err, or returns
// the error for the caller.
func (s *clientStream) replace(failed grpc.ClientStream, err error) error {
	s.mu.Lock()
	same, open := s.current == failed, !s.committed
	s.replacing = same && open
	s.mu.Unlock()
	switch {
	case !same:
		return nil
	case !open:
		return s.fail(err)
	}
	defer s.replaced()
	if !s.again(err, failed.Trailer()) {
		s.kept()
		return s.fail(err)
	}
	return s.attempt()
}

// replaced ends the replacement of an attempt, whatever came of it.
func (s *clientStream) replaced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replacing = false
	s.decided.Broadcast()
}

// kept ends the replacement of an attempt that is the last one.
func (s *clientStream) kept() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replacing = false
	s.commitLocked()
}

// Header implements grpc.ClientStream. Who has seen headers has seen an answer. An
// attempt without any has failed, and is repeated as one that fails in RecvMsg.
func (s *clientStream) Header() (metadata.MD, error) {
	for {
		inner := s.at()
		md, err := inner.Header()
		s.settled()
		same := s.current == inner
		if same && md != nil {
			s.commitLocked()
		}
		s.mu.Unlock()
		if same && (md != nil || !s.repeated(inner)) {
			return md, err
		}
	}
}

// repeated says whether an attempt that has ended without headers is repeated. GRPC
// keeps its error for RecvMsg, and there is no message that could be received. If the
// caller is in RecvMsg, that decides, and may go on with the next attempt for long.
func (s *clientStream) repeated(ended grpc.ClientStream) bool {
	s.mu.Lock()
	for s.replacing || s.current == ended && !s.committed && !s.receiving.TryLock() {
		s.decided.Wait()
	}
	same, committed := s.current == ended, s.committed
	s.mu.Unlock()
	if !same || committed {
		return !same
	}
	defer s.received()
	err := ended.RecvMsg(nil)
	if err != nil && err != io.EOF {
		err = s.replace(ended, err)
	}
	if err != nil {
		s.end(err)
	}
	return err == nil
}

// Trailer implements grpc.ClientStream.
func (s *clientStream) Trailer() metadata.MD { return s.at().Trailer() }

// Context implements grpc.ClientStream.
func (s *clientStream) Context() context.Context { return s.at().Context() }

// end says that the stream is over.
func (s *clientStream) end(err error) {
	s.stop()
	s.over(err)
}

// over is end without the watch on the context.
func (s *clientStream) over(err error) {
	s.leave(err)
	s.finished(err)
}
