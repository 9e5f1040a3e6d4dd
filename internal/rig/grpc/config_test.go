package grpc_test

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// methodConfig is a service config for all methods of the service.
func methodConfig(fields string) string {
	return `"methodConfig":[{"name":[{"service":"grpc.testing.TestService"}],` + fields + `}]`
}

// retryPolicy repeats UNAVAILABLE and ABORTED, quickly.
func retryPolicy() string {
	return methodConfig(`"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.005s","maxBackoff":"0.01s",
		"backoffMultiplier":1.5,"retryableStatusCodes":["UNAVAILABLE","ABORTED"]}`)
}

// failing is servers that fail n times, all together, and then succeed. Both kinds
// of method do so.
func failing(n int64, code codes.Code, before func(context.Context) error) func() *script {
	return func() *script {
		var left atomic.Int64
		left.Store(n)
		fails := func(ctx context.Context) error {
			if left.Add(-1) < 0 {
				return decorate(ctx)
			}
			if before != nil {
				if err := before(ctx); err != nil {
					return err
				}
			}
			return status.Error(code, "on purpose")
		}
		return &script{
			unary: func(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{Payload: in.Payload}, fails(ctx)
			},
			duplex: func(s testpb.TestService_FullDuplexCallServer) error {
				if err := fails(s.Context()); err != nil {
					return err
				}
				return echo(s)
			},
		}
	}
}

// pushback has the server name a time for the next attempt.
func pushback(value string) func(context.Context) error {
	return func(ctx context.Context) error {
		return grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", value))
	}
}

// early has the server send headers before it fails.
func early(ctx context.Context) error { return grpc.SendHeader(ctx, metadata.Pairs("early", "yes")) }

// configCalls have a service config.
func configCalls() []call {
	ok := &testpb.SimpleRequest{Payload: body(100)}
	all := []call{
		{name: "config/timeout", config: methodConfig(`"timeout":"0.1s"`), server: waiting, do: send(ok)},
		{name: "config/timeout-longer", config: methodConfig(`"timeout":"20s"`), server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithTimeout(ctx, short)
			defer cancel()
			p.unary(ctx, ok)
		}},
		{name: "config/timeout-second-call", config: methodConfig(`"timeout":"0.1s"`), server: waiting, do: func(ctx context.Context, p *probe) {
			p.unary(ctx, ok)
			p.unary(ctx, ok)
		}},
		{name: "config/stream-timeout", config: methodConfig(`"timeout":"0.1s"`), server: waiting, do: func(ctx context.Context, p *probe) {
			p.duplex(ctx, 1)
		}},
		{name: "config/wait", config: methodConfig(`"waitForReady":true`), late: true, do: func(ctx context.Context, p *probe) {
			defer time.AfterFunc(3*short, p.arrive).Stop()
			p.unary(ctx, ok)
		}},
		{name: "config/request-too-large", config: methodConfig(`"maxRequestMessageBytes":10`), do: send(ok)},
		{name: "config/response-too-large", config: methodConfig(`"maxResponseMessageBytes":10`), do: send(ok)},
	}
	for _, r := range []struct {
		name   string
		server func() *script
	}{
		{"none-needed", failing(0, codes.Unavailable, nil)},
		{"once", failing(1, codes.Unavailable, nil)},
		{"twice", failing(2, codes.Unavailable, nil)},
		{"other-code", failing(1, codes.Aborted, nil)},
		{"too-often", failing(100, codes.Unavailable, nil)},
		{"not-listed", failing(100, codes.Internal, nil)},
		{"pushback", failing(1, codes.Unavailable, pushback("10"))},
		{"pushback-refused", failing(1, codes.Unavailable, pushback("-1"))},
		{"pushback-nonsense", failing(1, codes.Unavailable, pushback("soon"))},
		{"decorated", failing(2, codes.Unavailable, decorate)},
		{"decorated-too-often", failing(100, codes.Unavailable, decorate)},
		{"after-headers", failing(1, codes.Unavailable, early)},
	} {
		all = append(all, call{name: "retry/" + r.name, config: retryPolicy(), server: r.server, do: func(ctx context.Context, p *probe) {
			p.unary(ctx, ok, p.onFinish())
		}}, call{name: "retry-stream/" + r.name, config: retryPolicy(), server: r.server, do: func(ctx context.Context, p *probe) {
			p.duplex(ctx, 3, p.onFinish())
		}}, call{name: "retry-header/" + r.name, config: retryPolicy(), server: r.server, do: headerFirst})
	}
	return all
}
