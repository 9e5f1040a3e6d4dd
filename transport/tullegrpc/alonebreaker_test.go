package tullegrpc_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// What the breaker alone counts, for each kind of RPC, and each once.
func TestAloneBreaker(t *testing.T) {
	const failure, success, neither = -1, 1, 0
	for _, c := range []struct {
		name   string
		script script
		want   int
	}{
		{"ok", serveAll, success},
		{"not found", ends(codes.NotFound), success},
		{"unauthenticated", ends(codes.Unauthenticated), success},
		{"unavailable", ends(codes.Unavailable), failure},
		{"internal", ends(codes.Internal), failure},
		{"unknown", ends(codes.Unknown), failure},
		{"data loss", ends(codes.DataLoss), failure},
		{"deadline of the server's", ends(codes.DeadlineExceeded), failure},
		{"cancelled by the server", ends(codes.Canceled), failure},
		{"exhausted", ends(codes.ResourceExhausted), neither},
		{"unavailable, pushback", ends(codes.Unavailable, "1"), neither},
		{"unavailable, pushback says no", ends(codes.Unavailable, "-1"), failure},
		{"fails after a message", func(n int64, stream grpc.ServerStream) error {
			stream.SendMsg(&testpb.SimpleResponse{})
			return ends(codes.Unavailable)(n, stream)
		}, failure},
	} {
		for _, k := range kinds {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				const n = 4
				addr, asked := scripted(t, c.script)
				b := must(breaker.New(breaker.Config{Requests: n, OpenFor: time.Hour}))
				cc := standalone(t, addr, withBreaker(b)...)
				for range n {
					k.rpc(within(t), cc)
				}
				err := k.rpc(within(t), cc)
				s := b.Stats()
				if open := errors.Is(err, breaker.ErrOpen); open != (c.want == failure) || open && status.Code(err) != codes.Unavailable {
					t.Errorf("got %v, want it refused: %v", err, c.want == failure)
				}
				if c.want == failure {
					if asked.Load() != n || s.Rejected != 1 || s.Opened != 1 {
						t.Errorf("got %d RPCs and %+v, want %d and one refused", asked.Load(), s, n)
					}
				} else if want := (n + 1) * c.want; s.Requests != want || s.Failures != 0 {
					t.Errorf("got %+v, want %d successes", s, want)
				}
			})
		}
	}
}

// tripped is a Breaker that is about to make a trial, which it would wait an hour for.
func tripped(t *testing.T, change func(*breaker.Config)) *breaker.Breaker {
	t.Helper()
	cfg := breaker.Config{Requests: 1, OpenFor: time.Millisecond, ProbeTimeout: time.Hour}
	change(&cfg)
	b := must(breaker.New(cfg))
	ticket, err := b.Allow()
	if err != nil {
		t.Fatal(err)
	}
	ticket.Done(tulle.Outcome{Class: tulle.Failed})
	eventually(t, "the time for a trial", func() bool { return b.State() == breaker.HalfOpen })
	return b
}

// An abandonment is how a caller leaves an RPC.
type abandonment struct {
	name    string
	cancel  bool          // the caller gives up
	after   time.Duration // its deadline
	read    bool          // it reads the stream to the end
	message bool          // the server has answered before
	failed  bool
}

// It is nobody's failure that a caller gives up; that its deadline passes in vain is.
// A stream that is forgotten counts like one that is read. Each is a trial here, whose
// permit comes back, closes the breaker or opens it again.
func TestAloneBreakerAbandoned(t *testing.T) {
	for _, c := range []abandonment{
		{name: "cancelled, read", cancel: true, read: true},
		{name: "cancelled, forgotten", cancel: true},
		{name: "cancelled after a message, forgotten", cancel: true, message: true},
		{name: "deadline, read", after: 150 * time.Millisecond, read: true, failed: true},
		{name: "deadline, forgotten", after: 150 * time.Millisecond, failed: true},
		{name: "short deadline, read", after: 20 * time.Millisecond, read: true},
		{name: "short deadline, forgotten", after: 20 * time.Millisecond},
		{name: "deadline after a message, read", after: 300 * time.Millisecond, read: true, message: true},
		{name: "deadline after a message, forgotten", after: 300 * time.Millisecond, message: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			withTime(t, c.after, func(d time.Duration) bool {
				if c.after > tooShort {
					c.after = d
				}
				return abandon(t, c)
			})
		})
	}
}

// abandon makes an RPC and leaves it. It says whether what depends on the time came
// early enough.
func abandon(t *testing.T, c abandonment) bool {
	t.Helper()
	addr, _ := scripted(t, func(n int64, stream grpc.ServerStream) error {
		if c.message {
			stream.SendMsg(&testpb.SimpleResponse{})
		}
		return silent(n, stream)
	})
	b := tripped(t, func(*breaker.Config) {})
	cc := standalone(t, addr, withBreaker(b)...)
	begun := time.Now()
	ctx, cancel := context.WithCancel(within(t))
	if c.after > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.after)
	}
	defer cancel()
	stream, err := cc.NewStream(ctx, kinds[3].desc, do)
	if err != nil || c.after > 0 && time.Since(begun) > c.after/4 {
		return false
	}
	if c.message {
		if err := stream.RecvMsg(new(testpb.SimpleResponse)); err != nil || time.Since(begun) > tooShort {
			return false
		}
	}
	if c.cancel {
		cancel()
	}
	if c.read {
		end(stream, kinds[3].desc)
	}
	eventually(t, "a verdict", func() bool { return b.Stats().Opened > 1 || b.Stats().RetryAfter == 0 })
	if c.after > 0 && c.after < tooShort && time.Since(begun) > tooShort {
		return false
	}
	if s := b.Stats(); (s.Opened > 1) != c.failed || b.State() == breaker.Closed {
		t.Errorf("got %v, %+v, want a failure: %v", b.State(), s, c.failed)
	}
	return true
}

// The permit of a trial comes back however its RPC ends.
func TestAloneBreakerTrial(t *testing.T) {
	bidi := kinds[3]
	bad := &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Message: "\xff"}} // not UTF-8, so that it cannot be encoded
	boom := func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
		panic("boom")
	}
	for _, c := range []struct {
		name string
		opts []grpc.DialOption // below the breaker
		rpc  func(t *testing.T, cc *grpc.ClientConn)
	}{
		{"cancelled stream", nil, func(t *testing.T, cc *grpc.ClientConn) {
			ctx, cancel := context.WithCancel(within(t))
			if _, err := cc.NewStream(ctx, bidi.desc, do); err != nil {
				t.Fatal(err)
			}
			cancel()
		}},
		{"cancelled before it opens", nil, func(t *testing.T, cc *grpc.ClientConn) {
			ctx, cancel := context.WithCancel(within(t))
			cancel()
			bidi.rpc(ctx, cc)
			kinds[0].rpc(ctx, cc)
		}},
		{"message that cannot be encoded", nil, func(t *testing.T, cc *grpc.ClientConn) {
			if err := cc.Invoke(context.Background(), do, bad, new(testpb.SimpleResponse)); status.Code(err) != codes.Internal {
				t.Fatalf("got %v, want Internal", err)
			}
		}},
		{"message that a stream cannot encode", nil, func(t *testing.T, cc *grpc.ClientConn) {
			stream, err := cc.NewStream(context.Background(), bidi.desc, do)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.SendMsg(bad); status.Code(err) != codes.Internal {
				t.Fatalf("got %v, want Internal", err)
			}
		}},
		{"credentials that fail", []grpc.DialOption{grpc.WithPerRPCCredentials(noCredentials{})}, func(t *testing.T, cc *grpc.ClientConn) {
			if err := bidi.rpc(context.Background(), cc); status.Code(err) != codes.Unauthenticated {
				t.Fatalf("got %v, want Unauthenticated", err)
			}
		}},
		{"panic below", []grpc.DialOption{grpc.WithChainStreamInterceptor(boom)}, func(t *testing.T, cc *grpc.ClientConn) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			bidi.rpc(context.Background(), cc)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := scripted(t, serveAll)
			b := tripped(t, func(*breaker.Config) {})
			c.rpc(t, standalone(t, addr, append(withBreaker(b), c.opts...)...))
			// What follows would be refused for an hour if the permit was gone.
			eventually(t, "the permit", func() bool { return b.Stats().RetryAfter == 0 })
			if err := bidi.rpc(within(t), standalone(t, addr, withBreaker(b)...)); err != nil || b.State() != breaker.Closed || b.Stats().Opened != 1 {
				t.Errorf("got %v, %v and %+v, want a trial that closes the breaker", err, b.State(), b.Stats())
			}
		})
	}
}

// noCredentials are per-RPC credentials that cannot be had.
type noCredentials struct{}

func (noCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, status.Error(codes.Unauthenticated, "no token")
}

func (noCredentials) RequireTransportSecurity() bool { return false }

// A trial that is a long stream has succeeded once it has answered.
func TestAloneBreakerLongTrial(t *testing.T) {
	addr, _ := scripted(t, func(n int64, stream grpc.ServerStream) error {
		stream.SendMsg(&testpb.SimpleResponse{})
		return silent(n, stream)
	})
	withTime(t, time.Second, func(lease time.Duration) bool {
		b := tripped(t, func(c *breaker.Config) { c.ProbeTimeout = lease })
		cc := standalone(t, addr, withBreaker(b)...)
		begun := time.Now()
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		stream, err := cc.NewStream(ctx, kinds[3].desc, do)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(new(testpb.SimpleResponse)); err != nil {
			t.Fatal(err)
		}
		_, err = cc.NewStream(ctx, kinds[3].desc, do)
		if time.Since(begun) > lease/2 {
			return false
		}
		if !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("during the trial: got %v, want ErrOpen", err)
		}
		eventually(t, "the end of the lease", func() bool { return b.State() == breaker.Closed })
		return true
	})
}

// What a layer below the breaker refused is nobody's failure, and its own short
// timeouts are not either.
func TestAloneBreakerBelieves(t *testing.T) {
	addr, _ := scripted(t, silent)
	open := must(breaker.New(breaker.Config{Requests: 1, OpenFor: time.Hour}))
	ticket := must(open.Allow())
	ticket.Done(tulle.Outcome{Class: tulle.Failed})
	full := must(limit.New(limit.Config{Rate: 0.001, Burst: 1}))
	full.Acquire(context.Background(), "", time.Time{})
	for _, c := range []struct {
		name   string
		below  []grpc.DialOption
		kinds  []kind
		failed bool
	}{
		{"breaker", withBreaker(open), kinds, false},
		{"limit", withLimit(full), kinds, false},
		{"short timeout", withDeadline(must(deadline.New(deadline.Config{Timeout: 20 * time.Millisecond}))), kinds[:1], false},
		{"timeout", withDeadline(must(deadline.New(deadline.Config{Timeout: 150 * time.Millisecond}))), kinds[:1], true},
		{"attempt timeout", withDeadline(must(deadline.New(deadline.Config{AttemptTimeout: 20 * time.Millisecond}))), kinds[:1], true},
	} {
		for _, k := range c.kinds {
			for _, repeated := range []bool{false, true} {
				withTime(t, 0, func(time.Duration) bool {
					b := must(breaker.New(breaker.Config{Requests: 1, OpenFor: time.Hour}))
					var options []grpc.DialOption
					if repeated {
						options = withRetry(soon(func(*retry.Config) {}))
					}
					cc := standalone(t, addr, append(append(options, withBreaker(b)...), c.below...)...)
					begun := time.Now()
					err := k.rpc(within(t), cc, tullegrpc.Idempotent())
					if c.name == "short timeout" && time.Since(begun) > tooShort {
						return false
					}
					if err == nil || (b.State() == breaker.Open) != c.failed {
						t.Errorf("%s, %s, under a retry %v: got %v and %v, want open: %v", c.name, k.name, repeated, err, b.State(), c.failed)
					}
					return true
				})
			}
		}
	}
}

// chain is all layers alone in the documented order.
func chain(d *deadline.Limiter, l *limit.Limiter, r *retry.Retrier, b *breaker.Breaker) []grpc.DialOption {
	var all []grpc.DialOption
	for _, layer := range [][]grpc.DialOption{withDeadline(d), withLimit(l), withRetry(r), withBreaker(b)} {
		all = append(all, layer...)
	}
	return all
}

// In the documented order a call waits in the limit once, each attempt asks the
// breaker, and one that it refuses ends the call.
func TestAloneChain(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			addr, asked := scripted(t, ends(codes.Unavailable))
			l := must(limit.New(limit.Config{Rate: 1000}))
			r := soon(func(c *retry.Config) { c.Attempts = 10 })
			b := must(breaker.New(breaker.Config{Requests: 4, OpenFor: time.Hour}))
			d := must(deadline.New(deadline.Config{Timeout: patience}))
			err := k.rpc(within(t), standalone(t, addr, chain(d, l, r, b)...), tullegrpc.Idempotent())
			if !errors.Is(err, breaker.ErrOpen) || status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want ErrOpen", err)
			}
			if asked.Load() != 4 || l.Stats().Admitted != 1 || r.Stats().Repeats != 4 || b.Stats().Rejected != 1 {
				t.Errorf("got %d RPCs, limit %+v, retry %+v, breaker %+v, want 4 attempts and a refusal", asked.Load(), l.Stats(), r.Stats(), b.Stats())
			}
		})
	}
}

// The deadline of a chain is that of the call, all attempts together.
func TestAloneChainDeadline(t *testing.T) {
	withTime(t, 300*time.Millisecond, func(timeout time.Duration) bool {
		addr, asked := scripted(t, func(n int64, stream grpc.ServerStream) error {
			if n < 3 {
				return ends(codes.Unavailable)(n, stream)
			}
			return silent(n, stream)
		})
		var begun time.Time
		var third atomic.Int64 // how long after that the third attempt began
		note := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			third.Store(int64(time.Since(begun)))
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		d := must(deadline.New(deadline.Config{Timeout: timeout}))
		l, b := must(limit.New(limit.Config{})), must(breaker.New(breaker.Config{}))
		r := soon(func(c *retry.Config) { c.Attempts = 10 })
		cc := standalone(t, addr, append(chain(d, l, r, b), grpc.WithChainUnaryInterceptor(note))...)
		begun = time.Now()
		err := kinds[0].rpc(within(t), cc, tullegrpc.Idempotent())
		if asked.Load() < 3 || time.Duration(third.Load()) > timeout/2 {
			return false
		}
		if !errors.Is(err, deadline.ErrCall) || status.Code(err) != codes.DeadlineExceeded || asked.Load() != 3 {
			t.Errorf("got %v after %d attempts, want ErrCall in the third", err, asked.Load())
		}
		if s := b.Stats(); s.Requests != 3 || s.Failures != 3 {
			t.Errorf("got %+v, want three failures, the last by its time", s)
		}
		return true
	})
}

// Many goroutines with all kinds of RPC, which end in all ways: each attempt is
// counted once, nothing waits any more, and the chain works.
func TestAloneRace(t *testing.T) {
	addr, asked := scripted(t, func(n int64, stream grpc.ServerStream) error {
		switch rand.IntN(6) {
		case 0:
			return ends(codes.Unavailable)(n, stream)
		case 1:
			return ends(codes.NotFound)(n, stream)
		case 2:
			return ends(codes.Internal)(n, stream)
		case 3:
			stream.SendMsg(&testpb.SimpleResponse{})
			return status.Error(codes.Unavailable, "on purpose")
		}
		return serveAll(n, stream)
	})
	d := must(deadline.New(deadline.Config{Timeout: patience}))
	l := must(limit.New(limit.Config{Rate: 1e6, MaxWait: time.Second, MaxWaiters: 1000}))
	r := soon(func(*retry.Config) {})
	b := must(breaker.New(breaker.Config{Requests: 1e6, Window: time.Hour}))
	cc := standalone(t, addr, chain(d, l, r, b)...)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithCancel(within(t))
				k := kinds[i%len(kinds)]
				switch {
				case k.desc != nil && i%7 == 0: // forgotten
					cc.NewStream(ctx, k.desc, do)
				case i%11 == 0: // given up at some moment
					go cancel()
					k.rpc(ctx, cc, tullegrpc.Idempotent())
				default:
					k.rpc(ctx, cc, tullegrpc.Idempotent())
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if s := l.Stats(); s.Waiting != 0 || s.Refused != 0 {
		t.Errorf("got %+v, want nobody waiting or refused", s)
	}
	if s := b.Stats(); s.Stale != 0 || s.Requests > int(asked.Load()) || s.Requests < int(asked.Load())/2 {
		t.Errorf("got %+v for %d attempts, want each counted once at most", s, asked.Load())
	}
	addr, _ = scripted(t, serveAll)
	for _, k := range kinds {
		if err := k.rpc(within(t), standalone(t, addr, chain(d, l, r, b)...)); err != nil {
			t.Errorf("%s: got %v", k.name, err)
		}
	}
}
