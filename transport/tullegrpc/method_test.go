package tullegrpc_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// things registers the descriptor of the service tulletest.Things, as generated code
// would. The registry is one for the program, so that it is done once.
var things = sync.OnceValue(func() error {
	method := func(name string, level *descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(".tulletest.Nothing"), OutputType: proto.String(".tulletest.Nothing"),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: level},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("tulletest/things.proto"), Package: proto.String("tulletest"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Nothing")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Things"),
			Method: []*descriptorpb.MethodDescriptorProto{
				method("Get", descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()),
				method("Put", descriptorpb.MethodOptions_IDEMPOTENT.Enum()),
				method("Post", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN.Enum()),
				method("Make", nil),
			},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(file)
})

// Which methods may be repeated: those that their descriptor declares idempotent, and
// those that the configuration names. It holds for calls through a Transport and for
// the retry alone, for unary RPCs and for streams.
func TestIdempotentMethods(t *testing.T) {
	if err := things(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method string
		named  []string // in retry.Config
		safe   bool
	}{
		{"/tulletest.Things/Get", nil, true},
		{"/tulletest.Things/Put", nil, true},
		{"/tulletest.Things/Post", nil, false},
		{"/tulletest.Things/Make", nil, false},
		{"/tulletest.Things/Gone", nil, false},
		{"/tulletest/Nothing", nil, false}, // a message
		{"/tulletest/Things", nil, false},  // a service
		{"/no one.knows/It", nil, false},
		{"/tulletest.Things/Post", []string{"/tulletest.Things/Post"}, true},
		{"/tulletest.Things/Post", []string{"/tulletest.Things/*"}, true},
		{"/tulletest.Things/Post", []string{"PUT", "/tulletest.Thing/*", "/tulletest.Things/Pos"}, false},
		{"/tulletest.Things/Post", []string{"Post"}, false},
		{"/nobody.Knows/It", []string{"/nobody.Knows/*"}, true},
	} {
		t.Run(strings.Trim(c.method, "/")+fmt.Sprint(c.named), func(t *testing.T) {
			addr, asked := scripted(t, ends(codes.Unavailable))
			other, askedOther := scripted(t, ends(codes.Unavailable))
			cfg := retry.Config{Attempts: 2, MinBackoff: 1, MaxBackoff: 1, Idempotent: c.named}
			m := mesh(t, transport.Service{
				Resolver: discovery.Static{{Addr: addr}, {Addr: other}}, Policy: transport.Policy{Retry: &cfg},
			})
			through, err := grpc.NewClient("tulle:///users", append(tullegrpc.DialOptions(m), insecurely())...)
			if err != nil {
				t.Fatal(err)
			}
			defer through.Close()
			alone := standalone(t, addr, withRetry(must(retry.New(cfg)))...)
			for _, cc := range []*grpc.ClientConn{through, alone} {
				before := asked.Load() + askedOther.Load()
				want := int64(2) // a unary RPC and a stream
				if c.safe {
					want = 4
				}
				if err := cc.Invoke(within(t), c.method, &testpb.Empty{}, new(testpb.Empty)); status.Code(err) != codes.Unavailable {
					t.Errorf("got %v, want Unavailable", err)
				}
				stream, err := cc.NewStream(within(t), kinds[3].desc, c.method)
				if err != nil {
					t.Fatal(err)
				}
				stream.CloseSend()
				if err := end(stream, kinds[3].desc); status.Code(err) != codes.Unavailable {
					t.Errorf("stream: got %v, want Unavailable", err)
				}
				if got := asked.Load() + askedOther.Load() - before; got != want {
					t.Errorf("%s: got %d attempts of two calls, want %d", cc.Target(), got, want)
				}
			}
		})
	}
}

// The methods that are remembered are bounded, and what is not remembered is known
// all the same.
func TestMethodsBounded(t *testing.T) {
	if err := things(); err != nil {
		t.Fatal(err)
	}
	var m tullegrpc.Methods
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range tullegrpc.MaxMethods / 2 {
				if name := fmt.Sprintf("/odd.Service%d/Method%d", g, i); tullegrpc.Safe(&m, name) {
					t.Errorf("%s: got safe", name)
				}
				if i%64 == 0 && tullegrpc.Remembered(&m) > tullegrpc.MaxMethods {
					t.Errorf("got %d methods remembered", tullegrpc.Remembered(&m))
				}
			}
		})
	}
	wg.Wait()
	for range 2 {
		if !tullegrpc.Safe(&m, "/tulletest.Things/Get") || tullegrpc.Safe(&m, "/tulletest.Things/Post") {
			t.Error("got a wrong answer with a full memory")
		}
	}
	if got := tullegrpc.Remembered(&m); got != tullegrpc.MaxMethods {
		t.Errorf("got %d methods remembered, want %d", got, tullegrpc.MaxMethods)
	}
}

// Each form of a target finds the same service in the interceptors as in the resolver.
func TestTarget(t *testing.T) {
	s := serve(t)
	m := must(transport.New(transport.Config{Services: map[string]transport.Service{
		"users":      {Resolver: static(s)},
		"users:8080": {Resolver: static(s)},
	}}))
	defer m.Close()
	for target, want := range map[string]string{
		"tulle:///users": "users", "tulle:/users": "users", "tulle:users": "users", "TULLE:///users": "users", "Tulle:users": "users",
		"tulle:///users:8080": "users:8080", "tulle:///%75sers": "users", "tulle:///users?x=y#z": "users", "tulle:///USERS.": "users",
	} {
		var info transport.Info
		users := connect(t, m, target)
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}, tullegrpc.AttemptInfo(&info)); err != nil || info.Service != want {
			t.Errorf("%s: got %v at %+v, want %s", target, err, info, want)
		}
	}
	for _, target := range []string{"tulle:////users", "tulle:///users/", "tulle:///u%73er", "tulle:///users:80"} {
		_, err := connect(t, m, target).UnaryCall(within(t), &testpb.SimpleRequest{})
		if found := strings.HasSuffix(target, ":80"); found != (err == nil) || err != nil && (!errors.Is(err, transport.ErrUnknownService) || status.Code(err) != codes.Unavailable) {
			t.Errorf("%s: got %v", target, err)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"tulle:///users", "tulle:users", "tulle:/users", "tulle://a/users", "TULLE:///users", "tulle:", "tulle", "dns:///users", "users:80",
		"tulle:///a%20b", "tulle:///%zz", "tulle:///a?b#c", "tulle:////x", "tulle:a?b", "tulle:///\x7f", "", ":", "tulle:///ü", "tulle:%41",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		name, ok := tullegrpc.ServiceOf(target)
		u, err := url.Parse(target)
		if err != nil {
			return // gRPC takes it for a target of its default scheme, or refuses it
		}
		if want := u.Scheme == tullegrpc.Scheme; ok != want {
			t.Fatalf("%q: got a service: %v, want %v", target, ok, want)
		}
		if want := (resolver.Target{URL: *u}).Endpoint(); ok && name != want {
			t.Errorf("%q: got %q, want %q, as the resolver has it", target, name, want)
		}
	})
}

// The attempts of a retryPolicy are bounded as the user bounds them, with every target.
func TestServiceConfigAttempts(t *testing.T) {
	const config = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":8,"initialBackoff":"0.001s","maxBackoff":"0.001s",
		"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`
	s := native(t)
	s.fails(codes.Unavailable)
	for most, want := range map[int]int64{0: 5, 3: 3, 7: 7} {
		m := mesh(t, transport.Service{Resolver: static(s)}) // each with a budget of its own
		for target, options := range map[string][]grpc.DialOption{
			"tulle:///users":           tullegrpc.DialOptions(m, tullegrpc.ServiceConfig(config)),
			"passthrough:///" + s.addr: append(tullegrpc.DialOptions(m), grpc.WithDefaultServiceConfig(config)),
		} {
			before := s.calls.Load()
			dial(t, target, append(options, grpc.WithMaxCallAttempts(most))...).UnaryCall(within(t), &testpb.SimpleRequest{})
			if got := s.calls.Load() - before; got != want {
				t.Errorf("%s, at most %d: got %d attempts, want %d", target, most, got, want)
			}
		}
	}
}

// What gRPC does with a retry policy for other targets it does under DialOptions, to
// the number: repeats, throttling and its recovery.
func TestOtherTargetsRepeatAlike(t *testing.T) {
	const config = `{"retryThrottling":{"maxTokens":6,"tokenRatio":0.5},"methodConfig":[{"name":[{"service":"grpc.testing.TestService"}],
		"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.001s","maxBackoff":"0.001s","backoffMultiplier":1,
		"retryableStatusCodes":["UNAVAILABLE"]}}]}`
	m := mesh(t, transport.Service{Target: "static://127.0.0.1:1"})
	attempts := func(options ...grpc.DialOption) (got []int64) {
		s := native(t)
		client := dial(t, "passthrough:///"+s.addr, append(options, grpc.WithDefaultServiceConfig(config))...)
		for i := range 12 {
			s.unary.Store(nil)
			if i%4 != 3 {
				s.fails(codes.Unavailable)
			}
			before := s.calls.Load()
			client.UnaryCall(within(t), &testpb.SimpleRequest{})
			got = append(got, s.calls.Load()-before)
		}
		return got
	}
	want := attempts()
	if !slices.Contains(want, 4) && !slices.Contains(want, 3) || !slices.Contains(want[:3], 1) {
		t.Fatalf("got %v attempts by gRPC alone, want some repeats, and some throttled", want)
	}
	if got := attempts(tullegrpc.DialOptions(m)...); !slices.Equal(got, want) {
		t.Errorf("got %v attempts under DialOptions, want %v, as without", got, want)
	}
}

// The method configs that hold retry policies are found as gRPC finds its own: by
// method, by service, else the one for all; in whatever case its keys are.
func TestServiceConfigNames(t *testing.T) {
	const config = `{"MethodConfig":[
		{"name":[{}],"RETRYPOLICY":{"maxAttempts":3,"initialBackoff":"0.001s","maxBackoff":"0.001s","backoffMultiplier":1,"retryableStatusCodes":["ABORTED"]}},
		{"name":[{"service":"grpc.testing.TestService","method":"FullDuplexCall"}],"timeout":"9s"}]}`
	s := native(t)
	s.fails(codes.Aborted)
	abort := func(testpb.TestService_FullDuplexCallServer) error { return status.Error(codes.Aborted, "on purpose") }
	s.duplex.Store(&abort)
	client := dial(t, "tulle:///users", tullegrpc.DialOptions(mesh(t, transport.Service{Resolver: static(s)}), tullegrpc.ServiceConfig(config))...)
	client.UnaryCall(within(t), &testpb.SimpleRequest{})
	if got := s.calls.Load(); got != 3 {
		t.Errorf("got %d attempts by the policy for all, want 3", got)
	}
	s.calls.Store(0)
	stream, err := client.FullDuplexCall(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Aborted || s.calls.Load() != 1 {
		t.Errorf("got %d attempts and %v of a method whose own config has no policy, want 1 and Aborted", s.calls.Load(), err)
	}
}

// The pause of a retryPolicy grows by its own factor, up to its own bound.
func TestPause(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		growth float64
		want   []time.Duration
	}{
		{1, []time.Duration{10 * ms, 10 * ms, 10 * ms, 10 * ms}},
		{3, []time.Duration{10 * ms, 30 * ms, 90 * ms, 100 * ms}},
		{0.5, []time.Duration{10 * ms, 5 * ms, 2500 * time.Microsecond, 1250 * time.Microsecond}},
	} {
		for i, want := range c.want {
			if got := tullegrpc.Pause(10*ms, 100*ms, c.growth, int32(i+1)); got != want {
				t.Errorf("growth %v, repeat %d: got %v, want %v", c.growth, i+1, got, want)
			}
		}
	}
	if got := tullegrpc.Pause(10*ms, 100*ms, 1e9, 1000); got != 100*ms {
		t.Errorf("got %v, want the bound", got)
	}
}

func FuzzPushback(f *testing.F) {
	for _, s := range []string{"0", "1", "-1", "+5", "20", "soon", "", " 1", "1.5", "1e3", "0x10", "1_000", "9223372036854", "9223372036855", "-0", "99999999999999999999", "١"} {
		f.Add(s, false)
	}
	f.Add("1", true)
	f.Fuzz(func(t *testing.T, value string, twice bool) {
		trailer := metadata.Pairs("grpc-retry-pushback-ms", value)
		if twice {
			trailer.Append("grpc-retry-pushback-ms", value)
		}
		got, ok := tullegrpc.Pushback(trailer)
		want := time.Duration(-1)
		n, valid := new(big.Int).SetString(value, 10)
		if valid && !twice && n.Sign() >= 0 && n.Cmp(big.NewInt(math.MaxInt64/1_000_000)) <= 0 {
			want = time.Duration(n.Int64()) * time.Millisecond
		}
		if !ok || got != want {
			t.Errorf("%q: got %v, %v, want %v", value, got, ok, want)
		}
		o := tulle.ClassifyGRPC(tulle.GRPCFacts{Code: 14, Sent: true, Received: true, Pushback: ok, RetryAfter: got})
		if o.Final == o.Hinted || o.Hinted && o.RetryAfter < 0 {
			t.Errorf("%q: got %+v, want a time or a no", value, o)
		}
	})
}

// A trailer without a pushback has none.
func TestNoPushback(t *testing.T) {
	for _, trailer := range []metadata.MD{nil, {}, {"grpc-retry-pushback-ms": nil}, metadata.Pairs("retry-after", "1")} {
		if d, ok := tullegrpc.Pushback(trailer); d != 0 || ok {
			t.Errorf("%v: got %v, %v, want none", trailer, d, ok)
		}
	}
}

func BenchmarkMethods(b *testing.B) {
	b.ReportAllocs()
	var m tullegrpc.Methods
	for b.Loop() {
		tullegrpc.Safe(&m, "/grpc.testing.TestService/UnaryCall")
	}
}

func BenchmarkTarget(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		tullegrpc.ServiceOf("tulle:///users")
	}
}
