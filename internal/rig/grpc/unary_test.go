package grpc_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// answering is servers whose unary method does this.
func answering(do func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)) func() *script {
	return func() *script { return &script{unary: do} }
}

// send is a func that makes one unary call.
func send(in *testpb.SimpleRequest, options ...grpc.CallOption) func(context.Context, *probe) {
	return func(ctx context.Context, p *probe) { p.unary(ctx, in, options...) }
}

// decorate has the server send headers and trailers.
func decorate(ctx context.Context) error {
	if err := grpc.SetHeader(ctx, metadata.Pairs("first", "a", "first", "b", "some-bin", "\x00\xff")); err != nil {
		return err
	}
	return grpc.SetTrailer(ctx, metadata.Pairs("last", "c", "last", "d", "more-bin", "\x01"))
}

// unaryCalls are calls that succeed, with what they carry.
func unaryCalls() []call {
	return []call{
		{name: "unary", do: send(&testpb.SimpleRequest{Payload: body(10)})},
		{name: "unary/twenty", do: func(ctx context.Context, p *probe) {
			for range 20 {
				p.unary(ctx, &testpb.SimpleRequest{Payload: body(10)})
			}
		}},
		{name: "unary/empty", do: send(&testpb.SimpleRequest{})},
		{name: "unary/large", do: send(&testpb.SimpleRequest{Payload: body(3 << 20)})},
		{name: "unary/decorated", do: send(&testpb.SimpleRequest{}), server: answering(
			func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{Username: "u"}, decorate(ctx)
			})},
		{name: "unary/headers-sent-early", do: send(&testpb.SimpleRequest{}), server: answering(
			func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{}, grpc.SendHeader(ctx, metadata.Pairs("early", "yes"))
			})},
		{name: "unary/metadata", do: func(ctx context.Context, p *probe) {
			ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("key", "a", "key", "b", "some-bin", "\x00\xff"))
			p.unary(metadata.AppendToOutgoingContext(ctx, "added", "c"), &testpb.SimpleRequest{})
		}},
		{name: "unary/bad-metadata", do: func(ctx context.Context, p *probe) {
			p.unary(metadata.AppendToOutgoingContext(ctx, "key", "\x00"), &testpb.SimpleRequest{})
		}},
		{name: "unary/deadline-passed-on", do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithTimeout(ctx, callTime/2)
			defer cancel()
			p.unary(ctx, &testpb.SimpleRequest{})
		}},
		{name: "unary/no-deadline", do: func(ctx context.Context, p *probe) {
			p.unary(context.WithoutCancel(ctx), &testpb.SimpleRequest{})
		}},
		{name: "unary/unimplemented-method", do: func(ctx context.Context, p *probe) {
			_, err := p.client.EmptyCall(ctx, &testpb.Empty{})
			p.ended("status", err)
		}},
		{name: "unary/unimplemented-service", do: func(ctx context.Context, p *probe) {
			_, err := testpb.NewUnimplementedServiceClient(p.cc).UnimplementedCall(ctx, &testpb.Empty{})
			p.ended("status", err)
		}},
		{name: "unary/malformed-method", do: func(ctx context.Context, p *probe) {
			p.ended("status", p.cc.Invoke(ctx, "nonsense", &testpb.Empty{}, &testpb.Empty{}))
		}},
		{name: "unary/no-method", do: func(ctx context.Context, p *probe) {
			p.ended("status", p.cc.Invoke(ctx, "", &testpb.Empty{}, &testpb.Empty{}))
		}},
		{name: "unary/no-message", do: func(ctx context.Context, p *probe) {
			p.ended("status", p.cc.Invoke(ctx, testpb.TestService_UnaryCall_FullMethodName, nil, &testpb.Empty{}))
		}},
		{name: "unary/channel-closed", do: func(ctx context.Context, p *probe) {
			p.unary(ctx, &testpb.SimpleRequest{})
			p.see("close", "%v", p.cc.Close())
			p.unary(ctx, &testpb.SimpleRequest{})
			p.see("close", "%v", p.cc.Close())
		}},
	}
}

// statusCalls are calls that a server ends with each code, in each of the forms
// that a status can come in.
func statusCalls() []call {
	var all []call
	for code := codes.Code(1); code <= 17; code++ {
		st, err := status.New(code, "on purpose: \t\r\n% ☺ 😈").WithDetails(durationpb.New(1), wrapperspb.String("x"))
		if err != nil {
			panic(err) // the codes begin with 1
		}
		for _, form := range []struct {
			name string
			do   func(context.Context) error
		}{
			{"trailers-only", func(context.Context) error { return nil }},
			{"decorated", decorate},
			{"after-headers", func(ctx context.Context) error {
				return grpc.SendHeader(ctx, metadata.Pairs("early", "yes"))
			}},
		} {
			all = append(all, call{
				name: fmt.Sprintf("status/%v/%s", code, form.name),
				do:   send(&testpb.SimpleRequest{}),
				server: answering(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					if err := form.do(ctx); err != nil {
						return nil, err
					}
					return nil, st.Err()
				}),
			})
		}
	}
	return append(all, call{
		name: "status/context-error", do: send(&testpb.SimpleRequest{}),
		server: answering(func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return nil, context.DeadlineExceeded
		}),
	}, call{
		name: "status/plain-error", do: send(&testpb.SimpleRequest{}),
		server: answering(func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return nil, fmt.Errorf("no status")
		}),
	}, call{
		name: "status/ten-times", // the same to the end, though endpoints are ejected meanwhile
		do: func(ctx context.Context, p *probe) {
			for range 10 {
				p.unary(ctx, &testpb.SimpleRequest{})
			}
		},
		server: answering(func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return nil, status.Error(codes.Internal, "on purpose")
		}),
	})
}
