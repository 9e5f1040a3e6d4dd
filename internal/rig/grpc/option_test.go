package grpc_test

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// optionCalls have a call option each.
func optionCalls() []call {
	ok := &testpb.SimpleRequest{Payload: body(1000)}
	return []call{
		{name: "option/authority", do: send(ok, grpc.CallAuthority("other.example"))},
		{name: "option/compressed", do: send(ok, grpc.UseCompressor(gzip.Name))},
		{name: "option/compressor-unknown", do: send(ok, grpc.UseCompressor("nonsense"))},
		{name: "option/compressed-response", do: send(ok), server: answering(
			func(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{Payload: in.Payload}, grpc.SetSendCompressor(ctx, gzip.Name)
			})},
		{name: "option/request-too-large", do: send(ok, grpc.MaxCallSendMsgSize(999))},
		{name: "option/response-too-large", do: send(ok, grpc.MaxCallRecvMsgSize(999))},
		{name: "option/response-over-default", do: send(ok), server: answering(
			func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return &testpb.SimpleResponse{Payload: body(4<<20 + 1)}, nil
			})},
		{name: "option/request-over-server's", do: send(&testpb.SimpleRequest{Payload: body(serverLimit + 1)})},
		{name: "option/credentials", do: send(ok, grpc.PerRPCCredentials(rpcCredentials{}))},
		{name: "option/credentials-secure", do: send(ok, grpc.PerRPCCredentials(rpcCredentials{secure: true}))},
		{name: "option/credentials-fail", do: send(ok, grpc.PerRPCCredentials(rpcCredentials{err: errors.New("no token")}))},
		{name: "option/credentials-status", do: send(ok, grpc.PerRPCCredentials(rpcCredentials{err: status.Error(codes.PermissionDenied, "no token")}))},
		{name: "option/credentials-unavailable", do: send(ok, grpc.PerRPCCredentials(rpcCredentials{err: status.Error(codes.Unavailable, "no token")}))},
		{name: "option/subtype", do: send(ok, grpc.CallContentSubtype("nonsense"))},
		{name: "option/codec", do: send(ok, grpc.ForceCodec(failingCodec{name: "proto"}))},
		{name: "option/codec-marshal-fails", do: send(ok, grpc.ForceCodec(failingCodec{name: "proto", marshal: true}))},
		{name: "option/codec-unmarshal-fails", do: send(ok, grpc.ForceCodec(failingCodec{name: "proto", unmarshal: true}))},
		{name: "option/static-method", do: send(ok, grpc.StaticMethod())},
		{name: "option/wait", do: send(ok, grpc.WaitForReady(true))},
		{name: "option/no-wait", do: send(ok, grpc.WaitForReady(false))},
		{name: "option/on-finish", do: onFinish},
		{name: "option/on-finish-failure", do: onFinish, server: answering(
			func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				return nil, status.Error(codes.Unavailable, "on purpose")
			})},
		{name: "option/on-finish-too-large", do: func(ctx context.Context, p *probe) {
			p.unary(ctx, ok, grpc.MaxCallSendMsgSize(1), p.onFinish())
		}},
	}
}

// onFinish is a call that watches its end.
func onFinish(ctx context.Context, p *probe) { p.unary(ctx, &testpb.SimpleRequest{}, p.onFinish()) }

// onFinish takes note of the end of an RPC.
func (p *probe) onFinish() grpc.CallOption {
	return grpc.OnFinish(func(err error) { p.see("on-finish", "%v", status.Code(err)) })
}

// rpcCredentials are those of one call.
type rpcCredentials struct {
	secure bool
	err    error
}

var _ credentials.PerRPCCredentials = rpcCredentials{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c rpcCredentials) GetRequestMetadata(_ context.Context, uri ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer t", "uri": fmt.Sprint(uri)}, c.err
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (c rpcCredentials) RequireTransportSecurity() bool { return c.secure }

// failingCodec is the usual codec, which fails where it is told to.
type failingCodec struct {
	name               string
	marshal, unmarshal bool
}

var _ encoding.Codec = failingCodec{}

// Marshal implements encoding.Codec.
func (c failingCodec) Marshal(v any) ([]byte, error) {
	if c.marshal {
		return nil, errors.New("cannot marshal")
	}
	return proto.Marshal(v.(proto.Message))
}

// Unmarshal implements encoding.Codec.
func (c failingCodec) Unmarshal(data []byte, v any) error {
	if c.unmarshal {
		return errors.New("cannot unmarshal")
	}
	return proto.Unmarshal(data, v.(proto.Message))
}

// Name implements encoding.Codec.
func (c failingCodec) Name() string { return c.name }
