package tullegrpc

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
)

// ServerOptions are the server's half of the mesh for a grpc.Server, as
// transport.Inbound is for an http.Handler. gRPC takes the caller's deadline into
// the context by itself; from trusted peers these options take overrides of routes
// (tulle-route, or the baggage), and the number of the attempt (tulle-attempt, x-envoy-attempt-count, grpc-previous-rpc-attempts), so
// that calls which a repeat makes in turn are repeated only if they reached nobody.
//
// An RPC waits in cfg.Limit no longer than its deadline. One that has expired there
// ends with codes.DeadlineExceeded and the trailer tulle-expired without having
// run, by which the client knows not to hold it against this instance; one that is
// refused ends with codes.ResourceExhausted and grpc-retry-pushback-ms.
func ServerOptions(cfg transport.InboundConfig) []grpc.ServerOption {
	in := &inbound{cfg}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(in.unary),
		grpc.ChainStreamInterceptor(in.stream),
	}
}

// inbound is the interceptors of ServerOptions.
type inbound struct{ cfg transport.InboundConfig }

// unary is the interceptor of unary RPCs.
func (in *inbound) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx = in.take(ctx)
	if trailer, err := in.admit(ctx, info.FullMethod); err != nil {
		_ = grpc.SetTrailer(ctx, trailer) // it fails outside of a server only
		return nil, err
	}
	return handler(ctx, req)
}

// stream is the interceptor of streams.
func (in *inbound) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx := in.take(ss.Context())
	if trailer, err := in.admit(ctx, info.FullMethod); err != nil {
		ss.SetTrailer(trailer)
		return err
	}
	if ctx != ss.Context() {
		ss = &serverStream{ServerStream: ss, ctx: ctx}
	}
	return handler(srv, ss)
}

// serverStream is a stream with a context of ours.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// take takes what a trusted peer says into the context. What others say of routes
// is taken away.
func (in *inbound) take(ctx context.Context) context.Context {
	p, ok := peer.FromContext(ctx)
	header := routeHeaders(ctx)
	if !ok || p.Addr == nil || !destination.Trusted(in.cfg.Trusted, p.Addr.String()) {
		return withoutOverrides(ctx, header)
	}
	if read, err := route.Read(header); err == nil && read != nil {
		ctx = route.WithHeader(ctx, read)
	}
	repeat := destination.IsRepeat(func(name string) string {
		if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
			return values[0]
		}
		return ""
	})
	if repeat {
		ctx = transport.WithCall(ctx, transport.OnlyUnsent())
	}
	return ctx
}

// routeHeaders are the metadata that can hold overrides, as HTTP writes them.
func routeHeaders(ctx context.Context) map[string][]string {
	header := make(map[string][]string)
	for _, name := range []string{route.Header, "Baggage"} {
		if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
			header[name] = values
		}
	}
	return header
}

// withoutOverrides is the context of an RPC from anyone, which must not say where
// calls go.
func withoutOverrides(ctx context.Context, header map[string][]string) context.Context {
	if read, err := route.Read(header); err == nil && read == nil {
		return ctx
	}
	md, _ := metadata.FromIncomingContext(ctx) // a copy
	route.Strip(header)
	for _, name := range []string{route.Header, "Baggage"} {
		md.Delete(name)
		md.Append(name, header[name]...)
	}
	return metadata.NewIncomingContext(ctx, md)
}

// admit lets an RPC run, or says how it ends.
func (in *inbound) admit(ctx context.Context, method string) (metadata.MD, error) {
	var err error
	if in.cfg.Limit != nil {
		end, _ := ctx.Deadline()
		err = in.cfg.Limit.Acquire(ctx, "", end)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if in.cfg.OnExpired != nil {
			in.cfg.OnExpired(request(ctx, method))
		}
		if in.cfg.Dark {
			return nil, nil
		}
		return metadata.Pairs(tulle.ExpiredHeader, "1"), local(deadline.ErrCall)
	}
	if err == nil {
		return nil, nil
	}
	var limited *limit.Error
	if errors.As(err, &limited) && limited.RetryAfter > 0 {
		ms := (limited.RetryAfter + time.Millisecond - 1) / time.Millisecond
		return metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(int64(ms), 10)), local(err)
	}
	return nil, local(err)
}

// request is an RPC as HTTP shows it.
func request(ctx context.Context, method string) *http.Request {
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: method}, Header: make(http.Header)}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		r.RemoteAddr = p.Addr.String()
	}
	return r.WithContext(ctx)
}
