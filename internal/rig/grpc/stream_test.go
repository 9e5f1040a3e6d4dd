package grpc_test

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// echo answers each message.
func echo(s testpb.TestService_FullDuplexCallServer) error {
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// message is what a duplex stream sends.
func message(size int) *testpb.StreamingOutputCallRequest {
	return &testpb.StreamingOutputCallRequest{Payload: body(size)}
}

// duplex sends n messages one by one, each after the answer to the one before, and
// looks at all that gRPC tells of the stream.
func (p *probe) duplex(ctx context.Context, n int, options ...grpc.CallOption) {
	var header, trailer metadata.MD
	var from peer.Peer
	options = append(options, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
	s, err := p.client.FullDuplexCall(ctx, options...)
	p.ended("open", err)
	if err != nil {
		return
	}
	for i := range n {
		p.ended("send", s.Send(message(10+i)))
		if !p.receive(s) {
			break
		}
	}
	p.ended("close-send", s.CloseSend())
	p.rest(s)
	p.metadata("header-option", header)
	p.metadata("trailer-option", trailer)
	p.peer(&from)
}

// receive takes note of the next message and says whether there was one.
func (p *probe) receive(s interface {
	Recv() (*testpb.StreamingOutputCallResponse, error)
}) bool {
	out, err := s.Recv()
	p.ended("receive", err)
	if err != nil {
		return false
	}
	p.see("message", "%d", len(out.GetPayload().GetBody()))
	return true
}

// rest receives to the end, asks again, and looks at what the stream tells then.
func (p *probe) rest(s grpc.ServerStreamingClient[testpb.StreamingOutputCallResponse]) {
	for p.receive(s) {
	}
	p.receive(s) // what has ended stays so
	header, err := s.Header()
	p.ended("header-status", err)
	p.metadata("header", header)
	p.metadata("trailer", s.Trailer())
	_, known := peer.FromContext(s.Context())
	p.see("context", "peer %v", known)
}

// streamCalls are streams of the kinds that succeed.
func streamCalls() []call {
	decorated := func() *script {
		return &script{
			input: func(s testpb.TestService_StreamingInputCallServer) error {
				if err := decorate(s.Context()); err != nil {
					return err
				}
				return new(scripted).StreamingInputCall(s)
			},
			output: func(in *testpb.StreamingOutputCallRequest, s testpb.TestService_StreamingOutputCallServer) error {
				if err := decorate(s.Context()); err != nil {
					return err
				}
				return new(scripted).StreamingOutputCall(in, s)
			},
			duplex: func(s testpb.TestService_FullDuplexCallServer) error {
				if err := decorate(s.Context()); err != nil {
					return err
				}
				return echo(s)
			},
		}
	}
	return []call{
		{name: "stream/client", server: decorated, do: func(ctx context.Context, p *probe) { p.input(ctx, 5, p.onFinish()) }},
		{name: "stream/client-empty", do: func(ctx context.Context, p *probe) { p.input(ctx, 0) }},
		{name: "stream/client-compressed", do: func(ctx context.Context, p *probe) { p.input(ctx, 3, grpc.UseCompressor(gzip.Name)) }},
		{name: "stream/server", server: decorated, do: func(ctx context.Context, p *probe) { p.output(ctx, 5, p.onFinish()) }},
		{name: "stream/server-empty", do: func(ctx context.Context, p *probe) { p.output(ctx, 0) }},
		{name: "stream/duplex", server: decorated, do: func(ctx context.Context, p *probe) { p.duplex(ctx, 5, p.onFinish()) }},
		{name: "stream/duplex-empty", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 0) }},
		{name: "stream/duplex-authority", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 1, grpc.CallAuthority("other.example")) }},
		{name: "stream/duplex-credentials", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 1, grpc.PerRPCCredentials(rpcCredentials{})) }},
		{name: "stream/duplex-wait", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 1, grpc.WaitForReady(true)) }},
		{name: "stream/duplex-unlimited", do: func(ctx context.Context, p *probe) { p.duplex(context.WithoutCancel(ctx), 1) }},
		{name: "stream/header-first", server: decorated, do: headerFirst},
		{name: "stream/all-sent-first", do: allSentFirst},
		{name: "stream/large", do: func(ctx context.Context, p *probe) {
			s, err := p.client.FullDuplexCall(ctx)
			p.ended("open", err)
			if err == nil {
				p.ended("send", s.Send(message(3<<20)))
				p.receive(s)
				p.ended("close-send", s.CloseSend())
				p.rest(s)
			}
		}},
		{name: "stream/unary-method", do: func(ctx context.Context, p *probe) {
			s, err := p.cc.NewStream(ctx, &grpc.StreamDesc{}, testpb.TestService_UnaryCall_FullMethodName)
			p.ended("open", err)
			if err == nil {
				out := new(testpb.SimpleResponse)
				p.ended("send", s.SendMsg(&testpb.SimpleRequest{Payload: body(7)}))
				p.ended("close-send", s.CloseSend())
				p.ended("receive", s.RecvMsg(out))
				p.see("message", "%d", len(out.Payload.GetBody()))
			}
		}},
	}
}

// headerFirst asks for headers before a message has come.
func headerFirst(ctx context.Context, p *probe) {
	s, err := p.client.FullDuplexCall(ctx)
	p.ended("open", err)
	if err != nil {
		return
	}
	p.ended("send", s.Send(message(1)))
	header, err := s.Header()
	p.ended("first-header-status", err)
	p.metadata("first-header", header)
	p.ended("close-send", s.CloseSend())
	p.rest(s)
}

// allSentFirst receives only when everything was sent.
func allSentFirst(ctx context.Context, p *probe) {
	s, err := p.client.FullDuplexCall(ctx)
	p.ended("open", err)
	if err != nil {
		return
	}
	for i := range 20 {
		p.ended("send", s.Send(message(i)))
	}
	p.ended("close-send", s.CloseSend())
	p.ended("close-send", s.CloseSend())
	p.rest(s)
}

// input makes a call with a stream of requests.
func (p *probe) input(ctx context.Context, n int, options ...grpc.CallOption) {
	var header, trailer metadata.MD
	s, err := p.client.StreamingInputCall(ctx, append(options, grpc.Header(&header), grpc.Trailer(&trailer))...)
	p.ended("open", err)
	if err != nil {
		return
	}
	for range n {
		p.ended("send", s.Send(&testpb.StreamingInputCallRequest{Payload: body(100)}))
	}
	out, err := s.CloseAndRecv()
	p.ended("receive", err)
	p.see("sum", "%d", out.GetAggregatedPayloadSize())
	got, err := s.Header()
	p.ended("header-status", err)
	p.metadata("header", got)
	p.metadata("trailer", s.Trailer())
	p.metadata("header-option", header)
	p.metadata("trailer-option", trailer)
}

// output makes a call with a stream of responses.
func (p *probe) output(ctx context.Context, n int, options ...grpc.CallOption) {
	in := &testpb.StreamingOutputCallRequest{Payload: body(5)}
	for i := range n {
		in.ResponseParameters = append(in.ResponseParameters, &testpb.ResponseParameters{Size: int32(i)})
	}
	var header, trailer metadata.MD
	s, err := p.client.StreamingOutputCall(ctx, in, append(options, grpc.Header(&header), grpc.Trailer(&trailer))...)
	p.ended("open", err)
	if err != nil {
		return
	}
	p.rest(s)
	p.metadata("header-option", header)
	p.metadata("trailer-option", trailer)
}

// streamEndCalls are streams that end before their time.
func streamEndCalls() []call {
	var all []call
	for _, code := range []codes.Code{codes.OK, codes.Internal, codes.Unavailable, codes.ResourceExhausted, codes.NotFound} {
		for _, after := range []int{0, 2} {
			for _, headers := range []string{"", "-headers"} {
				ends := endsAfter(after, status.Error(code, "on purpose"), headers != "")
				name := code.String() + "-after-" + string(rune('0'+after)) + headers
				all = append(all,
					call{name: "end-duplex/" + name, server: ends, do: func(ctx context.Context, p *probe) { p.duplex(ctx, 5, p.onFinish()) }},
					call{name: "end-server/" + name, server: ends, do: func(ctx context.Context, p *probe) { p.output(ctx, 5, p.onFinish()) }},
					call{name: "end-client/" + name, server: ends, do: func(ctx context.Context, p *probe) { p.input(ctx, 2, p.onFinish()) }})
			}
		}
	}
	return append(all, brokenStreams()...)
}

// endsAfter is servers that end every stream with err after some messages.
func endsAfter(messages int, err error, headers bool) func() *script {
	begin := func(s grpc.ServerStream) error {
		if err := decorate(s.Context()); err != nil || !headers {
			return err
		}
		return s.SendHeader(metadata.Pairs("early", "yes"))
	}
	return func() *script {
		return &script{
			duplex: func(s testpb.TestService_FullDuplexCallServer) error {
				if err := begin(s); err != nil {
					return err
				}
				for range messages {
					in, err := s.Recv()
					if err != nil {
						return err
					}
					if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
						return err
					}
				}
				return err
			},
			output: func(_ *testpb.StreamingOutputCallRequest, s testpb.TestService_StreamingOutputCallServer) error {
				if err := begin(s); err != nil {
					return err
				}
				for i := range messages {
					if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: body(i)}); err != nil {
						return err
					}
				}
				return err
			},
			input: func(s testpb.TestService_StreamingInputCallServer) error {
				if err := begin(s); err != nil {
					return err
				}
				for range messages {
					if _, err := s.Recv(); err != nil {
						return err
					}
				}
				return err
			},
		}
	}
}

// brokenStreams are ended by the caller, by time, by size, or by the network.
func brokenStreams() []call {
	return []call{
		{name: "broken/cancelled", do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s, err := p.client.FullDuplexCall(ctx, p.onFinish())
			p.ended("open", err)
			if err == nil {
				p.ended("send", s.Send(message(1)))
				p.receive(s)
				cancel()
				p.rest(s)
			}
		}},
		{name: "broken/cancelled-first", server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s, err := p.client.FullDuplexCall(ctx, p.onFinish())
			p.ended("open", err)
			if err == nil {
				p.ended("send", s.Send(message(1)))
				time.AfterFunc(short, cancel)
				p.rest(s)
			}
		}},
		{name: "broken/cancelled-before", do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			p.duplex(ctx, 1, p.onFinish())
		}},
		{name: "broken/deadline", server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithTimeout(ctx, short)
			defer cancel()
			p.duplex(ctx, 1, p.onFinish())
		}},
		{name: "broken/deadline-in-header", server: waiting, do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithTimeout(ctx, short)
			defer cancel()
			headerFirst(ctx, p)
		}},
		{name: "broken/deadline-before", do: func(ctx context.Context, p *probe) {
			ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-short))
			defer cancel()
			p.duplex(ctx, 1, p.onFinish())
		}},
		{name: "broken/send-after-close", do: func(ctx context.Context, p *probe) {
			s, err := p.client.FullDuplexCall(ctx)
			p.ended("open", err)
			if err == nil {
				p.ended("close-send", s.CloseSend())
				p.ended("send", s.Send(message(1)))
				p.rest(s)
			}
		}},
		{name: "broken/send-after-end", do: func(ctx context.Context, p *probe) {
			s, err := p.client.FullDuplexCall(ctx)
			p.ended("open", err)
			if err == nil {
				p.rest(s)
				p.ended("send", s.Send(message(1)))
				p.ended("close-send", s.CloseSend())
			}
		}, server: endsAfter(0, status.Error(codes.Unavailable, "on purpose"), false)},
		{name: "broken/request-too-large", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 2, grpc.MaxCallSendMsgSize(5), p.onFinish()) }},
		{name: "broken/response-too-large", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 2, grpc.MaxCallRecvMsgSize(5), p.onFinish()) }},
		{name: "broken/server-dies", do: func(ctx context.Context, p *probe) {
			p.servers.script = &script{duplex: func(s testpb.TestService_FullDuplexCallServer) error {
				if _, err := s.Recv(); err != nil {
					return err
				}
				if err := s.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
					return err
				}
				p.servers.stop()
				<-s.Context().Done()
				return s.Context().Err()
			}}
			p.duplex(ctx, 3, p.onFinish())
		}},
		{name: "broken/unimplemented", do: func(ctx context.Context, p *probe) {
			s, err := p.client.HalfDuplexCall(ctx)
			p.ended("open", err)
			if err == nil {
				p.rest(s)
			}
		}},
		{name: "broken/compressor-unknown", do: func(ctx context.Context, p *probe) { p.duplex(ctx, 1, grpc.UseCompressor("nonsense")) }},
		{name: "broken/channel-closed", do: func(ctx context.Context, p *probe) {
			s, err := p.client.FullDuplexCall(ctx, p.onFinish())
			p.ended("open", err)
			if err == nil {
				p.ended("send", s.Send(message(1)))
				p.receive(s)
				p.see("close", "%v", p.cc.Close())
				p.rest(s)
			}
		}},
	}
}
