package tullegrpc_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport/telemetry"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A tape is what a program is read from: a byte for each choice, and zeros after the
// last one, which are the plainest choices.
type tape []byte

// n chooses one of k.
func (t *tape) n(k int) int {
	if len(*t) == 0 {
		return 0
	}
	b := (*t)[0]
	*t = (*t)[1:]
	return int(b) % k
}

// odds is true once in k times.
func (t *tape) odds(k int) bool { return t.n(k) == k-1 }

// A pause is a while in a program: others get on with what they do, and, every other
// time, until nothing can go on but by time.
type pause struct{ yields, millis int }

func (t *tape) pause() pause { return pause{yields: t.n(40), millis: t.n(6) * t.n(2)} }

func (p pause) pass() {
	for range p.yields {
		runtime.Gosched()
	}
	if p.millis > 0 {
		time.Sleep(time.Duration(p.millis) * time.Millisecond)
	}
}

// shapes are the methods, unary first.
var shapes = [4]struct {
	method string
	desc   grpc.StreamDesc
}{
	{"/ledger.Ledger/Unary", grpc.StreamDesc{}},
	{"/ledger.Ledger/ServerStream", grpc.StreamDesc{ServerStreams: true}},
	{"/ledger.Ledger/ClientStream", grpc.StreamDesc{ClientStreams: true}},
	{"/ledger.Ledger/Bidi", grpc.StreamDesc{ServerStreams: true, ClientStreams: true}},
}

// The steps of a stream.
const (
	stepSend   = "send"
	stepBig    = "big" // more than is remembered for a repeat
	stepBad    = "bad" // what cannot be encoded
	stepRecv   = "recv"
	stepHeader = "header"
	stepClose  = "close"
	stepLeave  = "leave" // cancels the context, and goes on
	stepDrain  = "drain" // to the end
)

var steps = []string{
	stepSend, stepSend, stepSend, stepRecv, stepRecv, stepHeader, stepClose, stepLeave, stepBig, stepBad,
}

// An rpc is one RPC of a program.
type rpc struct {
	p      *program
	shape  int
	script string        // of the nodes
	steps  []string      // of a stream
	split  bool          // what sends runs beside what receives
	bad    bool          // a unary request that cannot be encoded
	before bool          // the context has ended when the RPC begins
	limit  time.Duration // of the context
	cancel *pause        // the context is cancelled after it
	wait   pause         // before each step
	opts   []grpc.CallOption
	told   string // of opts, for people

	finished, began, ended atomic.Int64 // calls of OnFinish and of hooks
}

// String is the RPC for people.
func (r *rpc) String() string {
	return fmt.Sprintf("%s script %s steps %v wait %v split %v bad %v before %v limit %v cancel %v %s",
		shapes[r.shape].method, r.script, r.steps, r.wait, r.split, r.bad, r.before, r.limit, r.cancel, r.told)
}

// newRPC reads an RPC.
func newRPC(p *program, in *tape) *rpc {
	r := &rpc{p: p, shape: in.n(4), limit: time.Minute}
	var script []string
	for range 1 + in.n(3) {
		all := deeds
		if p.grim {
			all = failures
		}
		deed := all[in.n(len(all))]
		if deed == deedPush && p.quick {
			deed = deedNever
		}
		script = append(script, deed)
	}
	r.script = strings.Join(script, ",")
	switch in.n(9) {
	case 5:
		r.before = true
	case 6:
		r.limit = time.Duration(1+in.n(20)) * time.Millisecond
	case 7, 8:
		after := in.pause()
		r.cancel = &after
	}
	if r.bad = in.odds(12); r.shape > 0 {
		for range in.n(6) {
			r.steps = append(r.steps, steps[in.n(len(steps))])
		}
		if !in.odds(6) {
			r.steps = append(r.steps, stepClose)
		}
		if in.n(3) > 0 { // else it is forgotten, until the program ends
			r.steps = append(r.steps, stepDrain)
		}
		if in.odds(6) {
			r.steps = append(r.steps, stepSend, stepClose) // after the end
		}
		// With pauses before repeats it would never end: SendMsg can be in one while
		// RecvMsg waits for it in a Mutex, for which time stands still in a bubble.
		r.split = in.odds(2) && p.quick
		if in.odds(2) {
			r.wait = in.pause()
		}
	}
	r.options(in)
	return r
}

// options reads the options of an RPC.
func (r *rpc) options(in *tape) {
	add := func(name string, o grpc.CallOption) {
		r.told += " " + name
		r.opts = append(r.opts, o)
	}
	switch in.n(4) {
	case 1, 2:
		add("idempotent", tullegrpc.Idempotent())
	case 3:
		add("noretry", tullegrpc.NoRetry())
	}
	if in.odds(4) && !r.split {
		add("waits", grpc.WaitForReady(true))
	}
	switch in.n(15) {
	case 8:
		add("timeout", tullegrpc.CallTimeout(5*time.Millisecond))
	case 9:
		add("no token", grpc.PerRPCCredentials(noToken{}))
	case 10:
		add("refused token", grpc.PerRPCCredentials(badToken{}))
	case 11:
		add("panics encoding", grpc.ForceCodec(panicking{}))
	case 12:
		add("panics decoding", grpc.ForceCodec(panicking{decoding: true}))
	case 13:
		add("panics before", panicking{before: true})
	case 14:
		add("panics after", panicking{after: true})
	}
	if in.odds(5) {
		add("detached", detached{until: r.p.ctx})
	}
	add("", grpc.OnFinish(func(error) { r.finished.Add(1) }))
}

// detached is an option by which an interceptor hides from gRPC that the context of a
// stream ends. It ends with another one, in time.
type detached struct {
	grpc.EmptyCallOption
	until context.Context
}

func detachStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	for _, o := range opts {
		if d, ok := o.(detached); ok {
			until, cancel := context.WithTimeout(d.until, 2*time.Minute)
			context.AfterFunc(until, cancel)
			ctx = valued{until, ctx}
		}
	}
	return streamer(ctx, desc, cc, method, opts...)
}

// badToken are credentials that refuse with a status of their own.
type badToken struct{ credentials.PerRPCCredentials }

func (badToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, status.Error(codes.Unauthenticated, "no token")
}

func (badToken) RequireTransportSecurity() bool { return false }

// context is that of the RPC, and what cancels it.
func (r *rpc) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.p.ctx, r.limit)
	if r.before {
		cancel()
	}
	if r.p.hooks {
		ctx = telemetry.WithTrace(ctx, &telemetry.Trace{
			CallStart:   func(string, telemetry.Facts) { r.began.Add(1) },
			AttemptDone: func(telemetry.Try) { r.p.tries.Add(1) },
			RetryDecision: func(d telemetry.Repeat) {
				if d.Granted {
					r.p.granted.Add(1)
				}
			},
			CallDone: func(telemetry.Result) { r.ended.Add(1) },
		})
	}
	return metadata.AppendToOutgoingContext(ctx, "script", r.script), cancel
}

// perform makes the RPC.
func (r *rpc) perform() {
	defer r.recover()
	ctx, cancel := r.context()
	if r.cancel != nil {
		r.p.running.Go(func() { r.cancel.pass(); cancel() })
	}
	shape := &shapes[r.shape]
	if r.shape == 0 {
		r.p.cc.Invoke(ctx, shape.method, message(r.bad, 0), new(testpb.SimpleResponse), r.opts...)
		cancel()
		return
	}
	s, err := r.p.cc.NewStream(ctx, &shape.desc, shape.method, r.opts...)
	if err != nil {
		cancel()
		return
	}
	receives := func(step string) bool { return slices.Contains([]string{stepRecv, stepHeader, stepDrain}, step) }
	var beside sync.WaitGroup
	if r.split {
		beside.Go(func() {
			defer r.recover()
			r.takeSteps(s, cancel, func(step string) bool { return !receives(step) })
		})
	}
	defer beside.Wait()
	r.takeSteps(s, cancel, func(step string) bool { return !r.split || receives(step) })
}

// recover lets the panics pass that are on purpose.
func (r *rpc) recover() {
	switch x := recover(); x {
	case nil, "encoding", "decoding", "interceptor":
	default:
		panic(x)
	}
}

// takeSteps takes those steps of a stream that are wanted.
func (r *rpc) takeSteps(s grpc.ClientStream, cancel func(), wanted func(string) bool) {
	for _, step := range r.steps {
		if !wanted(step) {
			continue
		}
		r.wait.pass()
		switch step {
		case stepSend, stepBad:
			s.SendMsg(message(step == stepBad, 1))
		case stepBig:
			s.SendMsg(message(false, 300<<10))
		case stepRecv:
			s.RecvMsg(new(testpb.SimpleResponse))
		case stepHeader:
			s.Header()
		case stepClose:
			s.CloseSend()
		case stepLeave:
			cancel()
		case stepDrain:
			for s.RecvMsg(new(testpb.SimpleResponse)) == nil {
				s.Context()
			}
		}
	}
}

// message is a request, of a size, that can be encoded or not.
func message(bad bool, size int) *testpb.SimpleRequest {
	m := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, size)}}
	if bad {
		m.ResponseStatus = &testpb.EchoStatus{Message: "\xff"}
	}
	return m
}
