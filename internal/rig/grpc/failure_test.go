package grpc_test

import (
	"context"
	"time"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// short is a time that a test can wait for.
const short = 100 * time.Millisecond

// waiting is servers that answer nothing before the caller has gone.
func waiting() *script {
	return &script{
		unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		input: func(s testpb.TestService_StreamingInputCallServer) error {
			<-s.Context().Done()
			return s.Context().Err()
		},
		output: func(_ *testpb.StreamingOutputCallRequest, s testpb.TestService_StreamingOutputCallServer) error {
			<-s.Context().Done()
			return s.Context().Err()
		},
		duplex: func(s testpb.TestService_FullDuplexCallServer) error {
			<-s.Context().Done()
			return s.Context().Err()
		},
	}
}

// failureCalls end without the server's word: by the caller, by time, or by the
// network.
func failureCalls() []call {
	return []call{
		{name: "failure/cancelled-before", do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish())
		}},
		{name: "failure/cancelled", server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancel(ctx)
			defer time.AfterFunc(short, cancel).Stop()
			p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish())
		}},
		{name: "failure/cancelled-with-cause", server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancelCause(ctx)
			defer time.AfterFunc(short, func() { cancel(status.Error(codes.Aborted, "cause")) }).Stop()
			p.unary(ctx, &testpb.SimpleRequest{})
		}},
		{name: "failure/deadline-before", do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-short))
			defer cancel()
			p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish())
		}},
		{name: "failure/deadline", server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithTimeout(ctx, short)
			defer cancel()
			p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish())
		}},
		{name: "failure/server-dies", do: func(ctx context.Context, p *probe) {
			p.servers.script = &script{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				p.servers.stop()
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish())
		}},
		{name: "failure/nobody-there", late: true, do: func(ctx context.Context, p *probe) {
			p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish())
		}},
		{name: "failure/nobody-there-waiting", late: true, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithTimeout(ctx, 3*short)
			defer cancel()
			p.unary(ctx, &testpb.SimpleRequest{}, grpc.WaitForReady(true), p.onFinish())
		}},
		{name: "failure/nobody-there-cancelled", late: true, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancel(ctx)
			defer time.AfterFunc(3*short, cancel).Stop()
			p.unary(ctx, &testpb.SimpleRequest{}, grpc.WaitForReady(true), p.onFinish())
		}},
		{name: "failure/late", late: true, do: func(ctx context.Context, p *probe) {
			defer time.AfterFunc(3*short, p.arrive).Stop()
			p.unary(ctx, &testpb.SimpleRequest{Payload: body(5)}, grpc.WaitForReady(true), p.onFinish())
			p.unary(ctx, &testpb.SimpleRequest{Payload: body(5)})
		}},
		{name: "failure/late-stream", late: true, do: func(ctx context.Context, p *probe) {
			defer time.AfterFunc(3*short, p.arrive).Stop()
			p.duplex(ctx, 2, grpc.WaitForReady(true), p.onFinish())
		}},
		{name: "failure/nobody-there-stream", late: true, do: func(ctx context.Context, p *probe) {
			p.duplex(ctx, 2, p.onFinish())
		}},
	}
}
