package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// do is the method of scripted servers. No descriptor knows it.
const do = "/alone.Test/Do"

// A kind is one of the four kinds of RPC.
type kind struct {
	name string
	desc *grpc.StreamDesc // nil: unary
}

var kinds = []kind{
	{"unary", nil},
	{"client-streaming", &grpc.StreamDesc{ClientStreams: true}},
	{"server-streaming", &grpc.StreamDesc{ServerStreams: true}},
	{"bidirectional", &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}},
}

// A script is what each RPC to a scripted server does; n counts them from 1.
type script func(n int64, stream grpc.ServerStream) error

// scripted starts a server that runs s for whatever it is asked, and counts.
func scripted(tb testing.TB, s script) (addr string, asked *atomic.Int64) {
	tb.Helper()
	asked = new(atomic.Int64)
	return serve(tb, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		return s(asked.Add(1), stream)
	})).addr, asked
}

// serveAll reads what the client sends, answers once and ends well.
func serveAll(_ int64, stream grpc.ServerStream) error {
	if err := drain(stream); err != nil {
		return err
	}
	return stream.SendMsg(&testpb.SimpleResponse{})
}

// drain reads what the client sends.
func drain(stream grpc.ServerStream) error {
	for {
		if err := stream.RecvMsg(new(testpb.SimpleRequest)); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// silent never answers.
func silent(_ int64, stream grpc.ServerStream) error {
	<-stream.Context().Done()
	return stream.Context().Err()
}

// ends has each RPC end with a code, and pushbacks if there are any.
func ends(code codes.Code, pushback ...string) script {
	return func(_ int64, stream grpc.ServerStream) error {
		if err := drain(stream); err != nil {
			return err
		}
		for _, p := range pushback {
			stream.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", p))
		}
		return status.Error(code, "on purpose")
	}
}

// standalone is a connection to one server, without gRPC's own retries. It is ready,
// so that the time of an RPC is its own.
func standalone(tb testing.TB, addr string, options ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, append(options, insecurely(), grpc.WithDisableRetry())...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cc.Close() })
	cc.Connect()
	for s := cc.GetState(); s != connectivity.Ready; s = cc.GetState() {
		if !cc.WaitForStateChange(within(tb), s) {
			tb.Fatalf("the connection is %v, want it ready", s)
		}
	}
	return cc
}

// insecurely is without TLS.
func insecurely() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }

// rpc makes an RPC, to its end.
func (k kind) rpc(ctx context.Context, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	if k.desc == nil {
		return cc.Invoke(ctx, do, &testpb.SimpleRequest{}, new(testpb.SimpleResponse), opts...)
	}
	stream, err := cc.NewStream(ctx, k.desc, do, opts...)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&testpb.SimpleRequest{}); err != nil && err != io.EOF {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return end(stream, k.desc)
}

// end reads a stream to its end.
func end(stream grpc.ClientStream, desc *grpc.StreamDesc) error {
	for {
		err := stream.RecvMsg(new(testpb.SimpleResponse))
		if err == io.EOF || err == nil && !desc.ServerStreams {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// withRetry are the interceptors of a Retrier.
func withRetry(r *retry.Retrier) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(tullegrpc.UnaryRetry(r)), grpc.WithChainStreamInterceptor(tullegrpc.StreamRetry(r))}
}

// withBreaker are the interceptors of a Breaker.
func withBreaker(b *breaker.Breaker) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(tullegrpc.UnaryBreaker(b)), grpc.WithChainStreamInterceptor(tullegrpc.StreamBreaker(b))}
}

// withLimit are the interceptors of a rate limit.
func withLimit(l *limit.Limiter) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(tullegrpc.UnaryLimit(l)), grpc.WithChainStreamInterceptor(tullegrpc.StreamLimit(l))}
}

// withDeadline are the interceptors of timeouts.
func withDeadline(l *deadline.Limiter) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(tullegrpc.UnaryDeadline(l)), grpc.WithChainStreamInterceptor(tullegrpc.StreamDeadline(l))}
}

// must is v of a constructor whose input is good.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// soon has a retry pause for no time to speak of, and a budget that does not run dry.
func soon(change func(*retry.Config)) *retry.Retrier {
	cfg := retry.Config{MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond, Budget: retry.BudgetConfig{PerSecond: 1000}}
	change(&cfg)
	return must(retry.New(cfg))
}

// What the retry alone repeats, for each kind of RPC.
func TestAloneRetry(t *testing.T) {
	twice := func(n int64, stream grpc.ServerStream) error {
		if n < 3 {
			return ends(codes.Unavailable)(n, stream)
		}
		return serveAll(n, stream)
	}
	safe := []grpc.CallOption{tullegrpc.Idempotent()}
	for _, c := range []struct {
		name   string
		script script
		opts   []grpc.CallOption
		cfg    func(*retry.Config)
		asked  int64
		code   codes.Code
	}{
		{name: "ok", script: serveAll, opts: safe, asked: 1},
		{name: "fails twice, idempotent", script: twice, opts: safe, asked: 3},
		{name: "unavailable", script: ends(codes.Unavailable), asked: 1, code: codes.Unavailable},
		{name: "unavailable, idempotent", script: ends(codes.Unavailable), opts: safe, asked: 3, code: codes.Unavailable},
		{name: "unavailable, NoRetry", script: ends(codes.Unavailable), opts: append(safe, tullegrpc.NoRetry()), asked: 1, code: codes.Unavailable},
		{name: "the method is idempotent", script: ends(codes.Unavailable), cfg: func(c *retry.Config) { c.Idempotent = []string{do} }, asked: 3, code: codes.Unavailable},
		{name: "the service is", script: ends(codes.Unavailable), cfg: func(c *retry.Config) { c.Idempotent = []string{"/alone.Test/*"} }, asked: 3, code: codes.Unavailable},
		{name: "another one is", script: ends(codes.Unavailable), cfg: func(c *retry.Config) { c.Idempotent = []string{"/alone.Tes/*", "/alone.Test/D"} }, asked: 1, code: codes.Unavailable},
		{name: "deadline of the server's", script: ends(codes.DeadlineExceeded), opts: safe, asked: 3, code: codes.DeadlineExceeded},
		{name: "internal", script: ends(codes.Internal), opts: safe, asked: 1, code: codes.Internal},
		{name: "aborted", script: ends(codes.Aborted), opts: safe, asked: 1, code: codes.Aborted},
		{name: "exhausted", script: ends(codes.ResourceExhausted), opts: safe, asked: 1, code: codes.ResourceExhausted},
		{name: "exhausted, pushback", script: ends(codes.ResourceExhausted, "1"), asked: 3, code: codes.ResourceExhausted},
		{name: "unavailable, pushback", script: ends(codes.Unavailable, "0"), asked: 3, code: codes.Unavailable},
		{name: "pushback, NoRetry", script: ends(codes.Unavailable, "0"), opts: []grpc.CallOption{tullegrpc.NoRetry()}, asked: 1, code: codes.Unavailable},
		{name: "pushback says no", script: ends(codes.Unavailable, "-1"), opts: safe, asked: 1, code: codes.Unavailable},
		{name: "pushback of nonsense", script: ends(codes.Unavailable, "soon"), opts: safe, asked: 1, code: codes.Unavailable},
		{name: "two pushbacks", script: ends(codes.Unavailable, "1", "1"), opts: safe, asked: 1, code: codes.Unavailable},
		{name: "pushback of an hour", script: ends(codes.Unavailable, "3600000"), opts: safe, asked: 1, code: codes.Unavailable},
		{name: "one attempt", script: ends(codes.Unavailable), opts: safe, cfg: func(c *retry.Config) { c.Attempts = 1 }, asked: 1, code: codes.Unavailable},
		{name: "dark", script: ends(codes.Unavailable), opts: safe, cfg: func(c *retry.Config) { c.Dark = true }, asked: 1, code: codes.Unavailable},
	} {
		for _, k := range kinds {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				addr, asked := scripted(t, c.script)
				if c.cfg == nil {
					c.cfg = func(*retry.Config) {}
				}
				r := soon(c.cfg)
				err := k.rpc(within(t), standalone(t, addr, withRetry(r)...), c.opts...)
				if status.Code(err) != c.code || err != nil && status.Convert(err).Message() != "on purpose" {
					t.Errorf("got %v, want %v in the server's words", err, c.code)
				}
				if got := asked.Load(); got != c.asked {
					t.Errorf("got %d attempts, want %d", got, c.asked)
				}
				if s := r.Stats(); int64(s.Repeats+s.Moves) != c.asked-1 {
					t.Errorf("got %+v, want %d repeats", s, c.asked-1)
				}
			})
		}
	}
}

// All calls of a Retrier draw on one budget, over whatever kinds they are.
func TestAloneRetryBudget(t *testing.T) {
	addr, asked := scripted(t, ends(codes.Unavailable))
	r := must(retry.New(retry.Config{MinBackoff: 1, MaxBackoff: 1, Budget: retry.BudgetConfig{Ratio: -1, PerSecond: 0.3}})) // three tokens
	cc := standalone(t, addr, withRetry(r)...)
	for range 3 {
		for _, k := range kinds {
			k.rpc(within(t), cc, tullegrpc.Idempotent())
		}
	}
	if got := asked.Load(); got != 12+3 {
		t.Errorf("got %d attempts of 12 calls, want 3 repeats", got)
	}
	if s := r.Stats(); s.Repeats != 3 || s.Denied != 11 { // each call ends with a denial, but the first, which had three attempts
		t.Errorf("got %+v, want 3 repeats and 11 denied", s)
	}
}

// A pause ends with the call: one that does not fit is not begun, and one that is cut
// short gives its token back. The caller gets what the server said.
func TestAloneRetryPause(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			addr, asked := scripted(t, ends(codes.Unavailable, "60000"))
			r := must(retry.New(retry.Config{Budget: retry.BudgetConfig{Ratio: -1, PerSecond: 1}}))
			cc := standalone(t, addr, withRetry(r)...)
			ctx, cancel := context.WithTimeout(within(t), 5*time.Second)
			defer cancel()
			begun := time.Now()
			if err := k.rpc(ctx, cc); status.Code(err) != codes.Unavailable || time.Since(begun) > 4*time.Second {
				t.Errorf("a pause that does not fit: got %v after %v, want Unavailable at once", err, time.Since(begun))
			}
			ctx, cancel = context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- k.rpc(ctx, cc) }()
			eventually(t, "a pause", func() bool { return r.Stats().Repeats == 1 })
			cancel()
			if err := <-done; status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "on purpose" {
				t.Errorf("a pause that is cut short: got %v, want Unavailable", err)
			}
			if got := asked.Load(); got != 2 {
				t.Errorf("got %d attempts of 2 calls, want no repeat", got)
			}
			if got := r.Budget().Balance(0); got != 10 {
				t.Errorf("got %v tokens, want all 10 back", got)
			}
		})
	}
}

// eventually waits for something that another goroutine brings about.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("%s did not come about", what)
		}
	}
}

// A stream that is repeated alone sends again what it had sent, and is committed by
// its first message.
func TestAloneStreamReplay(t *testing.T) {
	got := make(chan []int32, 10)
	addr, asked := scripted(t, func(n int64, stream grpc.ServerStream) error {
		var sizes []int32
		for {
			in := new(testpb.SimpleRequest)
			if err := stream.RecvMsg(in); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			sizes = append(sizes, in.ResponseSize)
		}
		got <- sizes
		if n < 3 {
			return status.Error(codes.Unavailable, "on purpose")
		}
		stream.SendMsg(&testpb.SimpleResponse{})
		return status.Error(codes.Unavailable, "after a message")
	})
	cc := standalone(t, addr, withRetry(soon(func(c *retry.Config) { c.Attempts = 5 }))...)
	stream, err := cc.NewStream(within(t), kinds[3].desc, do, tullegrpc.Idempotent())
	if err != nil {
		t.Fatal(err)
	}
	want := []int32{3, 1, 2}
	for _, n := range want {
		if err := stream.SendMsg(&testpb.SimpleRequest{ResponseSize: n}); err != nil {
			t.Fatal(err)
		}
	}
	stream.CloseSend()
	if err := end(stream, kinds[3].desc); status.Convert(err).Message() != "after a message" {
		t.Errorf("got %v, want the error after the message", err)
	}
	if asked.Load() != 3 {
		t.Errorf("got %d attempts, want 3", asked.Load())
	}
	for range asked.Load() {
		if sent := <-got; !slices.Equal(sent, want) {
			t.Errorf("got %v at the server, want %v", sent, want)
		}
	}
}

// The limit alone refuses what would wait past its deadline, has the others wait, and
// lets go of those whose context ends.
func TestAloneLimit(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			addr, asked := scripted(t, serveAll)
			withTime(t, 100*time.Millisecond, func(d time.Duration) bool {
				l := must(limit.New(limit.Config{Rate: 1 / d.Seconds(), Burst: 1, MaxWait: time.Minute}))
				cc := standalone(t, addr, withLimit(l)...)
				for range 2 {
					if err := k.rpc(within(t), cc); err != nil {
						t.Fatal(err)
					}
				}
				s := l.Stats()
				if s.Admitted+s.Waited != 2 || s.Admitted == 0 {
					t.Errorf("got %+v, want one at once and one after a wait", s)
				}
				return s.Waited == 1 // the second one came before its token
			})
			before := asked.Load()
			slow := must(limit.New(limit.Config{Rate: 0.001, Burst: 1, MaxWait: time.Hour}))
			cc := standalone(t, addr, withLimit(slow)...)
			k.rpc(within(t), cc)
			ctx, cancel := context.WithTimeout(within(t), patience/2)
			defer cancel()
			begun := time.Now()
			err := k.rpc(ctx, cc)
			var refused *limit.Error
			if !errors.Is(err, limit.ErrLimited) || !errors.As(err, &refused) || status.Code(err) != codes.ResourceExhausted {
				t.Errorf("got %v, want ErrLimited and ResourceExhausted", err)
			}
			if took := time.Since(begun); took > patience/4 {
				t.Errorf("got the refusal after %v, want it at once", took)
			}
			ctx, cancel = context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- k.rpc(ctx, cc) }()
			eventually(t, "a wait", func() bool { return slow.Stats().Waiting == 1 })
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
				t.Errorf("got %v, want Canceled", err)
			}
			if s := slow.Stats(); asked.Load()-before != 1 || s.Waiting != 0 || s.Abandoned != 1 || s.Refused != 1 {
				t.Errorf("got %d RPCs and %+v, want 1, one refused and one abandoned", asked.Load()-before, s)
			}
		})
	}
}

// The deadline alone ends unary RPCs in time and says which limit it was; streams have
// none, and what comes too late is not sent.
func TestAloneDeadline(t *testing.T) {
	var due atomic.Bool   // the latest RPC had a deadline at the server
	var told atomic.Int64 // the number of the RPC that due is of
	addr, asked := scripted(t, func(n int64, stream grpc.ServerStream) error {
		_, has := stream.Context().Deadline()
		due.Store(has)
		told.Store(n)
		return silent(n, stream)
	})
	for _, c := range []struct {
		cfg  func(time.Duration) deadline.Config
		want error
	}{
		{func(d time.Duration) deadline.Config { return deadline.Config{Timeout: d} }, deadline.ErrCall},
		{func(d time.Duration) deadline.Config { return deadline.Config{AttemptTimeout: d} }, deadline.ErrAttempt},
		{func(d time.Duration) deadline.Config { return deadline.Config{Timeout: time.Hour, AttemptTimeout: d} }, deadline.ErrAttempt},
		{func(d time.Duration) deadline.Config { return deadline.Config{Timeout: d, AttemptTimeout: time.Hour} }, deadline.ErrCall},
	} {
		withTime(t, 50*time.Millisecond, func(d time.Duration) bool {
			before := asked.Load()
			cfg := c.cfg(d)
			err := kinds[0].rpc(within(t), standalone(t, addr, withDeadline(must(deadline.New(cfg)))...))
			if !errors.Is(err, c.want) || !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("%+v: got %v, want %v", cfg, err, c.want)
			}
			if asked.Load() == before {
				return false // it did not get that far
			}
			if eventually(t, "the server's handler", func() bool { return told.Load() == asked.Load() }); !due.Load() {
				t.Errorf("%+v: the server was not told of the deadline", cfg)
			}
			return true
		})
	}
	l := must(deadline.New(deadline.Config{Timeout: time.Millisecond}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := told.Load()
	stream, err := standalone(t, addr, withDeadline(l)...).NewStream(ctx, kinds[3].desc, do)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stream", func() bool { return told.Load() > before })
	if due.Load() {
		t.Error("got a deadline for a stream, want none")
	}
	cancel()
	end(stream, kinds[3].desc)
}

// What comes when its time is up is refused, or in the dark counted and sent; the
// server's own words on time pass as they are.
func TestAloneDeadlineLate(t *testing.T) {
	addr, asked := scripted(t, serveAll)
	past, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for _, k := range kinds {
		l := must(deadline.New(deadline.Config{}))
		err := k.rpc(past, standalone(t, addr, withDeadline(l)...))
		if !errors.Is(err, deadline.ErrCall) || status.Code(err) != codes.DeadlineExceeded || l.Stats().Refused != 1 {
			t.Errorf("%s: got %v and %+v, want one ErrCall", k.name, err, l.Stats())
		}
		dark := must(deadline.New(deadline.Config{Dark: true}))
		err = k.rpc(past, standalone(t, addr, withDeadline(dark)...)) // gRPC refuses it then
		if errors.Is(err, deadline.ErrCall) || status.Code(err) != codes.DeadlineExceeded || dark.Stats().Dark != 1 {
			t.Errorf("%s: dark: got %v and %+v, want gRPC's own error", k.name, err, dark.Stats())
		}
	}
	if asked.Load() != 0 {
		t.Errorf("got %d RPCs at the server, want none", asked.Load())
	}
	addr, _ = scripted(t, ends(codes.DeadlineExceeded))
	l := must(deadline.New(deadline.Config{Timeout: time.Hour}))
	if err := kinds[0].rpc(within(t), standalone(t, addr, withDeadline(l)...)); errors.Is(err, deadline.ErrCall) || status.Convert(err).Message() != "on purpose" {
		t.Errorf("got %v, want the server's words", err)
	}
}
