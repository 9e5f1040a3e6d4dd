package tullegrpc_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// What is answered without being sent has the code that gRPC, or the Gateway API,
// has for it, and its cause.
func TestCodesOfWhatIsNotSent(t *testing.T) {
	s := serve(t)
	none := 0
	m, err := transport.New(transport.Config{
		Environment:  "test",
		Environments: map[string]route.Environment{"test": {Fallback: []string{"prod"}}},
		Services: map[string]transport.Service{
			"users": {Resolver: static(s), OnlyRules: true, Rules: []route.Rule{
				{Name: "fixed", Match: byHeader("fixed"), Fixed: &route.Fixed{Status: 404, Body: "100%d gone"}},
				{Name: "fine", Match: byHeader("fine"), Fixed: &route.Fixed{Status: 200}},
				{Name: "moved", Match: byHeader("moved"), Redirect: &route.Redirect{Host: "x"}},
				{Name: "abort", Match: byHeader("abort"), Fault: &route.Fault{AbortStatus: 503}},
				{Name: "late", Match: byHeader("late"), Timeout: 20 * time.Millisecond, Fault: &route.Fault{Delay: time.Minute, AbortStatus: 503}},
				{Name: "nobody", Match: byHeader("nobody"), Backends: []route.Backend{{Weight: &none}}},
			}},
			"far":     {Environments: map[string]transport.Destination{"prod": {Resolver: static(s)}}},
			"nowhere": {Environments: map[string]transport.Destination{"staging": {Resolver: static(s)}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, test := range []struct {
		service, kind string
		code          codes.Code
		text          string
		cause         error
	}{
		{"users", "fixed", codes.Unimplemented, `answered by rule "fixed" with status 404: 100%d gone`, nil},
		{"users", "fine", codes.Unknown, `answered by rule "fine"`, nil},
		{"users", "moved", codes.Unknown, `redirected by rule "moved"`, nil},
		{"users", "abort", codes.Unavailable, `fault injected by rule "abort"`, nil},
		{"users", "late", codes.DeadlineExceeded, "", context.DeadlineExceeded},
		{"users", "nobody", codes.Unavailable, "", route.ErrNoBackend},
		{"users", "else", codes.Unimplemented, "", route.ErrNoRule},
		{"far", "", codes.FailedPrecondition, "", route.ErrReadOnly},
		{"nowhere", "", codes.Unavailable, "", route.ErrNoDestination},
	} {
		ctx := metadata.AppendToOutgoingContext(within(t), "kind", test.kind)
		_, err := connect(t, m, "tulle:///"+test.service).UnaryCall(ctx, &testpb.SimpleRequest{})
		if status.Code(err) != test.code || !strings.Contains(err.Error(), test.text) || test.cause != nil && !errors.Is(err, test.cause) {
			t.Errorf("%s %s: got %v, want %v %s %v", test.service, test.kind, err, test.code, test.text, test.cause)
		}
	}
	if n := s.calls.Load(); n != 0 {
		t.Errorf("got %d calls at the server", n)
	}
}

// What a proxy has copied from the call that it serves goes to services of ours only.
func TestCopiedToOthers(t *testing.T) {
	s := serve(t)
	var seen atomic.Pointer[metadata.MD]
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen.Store(&md)
		return &testpb.SimpleResponse{}, nil
	})
	m, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"ours": {Resolver: static(s)}, "theirs": {Resolver: static(s), External: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, name := range []string{"tulle-attempt", "tulle-timeout", "tulle-mirror"} {
		for service, want := range map[string]int{"ours": 1, "theirs": 0} {
			ctx := metadata.AppendToOutgoingContext(within(t), name, "1", "x-bin", "\x00\xff")
			if _, err := connect(t, m, "tulle:///"+service).UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			if md := *seen.Load(); len(md.Get(name)) != want || md.Get("x-bin")[0] != "\x00\xff" {
				t.Errorf("%s got %v, want %d of %s, and x-bin", service, md, want, name)
			}
		}
	}
}

// Overrides go to services of ours, wherever the call has them from, and to no
// others.
func TestOverridesToOthers(t *testing.T) {
	s := serve(t)
	var seen atomic.Pointer[metadata.MD]
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen.Store(&md)
		return &testpb.SimpleResponse{}, nil
	})
	m, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"ours": {Resolver: static(s)}, "theirs": {Resolver: static(s), External: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	code := route.With(within(t), route.Override{Service: "a", Environment: "b"})
	for name, ctx := range map[string]context.Context{
		"code":    metadata.AppendToOutgoingContext(code, "x", "1"),
		"header":  metadata.AppendToOutgoingContext(within(t), "tulle-route", "a=b", "x", "1"),
		"baggage": metadata.AppendToOutgoingContext(within(t), "baggage", "c=d,tulle-route=a%3Db", "x", "1"),
		"no name": metadata.AppendToOutgoingContext(route.With(within(t), route.Override{Service: "not a name", Environment: "b"}), "x", "1"),
	} {
		for _, service := range []string{"ours", "theirs"} {
			if _, err := connect(t, m, "tulle:///"+service).UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			md := *seen.Load()
			got := strings.Join(append(md.Get("tulle-route"), md.Get("baggage")...), " ")
			want := map[string]string{"code": "a=b", "header": "a=b", "baggage": "c=d,tulle-route=a%3Db"}[name]
			if service == "theirs" {
				want = map[string]string{"baggage": "c=d"}[name]
			}
			if got != want || len(md.Get("x")) != 1 {
				t.Errorf("%s to %s: got %q in %v, want %q", name, service, got, md, want)
			}
		}
	}
}
